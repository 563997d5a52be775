"""Pairs of two patients' ECGs, of which it is asked whether the second shows what the first does not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

#: (first shows it, second shows it) -> how many are drawn for every two ECGs that show it. Only the first of them is a
#: "yes"; the others are as many together, so that one ECG alone gives the answer in 5 of 6 pairs.
KINDS = {(0, 1): 3, (1, 1): 1, (0, 0): 1, (1, 0): 1}


def paired(units: pd.DataFrame, scales: Sequence[str], rng: np.random.Generator) -> pd.DataFrame:
    """Pairs within each split and topic, of different patients, none of them twice.

    Args:
        units: one row per ECG and topic: ecg_id, patient_id, topic_code, topic, split, answer_is_yes (0 or 1: the ECG
            shows the topic) and ``severity_<scale>``.
        scales: severity scales.
        rng: generator of the draw.

    Returns:
        The columns of ``units`` with ecg_id and patient_id those of the second ECG, ``first_ecg_id`` and
        ``first_patient_id`` beside them, ``answer_is_yes`` 1 where the second shows the topic and the first does not,
        and severities the maximum of both, each beside it with ``_1`` and ``_2``.
    """
    parts = []
    for _, rows in units.groupby(["split", "topic_code"], sort=True):
        shows = rows["answer_is_yes"].to_numpy()
        pool = {value: np.flatnonzero(shows == value) for value in (0, 1)}
        for (first, second), share in KINDS.items():
            if len(pool[first]) and len(pool[second]):
                number = share * max(1, len(pool[1]) // 2)
                drawn = np.stack([rng.choice(pool[first], number), rng.choice(pool[second], number)], axis=1)
                parts.append(_joined(rows, np.unique(drawn, axis=0), scales))
    pairs = pd.concat(parts, ignore_index=True)
    return pairs[pairs["patient_id"] != pairs["first_patient_id"]].reset_index(drop=True)


def _joined(rows: pd.DataFrame, places: np.ndarray, scales: Sequence[str]) -> pd.DataFrame:
    first, second = rows.iloc[places[:, 0]].reset_index(drop=True), rows.iloc[places[:, 1]].reset_index(drop=True)
    levels: dict[str, pd.Series] = {}
    for scale in scales:
        name = f"severity_{scale}"
        levels |= {name: first[name].clip(lower=second[name]), f"{name}_1": first[name], f"{name}_2": second[name]}
    return second.assign(
        first_ecg_id=first["ecg_id"],
        first_patient_id=first["patient_id"],
        answer_is_yes=second["answer_is_yes"] * (1 - first["answer_is_yes"]),
        **levels,
    )
