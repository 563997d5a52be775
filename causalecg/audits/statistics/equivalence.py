"""Tests of "no difference worth speaking of"."""

from __future__ import annotations


def equivalence(estimate: float, standard_error: float, margin: float, freedom: float = float("inf")) -> float:
    """p-value of two one-sided tests: the null is that the true value lies ``margin`` or more from zero.

    Args:
        estimate, standard_error: of a mean or a difference of means.
        margin: half width of what counts as none, positive.
        freedom: degrees of freedom of the t distribution; infinite = normal.

    Source: Schuirmann 1987.
    """
    from scipy.stats import norm, t

    if not margin > 0:
        raise ValueError(f"margin must be positive, not {margin}")
    if not standard_error > 0:
        return 0.0 if abs(estimate) < margin else 1.0
    law = norm if freedom == float("inf") else t(freedom)
    return float(max(law.sf((estimate + margin) / standard_error), law.sf((margin - estimate) / standard_error)))
