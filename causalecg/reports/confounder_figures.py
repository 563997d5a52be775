"""Figures of confounder effects: what is seen against what asking would do, and severity's effect in its parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from causalecg.reports.figures import as_svg, drawable, house_style, new_figure, shortened
from causalecg.reports.palette import GOOD, GREY, INK, OPEN, SECOND

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
_SEEN, _DONE = "P(A | Q), as seen", "P(A | do(Q)), severity adjusted for"
_PARTS = {
    "total": (INK, "D", "the whole"),
    "direct": (GOOD, "o", "direct effect of severity, not through the wording"),
    "indirect": (SECOND, "s", "through the wording"),
}


#: Characters.
_LABEL = 66


@dataclass(frozen=True)
class _Line:
    """A line of a figure: a heading, or where a row is drawn."""

    text: str
    row: Row | None = None


def bias_figure(rows: Sequence[Row], scales: Sequence[str], level: float) -> str:
    """P(A | Q) and P(A | do(Q)) with intervals, one panel per scale; grouped by what was held fixed.

    Args:
        rows: of :func:`causalecg.reports.confounder_rows.bias_table`.
        level: of the intervals.
    """
    lines = _grouped(rows, lambda row: row["held"], lambda row: f"{row['arm']}: {row['answer']}")
    with house_style():
        figure, every = _panels(lines, len(scales))
        for axes, scale in zip(every, scales, strict=True):
            shown = [(y, line.row["scales"].get(scale)) for y, line in enumerate(lines) if line.row is not None]
            drawn = [(y, row) for y, row in shown if row is not None]
            for clear, color, width in ((False, "#b9c2cb", 1.4), (True, OPEN, 2.0)):
                _joined(axes, [(y, row) for y, row in drawn if row["clear"] == clear], color, width)
            for name, color, marker, below in (("associated", SECOND, "o", -0.15), ("interventional", GOOD, "s", 0.15)):
                _marks(axes, [(y + below, _limits(row, name)) for y, row in drawn], color, marker)
            axes.set_xlim(-0.03, 1.03)
            axes.set_title(f"severity as {shortened(scale, 30)}", fontsize=9, loc="left")
        _key(
            figure,
            [(SECOND, "o", _SEEN), (GOOD, "s", _DONE), (OPEN, "", "their difference, clear of zero (Holm)"),
             ("#b9c2cb", "", "not clear")],
        )  # fmt: skip
        about = f"P(A | Q) and P(A | do(Q)) with {100 * level:g} % intervals, one panel per severity scale"
        return as_svg(figure, about)


def severity_figure(scales: Mapping[str, Sequence[Row]], level: float) -> str:
    """Severity's effect on the answer, whole and in its two parts, with intervals.

    Args:
        scales: name -> rows of :func:`causalecg.reports.confounder_rows.severity_table`.
        level: of the intervals.
    """
    lines: list[_Line] = []
    for scale, rows in scales.items():
        lines.append(_Line(shortened(f"severity as {scale}", _LABEL)))
        for row in rows:
            name = ", ".join(part for part in (row["held"], _compared(row)) if part)
            lines.append(_Line(shortened(name, _LABEL), row))
    with house_style():
        figure, (axes,) = _panels(lines, 1, width=4.6)
        axes.axvline(0, color=GREY, linewidth=1)
        for offset, (part, (color, marker, _)) in zip((-0.24, 0.0, 0.24), _PARTS.items(), strict=True):
            _marks(axes, [(y + offset, line.row[part]) for y, line in enumerate(lines) if line.row], color, marker)
        axes.set_xlabel("change in the answer's probability")
        _key(figure, list(_PARTS.values()))
        return as_svg(figure, f"Severity's effect on the answer in its parts, with {100 * level:g} % intervals")


def _grouped(rows: Iterable[Row], group: Any, label: Any) -> list[_Line]:
    """Rows under a heading per group, groups in the order in which they first come."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(group(row), []).append(row)
    lines: list[_Line] = []
    for heading, members in groups.items():
        if heading:
            lines.append(_Line(shortened(heading, _LABEL)))
        lines += [_Line(shortened(label(row), _LABEL), row) for row in members]
    return lines


def _compared(row: Row) -> str:
    return f"{row['severity']} against {row['against']}: {row['answer']}"


def _panels(lines: Sequence[_Line], count: int, width: float = 3.1) -> tuple[Figure, Sequence[Axes]]:
    """Panels with a common list of lines on the left; headings are bold, and stand where nothing is drawn."""
    labels = max(1.6, 0.066 * max(len(line.text) for line in lines))
    # Room for the key, too.
    figure = new_figure(max(labels + width * count, 6.2), 1.25 + 0.235 * len(lines))
    figure.set_layout_engine("constrained", rect=(0, 0, 1, 1 - 0.62 / figure.get_figheight()))
    every = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    for axes in every:
        axes.grid(axis="x", color="#e3e7eb", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
    every[0].set_yticks(range(len(lines)), [line.text for line in lines])
    for tick, line in zip(every[0].get_yticklabels(), lines, strict=True):
        tick.set_fontweight("normal" if line.row is not None else "bold")
    every[0].set_ylim(len(lines) - 0.4, -0.6)
    return figure, every


def _marks(axes: Axes, values: Sequence[tuple[float, Row]], color: str, marker: str) -> None:
    drawn = [(y, drawable(value)) for y, value in values]
    spans = np.array([(y, *found[1:]) for y, found in drawn if len(found) == 3]).reshape(-1, 3)
    axes.hlines(spans[:, 0], spans[:, 1], spans[:, 2], color=color, linewidth=1.3, zorder=2)
    points = np.array([(found[0], y) for y, found in drawn if found[0] is not None]).reshape(-1, 2)
    axes.scatter(points[:, 0], points[:, 1], color=color, marker=marker, s=20, zorder=3)


def _joined(axes: Axes, rows: Sequence[tuple[int, Row]], color: str, width: float) -> None:
    from matplotlib.collections import LineCollection

    ends = [
        [(row["associated"], y - 0.15), (row["interventional"], y + 0.15)]
        for y, row in rows
        if row["associated"] is not None and row["interventional"] is not None
    ]
    axes.add_collection(LineCollection([np.array(pair) for pair in ends], colors=color, linewidths=width, zorder=1))


def _key(figure: Figure, entries: Sequence[tuple[str, str, str]]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=color, marker=marker or None, markersize=4.5, linewidth=1.6, label=label)
        for color, marker, label in entries
    ]
    figure.legend(handles=handles, loc="upper left", ncols=2, frameon=False, fontsize=8.5)


def _limits(row: Row, name: str) -> dict[str, Any]:
    return {"estimate": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}
