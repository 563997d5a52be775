"""How strong would something unmeasured have to be to explain an association away?

Source: VanderWeele & Ding 2017, "Sensitivity analysis in observational research: introducing the E-value".
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import isnan, sqrt
from typing import Any

from structural_models.errors import TableError
from structural_models.json_values import plain


@dataclass(frozen=True)
class RiskRatioEValue:
    """A ratio of standardised risks and its E-values.

    Attributes:
        risk, other: P(A = a | do(Q = q1)) and P(A = a | do(Q = q0)).
        ratio, low, high: their ratio and its limits.
        e_value, e_value_limit: of the ratio, and of its limit closer to one.
    """

    risk: float
    other: float
    ratio: float
    low: float
    high: float
    e_value: float
    e_value_limit: float

    def to_dict(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = plain(asdict(self))
        return cleaned


def e_value_of_risks(risk: float, other: float, low: float, high: float) -> RiskRatioEValue:
    """E-values of two risks that are standardised to the same population: never of an odds ratio or a regression.

    Args:
        risk, other: in [0, 1], not both 0.
        low, high: limits of risk / other, e.g. of :func:`structural_models.sensitivity.risk_ratios.ratio_limits`.

    Raises TableError for risks or limits that are none.
    """
    if not (0 <= risk <= 1 and 0 <= other <= 1 and risk + other > 0):
        raise TableError(f"two risks must lie between 0 and 1 and not both be 0, not {risk} and {other}")
    ratio = risk / other if other else float("inf")
    return RiskRatioEValue(risk, other, ratio, low, high, e_value(ratio), e_value_of_limit(low, high))


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
