"""The law of answers after an ECG swap, enumerated row by row in plain loops."""

from __future__ import annotations


def weight_of_own(question: list[str], answer: list[frozenset], i: int) -> float:
    """1 - share of the rows of i's question whose answer has nothing in common with i's."""
    same, other = 0, 0
    for j in range(len(question)):
        if question[j] == question[i]:
            same += 1
            if not (answer[j] & answer[i]) and answer[j] != answer[i]:
                other += 1
    return 1 - other / same


def expected_law(question: list[str], style: list[str], answer: list[frozenset]) -> dict[tuple, float]:
    """(question, style, answer) -> expected total weight: an item's own answer, and those of all its donors alike."""
    law: dict[tuple, float] = {}
    for i in range(len(question)):
        own = weight_of_own(question, answer, i)
        law[question[i], style[i], answer[i]] = law.get((question[i], style[i], answer[i]), 0.0) + own
        donors = [
            j
            for j in range(len(question))
            if question[j] == question[i] and not (answer[j] & answer[i]) and answer[j] != answer[i]
        ]
        for j in donors:
            key = question[i], style[i], answer[j]
            law[key] = law.get(key, 0.0) + (1 - own) / len(donors)
    return law


def shares(question: list[str], answer: list[frozenset]) -> dict[tuple, float]:
    """(question, answer) -> P(answer | question)."""
    return {
        (q, a): sum(x == q and y == a for x, y in zip(question, answer, strict=True)) / sum(x == q for x in question)
        for q, a in zip(question, answer, strict=True)
    }
