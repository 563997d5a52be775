"""Figures as inline SVG: the causal graph, a forest plot of arms, covariate balance before and after."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from causalecg.reports.palette import GOOD, GREY, INK, SECOND

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from structural_models.graph import CausalGraph


@contextmanager
def house_style() -> Iterator[None]:
    import matplotlib

    options = {
        "svg.fonttype": "none",
        # A name with a "$" in it is no formula.
        "text.parse_math": False,
        "svg.hashsalt": "causalecg",
        "font.family": "sans-serif",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": GREY,
        "text.color": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    with matplotlib.rc_context(options):
        yield


def graph_figure(graph: CausalGraph, given: Collection[str] = ()) -> str:
    """The graph; arrows on back-door paths that are open given ``given`` are red, unmeasured nodes dashed."""
    from causalecg.reports.graph_drawing import draw_graph
    from structural_models.graph import open_backdoor_paths

    with house_style():
        label = "Causal graph" + (", open back-door path in red" if open_backdoor_paths(graph, given, most=1) else "")
        return as_svg(draw_graph(graph, given), label)


def forest_figure(rows: Sequence[Mapping[str, Any]], panels: Mapping[str, str]) -> str:
    """Estimates and intervals of every arm, one panel per measure.

    Args:
        rows: {"label": ..., measure: {"estimate", "low", "high"} or None}.
        panels: measure -> title.
    """
    shown = [key for key in panels if any(row.get(key) for row in rows)]
    with house_style():
        # Long labels would take the panels' room.
        labels = max(1.6, 0.065 * max(len(shortened(row["label"])) for row in rows))
        figure = new_figure(labels + 2.0 * len(shown), 0.75 + 0.3 * len(rows))
        every = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for axes, key in zip(every, shown, strict=True):
            left, right = 0.0, 1.0
            for place, row in enumerate(rows):
                estimate, *limits = drawable(row.get(key))
                if len(limits) == 2:
                    axes.plot(limits, [place, place], color=GOOD, linewidth=2, solid_capstyle="butt")
                if estimate is not None:
                    axes.plot(estimate, place, "o", color=INK, markersize=4)
                    left, right = min(left, estimate, *limits), max(right, estimate, *limits)
            axes.set_title(panels[key], fontsize=9, loc="left")
            axes.set_xlim(left - 0.03, right + 0.03)
            axes.grid(axis="x", color="#e3e7eb", linewidth=0.8)
            axes.set_axisbelow(True)
            axes.tick_params(length=0)
        every[0].set_yticks(range(len(rows)), [shortened(row["label"]) for row in rows])
        every[0].set_ylim(len(rows) - 0.5, -0.5)
        figure.set_layout_engine("constrained")
        return as_svg(figure, "Estimates with 95 % intervals: " + ", ".join(panels[key] for key in shown))


def shortened(text: str, most: int = 48) -> str:
    """On one line, and short enough to leave room for what is drawn."""
    line = " ".join(str(text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def drawable(value: Mapping[str, Any] | None) -> list[Any]:
    """Estimate and, where both are finite, its two limits; [None] where there is nothing to draw."""
    found = [(value or {}).get(key) for key in ("estimate", "low", "high")]
    numbers = [float("nan") if number is None else float(number) for number in found]
    if not np.isfinite(numbers[0]):
        return [None]
    return numbers if np.isfinite(numbers).all() else numbers[:1]


def balance_figure(balance: pd.DataFrame, title: str) -> str:
    """Standardised mean differences of each covariate level, before and after adjustment (Love plot)."""
    table = balance.head(24)
    with house_style():
        figure = new_figure(5.6, 1.05 + 0.28 * len(table))
        axes = figure.subplots()
        axes.axvline(0.1, color=GREY, linewidth=1, linestyle=":")
        for place, pair in enumerate(table[["smd_before", "smd_after"]].to_numpy(dtype=np.float64)):
            axes.plot(pair, [place, place], color="#cfd6dd", linewidth=1.5, zorder=1)
        axes.scatter(table["smd_before"], range(len(table)), color=SECOND, s=26, label="before", zorder=2)
        axes.scatter(table["smd_after"], range(len(table)), color=GOOD, s=26, label="after", zorder=2)
        labels = [shortened(f"{row.covariate} {row.level}") for row in table.itertuples()]
        axes.set_yticks(range(len(table)), labels)
        axes.set_ylim(len(table) - 0.5, -0.5)
        axes.set_xlim(left=-0.02)
        axes.set_xlabel("standardised mean difference between wordings\n(unweighted spread; .1 is the usual bar)")
        axes.set_title(shortened(title, 80), fontsize=9, loc="left")
        axes.legend(frameon=False, loc="best", ncols=2)
        axes.tick_params(length=0)
        figure.set_layout_engine("constrained")
        return as_svg(figure, f"Balance before and after: {title}")


def new_figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def as_svg(figure: Figure, label: str) -> str:
    from html import escape

    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, facecolor="white")
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(label, quote=True)}" ', 1)
