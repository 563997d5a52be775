"""Rosenbaum's bounds: how far from a fair coin may the choice within matched pairs be?

In a pair, whoever got the treatment was chosen with odds between 1 / Γ and Γ. Only pairs whose two answers differ say
anything: each favours the treated with a chance of at most Γ / (1 + Γ).

Source: Rosenbaum 2002, "Observational Studies", section 4.3.2 (McNemar's test); exact binomial tails.
"""

from __future__ import annotations

import numpy as np

from structural_models.errors import TableError


def rosenbaum_bounds(discordant: int, favourable: int, gammas: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest one-sided p-value of no effect, for every Γ.

    Args:
        discordant: pairs whose answers differ.
        favourable: those of them in which it is the treated who has the answer in question.
        gammas: (...) at least 1; at 1 both are McNemar's exact one-sided p.

    Raises TableError for counts or a Γ out of range.
    """
    from scipy.stats import binom

    gamma = np.asarray(gammas, dtype=np.float64)
    _check(discordant, favourable)
    if not (gamma >= 1).all():
        raise TableError("Γ is at least 1, where the choice within pairs is a fair coin")
    low, high = (binom.sf(favourable - 1, discordant, share) for share in (1 / (1 + gamma), gamma / (1 + gamma)))
    return np.asarray(low), np.asarray(high)


def sensitivity_value(discordant: int, favourable: int, alpha: float = 0.05) -> float:
    """Γ*: the largest Γ at which the largest one-sided p is still at most ``alpha``; 1.0 where it is not even at Γ = 1.

    Source: Zhao 2019, "On sensitivity value of pair-matched observational studies".

    Raises TableError for counts or an alpha out of range.
    """
    from scipy.stats import beta

    _check(discordant, favourable)
    if not 0 < alpha < 1:
        raise TableError(f"alpha must lie between 0 and 1, not at {alpha}")
    if not favourable:
        return 1.0
    # P(Bin(n, share) >= x) is the distribution function of a Beta(x, n - x + 1) at the share.
    share = float(beta.ppf(alpha, favourable, discordant - favourable + 1))
    return max(1.0, share / (1 - share))


def _check(discordant: int, favourable: int) -> None:
    if not 0 <= favourable <= discordant:
        raise TableError(f"{favourable} favourable pairs cannot be among {discordant} discordant ones")
