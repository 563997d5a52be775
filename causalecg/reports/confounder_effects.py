"""The confounder-effect report, from a folder of ``causalecg scm effects``: report.html (one offline file), report.json
and report.md. No model is asked, and nothing is estimated again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from causalecg.cohort.effects_folder import read_effects
from causalecg.reports.confounder_figures import bias_figure, severity_figure
from causalecg.reports.confounder_record import report_record
from causalecg.reports.confounder_rows import Names
from causalecg.reports.declared import graph_of
from causalecg.reports.figures import graph_figure
from causalecg.reports.folder import refuse_other_folder, replace_report
from causalecg.reports.page import LARGEST, environment, interval, rounded, signed, unmarked

Row = Mapping[str, Any]


@dataclass(frozen=True)
class _Room:
    """Most rows of each table, sentences of a kind, and rows of a figure; and what that leaves out."""

    biases: int
    contrasts: int
    severity: int
    failures: int
    sentences: int
    drawn: int
    left_out: str = ""


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
    record = report_record(effects)
    for room in _ROOMS:
        page = _page(record, effects, room)
        if len(page.encode("utf-8")) <= LARGEST:
            break
    return replace_report(out, page, record, _markdown(record, room.biases))


def _page(record: Row, effects: Row, room: _Room) -> str:
    level = next((found["level"] for scale in effects["scales"] for found in scale["effects"]), 0.95)
    heads = [(part, part["rows"][: room.drawn]) for part in record["biases"]]
    severity = {
        part["scale"]: rows for part in record["severity"] if (rows := part["rows"][: min(room.drawn, room.severity)])
    }
    named = [row for part in record["biases"] for row in part["rows"][: max(room.biases, room.drawn)]]
    return str(
        environment()
        .get_template("confounder.html.jinja")
        .render(
            record=record,
            room=room,
            graph_svg=graph_figure(graph_of(effects["graph"])),
            bias_svgs=[bias_figure(rows, part["scales"], level) if rows else None for part, rows in heads],
            severity_svg=severity_figure(severity, level) if severity else None,
            asked=_asked(effects, named),
        )
    )


def _asked(effects: Row, rows: Sequence[Row]) -> list[dict[str, str]]:
    """An example of each question and wording in ``rows``."""
    names = Names.of(effects["questions"])
    questions = dict.fromkeys(name for row in rows for name in row["questions"])
    wordings = dict.fromkeys(name for row in rows for name in row["wordings"])
    return [
        *({"name": names.question(name), "example": effects["questions"][name]["example"]}
          for name in questions if name in effects["questions"]),
        *({"name": name, "example": effects["wordings"][name]} for name in wordings if name in effects["wordings"]),
    ]  # fmt: skip


def _markdown(record: Row, most: int) -> str:
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
        for row in part["rows"][:most]:
            cells = [unmarked(row[name]) for name in ("held", "arm", "answer")]
            for scale in part["scales"]:
                one = row["scales"].get(scale)
                cells += ["–"] * 3 if one is None else _cells(one)
            lines.append("| " + " | ".join(cells) + " |")
        if len(part["rows"]) > most:
            lines += ["", f"{len(part['rows']) - most} more are in report.json."]
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
