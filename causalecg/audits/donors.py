"""Drawing another patient's ECG for every item, uniformly among those that qualify."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

Answer = Literal["any", "opposite", "different"]
_ATTEMPTS = 30


def draw_donors(table: pd.DataFrame, *, answer: Answer, severity: str | None, rng: np.random.Generator) -> np.ndarray:
    """A donor item for each item: same canonical question, no patient in common.

    Args:
        table: items with question_id, patient_ids and answer; donors are drawn from it.
        answer: "any"; "different" = another answer (set); "opposite" = an answer (set) with nothing in common.
        severity: column whose value the donor must share, or ``None``; of two ECGs both values (columns with ``_1`` and
            ``_2`` after the name). Where it is missing or negative the severity is not defined: there is no donor.

    Returns:
        (items,) int64 positions, -1 where no item qualifies. A pair is taken whole.
    """
    donors = np.full(len(table), -1, dtype=np.int64)
    patient = patient_codes(table["patient_ids"])
    answers = pd.factorize(pd.Series([frozenset(a) for a in table["answer"]], dtype=object))
    level = np.zeros(len(table), dtype=np.int64) if severity is None else _levels(table, severity)
    question = pd.factorize(table["question_id"], sort=True)[0]
    for code in range(int(question.max(initial=-1)) + 1):
        rows = np.flatnonzero(question == code)
        allowed = _compatible(answers[1], answers[0][rows], answer)

        def fits(item: np.ndarray, donor: np.ndarray, allowed: np.ndarray = allowed) -> np.ndarray:
            apart = ~(patient[item][:, :, None] == patient[donor][:, None, :]).any((1, 2))
            same = (level[item] == level[donor]) & (level[item] >= 0)
            return np.asarray(apart & same & allowed[answers[0][item], answers[0][donor]])

        left = rows
        for _ in range(_ATTEMPTS):
            drawn = rng.choice(rows, len(left))
            good = fits(left, drawn)
            donors[left[good]] = drawn[good]
            left = left[~good]
            if not len(left):
                break
        candidates: dict[tuple[int, int], np.ndarray] = {}
        for item in left:
            key = (int(answers[0][item]), int(level[item]))
            if key not in candidates:
                alike = (level[rows] == key[1]) & (key[1] >= 0)
                candidates[key] = rows[alike & allowed[key[0], answers[0][rows]]]
            among = candidates[key]
            found = among[fits(np.full(len(among), item), among)]
            if len(found):
                donors[item] = rng.choice(found)
    return donors


def _levels(table: pd.DataFrame, severity: str) -> np.ndarray:
    """(items,) int64 code of each level, or pair of levels; -1 where it is not defined."""
    each = [name for name in (f"{severity}_1", f"{severity}_2") if name in table.columns] or [severity]
    values = table[severity].to_numpy(dtype=np.float64, na_value=np.nan)
    code = table.groupby(each, dropna=False, sort=False).ngroup().to_numpy(dtype=np.int64)
    return np.where(values >= 0, code, -1)


def patient_codes(patient_ids: pd.Series) -> np.ndarray:
    """(items, 2) int64 code of each item's patients; a single patient's second code is distinct from every other."""
    first = patient_ids.str[0].to_numpy(dtype=object)
    second = np.array([ids[1] if len(ids) > 1 else None for ids in patient_ids], dtype=object)
    codes = pd.factorize(np.concatenate([first, second]))[0].reshape(2, -1).T.astype(np.int64)
    alone = np.array([ids is None for ids in second])
    codes[alone, 1] = codes[alone, 0]
    return codes


def _compatible(known: pd.Index, present: np.ndarray, answer: Answer) -> np.ndarray:
    """(answers, answers) bool: may an item with the first answer get a donor with the second?"""
    allowed = np.zeros((len(known), len(known)), dtype=bool)
    codes = np.unique(present)
    for i in codes:
        for j in codes:
            if answer == "any":
                allowed[i, j] = True
            elif answer == "different":
                allowed[i, j] = i != j
            else:
                allowed[i, j] = known[i].isdisjoint(known[j])
    return allowed
