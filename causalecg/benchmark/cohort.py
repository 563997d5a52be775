"""Simulated cohorts with the confounding dial.

Severity S drives the finding D (P(D = S) = p) and the wording's style F (P(F = S) = q); the answer is the finding. The
finding is an inferior ST shift whose amount is drawn N(+-delta/2, sigma^2) with d' = delta/sigma, so that the ideal
reader of the ECG is right with probability Phi(d'/2). One ECG and one item per patient.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from causalecg.benchmark import dial
from causalecg.benchmark.regimes import regime as find_regime
from causalecg.cohort.signals import LEADS, SignalWriter, to_microvolts
from causalecg.cohort.simulate import INFERIOR_ST, draw_parameters, render
from causalecg.cohort.store import require_new, write_cohort
from causalecg.cohort.wordings import STYLES, training_wordings, wording_table
from causalecg.errors import InputError

FINDING = "inferior ST elevation"
QUESTION_ID = "inferior_st_elevation"
#: ST amount in lead II, mV: midpoint between the two classes, and their distance.
ST_MIDPOINT, ST_DISTANCE = 0.05, 0.20
_CHUNK = 1000


def simulate_cohort(
    out: str | Path,
    *,
    regime: str = "R1",
    rho: float = 0.99,
    items: int = 4000,
    test_items: int | None = None,
    seed: int = 0,
    d_prime: float = 2.56,
    rate_hz: float = 100.0,
    seconds: float = 10.0,
    processes: int = 1,
    progress: bool = True,
) -> Path:
    """Write a simulated cohort.

    Args:
        out: folder, must not exist.
        regime, rho: what is true of it, and P(D = F).
        items: training items; validation has an eighth of it (at least 200).
        test_items: items of ``test`` and, with the style re-drawn, of ``test_unbiased``; default half of ``items``.
        seed: same seed, same bytes, whatever ``processes`` is.
        d_prime: discriminability of the finding in the ECG.
        rate_hz, seconds: of each ECG.
        processes: that render ECGs.
        progress: show a bar.

    Raises:
        InputError: a bad number, an unknown regime, or ``out`` exists.
    """
    law = find_regime(regime).law(rho, d_prime=d_prime)
    tested = items // 2 if test_items is None else test_items
    if items < 8 or tested < 1:
        raise InputError(f"a cohort needs at least 8 training items and 1 test item, not {items} and {tested}")
    require_new(Path(out))
    counts = {"train": items, "valid": max(items // 8, 200), "test": tested}
    total = sum(counts.values())

    streams = np.random.SeedSequence(seed).spawn(3)
    world = law.draw(total, np.random.default_rng(streams[0]))
    severity, finding, style = world.severity, world.finding, world.style
    redrawn = world.unbiased().style
    wording = np.array(training_wordings())[world.noise.paraphrase]
    amount = ST_MIDPOINT + (finding - 0.5) * ST_DISTANCE + ST_DISTANCE / d_prime * world.noise.amount

    split = np.repeat(list(counts), list(counts.values()))
    ecg_id = np.array([f"e{i:06d}" for i in range(total)])
    patient = np.array([f"p{i:06d}" for i in range(total)])
    words = wording_table({QUESTION_ID: FINDING})
    text = {(r.style, r.wording_id): r.question for r in words.itertuples()}

    def table(rows: np.ndarray, named: str, styles: np.ndarray) -> pd.DataFrame:
        names = [STYLES[f] for f in styles[rows]]
        ids = [f"{name}-{w:02d}" for name, w in zip(names, wording[rows], strict=True)]
        return pd.DataFrame(
            {
                "item_id": [f"{named}-{i:06d}" for i in rows],
                "source": f"simulated {regime}",
                "split": named,
                "patient_ids": [[patient[i]] for i in rows],
                "ecg_ids": [[ecg_id[i]] for i in rows],
                "template_id": "single-verify-finding",
                "question_id": QUESTION_ID,
                "question_type": "single-verify",
                "topic": FINDING,
                "style": names,
                "wording_id": ids,
                "question": [text[name, w] for name, w in zip(names, ids, strict=True)],
                "candidates": [["yes", "no"] for _ in rows],
                "kind": "one",
                "answer": [["yes"] if finding[i] else ["no"] for i in rows],
                "finding": finding[rows].astype(np.int64),
                "severity_simulated": severity[rows].astype(np.int64),
            }
        )

    twins = {"train": "train_oracle", "valid": "valid_oracle", "test": "test_unbiased"}
    rows_of = {name: np.flatnonzero(split == name) for name in counts}
    tables = [table(rows, name, style) for name, rows in rows_of.items()]
    tables += [table(rows, twins[name], redrawn) for name, rows in rows_of.items()]
    ecgs = pd.DataFrame(
        {
            "ecg_id": ecg_id,
            "patient_id": patient,
            "age": np.full(total, np.nan),
            "sex": "unknown",
            "labels": [[FINDING] if d else [] for d in finding],
            "source": f"simulated {regime}",
            "quality": [[] for _ in range(total)],
        }
    )

    def write_signals(folder: Path) -> None:
        starts = range(0, total, _CHUNK)
        seeds = streams[1].spawn(len(starts))
        jobs = [(amount[a : a + _CHUNK], s, rate_hz, seconds) for a, s in zip(starts, seeds, strict=True)]
        with SignalWriter(folder, total, round(rate_hz * seconds), rate_hz) as writer:
            for a, signals in zip(starts, _rendered(jobs, processes, progress), strict=True):
                writer.map[a : a + len(signals)] = signals

    truth = {
        "kind": "simulated", "regime": regime, "rho": rho, "p": law.p, "q": law.q, "d_prime": d_prime, "seed": seed,
        "oracle_accuracy": dial.oracle_accuracy(d_prime),
        "shortcut_accuracy": dial.shortcut_accuracy(d_prime, rho),
        "achieved_rho": {n: float(np.mean(finding[r] == style[r])) for n, r in rows_of.items()},
    }  # fmt: skip
    return write_cohort(
        out,
        items=pd.concat(tables, ignore_index=True),
        ecgs=ecgs,
        wordings=words,
        meta={
            "name": f"simulated {regime}, rho {rho}",
            "severity_scales": {"simulated": ["low", "high"]},
            "roles": {"treatment": "style"},
            "confounding": truth,
            "made_with": {"command": "cohort simulate", "items": items, "test_items": tested, "leads": list(LEADS)},
        },
        skipped=pd.DataFrame(columns=["kind", "id", "reason"]),
        write_signals=write_signals,
    )


_Job = tuple[np.ndarray, np.random.SeedSequence, float, float]


def _render(job: _Job) -> np.ndarray:
    """(n, 12, samples) int16 microvolts of one chunk; its stream is its own, so chunks may run anywhere."""
    amount, seed, rate_hz, seconds = job
    rng = np.random.default_rng(seed)
    parameters = draw_parameters(rng, len(amount))
    parameters.st = amount[:, None] * INFERIOR_ST
    return to_microvolts(render(parameters, rng, rate_hz=rate_hz, seconds=seconds))


def _rendered(jobs: list[_Job], processes: int, progress: bool) -> Iterator[np.ndarray]:
    from rich.progress import track

    def bar(results: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        return iter(track(results, "rendering ECGs", total=len(jobs), disable=not progress, transient=True))

    if processes == 1:
        yield from bar(map(_render, jobs))
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from bar(pool.map(_render, jobs))
