"""Tier T1: cohorts of simulated ECGs, drawn from the benchmark's law.

The finding is an inferior ST shift whose amount is drawn N(+-delta/2, sigma^2) with d' = delta/sigma, so that the ideal
reader of the ECG is right with probability Phi(d'/2). Where severity shows by itself it does so in the heart rate,
which grows with the severity channel of the evidence and is independent of the ST shift given severity and finding. One
ECG and one item per patient and split. What training must not know goes to :mod:`causalecg.benchmark.truth`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from causalecg.benchmark import dial, exact
from causalecg.benchmark.law import Law, World
from causalecg.benchmark.regimes import regime as find_regime
from causalecg.benchmark.truth import item_truth, law_truth, write_truth
from causalecg.benchmark.twins import twin_worlds
from causalecg.benchmark.wordings import (
    FINDING,
    benchmark_wordings,
    style_index,
    style_names,
    topics,
    wording_numbers,
)
from causalecg.cohort.signals import LEADS, SignalWriter, to_microvolts
from causalecg.cohort.simulate import INFERIOR_ST, draw_parameters, render
from causalecg.cohort.store import require_new, write_cohort
from causalecg.errors import InputError
from causalecg.ordered import in_order

#: ST amount in lead II, mV: midpoint between the two classes, and their distance.
ST_MIDPOINT, ST_DISTANCE = 0.05, 0.20
#: Heart rate per minute at the middle of the severity channel, and its change in log per unit of that channel.
RATE_MIDPOINT, RATE_SLOPE = 74.0, 0.11
#: Words for the levels of severity, by their number.
LEVELS: dict[int, list[str]] = {
    2: ["low", "high"],
    3: ["low", "medium", "high"],
    4: ["very low", "low", "high", "very high"],
    5: ["very low", "low", "medium", "high", "very high"],
}
#: Split -> the same patients and answers with the style re-drawn.
REDRAWN = {"train": "train_oracle", "valid": "valid_oracle", "test": "test_unbiased"}
_CHUNK = 1000


def simulate_cohort(
    out: str | Path,
    *,
    regime: str = "R1",
    rho: float | None = None,
    items: int = 4000,
    test_items: int | None = None,
    seed: int = 0,
    d_prime: float = 2.56,
    dials: Mapping[str, Any] | None = None,
    twins: int = 0,
    train_twins: int = 0,
    anti: bool = False,
    rate_hz: float = 100.0,
    seconds: float = 10.0,
    processes: int = 1,
    progress: bool = True,
) -> Path:
    """Write a simulated cohort.

    Args:
        out: folder, must not exist.
        regime, rho: what is true of it, and P(D = F); without rho the regime's own, else .99.
        items: training items; validation has an eighth of it (at least 200).
        test_items: items of ``test`` and, with the style re-drawn, of ``test_unbiased``; default half of ``items``.
        seed: same seed, same bytes, whatever ``processes`` is.
        d_prime: discriminability of the finding in the ECG.
        dials: of :class:`causalecg.benchmark.law.Law`, set on top of the regime's.
        twins: patients of their own for split ``twins``: each once as the law has it, and once for each thing set to
            what it was not (finding, every style, the topic where there are two), with the same noise down to the
            electrodes'; ``twin_of`` names the first.
        train_twins: of so many training items, a twin to learn from in split ``train_twins``: with the finding set to
            what it was not, the same noise and the same words; ``twin_of`` names the training item.
        anti: also ``test_anti``, the test items with every style the answer's opposite.
        rate_hz, seconds: of each ECG.
        processes: that render ECGs.
        progress: show a bar.

    Raises:
        InputError: a bad number, an unknown regime or dial, or ``out`` exists.
    """
    found = find_regime(regime)
    rho = found.require_rho(rho)
    law = found.law(rho, **{"d_prime": d_prime, **(dials or {})})
    tested = items // 2 if test_items is None else test_items
    if items < 8 or tested < 1:
        raise InputError(f"a cohort needs at least 8 training items and 1 test item, not {items} and {tested}")
    if twins < 0:
        raise InputError(f"the number of twin sets must not be negative, but is {twins}")
    if not 0 <= train_twins <= items:
        raise InputError(f"there are twins of 0 to {items} training items, not of {train_twins}")
    if law.levels not in LEVELS:
        raise InputError(f"a cohort has words for {min(LEVELS)} to {max(LEVELS)} levels of severity, not {law.levels}")
    if anti:
        law.require_anti()
    require_new(Path(out))
    counts = {"train": items, "valid": max(items // 8, 200), "test": tested}
    total = sum(counts.values())
    streams = np.random.SeedSequence(seed).spawn(3)
    world = law.draw(total, np.random.default_rng(streams[0]))
    base = law.draw(twins, np.random.default_rng(streams[2]))

    split = np.repeat(list(counts), list(counts.values()))
    rows_of = {name: np.flatnonzero(split == name) for name in counts}
    unbiased = world.unbiased()
    words = benchmark_wordings(law)
    asks = _Asking(law, regime, words)
    parts = [asks.items(world, rows, name) for name, rows in rows_of.items()]
    parts += [asks.items(unbiased, rows, REDRAWN[name]) for name, rows in rows_of.items()]
    if anti:
        parts.append(asks.items(world.anti(), rows_of["test"], "test_anti"))
    parts += asks.twins(base, first=total)
    other_way = world.do(finding=1 - world.finding)
    if train_twins:
        own = np.arange(train_twins)
        parts.append(
            asks.items(other_way, own, "train_twins", first_ecg=total + 2 * twins, item="train_twins", twin_of="train")
        )

    # Twins' ECGs follow all others: first as the law has them, then with the finding set to what it was not; then those
    # of the training items' twins.
    flipped = base.do(finding=1 - base.finding)
    shown = [world, base, flipped]
    patient = np.concatenate([np.arange(total + twins), np.arange(total, total + twins), np.arange(train_twins)])
    seeds = streams[1].spawn(-(-total // _CHUNK))
    twin_seeds = streams[2].spawn(-(-twins // _CHUNK))
    jobs = [
        job
        for one, its in zip(shown, (seeds, twin_seeds, twin_seeds), strict=True)
        for job in _jobs(one, its, rate_hz, seconds)
    ]
    jobs += _first(_jobs(other_way, seeds, rate_hz, seconds), train_twins)
    finding = np.concatenate([*(one.finding for one in shown), other_way.finding[:train_twins]])
    ecgs = pd.DataFrame(
        {
            "ecg_id": [f"e{i:06d}" for i in range(len(patient))],
            "patient_id": [f"p{i:06d}" for i in patient],
            "age": np.full(len(patient), np.nan),
            "sex": "unknown",
            # Where the answer is not the finding alone, the finding is nobody's to know.
            "labels": [[FINDING] if d and law.answer_is_finding else [] for d in finding],
            "source": f"simulated {regime}",
            "quality": [[] for _ in patient],
        }
    )
    table = pd.concat([part.items for part in parts], ignore_index=True)
    truth = pd.concat([part.truth for part in parts], ignore_index=True)
    plain = law.answer_is_finding and not law.d_prime_severity and law.shortcuts == 1
    plain = plain and abs(exact.finding_agreement(law) - rho) < 1e-9
    confounding = {
        "kind": "simulated", "regime": regime, "rho": rho, "p": law.p, "q": law.q, "d_prime": law.d_prime, "seed": seed,
        "oracle_accuracy": dial.oracle_accuracy(law.d_prime) if plain else exact.accuracy(law, "oracle", "unbiased"),
        "shortcut_accuracy": (
            dial.shortcut_accuracy(law.d_prime, rho) if plain else exact.accuracy(law, "shortcut", "unbiased")
        ),
        # Whether the curve of dial.shortcut_curve is that of this law.
        "shortcut_curve_holds": plain,
        "achieved_rho": {n: float(np.mean(world.finding[r] == world.style[r])) for n, r in rows_of.items()},
    }  # fmt: skip

    def write_signals(folder: Path) -> None:
        with SignalWriter(folder, len(patient), round(rate_hz * seconds), rate_hz) as writer:
            at = 0
            for signals in _rendered(jobs, processes, progress):
                writer.map[at : at + len(signals)] = signals
                at += len(signals)
        write_truth(folder, truth, {"kind": "simulated", "regime": regime, "rho": rho, "seed": seed, **law_truth(law)})

    return write_cohort(
        out,
        items=table,
        ecgs=ecgs,
        wordings=words,
        meta={
            "name": f"simulated {regime}, rho {rho}",
            "severity_scales": {"simulated": LEVELS[law.levels]},
            "roles": {"treatment": "style"},
            "confounding": confounding,
            "made_with": {"command": "cohort simulate", "items": items, "test_items": tested, "leads": list(LEADS)},
        },
        skipped=pd.DataFrame(columns=["kind", "id", "reason"]),
        write_signals=write_signals,
    )


@dataclass(frozen=True)
class _Part:
    """Items, and a row of truth for each."""

    items: pd.DataFrame
    truth: pd.DataFrame


@dataclass(frozen=True)
class _Asking:
    """How patients become items."""

    law: Law
    regime: str
    words: pd.DataFrame

    def items(
        self,
        world: World,
        rows: np.ndarray,
        split: str,
        *,
        first: int = 0,
        first_ecg: int | None = None,
        item: str | None = None,
        twin_of: str | None = None,
    ) -> _Part:
        """Items of some patients of a world.

        Args:
            first, first_ecg: number of the world's patient 0, and of its ECG where that is another.
            item: of which the item_ids are made; by default the split.
            twin_of: the same for the items these are twins of.
        """
        asked = topics(self.law)
        names = style_names(self.law)
        styles = [names[f] for f in style_index(world).to_numpy()[rows]]
        wording = wording_numbers(world).to_numpy()[rows]
        wording_id = [f"{name}-{w:02d}" for name, w in zip(styles, wording, strict=True)]
        topic = world.topic[rows] if len(asked) > 1 else np.zeros(len(rows), dtype=np.int64)
        question_id = [list(asked)[t] for t in topic]
        text = {(r.question_id, r.wording_id): r.question for r in self.words.itertuples()}
        ecg = rows + (first if first_ecg is None else first_ecg)
        columns: dict[str, Any] = {
            "item_id": [f"{item or split}-{i:06d}" for i in rows + first],
            "source": f"simulated {self.regime}",
            "split": split,
            "patient_ids": [[f"p{i:06d}"] for i in rows + first],
            "ecg_ids": [[f"e{i:06d}"] for i in ecg],
            "template_id": "single-verify-finding",
            "question_id": question_id,
            "question_type": "single-verify",
            "topic": [asked[q] for q in question_id],
            "style": styles,
            "wording_id": wording_id,
            "question": [text[q, w] for q, w in zip(question_id, wording_id, strict=True)],
            "candidates": [["yes", "no"] for _ in rows],
            "kind": "one",
            "answer": [["yes"] if a else ["no"] for a in world.answer[rows]],
        }
        if self.law.answer_is_finding:
            columns["finding"] = world.finding[rows].astype(np.int64)
        columns["severity_simulated"] = world.severity_observed[rows].astype(np.int64)
        if len(self.law.site_q) > 1:
            columns["environment"] = [f"site {e + 1}" for e in world.site[rows]]
        if twin_of is not None:
            columns["twin_of"] = [f"{twin_of}-{i:06d}" for i in rows + first]
        made = pd.DataFrame(columns)
        truth = item_truth(world).iloc[rows].reset_index(drop=True)
        return _Part(made, truth.assign(item_id=made["item_id"])[["item_id", *truth.columns]])

    def twins(self, base: World, *, first: int) -> list[_Part]:
        """Twin sets of all patients of a world, numbered from ``first``; their other ECGs follow their own."""
        n = len(base)
        if not n:
            return []
        rows = np.arange(n)
        parts = [self.items(base, rows, "twins", first=first)]
        told = self.law.kappa is not None or len(topics(self.law)) > 1
        for name, world in twin_worlds(base, topic=told):
            parts.append(
                self.items(
                    world,
                    rows,
                    "twins",
                    first=first,
                    first_ecg=first + n if name == "finding" else first,
                    item=f"twins-{name}",
                    twin_of="twins",
                )
            )
        return parts


@dataclass(frozen=True)
class _Job:
    """What is rendered at once: (n,) ST amount in mV, (n,) heart rate or None, and its own stream. Of the ECGs the
    first ``kept`` are kept, by default all."""

    amount: np.ndarray
    heart_rate: np.ndarray | None
    seed: np.random.SeedSequence
    rate_hz: float
    seconds: float
    kept: int | None = None


def _jobs(world: World, seeds: list[np.random.SeedSequence], rate_hz: float, seconds: float) -> list[_Job]:
    law = world.law
    sigma = ST_DISTANCE / law.d_prime
    amount = ST_MIDPOINT + (world.finding - 0.5) * ST_DISTANCE + sigma * world.noise.amount
    rate = RATE_MIDPOINT * np.exp(RATE_SLOPE * world.evidence[:, 1]) if law.d_prime_severity else None
    return [
        _Job(amount[at : at + _CHUNK], None if rate is None else rate[at : at + _CHUNK], seed, rate_hz, seconds)
        for at, seed in zip(range(0, len(world), _CHUNK), seeds, strict=True)
    ]


def _first(jobs: list[_Job], ecgs: int) -> list[_Job]:
    """The jobs that the first so many ECGs come from. A chunk is drawn as a whole, or its noise would be another."""
    return [replace(job, kept=min(ecgs - at, _CHUNK)) for at, job in zip(range(0, ecgs, _CHUNK), jobs, strict=False)]


def _render(job: _Job) -> np.ndarray:
    """(n, 12, samples) int16 microvolts of one chunk; its stream is its own, so chunks may run anywhere."""
    rng = np.random.default_rng(job.seed)
    parameters = draw_parameters(rng, len(job.amount))
    parameters.st = job.amount[:, None] * INFERIOR_ST
    if job.heart_rate is not None:
        # QT was drawn by Bazett's formula for the rate drawn.
        parameters.qt = parameters.qt * np.sqrt(parameters.heart_rate / job.heart_rate)
        parameters.heart_rate = job.heart_rate
    return to_microvolts(render(parameters, rng, rate_hz=job.rate_hz, seconds=job.seconds))[: job.kept]


def _rendered(jobs: list[_Job], processes: int, progress: bool) -> Iterator[np.ndarray]:
    from rich.progress import track

    chunks = in_order(_render, jobs, processes)
    yield from track(chunks, "rendering ECGs", total=len(jobs), disable=not progress, transient=True)
