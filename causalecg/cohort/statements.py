"""PTB-XL statements: real ECGs, a question about one SCP statement, and confounding that we impose and record.

Unit: (ECG, topic t); the answer is whether the ECG has statement t. Severity is binary: the leave-topic-out level of a
scale, cut. Units are kept with recorded probability so that in every split P(A = yes | t) = 1/2 and P(A = S | t) = p;
the style of the wording is assigned by us, P(F = S) = q, and never sub-sampled. Then P(A = F) = rho, with
(2p - 1)(2q - 1) = 2 rho - 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from causalecg.benchmark import dial
from causalecg.cohort.build import require_scales, selection, store_signals
from causalecg.cohort.metadata import require_fields, with_metadata
from causalecg.cohort.ptbxl import PtbXL, read_ptbxl, waveforms
from causalecg.cohort.severity import SCALES, VERSION, severity
from causalecg.cohort.signals import LEADS
from causalecg.cohort.splitting import patient_split
from causalecg.cohort.store import require_new, write_cohort
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
#: (answer is yes, severity).
CELLS = [(0, 0), (0, 1), (1, 0), (1, 1)]


def statements_cohort(
    out: str | Path,
    *,
    ptbxl: str | Path,
    rho: float = 0.9,
    scale: str = "acuity",
    topics: Sequence[str] = (),
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
        metadata: columns of the ECG table ("age", "sex") that every prompt tells before it asks.

    Splits: train, valid, test (60/12/28 % of patients, by hash), train_oracle, valid_oracle, test_unbiased (the same
    with the style re-drawn), and test_natural: every topic asked of every test ECG, style re-drawn.

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
    streams = np.random.SeedSequence(seed).spawn(4)
    with waveforms(
        source,
        source.ecgs,
        scratch=out.resolve().parent,
        rate_hz=rate_hz,
        seconds=10.0,
        processes=processes,
        progress=progress,
    ) as read:
        ecgs = read.ecgs
        units = _units(ecgs, source, asked or sorted(set(source.statements.kin) - set(_NOT_ASKED)))
        unfit = _unfit(units, scale, dial.symmetric(rho))
        _require_topics(units, unfit, asked, source)
        units = units[~units["topic_code"].isin(unfit)].reset_index(drop=True)
        kept, cells = _keep(units, scale, dial.symmetric(rho), np.random.default_rng(streams[0]))
        style = _assigned(kept[f"severity_{scale}"].to_numpy(), dial.symmetric(rho), np.random.default_rng(streams[1]))
        redrawn = np.random.default_rng(streams[2])
        wording = np.random.default_rng(streams[3])
        kept["wording"] = wording.choice(training_wordings(), len(kept))
        natural = units[units["split"] == "test"].reset_index(drop=True)
        natural["wording"] = wording.choice(training_wordings(), len(natural))
        natural["keep_probability"] = 1.0
        words = wording_table({t: source.statements.description[t] for t in units["topic_code"].unique()})
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
        return write_cohort(
            out,
            items=with_metadata(items, ecgs, metadata),
            ecgs=ecgs.drop(columns=["fold", "low", "high"]),
            wordings=words,
            meta={
                "name": f"PTB-XL statements, rho {rho}",
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
                "selection": selection(source.ecgs, ecgs[ecgs["ecg_id"].isin(kept["ecg_id"])], source, list(SCALES)),
                "made_with": {"command": "cohort statements", "metadata": list(metadata), "leads": list(LEADS)},
            },
            skipped=pd.concat([source.skipped, read.skipped, _as_skipped(unfit)], ignore_index=True),
            write_signals=lambda folder: store_signals(folder, read.signals, rate_hz),
        )


def _unfit(units: pd.DataFrame, scale: str, p: float) -> dict[str, str]:
    """Topic -> why the law cannot be imposed on it with the records at hand."""
    column = f"severity_{scale}"
    found = {}
    for topic, rows in units.groupby("topic_code", sort=True):
        cells = rows.groupby(["answer_is_yes", column])["patient_id"].nunique().reindex(CELLS, fill_value=0)
        rarest = _answer_shares(rows, column).min()
        if cells.min() < MINIMUM_CELL:
            found[str(topic)] = f"fewer than {MINIMUM_CELL} patients in a cell of answer and severity: {cells.min()}"
        elif rarest < POSITIVITY:
            found[str(topic)] = f"positivity: P(answer | severity) is {rarest:.4f} in a cell, below {POSITIVITY}"
        for split, part in rows.groupby("split", sort=True):
            if not all(_planned(part, column, p).values()):
                found.setdefault(str(topic), f"too few ECGs for every cell of answer and severity in split {split}")
    return found


def _require_topics(units: pd.DataFrame, unfit: dict[str, str], asked: Sequence[str], source: PtbXL) -> None:
    for code in asked:
        if code in unfit:
            raise InputError(f"topic {code} cannot be asked ({unfit[code]}); leave it out")
    if set(units["topic_code"]) <= set(unfit):
        raise InputError(
            f"no statement in {source.folder} has {MINIMUM_CELL} patients in every cell; give more records"
        )


def _answer_shares(rows: pd.DataFrame, column: str) -> pd.Series:
    """P(answer | severity) of one topic's units, indexed as :data:`CELLS`; zero where the severity does not occur."""
    counts = rows.groupby(["answer_is_yes", column]).size().reindex(CELLS, fill_value=0)
    shares: pd.Series = counts / counts.groupby(level=1).transform("sum")
    return shares.fillna(0.0)


def _planned(rows: pd.DataFrame, column: str, p: float) -> dict[tuple[int, int], int]:
    """Units to keep per cell of one topic in one split: as many as its scarcest cell allows, p/2 or (1 - p)/2 each."""
    have = rows.groupby(["answer_is_yes", column]).size().reindex(CELLS, fill_value=0)
    share = {(a, s): (p if a == s else 1 - p) / 2 for a, s in CELLS}
    total = min(have[cell] / share[cell] for cell in CELLS)
    return {cell: min(int(have[cell]), round(total * share[cell])) for cell in CELLS}


def _units(ecgs: pd.DataFrame, source: PtbXL, topics: Sequence[str]) -> pd.DataFrame:
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


def _keep(
    units: pd.DataFrame, scale: str, p: float, rng: np.random.Generator
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """The planned number of units of every cell, drawn at random, and the record of how they were kept."""
    column = f"severity_{scale}"
    law = {str(topic): _answer_shares(rows, column) for topic, rows in units.groupby("topic_code")}
    parts, cells = [], []
    for (split, topic), rows in units.groupby(["split", "topic_code"], sort=True):
        by_cell = {key: group.index.to_numpy() for key, group in rows.groupby(["answer_is_yes", column])}
        for key, number in _planned(rows, column, p).items():
            have = by_cell[key]
            chosen = np.sort(rng.choice(have, number, replace=False))
            parts.append(units.loc[chosen].assign(keep_probability=number / len(have)))
            cells.append(
                {
                    "split": split, "topic": topic, "answer": "yes" if key[0] else "no", "severity": key[1],
                    "available": len(have), "kept": number, "keep_probability": number / len(have),
                    "answer_given_severity": float(law[str(topic)][key]),
                }
            )  # fmt: skip
    return pd.concat(parts).sort_index().reset_index(drop=True), cells


def _as_skipped(unfit: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame({"kind": "topic", "id": list(unfit), "reason": list(unfit.values())})


def _assigned(severity_level: np.ndarray, q: float, rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random(len(severity_level)) < q, severity_level, 1 - severity_level)


def _items(units: pd.DataFrame, style: np.ndarray, split: pd.Series, words: pd.DataFrame) -> pd.DataFrame:
    text = {(r.question_id, r.wording_id): r.question for r in words.itertuples()}
    names = [STYLES[f] for f in style]
    wording = [f"{name}-{w:02d}" for name, w in zip(names, units["wording"], strict=True)]
    yes = units["answer_is_yes"].to_numpy()
    return pd.DataFrame(
        {
            "item_id": [f"{s}-{t}-{e}" for s, t, e in zip(split, units["topic_code"], units["ecg_id"], strict=True)],
            "source": "PTB-XL statements",
            "split": split.to_numpy(),
            "patient_ids": [[p] for p in units["patient_id"]],
            "ecg_ids": [[e] for e in units["ecg_id"]],
            "template_id": "single-verify-statement",
            "question_id": units["topic_code"].to_numpy(),
            "question_type": "single-verify",
            "topic": units["topic"].to_numpy(),
            "style": names,
            "wording_id": wording,
            "question": [text[t, w] for t, w in zip(units["topic_code"], wording, strict=True)],
            "candidates": [["yes", "no"] for _ in range(len(units))],
            "kind": "one",
            "answer": [["yes"] if a else ["no"] for a in yes],
            "finding": yes.astype(np.int64),
            "keep_probability": units["keep_probability"].to_numpy(dtype=np.float64),
            **{f"severity_{s}": units[f"severity_{s}"].to_numpy(dtype=np.int64) for s in SCALES},
        }
    )
