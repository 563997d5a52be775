"""The confounding dial and its closed forms.

Severity S has K equally frequent levels with scores c_s, equally spaced from -1 to 1. A binary X that follows it has

    logit P(X = 1 | s) = u_s logit(p),   u_s = sign(c_s) (1 + |c_s|) / 2,   0 at a middle level,

that is, p at the outermost levels and 1/2 at a middle one, increasing in s; inner levels lean by at least half the
log-odds of the outermost, so that a strong dial does not leave the outermost ones without overlap. For two levels
P(X = S) = p, and for the finding D and the style F of the wording

    P(D = S) = p,  P(F = S) = q,  P(D = F) = rho_D:   (2p - 1)(2q - 1) = 2 rho_D - 1.

The answer is the finding with probability 1 - tau (else the topic's own), flipped with probability eta. Functions that
take p and q or rho alone are for two levels; the Bayes curves are for eta = tau = 0 and a finding seen in the ECG with
discriminability d'. The general law is enumerated in :mod:`causalecg.benchmark.exact`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from math import log, sqrt

import numpy as np


def normal_cdf(z: np.ndarray | float) -> np.ndarray:
    """Phi, the standard normal distribution function."""
    from scipy.special import ndtr

    return np.asarray(ndtr(z))


def level_scores(levels: int) -> np.ndarray:
    """(levels,) scores c_s, equally spaced from -1 to 1."""
    return np.linspace(-1.0, 1.0, levels)


def side_of(scores: np.ndarray) -> np.ndarray:
    """1 for levels above the middle, 0 for those below; a middle level counts as above, where nothing leans on it."""
    return np.where(scores >= 0, 1, 0)


def agreement_at(p: float, scores: np.ndarray) -> np.ndarray:
    """P(X = side of s | s) at these scores, for an X that agrees with the outermost levels with probability ``p``."""
    reach = np.where(scores == 0, 0.0, 0.5 + 0.5 * np.abs(scores))
    along, against = p**reach, (1 - p) ** reach
    return np.asarray(along / (along + against))


def probability_at(p: float, scores: np.ndarray) -> np.ndarray:
    """P(X = 1 | s) at these scores."""
    along = agreement_at(p, scores)
    return np.where(side_of(scores) == 1, along, 1 - along)


def lean(p: float, scores: np.ndarray) -> np.ndarray:
    """E[2X - 1 | s] at these scores: tanh(u_s logit(p) / 2), for two levels -(2p - 1) and 2p - 1."""
    return 2 * probability_at(p, scores) - 1


def agreement(p: float, q: float, levels: int = 2) -> float:
    """rho_D = P(D = F): 2 rho_D - 1 = mean over levels of E[2D - 1 | s] E[2F - 1 | s]."""
    if levels == 2:
        return 0.5 + 0.5 * (2 * p - 1) * (2 * q - 1)
    scores = level_scores(levels)
    return float(0.5 + 0.5 * np.mean(lean(p, scores) * lean(q, scores)))


def largest_agreement(levels: int) -> float:
    """The largest rho_D that ``levels`` levels allow: 1, less half the share of a middle level."""
    return 1.0 if levels % 2 == 0 else 1 - 0.5 / levels


def symmetric(rho: float, levels: int = 2) -> float:
    """p = q that give rho_D = ``rho``: for two levels (1 + sqrt(2 rho - 1)) / 2, for more by root finding.

    Raises ValueError for a ``rho`` outside [1/2, 1], or above :func:`largest_agreement` (reached there only by p = 1).
    """
    if not 0.5 <= rho <= 1:
        raise ValueError(f"rho must lie between 0.5 and 1, not {rho}")
    if levels == 2:
        return 0.5 * (1 + sqrt(2 * rho - 1))
    most = largest_agreement(levels)
    if rho > most:
        raise ValueError(
            f"{levels} levels leave their middle one undecided, so rho is at most {most:.4g}, not {rho}; take an even "
            "number of levels or a smaller rho"
        )
    return _root(lambda p: agreement(p, p, levels) - rho)


def partner(q: float, rho: float, levels: int = 2) -> float:
    """The p that gives P(X = F) = ``rho`` for an X that follows severity with p, and F with ``q`` > 1/2.

    Raises ValueError where no p in [0, 1] does.
    """
    low, high = agreement(0.0, q, levels), agreement(1.0, q, levels)
    if not low <= rho <= high:
        raise ValueError(
            f"with q = {q:.4g} that agreement lies between {low:.4g} and {high:.4g}, so it cannot be {rho}"
        )
    if levels == 2:
        return 0.5 if q == 0.5 else 0.5 + 0.5 * (2 * rho - 1) / (2 * q - 1)
    return _root(lambda p: agreement(p, q, levels) - rho, low=0.0)


def jointly_effective(share: float, shortcuts: int, levels: int = 2) -> float:
    """The q of so many styles, each following severity with it, under which weights P(F)/P(F|S) of all of them
    together leave this share of the sample. ``share`` in (0, 1]."""
    if share >= 1:
        return 0.5
    scores = level_scores(levels)

    def left(q: float) -> float:
        yes = probability_at(q, scores)
        one = np.stack([1 - yes, yes], axis=1)
        every = reduce(lambda a, b: (a[:, :, None] * b[:, None, :]).reshape(levels, -1), [one] * shortcuts)
        return effective_share(every / levels)

    return _root(lambda q: left(q) - share)


def _root(f: Callable[[float], float], low: float = 0.5) -> float:
    from scipy.optimize import brentq

    return float(brentq(f, low, 1.0, xtol=1e-15, rtol=1e-14))


def answer_agreement(p: float, q: float, *, tau: float = 0.0, eta: float = 0.0) -> float:
    """rho_A = P(A = F), for a topic independent of the style."""
    return 0.5 + 0.5 * (1 - tau) * (1 - 2 * eta) * (2 * p - 1) * (2 * q - 1)


def weighting_share(q: float) -> float:
    """Effective share of the sample under P(F)/P(F|S) weights: 4 q (1 - q)."""
    return 4 * q * (1 - q)


def effective_share(joint: np.ndarray) -> float:
    """Effective (Kish) share of the sample under P(f)/P(f|s) weights: 1 / sum_sf P(s) P(f)^2 / P(f|s).

    Args:
        joint: (levels, styles) P(s, f). Where an f that occurs never does at some s, the share is zero.
    """
    of_s, of_f = joint.sum(1, keepdims=True), joint.sum(0, keepdims=True)
    needed = (of_s > 0) & (of_f > 0)
    if (joint[needed] <= 0).any():
        return 0.0
    terms = np.divide((of_s * of_f) ** 2, joint, out=np.zeros_like(joint), where=needed)
    return float(1 / terms.sum())


def group_share(rho_a: float) -> float:
    """Effective share of the sample under (A, F) group weights: 4 rho_A (1 - rho_A)."""
    return 4 * rho_a * (1 - rho_a)


def oracle_accuracy(d_prime: float) -> float:
    """Best accuracy from the ECG alone, Phi(d'/2)."""
    return float(normal_cdf(d_prime / 2))


def achieved_d_prime(oracle: float) -> float:
    """d' = 2 Phi^-1(accuracy) of an oracle's accuracy in (0, 1)."""
    from scipy.special import ndtri

    return float(2 * ndtri(oracle))


def shortcut_accuracy(d_prime: float, rho: float) -> float:
    """Unbiased accuracy of the Bayes-optimal user of the shortcut (evidence plus prior log-odds of ``rho``).

    1/2 [Phi((d'^2/2 + c)/d') + Phi((d'^2/2 - c)/d')], c = logit(rho).
    """
    if rho >= 1 or d_prime <= 0:
        return 0.5
    c, half = log(rho / (1 - rho)), d_prime**2 / 2
    return float(0.5 * (normal_cdf((half + c) / d_prime) + normal_cdf((half - c) / d_prime)))


def follow_rate(d_prime: float, rho: float) -> float:
    """P(answer = the donor's true answer) of the same model when the ECG comes from an opposite-answer donor of the
    biased split: there the donor's answer disagrees with the style for a share ``rho`` of the items."""
    if rho >= 1:
        return 0.0
    c, half = log(rho / (1 - rho)), d_prime**2 / 2
    against, along = normal_cdf((half - c) / d_prime), normal_cdf((half + c) / d_prime)
    return float(rho * against + (1 - rho) * along)


def shortcut_curve(rho: float, oracle: np.ndarray) -> np.ndarray:
    """Shortcut accuracy at the d' that each oracle accuracy implies; one half where that is no better than chance."""
    accuracy = np.asarray(oracle, dtype=np.float64)
    if rho >= 1:
        return np.full(accuracy.shape, 0.5)
    from scipy.special import ndtri

    d = 2 * ndtri(np.maximum(accuracy, 0.5 + 1e-9))
    c, half = log(rho / (1 - rho)), d**2 / 2
    return np.asarray(0.5 * (normal_cdf((half + c) / d) + normal_cdf((half - c) / d)))


def random_swap_drop(d_prime: float, rho: float) -> float:
    """Accuracy that this shortcut user loses when its ECG becomes another patient's: unbiased accuracy - 1/2, and the
    same on the biased split."""
    return shortcut_accuracy(d_prime, rho) - 0.5


def reliance_ratio(d_prime: float, rho: float) -> float:
    """:func:`random_swap_drop` as a share of the oracle's, Phi(d'/2) - 1/2."""
    return random_swap_drop(d_prime, rho) / (oracle_accuracy(d_prime) - 0.5)


def twin_accuracy(d_prime: float) -> float:
    """P(the oracle is right about both of two ECGs that share all noise and differ in the finding): 2 Phi(d'/2) - 1."""
    return 2 * oracle_accuracy(d_prime) - 1


def information(rho_a: float) -> float:
    """I(Q; A) = 1 - H2(rho_A) in bits, for a balanced answer."""
    return 1.0 + sum(x * log(x, 2) for x in (rho_a, 1 - rho_a) if x > 0)


def topic_effect(tau: float, eta: float = 0.0) -> float:
    """E |p(A=1 | do T=1, E) - p(A=1 | do T=0, E)| = tau (1 - 2 eta)."""
    return tau * (1 - 2 * eta)


def topic_decision_effect(d_prime: float, tau: float) -> float:
    """Share of ECGs for which the Bayes decision follows the topic: 1 for tau >= 1/2, else
    Phi(d'/2 + k) - Phi(d'/2 - k) with k = -ln(1 - 2 tau) / d'. For a topic independent of S, and S not seen in E."""
    if tau >= 0.5:
        return 1.0
    k = -log(1 - 2 * tau) / d_prime
    return float(normal_cdf(d_prime / 2 + k) - normal_cdf(d_prime / 2 - k))


def topic_oracle_accuracy(d_prime: float, tau: float, eta: float = 0.0) -> float:
    """Best accuracy from ECG and topic: (1 + tau) / 2 for tau >= 1/2, else with k as in :func:`topic_decision_effect`
    1/2 [Phi(d'/2 + k) + Phi(d'/2 - k)] + tau [1/2 - Phi(d'/2 - k)]; eta turns a into a + eta - 2 eta a."""
    if tau >= 0.5:
        right = (1 + tau) / 2
    else:
        k = -log(1 - 2 * tau) / d_prime
        more, less = float(normal_cdf(d_prime / 2 + k)), float(normal_cdf(d_prime / 2 - k))
        right = (more + less) / 2 + tau * (0.5 - less)
    return right + eta - 2 * eta * right
