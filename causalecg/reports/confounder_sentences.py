"""What a record of confounder effects says, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import pi, sqrt
from statistics import NormalDist
from typing import Any

from causalecg.reports.confounder_rows import Names, biases, is_clear
from causalecg.reports.page import rounded, signed

Row = Mapping[str, Any]


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
    known = all(
        row["bias_low"] is not None and row["bias_high"] is not None for group in arms.values() for row in group
    )
    if not known:
        return distance, None
    chance = sum(
        weights[arm] * sum((row["bias_high"] - row["bias_low"]) / width for row in group) / 2 * sqrt(2 / pi)
        for arm, group in arms.items()
    )
    return distance, chance


def effect_summary(scale: Row, found: Row, names: Names) -> dict[str, Any]:
    """How large the confounding of one effect is, on one scale: numbers, and the sentence that says them."""
    rows = biases(found)
    tested = [row for row in rows if row["p_bias_holm"] is not None]
    clear = [row for row in tested if is_clear(row, found["level"])]
    distance, chance = mean_distance(found)
    largest = max(clear or rows, key=lambda row: round(abs(row["bias"]), 9), default=None)
    summary = {
        "scale": scale["scale"],
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
    return {**summary, "sentence": _sentence(summary, scale, found)}


def _sentence(summary: Row, scale: Row, found: Row) -> str:
    about = f"Severity as {scale['scale']} ({', '.join(scale['levels'])}), effect of the {summary['effect']}: "
    if summary["largest"] is None:
        return about + "nothing could be adjusted; see what could not."
    chance = summary["mean_distance_by_chance"]
    by_chance = "" if chance is None else f" (chance alone would give about {rounded(chance)})"
    mean = f"P(A | Q) and P(A | do(Q)) lie {rounded(summary['mean_distance'])} apart on average{by_chance}"
    percent = f"{100 * (1 - found['level']):.2g} %"
    if summary["clear"]:
        count = f"{summary['clear']:,} of {summary['tested']:,} biases are clear (Holm, {percent})"
        which = "The largest of these"
    else:
        count = (
            f"none of {summary['tested']:,} biases is clear (Holm, {percent}), which does not show that there is none"
        )
        which = "The largest estimate"
    one = summary["largest"]
    where = ", ".join(part for part in (one["held"], one["arm"]) if part)
    return (
        f"{about}{mean}; {count}. {which}, {where}, “{one['answer']}”: {rounded(one['associated'])} seen, "
        f"{rounded(one['interventional'])} under do(Q), bias {signed(one['bias'])} "
        f"({signed(one['bias_low'])} to {signed(one['bias_high'])})."
    )


def assumption(record: Row) -> str:
    """Under which assumption the numbers are about do(Q)."""
    estimand = record["scales"][0]["estimand"]
    if not estimand["adjustment"]:
        return "The graph leaves nothing to adjust for: if it is right, P(A | Q) is P(A | do(Q))."
    given = " and ".join([*estimand["adjustment"], *estimand["conditioning"]])
    return (
        f"All this holds if the graph below is right: given {given}, nothing else ties the question to the answer, and "
        "severity is what the scale says. Severity is no measurement but a definition, so every scale is shown."
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
