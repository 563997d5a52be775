"""The law of answers after an ECG swap, enumerated row by row in plain loops."""

from __future__ import annotations


def donors(question: list[str], level: list, answer: list[frozenset], i: int, how: str) -> list[int]:
    """Rows of i's question and level that may give i their ECG."""
    found = []
    for j in range(len(question)):
        if j == i or (question[j], level[j]) != (question[i], level[i]):
            continue
        differs, overlaps = answer[j] != answer[i], bool(answer[j] & answer[i])
        if {"opposite": differs and not overlaps, "other": differs, "any": True, "same": not differs}[how]:
            found.append(j)
    return found


def weight_of_own(question: list[str], level: list, answer: list[frozenset], i: int, how: str) -> float:
    """1 - share of the rows of i's question and level that are its donors; none where any row is one, half where
    donors have the same answer; 1 without a donor."""
    found = donors(question, level, answer, i, how)
    if not found:
        return 1.0
    if how in ("any", "same"):
        return {"any": 0.0, "same": 0.5}[how]
    rows = sum((question[j], level[j]) == (question[i], level[i]) for j in range(len(question)))
    return 1 - len(found) / rows


def expected_law(
    question: list[str], style: list[str], answer: list[frozenset], how: str = "opposite"
) -> dict[tuple, float]:
    """(question, style, answer) -> expected total weight: an item's own answer, and those of all its donors alike."""
    law: dict[tuple, float] = {}
    level = [""] * len(question)
    for i in range(len(question)):
        own = weight_of_own(question, level, answer, i, how)
        law[question[i], style[i], answer[i]] = law.get((question[i], style[i], answer[i]), 0.0) + own
        given = donors(question, level, answer, i, how)
        for j in given:
            key = question[i], style[i], answer[j]
            law[key] = law.get(key, 0.0) + (1 - own) / len(given)
    return law


def shares(question: list[str], answer: list[frozenset]) -> dict[tuple, float]:
    """(question, answer) -> P(answer | question)."""
    return {
        (q, a): sum(x == q and y == a for x, y in zip(question, answer, strict=True)) / sum(x == q for x in question)
        for q, a in zip(question, answer, strict=True)
    }


def cell_weights(question: list[str], level: list, answer: list[frozenset]) -> dict[tuple, float]:
    """(question, level, answer) -> P(answer | question) / P(answer | question, level)."""
    whole = shares(question, answer)
    both = shares([(q, s) for q, s in zip(question, level, strict=True)], answer)  # type: ignore[misc]
    return {(q, s, a): whole[q, a] / share for ((q, s), a), share in both.items()}
