"""How strong would something unmeasured have to be to explain an association away?

Source: VanderWeele & Ding 2017, "Sensitivity analysis in observational research: introducing the E-value".
"""

from __future__ import annotations

from math import isnan, sqrt

from structural_models.errors import TableError


def e_value(risk_ratio: float) -> float:
    """RR + sqrt(RR (RR - 1)), of 1 / RR where RR is below one.

    The least risk ratio that an unmeasured confounder must have with both the treatment and the outcome, beyond what is
    adjusted for, to explain the whole of ``risk_ratio``. One where there is nothing to explain; infinite for 0 and inf.

    Raises TableError for a negative ratio, or one that is no number.
    """
    if isnan(risk_ratio) or risk_ratio < 0:
        raise TableError(f"a risk ratio is at least 0, not {risk_ratio}")
    if risk_ratio in (0.0, float("inf")):
        return float("inf")
    ratio = max(risk_ratio, 1 / risk_ratio)
    return ratio + sqrt(ratio * (ratio - 1))


def e_value_of_limit(low: float, high: float) -> float:
    """E-value of the confidence limit that is closer to one; 1.0 where the interval holds one.

    Raises TableError as :func:`e_value`, or where the limits are the wrong way round.
    """
    if not low <= high:
        raise TableError(f"the limits of a risk ratio must be in order, not {low} and {high}")
    if low <= 1 <= high:
        e_value(low)
        return 1.0
    return e_value(low if low > 1 else high)
