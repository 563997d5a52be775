"""What a comparison of arms shows: seeds and patients resampled together, one page, one JSON record."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from causalecg.audits.checks.zero_shot import CAVEAT, of_held_out
from causalecg.audits.interventions import HELD_OUT, OPPOSITE, RANDOM
from causalecg.audits.outcomes import Outcomes
from causalecg.audits.result import AuditResult
from causalecg.audits.score_set import ScoreSet
from causalecg.audits.statistics.seeds import Draws, SeededBootstrap
from causalecg.audits.suite import run_suite
from causalecg.benchmark import dial
from causalecg.benchmark.cells import Cell
from causalecg.errors import InputError
from causalecg.records import write_whole
from structural_models.json_values import plain

if TYPE_CHECKING:
    from causalecg.cohort.schema import Cohort
    from causalecg.training.config import RunConfig
    from structural_models.estimand import Estimand

#: Recovery is a ratio: it is printed only where the gap's lower limit clears this many points ...
MINIMUM_GAP = 0.05
#: ... and, on simulated cohorts, the unbiased test has at least so many items.
MINIMUM_ITEMS = 20_000


def report_comparison(
    cohort: Cohort, cells: Sequence[Cell], out: str | Path, *, seed: int = 0, report: str | Path | None = None
) -> tuple[Path, dict[str, Any]]:
    """Audit scored cells, write ``comparison.json`` and the page. Returns the page and the record.

    Args:
        cohort: that was compared on.
        cells: which arms and seeds, in the order of the table.
        out: the comparison's folder.
        seed: of the bootstrap.
        report: folder for the page and ``comparison.json``; by default ``out`` holds both, the page in ``report``.

    Raises InputError where ``out`` holds a comparison on another cohort.
    """
    from causalecg.reports.build import write_report
    from causalecg.reports.training_curves import read_curves
    from causalecg.training.run import Run
    from structural_models.graph_files import load_graph

    out = Path(out)
    claimed = json.loads((out / "compare.json").read_text())
    if claimed["cohort_hash"] != cohort.hash:
        raise InputError(f"{out} compares arms on another cohort than {cohort.path}; name that one with --cohort")
    record = summarise(cohort, cells, out, seed=seed)
    record["curves"] = [
        {"arm": cell.arm, "seed": cell.seed, "epochs": read_curves(out / "runs" / cell.name)} for cell in cells
    ]
    first = _first_seed(cells, out)
    results: list[AuditResult] = []
    for name in first.runs:
        results += run_suite(first, run_id=name, seed=seed)
    runs = [Run.open(out / "runs" / cell.name) for cell in cells]
    estimand = next((run.estimand for run in runs if run.estimand is not None), None)
    balances = {str(run.arm): table for run in runs if (table := run.balance()) is not None}
    if not balances and estimand is not None:
        balances = _balance_under_weights(cohort, runs[0].config, estimand)
    page = write_report(
        out / "report" if report is None else report,
        score_set=first,
        results=results,
        cohort=cohort,
        balance=balances,
        graph=load_graph(runs[0].graph),
        estimand=estimand,
        comparison=record,
        title=f"Comparison of {len(record['arms'])} arms on {cohort.meta['name']}",
    )
    folder = out if report is None else Path(report)
    write_whole(folder / "comparison.json", json.dumps(plain(record), indent=2, allow_nan=False) + "\n")
    return page, record


def _balance_under_weights(cohort: Cohort, config: RunConfig, estimand: Estimand) -> dict[str, pd.DataFrame]:
    """What weighting would do to the training rows, where no arm weights them; empty where it cannot."""
    from adjusters.contract import ContractError
    from adjusters.registry import adjuster
    from causalecg.training.tables import rows_of

    table = rows_of(cohort, "train", environment=config.environment, template_ids=config.template_ids)
    try:
        found = adjuster("ipw").fit(table, estimand, rng=np.random.default_rng(0)).balance(table)
    except ContractError:
        return {}
    return {} if found is None else {"under ipw's weights (not one of these arms)": found}


def summarise(cohort: Cohort, cells: Sequence[Cell], out: Path, *, seed: int = 0) -> dict[str, Any]:
    """The comparison as a JSON-able record."""
    arms = list(dict.fromkeys(cell.arm for cell in cells))
    seeds = sorted({cell.seed for cell in cells})
    gathered = _gather(cells, arms, seeds, out)
    rows: dict[str, dict[str, Any]] = {arm: {"arm": arm, "seeds": len(seeds)} for arm in arms}
    record: dict[str, Any] = {
        "cohort": cohort.meta["name"],
        "cohort_hash": cohort.hash,
        "confounding": cohort.meta.get("confounding"),
        "seeds": seeds,
        "arms": list(rows.values()),
        "items": {split: len(part["patients"]) for split, part in gathered.items()},
        "shortcut_curve": None,
        "majority": {},
    }
    for split, part in gathered.items():
        boot = SeededBootstrap(part["patients"], len(seeds), seed=seed)
        means = boot.arms(part["correct"])
        for arm in arms:
            rows[arm][split] = boot.share(means[arm])
            if "none" in arms and arm != "none":
                less = boot.interval(lambda a, b: a - b, means[arm], means["none"])
                rows[arm][f"{split}_versus_none"] = less.as_dict()
        record["majority"][split] = boot.share(boot.without_seeds(part["majority"]))
        if split == "test":
            balanced = boot.arms(part["correct"], part["balance"])
            for arm in arms:
                rows[arm]["test_answer_balanced"] = boot.share(balanced[arm])
        if split == "test_unbiased":
            _recovery(rows, means, boot, cohort, len(part["patients"]))
            record["shortcut_curve"] = _shortcut(means, boot, cohort)
        for name, column in part["extra"].items():
            asked = np.isfinite(np.concatenate(list(column.values()), axis=1)).all(1)
            if not asked.any():
                continue
            donors = [codes[asked] for codes in part["donors"].get(name, [])]
            extra = SeededBootstrap(
                part["patients"][asked],
                len(seeds),
                seed=seed,
                donors=np.concatenate(donors, axis=1) if donors else None,
            )
            found = extra.arms({arm: values[asked] for arm, values in column.items()})
            if name == "zero_shot":
                record["majority"][name] = extra.share(extra.without_seeds(part["commonest"](asked)[asked]))
            for arm in arms:
                whole = extra.interval(lambda m: m, found[arm]).as_dict()
                rows[arm][name] = extra.share(found[arm]) if name in ("follow_rate", "zero_shot") else whole
                if "none" in arms and arm != "none":
                    less = extra.interval(lambda a, b: a - b, found[arm], found["none"])
                    rows[arm][f"{name}_versus_none"] = less.as_dict()
            record["items"][name] = int(asked.sum())
    return record


def _gather(cells: Sequence[Cell], arms: list[str], seeds: list[int], out: Path) -> dict[str, dict[str, Any]]:
    """split -> patients, correct (arm -> (items, seeds)), and what the interventions show."""
    gathered: dict[str, dict[str, Any]] = {}
    for cell in cells:
        scores = ScoreSet.open(out / "scores" / cell.name)
        for split in scores.splits():
            outcomes = scores.outcomes(split)
            part = gathered.setdefault(
                split,
                {
                    "patients": outcomes.patients,
                    "items": list(outcomes.items["item_id"]),
                    "majority": outcomes.majority(),
                    "commonest": outcomes.commonest,
                    "balance": outcomes.balance_weights(np.ones(len(outcomes.items), dtype=bool)),
                    "correct": {arm: np.full((len(outcomes.items), len(seeds)), np.nan) for arm in arms},
                    "extra": {},
                    "donors": {},
                },
            )
            assert part["items"] == list(outcomes.items["item_id"])
            at = seeds.index(cell.seed)
            intact = outcomes.answers(cell.name, "intact")
            part["correct"][cell.arm][:, at] = intact.correct
            for name, values in _extras(outcomes, cell.name).items():
                empty = {arm: np.full((len(intact.code), len(seeds)), np.nan) for arm in arms}
                part["extra"].setdefault(name, empty)[cell.arm][:, at] = values
            for name, intervention in (("random_ecg_drop", RANDOM), ("follow_rate", OPPOSITE)):
                if outcomes.has(cell.name, intervention):
                    codes, before = (
                        outcomes.answers(cell.name, intervention).donors,
                        part["donors"].setdefault(name, []),
                    )
                    # Shared by all runs of one seed of donors.
                    if not any(np.array_equal(codes, other) for other in before):
                        before.append(codes)
    # One number of each: of the unbiased test where there is one.
    for name in ("random_ecg_drop", "zero_shot"):
        having = [split for split in ("test_unbiased", "test") if name in gathered.get(split, {"extra": {}})["extra"]]
        for split, part in gathered.items():
            if split not in having[:1]:
                part["extra"].pop(name, None)
    return gathered


def _extras(outcomes: Outcomes, run: str) -> dict[str, np.ndarray]:
    intact = outcomes.answers(run, "intact")
    found = {}
    if outcomes.has(run, RANDOM):
        found["random_ecg_drop"] = intact.correct - outcomes.answers(run, RANDOM).correct
    if outcomes.has(run, OPPOSITE):
        found["follow_rate"] = outcomes.answers(run, OPPOSITE).follows
    if outcomes.has(run, HELD_OUT):
        found["wording_drop"] = intact.correct - outcomes.answers(run, HELD_OUT).correct
    if (held_out := of_held_out(outcomes, run)).any():
        found["zero_shot"] = np.where(held_out, intact.correct, np.nan)
    return found


def _recovery(
    rows: dict[str, dict[str, Any]],
    means: dict[str, Draws],
    boot: SeededBootstrap,
    cohort: Cohort,
    items: int,
) -> None:
    """(arm - none) / (oracle - none) on the unbiased test, where the definitions allow a ratio."""
    if not {"none", "oracle"} <= means.keys():
        return
    gap = boot.interval(lambda o, n: o - n, means["oracle"], means["none"])
    simulated = (cohort.meta.get("confounding") or {}).get("kind") == "simulated"
    note = ""
    if simulated and items < MINIMUM_ITEMS:
        note = f"points only: the unbiased test has {items:,} items, recovery needs {MINIMUM_ITEMS:,}"
    elif gap.low < MINIMUM_GAP:
        note = (
            f"points only: the gap's lower limit is {100 * gap.low:.1f} points, recovery needs {100 * MINIMUM_GAP:.0f}"
        )
    for arm, row in rows.items():
        if arm in ("none", "oracle"):
            continue
        row["recovery"] = None
        row["recovery_note"] = note
        if not note:
            found = boot.interval(lambda a, n, o: (a - n) / (o - n), means[arm], means["none"], means["oracle"])
            row["recovery"] = found.as_dict()


def _shortcut(means: dict[str, Draws], boot: SeededBootstrap, cohort: Cohort) -> dict[str, Any] | None:
    """Where the unadjusted model sits against the Bayes-optimal user of the shortcut at the achieved d'."""
    truth = cohort.meta.get("confounding") or {}
    holds = truth.get("kind") == "simulated" and truth.get("shortcut_curve_holds", True)
    if not holds or not {"none", "oracle"} <= means.keys():
        return None
    rho = float(truth["rho"])

    def curve(oracle: Any) -> Any:
        return dial.shortcut_curve(rho, oracle)

    return {
        "rho": rho,
        "d_prime": boot.interval(lambda o: 2 * _probit(o), means["oracle"]).as_dict(),
        "curve": boot.interval(curve, means["oracle"]).as_dict(),
        "unadjusted": boot.share(means["none"]),
        "below_curve": boot.interval(lambda o, n: curve(o) - n, means["oracle"], means["none"]).as_dict(),
    }


def _probit(p: Any) -> Any:
    from scipy.stats import norm

    return norm.ppf(p)


def _first_seed(cells: Sequence[Cell], out: Path) -> ScoreSet:
    """Scores of every arm's first seed; of each split the items that were put through an intervention."""
    seed = min(cell.seed for cell in cells)
    parts = []
    for cell in cells:
        if cell.seed == seed:
            opened = ScoreSet.open(out / "scores" / cell.name)
            changed = opened.scores.loc[opened.scores["intervention"] != "intact", "item_id"].unique()
            kept = set(changed) | set(opened.items.loc[opened.items["split"] == "test_natural", "item_id"])
            parts.append(
                ScoreSet(
                    opened.items[opened.items["item_id"].isin(kept)],
                    opened.scores[opened.scores["item_id"].isin(kept)],
                    opened.runs,
                )
            )
    return ScoreSet.concat(parts)


def print_comparison(comparison: dict[str, Any]) -> None:
    """One table on standard output; a single seed is called a single seed."""
    from rich.console import Console
    from rich.table import Table

    many = len(comparison["seeds"])
    table = Table(title=f"{comparison['cohort']}: {'ONE SEED' if many == 1 else f'{many} seeds'}, 95 % intervals")
    columns = {
        "test": "biased test" if "test_unbiased" in comparison["items"] else "test",
        "test_unbiased": "unbiased test",
        "test_natural": "natural test",
        "test_answer_balanced": "" if "test_unbiased" in comparison["items"] else "answer-balanced",
        "test_versus_none": "" if "test_unbiased" in comparison["items"] else "less none's",
        "random_ecg_drop": "random-ECG drop",
        "follow_rate": "follow rate",
        "wording_drop": "rewording drop",
        "zero_shot": "topics held out",
        "recovery": "recovery",
    }
    shown = [key for key in columns if columns[key] and any(row.get(key) for row in comparison["arms"])]
    table.add_column("arm")
    for key in shown:
        table.add_column(columns[key], justify="right")
    for row in comparison["arms"]:
        table.add_row(row["arm"], *(written(row.get(key)) for key in shown))
    Console(width=len(max((row["arm"] for row in comparison["arms"]), key=len)) + 6 + 20 * len(shown)).print(table)
    for line in remarks(comparison):
        print(line)


def remarks(comparison: dict[str, Any]) -> list[str]:
    """Sentences that belong under the table."""
    lines = []
    if len(comparison["seeds"]) == 1:
        lines.append("One seed: the intervals are over patients only and say nothing about another training run.")
    notes = {row["recovery_note"] for row in comparison["arms"] if row.get("recovery_note")}
    lines += [f"Recovery is not printed ({note})." for note in sorted(notes)]
    curve = comparison["shortcut_curve"]
    if curve:
        lines.append(
            f"Unadjusted, unbiased accuracy {written(curve['unadjusted'])}; the optimal user of the shortcut at the "
            f"achieved d' {written(curve['d_prime'])} has {written(curve['curve'])}: "
            f"{written(curve['below_curve'])} below it."
        )
    if any(row.get("zero_shot") for row in comparison["arms"]):
        lines.append(
            f"Topics held out: the most frequent answer to each of their questions is right in "
            f"{written(comparison['majority'].get('zero_shot'))}. {CAVEAT}"
        )
    majority = comparison["majority"].get("test")
    if majority:
        lines.append(f"Majority answer per template on the test: {written(majority)}.")
    return lines


def written(value: dict[str, float] | None) -> str:
    """ ".873 (.861, .885)", or a dash."""
    if not value or value["estimate"] != value["estimate"]:
        return "-"
    numbers = (re.sub(r"^(-?)0\.", r"\1.", f"{value[key]:.3f}") for key in ("estimate", "low", "high"))
    return "{} ({}, {})".format(*numbers)
