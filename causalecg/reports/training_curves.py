"""Losses by epoch, as a record and as a figure: one panel per arm, one line per seed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from causalecg.reports.figures import as_svg, house_style, new_figure, shortened
from causalecg.reports.palette import GOOD, GREY

_PER_ROW = 4


def read_curves(run: str | Path) -> list[dict[str, Any]]:
    """One entry per epoch of a run: ``stage``, ``training`` (mean loss of the steps, of its first part) and
    ``validation``, ``None`` where a stage has none."""
    path = Path(run) / "metrics.jsonl"
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
        record = json.loads(line)
        losses = [value for name, value in record.items() if name.startswith("loss_")]
        found.append(
            {
                "stage": record["stage"],
                "training": next(iter(losses), None),
                "validation": record.get("validation_loss"),
            }
        )
    return found


def training_curves_figure(curves: Sequence[Mapping[str, Any]]) -> str:
    """SVG of what :func:`read_curves` gives.

    Args:
        curves: {"arm", "seed", "epochs": entries}. Epochs of later stages follow on those before. Losses of different
            arms are losses of different things, so that every panel has a scale of its own.
    """
    arms = list(dict.fromkeys(curve["arm"] for curve in curves))
    rows = -(-len(arms) // _PER_ROW)
    with house_style():
        figure = new_figure(2.2 * min(len(arms), _PER_ROW) + 0.3, 1.75 * rows + 0.35)
        every = figure.subplots(rows, min(len(arms), _PER_ROW), squeeze=False)
        for place, axes in enumerate(every.flat):
            if place >= len(arms):
                axes.set_visible(False)
                continue
            for curve in (one for one in curves if one["arm"] == arms[place]):
                numbers = range(1, len(curve["epochs"]) + 1)
                for key, colour in (("training", GREY), ("validation", GOOD)):
                    values = [float("nan") if e[key] is None else e[key] for e in curve["epochs"]]
                    first = place == 0 and curve is curves[0]
                    axes.plot(numbers, values, color=colour, linewidth=1.2, marker=".", label=key if first else None)
            axes.set_title(shortened(arms[place], 28), fontsize=9)
            axes.set_ylim(bottom=0)
            axes.xaxis.get_major_locator().set_params(integer=True)
        figure.supxlabel("epoch", fontsize=9)
        figure.supylabel("loss", fontsize=9)
        every.flat[0].legend(frameon=False, fontsize=8)
        figure.set_layout_engine("constrained")
        return as_svg(figure, f"Training and validation loss by epoch of {', '.join(map(shortened, arms))}")
