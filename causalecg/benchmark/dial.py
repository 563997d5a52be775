"""The confounding dial and its closed forms, for binary severity S, finding D, style F and answer A.

    P(D = S) = p,  P(F = S) = q,  P(D = F) = rho_D:   (2p - 1)(2q - 1) = 2 rho_D - 1

The answer is the finding with probability 1 - tau (else the topic's own), flipped with probability eta. Everything here
is exact for those laws; the Bayes curves are for eta = tau = 0 and a finding seen in the ECG with discriminability d'.
"""

from __future__ import annotations

from math import log, sqrt

import numpy as np
from scipy.stats import norm


def agreement(p: float, q: float) -> float:
    """rho_D = P(D = F)."""
    return 0.5 + 0.5 * (2 * p - 1) * (2 * q - 1)


def symmetric(rho: float) -> float:
    """p = q that give rho_D = ``rho``, for ``rho`` in [1/2, 1]. Raises ValueError outside."""
    if not 0.5 <= rho <= 1:
        raise ValueError(f"rho must lie between 0.5 and 1, not {rho}")
    return 0.5 * (1 + sqrt(2 * rho - 1))


def answer_agreement(p: float, q: float, *, tau: float = 0.0, eta: float = 0.0) -> float:
    """rho_A = P(A = F), for a topic independent of the style."""
    return 0.5 + 0.5 * (1 - tau) * (1 - 2 * eta) * (2 * p - 1) * (2 * q - 1)


def weighting_share(q: float) -> float:
    """Effective share of the sample under P(F)/P(F|S) weights: 4 q (1 - q)."""
    return 4 * q * (1 - q)


def group_share(rho_a: float) -> float:
    """Effective share of the sample under (A, F) group weights: 4 rho_A (1 - rho_A)."""
    return 4 * rho_a * (1 - rho_a)


def oracle_accuracy(d_prime: float) -> float:
    """Best accuracy from the ECG alone, Phi(d'/2)."""
    return float(norm.cdf(d_prime / 2))


def achieved_d_prime(oracle: float) -> float:
    """d' = 2 Phi^-1(accuracy) of an oracle's accuracy in (0, 1)."""
    return float(2 * norm.ppf(oracle))


def shortcut_accuracy(d_prime: float, rho: float) -> float:
    """Unbiased accuracy of the Bayes-optimal user of the shortcut (evidence plus prior log-odds of ``rho``).

    1/2 [Phi((d'^2/2 + c)/d') + Phi((d'^2/2 - c)/d')], c = logit(rho).
    """
    if rho >= 1 or d_prime <= 0:
        return 0.5
    c, half = log(rho / (1 - rho)), d_prime**2 / 2
    return float(0.5 * (norm.cdf((half + c) / d_prime) + norm.cdf((half - c) / d_prime)))


def follow_rate(d_prime: float, rho: float) -> float:
    """P(answer = the donor's true answer) of the same model when the ECG comes from an opposite-answer donor of the
    biased split: there the donor's answer disagrees with the style for a share ``rho`` of the items."""
    if rho >= 1:
        return 0.0
    c, half = log(rho / (1 - rho)), d_prime**2 / 2
    against, along = norm.cdf((half - c) / d_prime), norm.cdf((half + c) / d_prime)
    return float(rho * against + (1 - rho) * along)


def shortcut_curve(rho: float, oracle: np.ndarray) -> np.ndarray:
    """Shortcut accuracy at the d' that each oracle accuracy implies; one half where that is no better than chance."""
    accuracy = np.asarray(oracle, dtype=np.float64)
    if rho >= 1:
        return np.full(accuracy.shape, 0.5)
    d = 2 * norm.ppf(np.maximum(accuracy, 0.5 + 1e-9))
    c, half = log(rho / (1 - rho)), d**2 / 2
    return np.asarray(0.5 * (norm.cdf((half + c) / d) + norm.cdf((half - c) / d)))
