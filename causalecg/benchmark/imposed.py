"""Tier T2: confounding imposed on real signals, and recorded.

Unit: (ECG, topic t) with its answer A and a binary severity S (leave-topic-out). Units are kept with probability
pi_t(A, S), the same for all units of a cell of a topic in a split, so that P(A = 1 | t) = 1/2 and P(A = S | t) = p. The
style F is assigned to what is kept, P(F = S) = q; no unit is left out for its style. So P(A = F) = rho with
(2p - 1)(2q - 1) = 2 rho - 1, and weights 1/pi give back the law before any were left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

#: (answer is yes, severity).
CELLS = [(0, 0), (0, 1), (1, 0), (1, 1)]
ANSWER, TOPIC, SPLIT, KEEP = "answer_is_yes", "topic_code", "split", "keep_probability"


def answer_shares(units: pd.DataFrame, severity: str) -> pd.Series:
    """P(answer | severity) of one topic's units, indexed as :data:`CELLS`; zero where the severity does not occur."""
    counts = units.groupby([ANSWER, severity]).size().reindex(CELLS, fill_value=0)
    shares: pd.Series = counts / counts.groupby(level=1).transform("sum")
    return shares.fillna(0.0)


def planned(units: pd.DataFrame, severity: str, p: float) -> dict[tuple[int, int], int]:
    """Units to keep per cell of one topic in one split: as many as its scarcest cell allows, p/2 or (1 - p)/2 each."""
    have = units.groupby([ANSWER, severity]).size().reindex(CELLS, fill_value=0)
    share = {(a, s): (p if a == s else 1 - p) / 2 for a, s in CELLS}
    total = min(have[cell] / share[cell] for cell in CELLS)
    return {cell: min(int(have[cell]), round(total * share[cell])) for cell in CELLS}


def keep_units(
    units: pd.DataFrame, severity: str, p: float, rng: np.random.Generator
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """The planned number of units of every cell, drawn at random, and the record of how they were kept.

    Args:
        units: columns answer_is_yes and ``severity`` (0 or 1), topic_code and split.
        severity: column.
        p: P(A = S) aimed at.

    Returns:
        The units kept, in their order, with ``keep_probability``; and per split, topic and cell: how many were
        available and kept, the probability of being kept, and P(answer | severity) among all units of the topic.
    """
    law = {str(topic): answer_shares(rows, severity) for topic, rows in units.groupby(TOPIC)}
    parts, cells = [], []
    for (split, topic), rows in units.groupby([SPLIT, TOPIC], sort=True):
        by_cell = {key: group.index.to_numpy() for key, group in rows.groupby([ANSWER, severity])}
        for key, number in planned(rows, severity, p).items():
            have = by_cell[key]
            chosen = np.sort(rng.choice(have, number, replace=False))
            parts.append(units.loc[chosen].assign(**{KEEP: number / len(have)}))
            cells.append(
                {
                    "split": split, "topic": topic, "answer": "yes" if key[0] else "no", "severity": key[1],
                    "available": len(have), "kept": number, "keep_probability": number / len(have),
                    "answer_given_severity": float(law[str(topic)][key]),
                }
            )  # fmt: skip
    return pd.concat(parts).sort_index().reset_index(drop=True), cells


def assigned_style(severity: np.ndarray, q: float, rng: np.random.Generator) -> np.ndarray:
    """(n,) style, equal to the severity with probability ``q``."""
    return np.where(rng.random(len(severity)) < q, severity, 1 - severity)


def natural_law(kept: pd.DataFrame, severity: str, *, by: list[str]) -> pd.Series:
    """P(answer, severity | ``by``) before any unit was left out, estimated from those kept by weights 1/pi.

    Args:
        kept: columns answer_is_yes, keep_probability, ``severity`` and those of ``by``.
    """
    weight = (1 / kept[KEEP]).groupby([kept[name] for name in (*by, ANSWER, severity)]).sum()
    return weight / weight.groupby(level=list(range(len(by)))).transform("sum")
