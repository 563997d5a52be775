"""Losses by epoch, as a record and as a figure: one panel per arm; a line per seed, and per part that is trained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from causalecg.reports.figures import as_svg, house_style, new_figure, shortened
from causalecg.reports.palette import GOOD, GREY

_PER_ROW = 4


def read_curves(run: str | Path) -> list[dict[str, Any]]:
    """One entry per epoch of a run: ``stage``, ``training`` (part -> mean loss of its steps) and ``validation``
    (``None`` where a stage has none)."""
    path = Path(run) / "metrics.jsonl"
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
        record = json.loads(line)
        losses = {name.removeprefix("loss_"): value for name, value in record.items() if name.startswith("loss_")}
        found.append({"stage": record["stage"], "training": losses, "validation": record.get("validation_loss")})
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
                epochs = curve["epochs"]
                parts = sorted({part for epoch in epochs for part in epoch["training"]})
                lines = [([epoch["training"].get(part) for epoch in epochs], GREY, "training") for part in parts]
                lines.append(([epoch["validation"] for epoch in epochs], GOOD, "validation"))
                for values, colour, label in lines:
                    y = [float("nan") if value is None else value for value in values]
                    axes.plot(range(1, len(y) + 1), y, color=colour, linewidth=1.2, marker=".", label=label)
            axes.set_title(shortened(arms[place], 26), fontsize=8)
            axes.set_ylim(bottom=0)
            axes.xaxis.get_major_locator().set_params(integer=True)
        figure.supxlabel("epoch", fontsize=9)
        figure.supylabel("loss", fontsize=9)
        drawn, labels = every.flat[0].get_legend_handles_labels()
        named = dict(zip(labels, drawn, strict=True))
        every.flat[0].legend(list(named.values()), list(named), frameon=False, fontsize=8)
        figure.set_layout_engine("constrained")
        return as_svg(figure, f"Training and validation loss by epoch of {', '.join(map(shortened, arms))}")
