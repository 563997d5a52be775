"""Inverse group frequencies (Idrissi et al. 2022), and P(A) P(F) / P(A, F), row by row; mean one."""

from __future__ import annotations


def uniform(answers, styles):
    found = []
    for a, f in zip(answers, styles, strict=True):
        same = sum(1 for b, g in zip(answers, styles, strict=True) if (a, f) == (b, g))
        found.append(1.0 / same)
    mean = sum(found) / len(found)
    return [each / mean for each in found]


def independent(answers, styles):
    n = len(answers)
    found = []
    for a, f in zip(answers, styles, strict=True):
        both = sum(1 for b, g in zip(answers, styles, strict=True) if (a, f) == (b, g)) / n
        found.append((answers.count(a) / n) * (styles.count(f) / n) / both)
    mean = sum(found) / n
    return [each / mean for each in found]
