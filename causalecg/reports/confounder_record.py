"""What a confounder-effect report says, whole: every table from its first row to its last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from causalecg import __version__
from causalecg.reports.confounder_rows import Names, bias_table, contrast_table, failure_table, severity_table
from causalecg.reports.confounder_sentences import agreement, assumption, scale_summary
from causalecg.reports.declared import graph_of, path_texts
from structural_models.estimand import Estimand

TITLE = "What does the question give away?"
Row = Mapping[str, Any]


def report_record(effects: Row) -> dict[str, Any]:
    """JSON-able. Tables are sorted: what is clear of zero first, then what is large.

    Args:
        effects: record of :func:`causalecg.cohort.effects_folder.read_effects`.

    Raises GraphError where the record's graph is none.
    """
    names = Names.of(effects["questions"])
    scales = [scale["scale"] for scale in effects["scales"]]
    found = [(scale, one) for scale in effects["scales"] for one in scale["effects"]]
    biases = {effect: bias_table(effects, effect, names) for effect in dict.fromkeys(one["effect"] for _, one in found)}
    return {
        "title": TITLE,
        "cohort": effects["cohort"],
        "split": effects["split"],
        "percent": " and ".join(dict.fromkeys(f"{100 * one['level']:g} %" for _, one in found)),
        "made_with": f"causalecg {__version__}",
        "summaries": [scale_summary(scale, names) for scale in effects["scales"]],
        "agreement": [line for effect, rows in biases.items() if (line := agreement(rows, effect, scales))],
        "assumption": assumption(effects),
        "graph": {**effects["graph"], "open_backdoor_paths": path_texts(graph_of(effects["graph"]))},
        "estimands": _estimands(effects["scales"]),
        "biases": [
            {"effect": effect, "scales": _scales_of(effects, effect), "seen_alike": _seen_alike(rows), "rows": rows}
            for effect, rows in biases.items()
        ],
        "contrasts": [
            {"effect": one["effect"], "scale": scale["scale"], "rows": contrast_table(one, names)}
            for scale, one in found
        ],
        "severity": [{"scale": scale["scale"], "rows": severity_table(scale, names)} for scale in effects["scales"]],
        "not_adjusted": [_not_adjusted(scale, names) for scale in effects["scales"]],
        "made": list(_made(effects)),
    }


def _scales_of(effects: Row, effect: str) -> list[str]:
    return [
        scale["scale"] for scale in effects["scales"] if any(found["effect"] == effect for found in scale["effects"])
    ]


def _seen_alike(rows: Sequence[Row]) -> bool:
    """Is P(A | Q) the same on every scale? It is where the same items have a severity."""
    return all(len({one["associated"] for one in row["scales"].values()}) == 1 for row in rows)


def _estimands(scales: Sequence[Row]) -> list[dict[str, Any]]:
    """Text of each estimand: scales that differ in nothing but the column of severity are named together."""
    texts: dict[str, list[str]] = {}
    for scale in scales:
        roles = {role: column for role, column in scale["estimand"]["roles"].items() if role != "severity"}
        text = str(Estimand.from_dict({**scale["estimand"], "roles": roles}))
        texts.setdefault(text, []).append(scale["scale"])
    return [{"scales": names, "text": text} for text, names in texts.items()]


def _not_adjusted(scale: Row, names: Names) -> dict[str, Any]:
    lines = [f"Not estimated: {reason}." for reason in scale["left_out"]]
    for found in scale["effects"]:
        missing = found["items_without_severity"]
        left = f"; {missing:,} more have no severity on this scale and are left out" if missing else ""
        lines.append(
            f"Effect of the {found['effect']}: {found['items']:,} items of {found['patients']:,} patients{left}."
        )
        lines += [f"{warning}." for warning in found["warnings"]]
    return {
        "scale": scale["scale"],
        "lines": lines,
        "severities": [] if scale["severity"] is None else scale["severity"]["left_out"],
        "failures": [
            {"effect": found["effect"], "rows": failure_table(found, names, scale["levels"])}
            for found in scale["effects"]
        ],
    }


def _made(effects: Row) -> Iterator[dict[str, str]]:
    """What was done to which data."""
    first = next((found for scale in effects["scales"] for found in scale["effects"]), None)
    confounding = effects.get("confounding") or {}
    rows = {
        "command": (
            f"causalecg scm effects --cohort COHORT --graph {effects['graph']['name']} --split {effects['split']} "
            f"--method {effects['method']} --seed {effects['seed']}"
        ),
        "cohort": effects["cohort"],
        "cohort hash": effects["cohort_hash"],
        "confounding imposed": f"rho {confounding['rho']}" if "rho" in confounding else None,
        "method": effects["method"],
        "mean over": first and first["population"],
        "intervals": first and f"{first['interval']}, {100 * first['level']:g} %, patients as clusters",
        "seed": str(effects["seed"]),
        "versions": ", ".join(f"{name} {version}" for name, version in effects["versions"].items()),
    }
    for what, value in rows.items():
        if value:
            yield {"what": what, "value": value}
