"""The hybrid's likelihood of one row, as its module states it, and the maximum-likelihood latent class model by EM."""

from __future__ import annotations

import math

import numpy as np


def negative_log_likelihood(answer_scores, answers, kind, severity_scores, record, styles, recorded, style):
    """-log sum_s P(s | E) P(S~ | s) P(F | s) P(A | E, Q, s) of one row.

    answer_scores: per level a list over candidates; answers: per candidate whether it is true; severity_scores: per
    level; record[s][s~], styles[s][f]; recorded, style: what is observed (style None = unknown).
    """
    total = 0.0
    for s, scores in enumerate(answer_scores):
        if kind == "one":
            answered = sum(math.exp(z) for z, true in zip(scores, answers, strict=True) if true)
            answered /= sum(math.exp(z) for z in scores)
        else:
            answered = 1.0
            for z, true in zip(scores, answers, strict=True):
                yes = 1 / (1 + math.exp(-z))
                answered *= yes if true else 1 - yes
        own = math.exp(severity_scores[s]) / sum(math.exp(z) for z in severity_scores)
        own *= record[s][recorded] * answered
        total += own if style is None else own * styles[s][style]
    return -math.log(total)


def latent_classes(views, classes, start, steps=5000):
    """EM of a latent class model whose views are independent given the class (Goodman 1974).

    views: (rows, views) integers; start: per view (classes, levels) P(level | class). Returns shares of the classes,
    and per view (classes, levels).
    """
    share = np.full(classes, 1 / classes)
    tables = [np.array(table, dtype=float) for table in start]
    for _ in range(steps):
        joint = np.tile(share, (len(views), 1))
        for view, table in zip(views.T, tables, strict=True):
            joint = joint * table[:, view].T
        weight = joint / joint.sum(1, keepdims=True)
        share = weight.mean(0)
        tables = [
            np.stack([np.bincount(view, weights=w, minlength=table.shape[1]) / w.sum() for w in weight.T])
            for view, table in zip(views.T, tables, strict=True)
        ]
    return share, tables
