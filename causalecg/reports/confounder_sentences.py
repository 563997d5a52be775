"""What a record of confounder effects says, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import pi, sqrt
from statistics import NormalDist
from typing import Any

from causalecg.reports.confounder_rows import Names, biases, is_clear
from causalecg.reports.page import rounded, signed

Row = Mapping[str, Any]
#: Of sums of shares.
_ROUNDING = 1e-9


def mean_distance(found: Row) -> tuple[float | None, float | None]:
    """How far P(A | Q) lies from P(A | do(Q)): total-variation distance, arms weighted by their rows.

    Of two answers it is the absolute bias. A mean of distances is above zero by chance alone; the second number is what
    normal errors as wide as these intervals would give if every bias were zero. None where nothing was adjusted.
    """
    width = 2 * NormalDist().inv_cdf((1 + found["level"]) / 2)
    columns = [*found["within"], "arm"]
    arms: dict[tuple[str, ...], list[Row]] = {}
    for row in found["table"]:
        if row["bias"] is not None:
            arms.setdefault(tuple(str(row[name]) for name in columns), []).append(row)
    rows = sum(group[0]["rows"] for group in arms.values())
    if not rows:
        return None, None
    weights = {arm: group[0]["rows"] / rows for arm, group in arms.items()}
    distance = sum(weights[arm] * sum(abs(row["bias"]) for row in group) / 2 for arm, group in arms.items())
    errors = {arm: [_error(row, width) for row in group] for arm, group in arms.items()}
    known = {arm: [one for one in some if one is not None] for arm, some in errors.items()}
    if known != errors:
        return distance, None
    return distance, sum(weights[arm] * sum(some) / 2 * sqrt(2 / pi) for arm, some in known.items())


def _error(row: Row, width: float) -> float | None:
    """Standard error of a bias, 0 where all answers are the same, None where it is not known."""
    if row["bias_low"] is None or row["bias_high"] is None:
        return 0.0 if abs(row["bias"]) < _ROUNDING else None
    return float(row["bias_high"] - row["bias_low"]) / width


def scale_summary(scale: Row, names: Names) -> dict[str, Any]:
    """What one scale says: ``scale``, ``levels``, ``confounded`` (is any bias clear?) and ``effects``."""
    found = [effect_summary(effect, names) for effect in scale["effects"]]
    clear = any(one["clear"] for one in found)
    return {"scale": scale["scale"], "levels": scale["levels"], "confounded": clear, "effects": found}


def effect_summary(found: Row, names: Names) -> dict[str, Any]:
    """How large the confounding of one effect is: numbers, and the claim and sentence that say them."""
    rows = biases(found)
    tested = [row for row in rows if row["p_bias_holm"] is not None]
    clear = [row for row in tested if is_clear(row, found["level"])]
    distance, chance = mean_distance(found)
    largest = max(clear or rows, key=lambda row: round(abs(row["bias"]), 9), default=None)
    summary = {
        "effect": found["effect"],
        "items": found["items"],
        "patients": found["patients"],
        "tested": len(tested),
        "clear": len(clear),
        "mean_distance": distance,
        "mean_distance_by_chance": chance,
        "largest": largest and {
            "held": names.held(largest, found["within"]),
            "arm": names.value(found["treatment"], largest["arm"]),
            "answer": str(largest["outcome"]),
            **{name: largest[name] for name in ("associated", "interventional", "bias", "bias_low", "bias_high")},
        },
    }  # fmt: skip
    return {**summary, "claim": _claim(summary, found["level"]), "sentence": _sentence(summary)}


def _claim(summary: Row, level: float) -> str:
    about = f"Effect of the {summary['effect']}: "
    if summary["largest"] is None:
        return about + "nothing could be adjusted."
    percent = f"Holm, {100 * (1 - level):.2g} %"
    if summary["clear"]:
        return f"{about}{summary['clear']:,} of {summary['tested']:,} biases are clear of zero ({percent})."
    return f"{about}none of {summary['tested']:,} biases is clear of zero ({percent}); that does not prove them zero."


def _sentence(summary: Row) -> str:
    one = summary["largest"]
    if one is None:
        return "See what could not be adjusted."
    chance = summary["mean_distance_by_chance"]
    by_chance = "" if chance is None else f" (chance alone would give about {rounded(chance)})"
    which = "The largest clear one" if summary["clear"] else "The largest estimate"
    where = ", ".join(part for part in (one["held"], one["arm"]) if part)
    return (
        f"P(A | Q) and P(A | do(Q)) lie {rounded(summary['mean_distance'])} apart on average{by_chance}. {which}: "
        f"{where}, “{one['answer']}”, {rounded(one['associated'])} seen, {rounded(one['interventional'])} under do(Q), "
        f"bias {signed(one['bias'])} ({signed(one['bias_low'])} to {signed(one['bias_high'])})."
    )


def assumption(record: Row) -> str:
    """Under which assumption the numbers are about do(Q)."""
    estimand = record["scales"][0]["estimand"]
    if not estimand["adjustment"]:
        return "The graph leaves nothing to adjust for: if it is right, P(A | Q) is P(A | do(Q))."
    given = " and ".join([*estimand["adjustment"], *estimand["conditioning"]])
    others = "so every scale is shown" if len(record["scales"]) > 1 else "and on another scale this may look different"
    return (
        f"All this holds if the graph below is right: given {given}, nothing else ties the question to the answer, and "
        f"severity is what the scale says. Severity is no measurement but a definition, {others}."
    )


def agreement(rows: Sequence[Row], effect: str, scales: Sequence[str]) -> str | None:
    """Do the scales say the same? None for a single scale.

    Args:
        rows: of :func:`causalecg.reports.confounder_rows.bias_table`.
    """
    if len(scales) < 2:
        return None
    shared = [row for row in rows if set(row["scales"]) == set(scales)]
    partly = len(rows) - len(shared)
    said = [{_said(one) for one in row["scales"].values()} for row in shared]
    opposite = sum({"too high", "too low"} <= one for one in said)
    split = sum(len(one) > 1 for one in said)
    lone = f" {partly:,} could be adjusted on some scales only." if partly else ""
    about = f"Effect of the {effect}: of {len(shared):,} biases on every scale ({', '.join(scales)}), "
    if not split:
        return f"{about}all have the same verdict.{lone}"
    against = f", {opposite:,} of them in opposite directions" if opposite else ""
    return f"{about}{split:,} have another verdict on another scale{against}: the scales disagree.{lone}"


def _said(row: Row) -> str:
    if not row["clear"]:
        return "not clear"
    return "too high" if row["bias"] > 0 else "too low"
