"""PTB-XL statements: real ECGs, a question about one SCP statement, and confounding that we impose and record.

Unit: (ECG, topic t); the answer is whether the ECG has statement t. Severity is binary: the leave-topic-out level of a
scale, cut. Units are kept with recorded probability so that in every split P(A = yes | t) = 1/2 and P(A = S | t) = p;
the style of the wording is assigned by us, P(F = S) = q, and never sub-sampled. Then P(A = F) = rho, with
(2p - 1)(2q - 1) = 2 rho - 1. :mod:`causalecg.benchmark.imposed` does it; what was done to every item stands in
truth.parquet beside the items. Of comparisons (:mod:`causalecg.cohort.comparisons`) the unit is a pair of two patients'
ECGs, and its severity the maximum of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from causalecg.benchmark import dial
from causalecg.benchmark.imposed import CELLS, answer_shares, assigned_style, keep_units, planned
from causalecg.benchmark.truth import write_truth
from causalecg.cohort.build import require_scales, selection, store_signals
from causalecg.cohort.comparisons import paired
from causalecg.cohort.metadata import require_fields, with_metadata
from causalecg.cohort.ptbxl import read_ptbxl
from causalecg.cohort.severity import SCALES, VERSION, severity
from causalecg.cohort.signals import LEADS
from causalecg.cohort.source import EcgSource
from causalecg.cohort.splitting import patient_split
from causalecg.cohort.store import require_new, write_cohort
from causalecg.cohort.waveforms import waveforms
from causalecg.cohort.wordings import STYLES, training_wordings, wording_table
from causalecg.errors import InputError

#: Level from which an ECG counts as severe, per scale.
CUT = {"acuity": 2, "burden": 1}
SHARES = {"train": 0.6, "valid": 0.12, "test": 0.28}
#: A topic needs so many patients in every (answer, severity) cell of the records at hand, before any are left out ...
MINIMUM_CELL = 50
#: ... and P(answer | severity, topic) at least so large in each of them: below, positivity fails.
POSITIVITY = 0.01
_NOT_ASKED = ("SR", "NORM")


def statements_cohort(
    out: str | Path,
    *,
    ptbxl: str | Path,
    rho: float = 0.9,
    scale: str = "acuity",
    topics: Sequence[str] = (),
    comparisons: bool = False,
    metadata: Sequence[str] = (),
    rate_hz: float = 100.0,
    seed: int = 0,
    processes: int = 2,
    progress: bool = True,
) -> Path:
    """Write the cohort.

    Args:
        rho: P(A = F) aimed at, in [0.5, 0.95]; what was achieved is recorded.
        scale: severity scale that drives style and answer; both scales are columns.
        topics: SCP codes; by default every statement with enough patients in all four cells, without a positivity
            failure, and with ECGs for each cell in each split. The others are listed in ``skipped.csv``.
        comparisons: ask of two patients' ECGs whether the second shows what the first does not.
        metadata: columns of the ECG table ("age", "sex") that every prompt tells before it asks.

    Splits: train, valid, test (60/12/28 % of patients, by hash), train_oracle, valid_oracle, test_unbiased (the same
    with the style re-drawn), and test_natural: every topic asked of every test ECG, style re-drawn (not of
    comparisons, of which there is no natural number).

    Raises InputError for a rho out of range, an unknown topic, or one that cannot be asked.
    """
    out = Path(out)
    require_new(out)
    require_scales([scale])
    require_fields(metadata)
    if not 0.5 <= rho <= 0.95:
        raise InputError(f"rho must lie between 0.5 and 0.95 on real labels, not {rho}")
    source = read_ptbxl(ptbxl)
    asked = list(dict.fromkeys(topics))
    unknown = [code for code in asked if code not in source.statements.kin]
    if unknown:
        raise InputError(f"{', '.join(unknown)} is no SCP statement of {source.folder / 'scp_statements.csv'}")
    streams = np.random.SeedSequence(seed).spawn(5)
    with waveforms(
        source.folder,
        source.ecgs,
        scratch=out.resolve().parent,
        rate_hz=rate_hz,
        seconds=10.0,
        processes=processes,
        progress=progress,
    ) as read:
        ecgs = read.ecgs
        units = _units(ecgs, source, asked or sorted(set(source.statements.kin) - set(_NOT_ASKED)))
        if comparisons:
            units = paired(units, list(SCALES), np.random.default_rng(streams[4]))
        unfit = _unfit(units, scale, dial.symmetric(rho))
        _require_topics(units, unfit, asked, source)
        units = units[~units["topic_code"].isin(unfit)].reset_index(drop=True)
        kept, cells = keep_units(units, f"severity_{scale}", dial.symmetric(rho), np.random.default_rng(streams[0]))
        style = assigned_style(
            kept[f"severity_{scale}"].to_numpy(), dial.symmetric(rho), np.random.default_rng(streams[1])
        )
        redrawn = np.random.default_rng(streams[2])
        wording = np.random.default_rng(streams[3])
        kept["wording"] = wording.choice(training_wordings(), len(kept))
        natural = units[(units["split"] == "test") & (not comparisons)].reset_index(drop=True)
        natural["wording"] = wording.choice(training_wordings(), len(natural))
        natural["keep_probability"] = 1.0
        words = wording_table(
            {t: source.statements.description[t] for t in units["topic_code"].unique()}, comparisons=comparisons
        )
        twin = {"train": "train_oracle", "valid": "valid_oracle", "test": "test_unbiased"}
        items = pd.concat(
            [
                _items(kept, style, kept["split"], words),
                _items(kept, redrawn.integers(0, 2, len(kept)), kept["split"].map(twin), words),
                _items(natural, redrawn.integers(0, 2, len(natural)), pd.Series("test_natural", natural.index), words),
            ],
            ignore_index=True,
        )
        agreement = pd.Series(style == kept["answer_is_yes"].to_numpy()).groupby(kept["split"].to_numpy()).mean()
        truth = _truth(items, scale, dial.symmetric(rho), cells)

        def write_signals(folder: Path) -> None:
            store_signals(folder, read.signals, rate_hz)
            record = {"kind": "statements", "rho": rho, "scale": scale, "p": dial.symmetric(rho), "seed": seed}
            record |= {"q": dial.symmetric(rho), "achieved_rho": agreement.to_dict(), "cells": cells}
            write_truth(folder, truth, record)

        return write_cohort(
            out,
            items=with_metadata(items, ecgs, metadata),
            ecgs=ecgs.drop(columns=["fold", "low", "high"]),
            wordings=words,
            meta={
                "name": f"PTB-XL statements{' compared' if comparisons else ''}, rho {rho}",
                "severity_scales": {name: ["low", "high"] for name in [scale, *(s for s in SCALES if s != scale)]},
                "severity_version": VERSION,
                "roles": {"treatment": "style"},
                "graph": "topic_and_style",
                "confounding": {
                    "kind": "statements",
                    "rho": rho,
                    "scale": scale,
                    "p": dial.symmetric(rho),
                    "q": dial.symmetric(rho),
                    "achieved_rho": {str(k): float(v) for k, v in agreement.items()},
                    "cut": CUT,
                    "topics": {
                        code: sorted(source.statements.relatives(code) & set().union(*ecgs["labels"]))
                        for code in sorted(units["topic_code"].unique())
                    },
                    "split_shares": SHARES,
                    "cells": cells,
                    "seed": seed,
                },
                "selection": selection(source.ecgs, ecgs[ecgs["ecg_id"].isin(_asked_of(kept))], source, list(SCALES)),
                "made_with": {
                    "command": "cohort statements",
                    **({"comparisons": True} if comparisons else {}),
                    "metadata": list(metadata),
                    "leads": list(LEADS),
                },
            },
            skipped=pd.concat([source.skipped, read.skipped, _as_skipped(unfit)], ignore_index=True),
            write_signals=write_signals,
        )


def _unfit(units: pd.DataFrame, scale: str, p: float) -> dict[str, str]:
    """Topic -> why the law cannot be imposed on it with the records at hand."""
    column = f"severity_{scale}"
    found = {}
    for topic, rows in units.groupby("topic_code", sort=True):
        cells = rows.groupby(["answer_is_yes", column])["patient_id"].nunique().reindex(CELLS, fill_value=0)
        rarest = answer_shares(rows, column).min()
        if cells.min() < MINIMUM_CELL:
            found[str(topic)] = f"fewer than {MINIMUM_CELL} patients in a cell of answer and severity: {cells.min()}"
        elif rarest < POSITIVITY:
            found[str(topic)] = f"positivity: P(answer | severity) is {rarest:.4f} in a cell, below {POSITIVITY}"
        for split, part in rows.groupby("split", sort=True):
            if not all(planned(part, column, p).values()):
                found.setdefault(str(topic), f"too few ECGs for every cell of answer and severity in split {split}")
    return found


def _require_topics(units: pd.DataFrame, unfit: dict[str, str], asked: Sequence[str], source: EcgSource) -> None:
    for code in asked:
        if code in unfit:
            raise InputError(f"topic {code} cannot be asked ({unfit[code]}); leave it out")
    if set(units["topic_code"]) <= set(unfit):
        raise InputError(
            f"no statement in {source.folder} has {MINIMUM_CELL} patients in every cell; give more records"
        )


def _units(ecgs: pd.DataFrame, source: EcgSource, topics: Sequence[str]) -> pd.DataFrame:
    """One row per (ECG, topic): answer, and the leave-topic-out severity on every scale, cut to 0 or 1."""
    parts = []
    for code in topics:
        without = source.statements.relatives(code)
        levels = {
            f"severity_{scale}": [
                int(severity(labels, scale, source.statements, without=without) >= cut) for labels in ecgs["labels"]
            ]
            for scale, cut in CUT.items()
        }
        parts.append(
            pd.DataFrame(
                {
                    "ecg_id": ecgs["ecg_id"],
                    "patient_id": ecgs["patient_id"],
                    "topic_code": code,
                    "topic": source.statements.description[code],
                    "answer_is_yes": [int(code in labels) for labels in ecgs["labels"]],
                    **levels,
                }
            )
        )
    table = pd.concat(parts, ignore_index=True)
    table["split"] = [patient_split(p, SHARES, "statements") for p in table["patient_id"]]
    return table


def _as_skipped(unfit: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame({"kind": "topic", "id": list(unfit), "reason": list(unfit.values())})


def _items(units: pd.DataFrame, style: np.ndarray, split: pd.Series, words: pd.DataFrame) -> pd.DataFrame:
    text = {(r.question_id, r.wording_id): r.question for r in words.itertuples()}
    names = [STYLES[f] for f in style]
    wording = [f"{name}-{w:02d}" for name, w in zip(names, units["wording"], strict=True)]
    yes = units["answer_is_yes"].to_numpy()
    ecgs, patients = _each(units, "ecg_id"), _each(units, "patient_id")
    kind = "comparison_irrelevant-verify" if "first_ecg_id" in units.columns else "single-verify"
    return pd.DataFrame(
        {
            "item_id": ["-".join([s, t, *ids]) for s, t, ids in zip(split, units["topic_code"], ecgs, strict=True)],
            "source": "PTB-XL statements",
            "split": split.to_numpy(),
            "patient_ids": patients,
            "ecg_ids": ecgs,
            "template_id": f"{kind}-statement",
            "question_id": units["topic_code"].to_numpy(),
            "question_type": kind,
            "topic": units["topic"].to_numpy(),
            "style": names,
            "wording_id": wording,
            "question": [text[t, w] for t, w in zip(units["topic_code"], wording, strict=True)],
            "candidates": [["yes", "no"] for _ in range(len(units))],
            "kind": "one",
            "answer": [["yes"] if a else ["no"] for a in yes],
            "finding": yes.astype(np.int64),
            "keep_probability": units["keep_probability"].to_numpy(dtype=np.float64),
            **{name: units[name].to_numpy(dtype=np.int64) for name in units.columns if name.startswith("severity_")},
        }
    )


def _each(units: pd.DataFrame, column: str) -> list[list[str]]:
    """Of one ECG, or of the first and the second."""
    names = [name for name in (f"first_{column}", column) if name in units.columns]
    return [list(map(str, both)) for both in units[names].itertuples(index=False, name=None)]


def _asked_of(units: pd.DataFrame) -> set[str]:
    return {ecg for both in _each(units, "ecg_id") for ecg in both}


def _truth(items: pd.DataFrame, scale: str, q: float, cells: list[dict[str, Any]]) -> pd.DataFrame:
    """Per item: split, topic code, answer and severity (0 or 1), how probably it was kept, P(style | severity) as
    assigned, and P(answer | severity) of its topic before any unit was left out."""
    severity, answer = items[f"severity_{scale}"], items["finding"]
    urgent = (items["style"] == STYLES[1]).astype(np.int64)
    biased = items["split"].isin(("train", "valid", "test"))
    shares = {(c["topic"], int(c["answer"] == "yes"), c["severity"]): c["answer_given_severity"] for c in cells}
    return pd.DataFrame(
        {
            "item_id": items["item_id"],
            "split": items["split"],
            "topic_code": items["question_id"],
            "answer_is_yes": answer,
            "severity": severity,
            "keep_probability": items["keep_probability"],
            "style_probability": np.where(biased, np.where(urgent == severity, q, 1 - q), 0.5),
            "answer_given_severity": [shares[key] for key in zip(items["question_id"], answer, severity, strict=True)],
        }
    )
