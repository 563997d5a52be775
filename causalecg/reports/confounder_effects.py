"""The confounder-effect report, from a folder of ``causalecg scm effects``: report.html (one offline file), report.json
and report.md. No model is asked, and nothing is estimated again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from causalecg import __version__
from causalecg.cohort.effects_folder import read_effects
from causalecg.reports.confounder_figures import bias_figure, severity_figure
from causalecg.reports.confounder_rows import (
    Names,
    bias_table,
    contrast_table,
    failure_table,
    severity_table,
)
from causalecg.reports.confounder_sentences import agreement, assumption, scale_summary
from causalecg.reports.declared import graph_of, path_texts
from causalecg.reports.figures import graph_figure
from causalecg.reports.folder import refuse_other_folder, replace_report
from causalecg.reports.page import LARGEST, interval, page_template, rounded, signed, unmarked
from structural_models.estimand import Estimand

TITLE = "What does the question give away?"
Row = Mapping[str, Any]


@dataclass(frozen=True)
class _Room:
    """Most rows of each table, sentences of a kind, and rows of a figure; None = all."""

    biases: int | None = None
    contrasts: int | None = None
    severity: int | None = None
    failures: int | None = None
    sentences: int | None = None
    drawn: int = 0
    left_out: str = ""

    @property
    def asked(self) -> int | None:
        """Rows whose questions are shown in full."""
        return None if self.biases is None else max(self.biases, self.drawn)


_ROOMS = (
    _Room(14, 8, 10, 8, 3, 26),
    _Room(10, 5, 6, 5, 3, 14, "smaller effects"),
    _Room(8, 3, 4, 3, 1, 0, "smaller effects, the figures of effects"),
    _Room(0, 0, 0, 0, 0, 0, "tables and figures of effects"),
)


def write_confounder_report(folder: str | Path, out: str | Path | None = None) -> Path:
    """Write the report of an effects folder and return the page.

    Args:
        folder: of :func:`causalecg.cohort.effects_folder.write_effects`.
        out: folder of the report, by default ``folder/report``; report files in it are replaced.

    Raises InputError where the folder holds no effects or damaged ones, or ``out`` holds other things; GraphError where
    the record's graph is none.
    """
    folder = Path(folder)
    out = folder / "report" if out is None else Path(out)
    refuse_other_folder(out)
    effects = read_effects(folder)
    for room in _ROOMS:
        record = _record(effects, room)
        page = _page(record, effects, room)
        if len(page.encode("utf-8")) <= LARGEST:
            break
    return replace_report(out, page, _record(effects, _Room()), _markdown(record))


def _record(effects: Row, room: _Room) -> dict[str, Any]:
    """What a page of that room shows."""
    names = Names(effects["questions"])
    scales = [scale["scale"] for scale in effects["scales"]]
    every = list(dict.fromkeys(found["effect"] for scale in effects["scales"] for found in scale["effects"]))
    biases = {effect: bias_table(effects, effect, names) for effect in every}
    graph = graph_of(effects["graph"])
    levels = dict.fromkeys(f"{100 * found['level']:g} %" for scale in effects["scales"] for found in scale["effects"])
    return {
        "title": TITLE,
        "cohort": effects["cohort"],
        "split": effects["split"],
        "percent": " and ".join(levels),
        "made_with": f"causalecg {__version__}",
        "summaries": [scale_summary(scale, names) for scale in effects["scales"]],
        "agreement": [line for effect in every if (line := agreement(biases[effect], effect, scales))],
        "assumption": assumption(effects),
        "graph": {**effects["graph"], "open_backdoor_paths": path_texts(graph)},
        "estimands": _estimands(effects["scales"]),
        "biases": [
            {"effect": effect, "scales": _scales_of(effects, effect), **_capped(rows, room.biases)}
            for effect, rows in biases.items()
        ],
        "contrasts": [
            {"effect": found["effect"], "scale": scale["scale"],
             **_capped(contrast_table(found, names), room.contrasts)}
            for scale in effects["scales"] for found in scale["effects"]
        ],
        "severity": [
            {"scale": scale["scale"], **_capped(severity_table(scale, names), room.severity)}
            for scale in effects["scales"]
        ],
        "not_adjusted": [_not_adjusted(scale, names, room) for scale in effects["scales"]],
        "asked": _asked(effects, names, [row for rows in biases.values() for row in rows[: room.asked]]),
        "made": list(_made(effects)),
    }  # fmt: skip


def _page(record: Row, effects: Row, room: _Room) -> str:
    level = next((found["level"] for scale in effects["scales"] for found in scale["effects"]), 0.95)
    names = Names(effects["questions"])
    figures = []
    for part in record["biases"]:
        rows = bias_table(effects, part["effect"], names)[: room.drawn]
        figures.append({"drawn": len(rows), "svg": bias_figure(rows, part["scales"], level) if rows else None})
    drawn = {part["scale"]: part["rows"][: room.drawn] for part in record["severity"] if part["rows"][: room.drawn]}
    return str(
        page_template("confounder.html.jinja").render(
            record=record,
            figures=figures,
            graph_svg=graph_figure(graph_of(effects["graph"])),
            severity_svg=severity_figure(drawn, level) if drawn else None,
            left_out=room.left_out,
        )
    )


def _capped(rows: Sequence[Any], most: int | None) -> dict[str, Any]:
    shown = list(rows[:most])
    return {"rows": shown, "more": len(rows) - len(shown)}


def _scales_of(effects: Row, effect: str) -> list[str]:
    return [
        scale["scale"] for scale in effects["scales"] if any(found["effect"] == effect for found in scale["effects"])
    ]


def _estimands(scales: Sequence[Row]) -> list[dict[str, Any]]:
    """Text of each estimand: scales that differ in nothing but the column of severity are named together."""
    texts: dict[str, list[str]] = {}
    for scale in scales:
        roles = {role: column for role, column in scale["estimand"]["roles"].items() if role != "severity"}
        text = str(Estimand.from_dict({**scale["estimand"], "roles": roles}))
        texts.setdefault(text, []).append(scale["scale"])
    return [{"scales": names, "text": text} for text, names in texts.items()]


def _not_adjusted(scale: Row, names: Names, room: _Room) -> dict[str, Any]:
    lines = [f"Not estimated: {reason}." for reason in scale["left_out"]]
    for found in scale["effects"]:
        missing = found["items_without_severity"]
        left = f"; {missing:,} more have no severity on this scale and are left out" if missing else ""
        lines.append(
            f"Effect of the {found['effect']}: {found['items']:,} items of {found['patients']:,} patients{left}."
        )
        lines += [f"{warning}." for warning in found["warnings"]]
    if scale["severity"] is not None:
        left = scale["severity"]["left_out"]
        shown = left[: room.sentences]
        lines += [f"Severity's effect left out: {reason}." for reason in shown]
        if len(left) > len(shown):
            lines.append(f"{len(left) - len(shown):,} more comparisons of severities are left out; see report.json.")
    failures = [
        {"effect": found["effect"], **_capped(failure_table(found, names, scale["levels"]), room.failures)}
        for found in scale["effects"]
    ]
    return {"scale": scale["scale"], "lines": lines, "failures": failures}


def _asked(effects: Row, names: Names, rows: Sequence[Row]) -> list[dict[str, str]]:
    """An example of each question and wording in ``rows``."""
    questions = dict.fromkeys(name for row in rows for name in row["questions"])
    wordings = dict.fromkeys(name for row in rows for name in row["wordings"])
    return [
        *({"name": names.question(name), "example": effects["questions"][name]["example"]}
          for name in questions if name in effects["questions"]),
        *({"name": name, "example": effects["wordings"][name]} for name in wordings if name in effects["wordings"]),
    ]  # fmt: skip


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


def _markdown(record: Row) -> str:
    lines = [f"# {record['title']}", "", f"{unmarked(record['cohort'])}, split {unmarked(record['split'])}.", ""]
    for scale in record["summaries"]:
        lines.append(f"- Severity as {unmarked(scale['scale'])} ({unmarked(', '.join(scale['levels']))}):")
        lines += [f"  - **{unmarked(one['claim'])}** {unmarked(one['sentence'])}" for one in scale["effects"]]
    lines += [f"- {unmarked(line)}" for line in (*record["agreement"], record["assumption"])]
    for part in record["biases"]:
        heads = ["held fixed", part["effect"], "answer"]
        for scale in part["scales"]:
            heads += [f"P(A \\| Q), {unmarked(scale)}", f"P(A \\| do(Q)), {unmarked(scale)}", "bias"]
        lines += ["", "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
        for row in part["rows"]:
            cells = [unmarked(row[name]) for name in ("held", "arm", "answer")]
            for scale in part["scales"]:
                one = row["scales"].get(scale)
                cells += ["–"] * 3 if one is None else _cells(one)
            lines.append("| " + " | ".join(cells) + " |")
        if part["more"]:
            lines += ["", f"{part['more']} more are in report.json."]
    for one in record["estimands"]:
        lines += [
            "",
            f"Severity as {unmarked(', '.join(one['scales']))}:",
            "",
            "```",
            one["text"].replace("```", ""),
            "```",
        ]
    lines += ["", "| | |", "|---|---|"]
    lines += [f"| {row['what']} | {unmarked(row['value'])} |" for row in record["made"]]
    return "\n".join([*lines, "", record["made_with"], ""])


def _cells(one: Row) -> list[str]:
    bias = interval({"estimate": one["bias"], "low": one["bias_low"], "high": one["bias_high"]}, signed)
    return [rounded(one["associated"]), rounded(one["interventional"]), bias + (" \\*" if one["clear"] else "")]
