"""Size, power and coverage of the core audits, on laws whose truth is known. Run: python benchmarks/calibration.py

Prints Markdown tables. Two processes; about ten minutes.
"""

from __future__ import annotations

import argparse
import os

os.environ["OMP_NUM_THREADS"] = "1"  # the processes are the parallelism

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import norm

from causalecg.audits.audit import difference
from causalecg.audits.checks.dependence import _apart, _strata
from causalecg.audits.score_set import ScoreSet
from causalecg.audits.statistics.bootstrap import ClusterBootstrap
from causalecg.audits.statistics.mcnemar import mcnemar
from causalecg.audits.statistics.sign_flip import sign_flip
from causalecg.audits.suite import run_suite

D_PRIME = 2.56
SIZE_SETS, COVERAGE_SETS, POWER_SETS = 20_000, 10_000, 200


def mcnemar_p(rng: np.random.Generator, items: int = 1000) -> tuple[float, float]:
    """(mid-p, exact): intact and reworded answers of equal accuracy .8, one item per patient."""
    latent = rng.random(items) < 0.6
    first, second = (np.where(latent, True, rng.random(items) < 0.5) for _ in range(2))
    found = mcnemar(first, second)
    return found.mid_p, found.exact


def flip_p(rng: np.random.Generator, patients: int = 300) -> tuple[float]:
    """Paired log-odds of 300 patients with one to six items each; heavy tails, the patient's own part two thirds."""
    who = np.repeat(np.arange(patients), rng.integers(1, 7, patients))
    values = rng.standard_t(3, patients)[who] * np.sqrt(2) + rng.standard_t(3, len(who))
    return (sign_flip(values, who, rng=rng, flips=999),)


def dependence_p(rng: np.random.Generator, items: int = 1000) -> tuple[float]:
    """Style independent of the answer given the truth, both dependent on the truth (rho = .8, accuracy .9)."""
    truth = rng.integers(0, 2, items)
    style = np.where(rng.random(items) < 0.8, truth, 1 - truth)
    answer = np.where(rng.random(items) < 0.9, truth, 1 - truth)
    boot = ClusterBootstrap(np.arange(items)[:, None], rng=rng, replicates=2)
    return (_apart(_strata(truth, style, answer), boot, rng).p,)


def clustered(rng: np.random.Generator, patients: int, p: float) -> tuple[np.ndarray, np.ndarray]:
    """Patients of each item (one to six), and two correlated 0/1 columns of mean ``p`` and ``p`` - .1."""
    who = np.repeat(np.arange(patients), rng.integers(1, 7, patients))
    own = rng.standard_normal(patients)[who]
    z = (own + rng.standard_normal(len(who))) / np.sqrt(2)
    return who, np.stack([norm.cdf(z) < p, norm.cdf(z) < p - 0.1], axis=1).astype(np.float64)


def covers(rng: np.random.Generator, patients: int, p: float) -> tuple[bool, bool, bool]:
    """Do the intervals of a share, of a paired difference and of a ratio cover?"""
    who, values = clustered(rng, patients, p)
    means = ClusterBootstrap(who[:, None], rng=rng).means(values)
    share, gap = means.share(0), means.interval(difference(0, 1))
    ratio = means.interval(lambda m: m[..., 1] / m[..., 0])
    return (
        share.low <= p <= share.high,
        gap.low <= 0.1 <= gap.high,
        ratio.low <= (p - 0.1) / p <= ratio.high,
    )


def covers_apart(rng: np.random.Generator, patients: int, apart: float) -> tuple[bool]:
    """A share of .7 in nine of ten items' style, .7 - ``apart`` in the other; items of a patient go together."""
    who, _ = clustered(rng, patients, 0.7)
    rare = rng.random(len(who)) < 0.1
    z = (rng.standard_normal(patients)[who] + rng.standard_normal(len(who))) / np.sqrt(2)
    answer = (norm.cdf(z) < 0.7 - apart * rare).astype(np.int64)
    boot = ClusterBootstrap(who[:, None], rng=rng, replicates=500)
    strata = _strata(np.zeros(len(who), dtype=np.int64), rare.astype(np.int64), answer)
    found = _apart(strata, boot, rng).interval
    return (found.low <= apart <= found.high,)


def covers_donors(rng: np.random.Generator, donors: int) -> tuple[bool]:
    """A follow rate of .8 whose answers depend on the donor's ECG, 600 items."""
    of = rng.integers(0, donors, 600)
    readable = rng.random(donors) < 0.8
    values = np.where(rng.random(600) < 0.95, readable[of], ~readable[of]).astype(np.float64)
    boot = ClusterBootstrap(np.arange(600)[:, None], donors=600 + of[:, None], rng=rng, replicates=500)
    found = boot.means(values).share(0)
    return (found.low <= 0.95 * 0.8 + 0.05 * 0.2 <= found.high,)


def shortcut_scores(rng: np.random.Generator, items: int, rho: float, *, uses: bool = True) -> ScoreSet:
    """Answers of the Bayes user of the shortcut, or of the ideal reader: log-odds d' x + log(rho / (1 - rho)) F."""
    truth = rng.integers(0, 2, items)
    style = np.where(rng.random(items) < rho, truth, 1 - truth)
    x = D_PRIME / 2 * (2 * truth - 1) + rng.standard_normal(items)
    donor = np.empty(items, dtype=np.int64)
    for value in (0, 1):
        donor[truth == value] = rng.choice(np.flatnonzero(truth != value), int((truth == value).sum()))
    names = np.array(["no", "yes"])
    answers = [[name] for name in names[truth]]
    frame = pd.DataFrame(
        {
            "item_id": np.arange(items).astype(str),
            "split": "test",
            "patient_ids": [[f"p{i}"] for i in range(items)],
            "question_id": "q",
            "template_id": "t",
            "style": style.astype(str),
            "topic": "t",
            "question": "?",
            "candidates": [["no", "yes"]] * items,
            "kind": "one",
            "answer": answers,
        }
    )
    weight = logit(rho) if uses else 0.0
    shown = {
        "intact": (x, style),
        "other_patient[answer=opposite]": (x[donor], style),
        "wording[held_out]": (x, 1 - style),
        "wording[style=other]": (x, 1 - style),
        "wording[seen]": (x, style),
    }
    rows = []
    for what, (evidence, worded) in shown.items():
        odds = D_PRIME * evidence + weight * (2 * worded - 1) + rng.normal(0, 0.5, items)
        p = expit(odds)
        swapped = "opposite" in what
        rows.append(
            pd.DataFrame(
                {
                    "run_id": "m",
                    "item_id": frame["item_id"],
                    "intervention": what,
                    "draw": 0,
                    "status": "answered",
                    "answer_given": [["yes"] if v else ["no"] for v in odds > 0],
                    "answer_expected": [answers[d] for d in donor] if swapped else None,
                    "donor_patient_ids": [[f"p{d}"] for d in donor] if swapped else None,
                    "log_likelihood": list(np.log(np.stack([1 - p, p], axis=1))),
                }
            )
        )
    return ScoreSet(frame, pd.concat(rows, ignore_index=True), {"m": {"role": "audited"}})


def judged(rng: np.random.Generator, items: int, rho: float, uses: bool) -> tuple[bool, ...]:
    """follow rate fails, wording fails, log-odds p < .05, accuracy drop p < .05, follow rate and wording both pass."""
    scores = shortcut_scores(rng, items, rho, uses=uses)
    names = "follow_rate,adversarial_wording,style_effect"
    follow, wording, style = run_suite(scores, names, replicates=400)
    return (
        follow.verdict == "fail",
        wording.verdict == "fail",
        style.p_value is not None and style.p_value < 0.05,
        wording.p_value is not None and wording.p_value < 0.05,
        follow.verdict == "pass" and wording.verdict == "pass",
    )


def _many(job: tuple[Callable, int, int]) -> np.ndarray:
    draw, seed, number = job
    streams = np.random.SeedSequence(seed).spawn(number)
    return np.array([draw(np.random.default_rng(stream)) for stream in streams], dtype=np.float64)


def repeat(draw: Callable, sets: int, pool: ProcessPoolExecutor) -> np.ndarray:
    jobs = [(draw, seed, sets // 20) for seed in range(20)]
    return np.concatenate(list(pool.map(_many, jobs)))


def main(share: float = 1.0) -> None:
    """``share``: of the numbers of data sets, for a quick look."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        sets = max(20, int(SIZE_SETS * share))
        error = np.sqrt(0.05 * 0.95 / sets)
        print(
            f"Size at the 5 % level, {sets:,} null data sets (limit .05 + 3 standard errors = {0.05 + 3 * error:.4f})\n"
        )
        print("| test | size |\n|---|---|")
        found = repeat(mcnemar_p, sets, pool)
        print(f"| McNemar, mid-p, n = 1000 | {(found[:, 0] <= 0.05).mean():.4f} |")
        print(f"| McNemar, exact, n = 1000 | {(found[:, 1] <= 0.05).mean():.4f} |")
        print(f"| sign flip of whole patients, paired log-odds | {(repeat(flip_p, sets, pool) <= 0.05).mean():.4f} |")
        print(
            f"| style given truth, permutation | {(repeat(dependence_p, sets, pool) <= 0.05).mean():.4f} |", flush=True
        )

        sets = max(20, int(COVERAGE_SETS * share))
        error = np.sqrt(0.05 * 0.95 / sets)
        print(f"\nCoverage of 95 % intervals, {sets:,} data sets (3 standard errors = {3 * error:.4f})\n")
        print("| patients | share | paired difference | ratio |\n|---|---|---|---|")
        for patients, p in ((30, 0.8), (100, 0.8), (300, 0.8), (300, 0.95)):
            a, b, c = repeat(partial(covers, patients=patients, p=p), sets, pool).mean(0)
            print(f"| {patients}, share {p} | {a:.4f} | {b:.4f} | {c:.4f} |", flush=True)
        print("\n| donors of 600 items | follow rate |\n|---|---|")
        for donors in (30, 60, 200):
            print(
                f"| {donors} | {repeat(partial(covers_donors, donors=donors), sets // 5, pool).mean():.4f} |",
                flush=True,
            )

        print("\n| 300 patients, styles apart by | distance of styles |\n|---|---|")
        for apart in (0.0, 0.1, 0.3):
            draw = partial(covers_apart, patients=300, apart=apart)
            print(f"| {apart} | {repeat(draw, sets // 5, pool).mean():.4f} |", flush=True)

        sets = max(20, int(POWER_SETS * share))
        print(f"\nPower: the Bayes user of a shortcut (d' = {D_PRIME}), {sets} data sets each; last the ideal reader\n")
        print(
            "| rho | items | follow rate fails | wording fails | do(F) log-odds, p < .05 | drop when reworded, p < .05 "
            "| both pass |"
        )
        print("|---|---|---|---|---|---|---|")
        grid = [(rho, items, True) for rho in (0.6, 0.7, 0.8, 0.9, 0.99) for items in (50, 200, 1000)]
        for rho, items, uses in [*grid, (0.7, 1000, False), (0.99, 1000, False)]:
            shares = repeat(partial(judged, items=items, rho=rho, uses=uses), sets, pool).mean(0)
            who = f"{rho}" if uses else f"{rho}, reader"
            print(f"| {who} | {items} | " + " | ".join(f"{value:.3f}" for value in shares) + " |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("share", type=float, nargs="?", default=1.0, help="of the numbers of data sets")
    main(parser.parse_args().share)
