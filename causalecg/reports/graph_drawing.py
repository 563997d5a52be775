"""A causal graph drawn: open back-door paths in colour, unmeasured nodes dashed, nodes adjusted for shaded."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import networkx as nx
import numpy as np

from causalecg.reports.palette import GREY, INK, OPEN, SHADE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from structural_models.graph import CausalGraph

#: Where the nodes of each role stand, in inches; a graph with other nodes, or long names, is drawn in layers.
_PLACES = {
    "severity": (0.0, 1.6),
    "treatment": (-1.7, 0.0),
    "outcome": (1.7, 0.0),
    "ecg": (2.3, 1.6),
    "finding": (1.15, 0.95),
    "topic": (0.0, -1.0),
}
_LONGEST = 13
_GAP, _RISE = 0.55, 1.0
_CLEAR = 0.12
#: Curvatures tried for an arrow, as matplotlib's "arc3" has them.
_BENDS = sorted(np.linspace(-0.72, 0.72, 19).round(2).tolist(), key=abs)
_PATHS_NAMED, _PATHS_COLOURED = 4, 500


@dataclass(frozen=True)
class _Box:
    """A node's box, in inches."""

    x: float
    y: float
    width: float
    height: float = 0.36

    def hides(self, x: np.ndarray, y: np.ndarray) -> int:
        """How many of the points lie close to the box; those inside count ten times."""

        def within(clear: float) -> int:
            near = (abs(x - self.x) < self.width / 2 + clear) & (abs(y - self.y) < self.height / 2 + clear)
            return int(near.sum())

        return within(_CLEAR) + 9 * within(0.0)


def draw_graph(graph: CausalGraph, given: Collection[str] = ()) -> Figure:
    """The graph, and below it which back-door paths are open.

    Args:
        given: nodes adjusted for.

    Raises:
        GraphError: a name in ``given`` is not a node of the graph.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyArrowPatch, Rectangle

    from structural_models.graph import open_backdoor_paths

    paths = open_backdoor_paths(graph, given, most=_PATHS_COLOURED)
    on_path = {frozenset(pair) for path in paths for pair in pairwise(path)}
    boxes = _boxes(graph)
    bends = {edge: _bend(boxes, *edge) for edge in sorted(graph.graph.edges)}
    captions = _captions(graph, given, [graph.path_text(path) for path in paths])
    curves = [_curve(boxes[cause], boxes[effect], bend) for (cause, effect), bend in bends.items()]
    left, right = _extent([(box.x, box.width) for box in boxes.values()], [x for x, _ in curves])
    bottom, top = _extent([(box.y, box.height) for box in boxes.values()], [y for _, y in curves])
    longest = max(len(line) for line, _ in captions) * 0.072
    room = 0.2 * len(captions) + 0.12
    middle, width = (left + right) / 2, max(right - left, longest) + 0.4
    height = top - bottom + 0.6 + room
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(middle - width / 2, middle + width / 2)
    axes.set_ylim(bottom - 0.3 - room, top + 0.3)
    drawn = {}
    for node, box in boxes.items():
        frame = {
            "boxstyle": "round,pad=0.45",
            "facecolor": SHADE if node in given else "white",
            "edgecolor": INK,
            "linewidth": 1.2,
            "linestyle": "--" if node in graph.latent else "-",
        }
        drawn[node] = axes.text(box.x, box.y, node, ha="center", va="center", bbox=frame, fontsize=10, zorder=3)
    figure.draw_without_rendering()
    # A text's own frame is in pixels of the last drawing; at another resolution arrows would end inside the boxes.
    ends = {}
    for node, text in drawn.items():
        frame_drawn = text.get_bbox_patch()
        assert frame_drawn is not None
        extent = frame_drawn.get_window_extent().transformed(axes.transData.inverted())
        ends[node] = Rectangle(extent.p0, extent.width, extent.height, facecolor="none", edgecolor="none")
        axes.add_patch(ends[node])
    for (cause, effect), bend in bends.items():
        red = frozenset((cause, effect)) in on_path
        arrow = FancyArrowPatch(
            (boxes[cause].x, boxes[cause].y),
            (boxes[effect].x, boxes[effect].y),
            patchA=ends[cause],
            patchB=ends[effect],
            connectionstyle=f"arc3,rad={bend}",
            arrowstyle="-|>",
            color=OPEN if red else GREY,
            linewidth=2.2 if red else 1.3,
            shrinkA=1,
            shrinkB=2,
            mutation_scale=13,
            zorder=2 if red else 1,
        )
        axes.add_patch(arrow)
    for place, (line, colour) in enumerate(captions):
        axes.text(middle, bottom - 0.42 - 0.2 * place, line, ha="center", va="center", fontsize=9, color=colour)
    return figure


def _captions(graph: CausalGraph, given: Collection[str], paths: list[str]) -> list[tuple[str, str]]:
    """Lines and their colours."""
    told = [(f"open back-door path: {path}", OPEN) for path in paths[:_PATHS_NAMED]]
    if len(paths) > _PATHS_NAMED:
        least = "at least " if len(paths) == _PATHS_COLOURED else ""
        told.append((f"and {least}{len(paths) - _PATHS_NAMED} more open back-door paths", OPEN))
    marks = [f"shaded: adjusted for ({', '.join(sorted(given))})"] if given else []
    marks += [f"dashed: not measured ({', '.join(sorted(graph.latent))})"] if graph.latent else []
    return [*(told or [("no open back-door path", INK)]), *((mark, GREY) for mark in marks)]


def _extent(spans: Iterable[tuple[float, float]], curves: Iterable[np.ndarray]) -> tuple[float, float]:
    """From the lowest end to the highest, of things with a centre and a size and of curves."""
    ends = [end for centre, size in spans for end in (centre - size / 2, centre + size / 2)]
    ends += [float(end) for curve in curves for end in (curve.min(), curve.max())]
    return min(ends), max(ends)


def _boxes(graph: CausalGraph) -> dict[str, _Box]:
    widths = {node: 0.3 + 0.086 * len(node) for node in sorted(graph.graph)}
    if all(graph.role_of(node) and len(node) <= _LONGEST for node in widths):
        places = {node: _PLACES[str(graph.role_of(node))] for node in widths}
    else:
        places = _layered(graph.graph, widths)
    return {node: _Box(*places[node], widths[node]) for node in widths}


def _layered(graph: nx.DiGraph, widths: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Causes above effects; within a layer each node near the middle of its neighbours (Sugiyama et al. 1981).

    An arrow over several layers keeps a place free in each of them.
    """
    layer = {node: depth for depth, nodes in enumerate(nx.topological_generations(graph)) for node in nodes}
    for node in reversed(list(nx.topological_sort(graph))):
        below = [layer[effect] for effect in graph.successors(node)]
        layer[node] = min(below) - 1 if below else layer[node]
    links: list[tuple[object, object]] = []
    level: dict[object, int] = dict(layer)
    for cause, effect in sorted(graph.edges):
        stops = [(cause, effect, depth) for depth in range(layer[cause] + 1, layer[effect])]
        level |= {stop: stop[2] for stop in stops}
        links += pairwise([cause, *stops, effect])
    near = nx.Graph(links)
    near.add_nodes_from(graph)
    rows = [[node for node in level if level[node] == depth] for depth in range(max(level.values()) + 1)]
    place: dict[object, float] = {}
    for row in rows:
        place |= _spread(row, widths)
    for sweep in range(24):
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            middles = {
                node: float(np.mean([place[other] for other in near[node]])) if near[node] else 0.0 for node in row
            }
            row.sort(key=lambda node: (middles[node], str(node)))
            place |= _spread(row, widths, middles)
    return {node: (place[node], -_RISE * layer[node]) for node in graph}


def _spread(
    row: list[object], widths: Mapping[str, float], wanted: Mapping[object, float] | None = None
) -> dict[object, float]:
    """Places along a row: in its order, without overlap, and as a whole centred where the nodes want to be."""
    place: dict[object, float] = {}
    edge = 0.0
    for node in row:
        width = widths.get(str(node), 0.0) if isinstance(node, str) else 0.0
        centre = max(edge + width / 2, wanted[node] if wanted and place else edge + width / 2)
        place[node] = centre
        edge = centre + width / 2 + _GAP
    shift = np.mean([(wanted[node] if wanted else 0.0) - place[node] for node in row])
    return {node: at + float(shift) for node, at in place.items()}


def _bend(boxes: Mapping[str, _Box], cause: str, effect: str) -> float:
    """The least curvature that keeps an arrow clear of other nodes, or as clear as can be."""
    others = [box for node, box in boxes.items() if node not in (cause, effect)]
    hidden = {}
    for bend in _BENDS:
        hidden[bend] = sum(box.hides(*_curve(boxes[cause], boxes[effect], bend)) for box in others)
        if not hidden[bend]:
            return bend
    return min(hidden, key=lambda bend: hidden[bend])


def _curve(start: _Box, end: _Box, bend: float) -> tuple[np.ndarray, np.ndarray]:
    """Points of matplotlib's arc3: its control point stands off the middle by ``bend`` times the length."""
    t = np.linspace(0, 1, 60)
    x = (start.x + end.x) / 2 + bend * (end.y - start.y)
    y = (start.y + end.y) / 2 - bend * (end.x - start.x)
    along_x = (1 - t) ** 2 * start.x + 2 * t * (1 - t) * x + t**2 * end.x
    along_y = (1 - t) ** 2 * start.y + 2 * t * (1 - t) * y + t**2 * end.y
    return along_x, along_y
