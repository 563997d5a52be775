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
#: A topic needs so many patients in every (answer, severity) cell of the records at hand.
MINIMUM_CELL = 50
#: Cells with a smaller share of their topic are listed as positivity failures.
POSITIVITY = 0.01
_NOT_ASKED = ("SR", "NORM")


def statements_cohort(
    out: str | Path,
    *,
    ptbxl: str | Path,
    rho: float = 0.9,
    scale: str = "acuity",
    topics: Sequence[str] = (),
    rate_hz: float = 100.0,
    seed: int = 0,
    processes: int = 2,
    progress: bool = True,
) -> Path:
    """Write the cohort.

    Args:
        rho: P(A = F) aimed at, in [0.5, 0.95]; what was achieved is recorded.
        scale: severity scale that drives style and answer; both scales are columns.
        topics: SCP codes; by default every statement with enough patients in all four cells.

    Splits: train, valid, test (60/12/28 % of patients, by hash), train_oracle, valid_oracle, test_unbiased (the same
    with the style re-drawn), and test_natural: every topic asked of every test ECG, style re-drawn.

    Raises InputError for a rho out of range, an unknown topic, or one that lacks patients.
    """
    out = Path(out)
    require_new(out)
    require_scales([scale])
    if not 0.5 <= rho <= 0.95:
        raise InputError(f"rho must lie between 0.5 and 0.95 on real labels, not {rho}")
    source = read_ptbxl(ptbxl)
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
        units = _units(ecgs, source, _topics(ecgs, source, topics, scale))
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
            items=items,
            ecgs=ecgs.drop(columns=["fold", "low", "high"]),
            wordings=words,
            meta={
                "name": f"PTB-XL statements, rho {rho}",
                "severity_scales": {name: ["low", "high"] for name in [scale, *(s for s in SCALES if s != scale)]},
                "severity_version": VERSION,
                "roles": {"treatment": "style"},
                "confounding": {
                    "kind": "statements",
                    "rho": rho,
                    "scale": scale,
                    "p": dial.symmetric(rho),
                    "q": dial.symmetric(rho),
                    "achieved_rho": {str(k): float(v) for k, v in agreement.items()},
                    "cells": cells,
                    "seed": seed,
                },
                "selection": selection(source.ecgs, ecgs[ecgs["ecg_id"].isin(kept["ecg_id"])], source, list(SCALES)),
                "made_with": {"command": "cohort statements", "leads": list(LEADS)},
            },
            skipped=pd.concat([source.skipped, read.skipped], ignore_index=True),
            write_signals=lambda folder: store_signals(folder, read.signals, rate_hz),
        )


def _topics(ecgs: pd.DataFrame, source: PtbXL, asked: Sequence[str], scale: str) -> list[str]:
    statements = source.statements
    unknown = [code for code in asked if code not in statements.kin]
    if unknown:
        raise InputError(f"{', '.join(unknown)} is no SCP statement of {source.folder / 'scp_statements.csv'}")
    found = []
    for code in asked or sorted(set(statements.kin) - set(_NOT_ASKED)):
        units = _units(ecgs, source, [code])
        cells = units.groupby(["answer_is_yes", f"severity_{scale}"])["patient_id"].nunique()
        enough = len(cells) == 4 and cells.min() >= MINIMUM_CELL
        if enough:
            found.append(code)
        elif asked:
            raise InputError(f"topic {code} has a cell of fewer than {MINIMUM_CELL} patients; leave it out")
    if not found:
        raise InputError(
            f"no statement in {source.folder} has {MINIMUM_CELL} patients in every cell; give more records"
        )
    return found


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
    """As many units per (split, topic) as its scarcest cell allows, with cell shares p/2 and (1 - p)/2."""
    column = f"severity_{scale}"
    parts, cells = [], []
    for (split, topic), rows in units.groupby(["split", "topic_code"], sort=True):
        by_cell = {key: group.index.to_numpy() for key, group in rows.groupby(["answer_is_yes", column])}
        share = {(a, s): (p if a == s else 1 - p) / 2 for a in (0, 1) for s in (0, 1)}
        total = min(len(by_cell.get(key, ())) / share[key] for key in share)
        for key, wanted in share.items():
            have = by_cell.get(key, np.empty(0, dtype=np.int64))
            number = min(len(have), round(total * wanted))
            if not number:
                continue
            chosen = np.sort(rng.choice(have, number, replace=False))
            parts.append(units.loc[chosen].assign(keep_probability=number / len(have)))
            cells.append(
                {
                    "split": split, "topic": topic, "answer": "yes" if key[0] else "no", "severity": key[1],
                    "available": len(have), "kept": number, "keep_probability": number / len(have),
                    "positivity_failure": bool(wanted < POSITIVITY),
                }
            )  # fmt: skip
    return pd.concat(parts).sort_index().reset_index(drop=True), cells


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
