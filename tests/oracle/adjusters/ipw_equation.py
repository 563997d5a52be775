"""Weights by severity from the papers' equations: plain loops over rows, numpy only."""

from __future__ import annotations

import numpy as np


def cell_weights(severity, topic, style, scheme: str) -> np.ndarray:
    """Stabilised P(F|T)/P(F|S,T), unstabilised 1/P(F|S,T) (Robins, Hernan & Brumback 2000), overlap (Li & Li 2019, eq.
    5); shares by counting; mean one in each topic, then over all."""
    n = len(style)
    weights = np.empty(n)
    for i in range(n):
        stratum = [j for j in range(n) if topic[j] == topic[i] and severity[j] == severity[i]]
        within = [j for j in range(n) if topic[j] == topic[i]]
        arms = sorted({style[j] for j in within})
        e = {f: sum(style[j] == f for j in stratum) / len(stratum) for f in arms}
        marginal = sum(style[j] == style[i] for j in within) / len(within)
        if scheme == "stabilised":
            weights[i] = marginal / e[style[i]]
        elif scheme == "unstabilised":
            weights[i] = 1 / e[style[i]]
        else:
            tilt = 0.0 if min(e.values()) == 0 else 1 / sum(1 / e[f] for f in arms)
            weights[i] = tilt / e[style[i]]
    return _mean_one_within(weights, topic)


def raked(columns, topic, style, sweeps: int = 3000) -> np.ndarray:
    """Entropy balancing on indicators (Hainmueller 2012, eq. 3 to 5): the minimum of sum w log w under the margins is
    what iterative proportional fitting of equal weights converges to (Deming & Stephan 1940)."""
    n = len(style)
    weights = np.ones(n)
    for t in sorted(set(topic)):
        within = [i for i in range(n) if topic[i] == t]
        for f in sorted({style[i] for i in within}):
            own = [i for i in within if style[i] == f]
            for _ in range(sweeps):
                for column in columns:
                    for level in sorted({column[i] for i in within}):
                        wanted = len(own) * sum(column[i] == level for i in within) / len(within)
                        have = sum(weights[i] for i in own if column[i] == level)
                        for i in own:
                            if column[i] == level:
                                weights[i] *= wanted / have
    return weights


def logit(design, classes, penalty: float = 0.0) -> np.ndarray:
    """(rows, classes) probabilities of a multinomial logit with intercepts, by Newton's method on the summed
    log-likelihood less half the penalty times the squared coefficients (not the intercepts)."""
    design = np.column_stack([np.ones(len(design)), design])
    n, d = design.shape
    k = int(max(classes)) + 1
    theta = np.zeros(k * d)
    decay = np.tile(np.r_[0.0, np.full(d - 1, penalty)], k)
    for _ in range(200):
        p = _softmax(design @ theta.reshape(k, d).T)
        gradient, hessian = -decay * theta, np.diag(decay + 1e-10)
        for i in range(n):
            observed = np.arange(k) == classes[i]
            gradient += np.outer(observed - p[i], design[i]).ravel()
            spread = np.diag(p[i]) - np.outer(p[i], p[i])
            hessian += np.kron(spread, np.outer(design[i], design[i]))
        if np.abs(gradient).max() < 1e-9:
            break
        theta = theta + np.linalg.solve(hessian, gradient)
    return _softmax(design @ theta.reshape(k, d).T)


def text_weights(vectors, severity, topic, penalty: float) -> np.ndarray:
    """P(S | T) / P(S | vector, T), the density ratio of Gui & Veitch 2022's setting by Bayes' rule; mean one."""
    n = len(severity)
    centred = np.array([[row[j] - np.mean([v[j] for v in vectors]) for j in range(len(row))] for row in vectors])
    for j in range(centred.shape[1]):
        centred[:, j] /= np.sqrt(np.mean(centred[:, j] ** 2))
    dummies = np.array([[float(topic[i] == t) for t in list(dict.fromkeys(topic))[1:]] for i in range(n)])
    p = logit(np.column_stack([centred, dummies.reshape(n, -1)]), severity, penalty)
    weights = np.empty(n)
    for i in range(n):
        within = [j for j in range(n) if topic[j] == topic[i]]
        weights[i] = sum(severity[j] == severity[i] for j in within) / len(within) / p[i, severity[i]]
    return weights / weights.mean()


def weighted_loss(scores, answer, kind: str, weights) -> float:
    """Mean over items of weight times negative log-likelihood: softmax over candidates, or a Bernoulli for each."""
    total = 0.0
    for z, truth, weight in zip(scores, answer, weights, strict=True):
        there = [c for c in range(len(z)) if np.isfinite(z[c])]
        if kind == "one":
            normaliser = sum(np.exp(z[c]) for c in there)
            total += weight * -sum(np.log(np.exp(z[c]) / normaliser) for c in there if truth[c])
        else:
            for c in there:
                p = 1 / (1 + np.exp(-z[c]))
                total += weight * -np.log(p if truth[c] else 1 - p)
    return total / len(scores)


def _mean_one_within(weights: np.ndarray, topic) -> np.ndarray:
    for t in set(topic):
        at = np.array([each == t for each in topic])
        weights[at] /= weights[at].mean()
    return weights / weights.mean()


def _softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)
