"""The drawing of a causal graph: what is coloured, dashed and shaded, and that nothing lies on anything else."""

from __future__ import annotations

import io
from itertools import combinations, pairwise

import matplotlib.colors
import numpy as np
import pytest
from matplotlib.patches import FancyArrowPatch

from causalecg.reports.figures import graph_figure
from causalecg.reports.graph_drawing import OPEN, SHADE, draw_graph
from structural_models.errors import GraphError
from structural_models.graph import PRESETS, CausalGraph, causal_graph, open_backdoor_paths, preset

TEN = causal_graph(
    [
        "age -> severity -> question -> answer",
        "severity -> ecg -> answer",
        "severity -> answer",
        "sex -> ecg",
        "age -> ecg",
        "hospital -> question",
        "hospital -> device -> ecg",
        "device -> question",
        "genes -> severity",
        "genes -> comorbidity -> answer",
        "age -> comorbidity",
        "age -> answer",
    ],
    {"treatment": "question", "outcome": "answer", "severity": "severity", "ecg": "ecg"},
    latent=["genes"],
)
CASES = [(preset(name), ()) for name in PRESETS] + [(preset("severity_visible"), ("severity",)), (TEN, ("age",))]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0].name}-{'-'.join(case[1])}")
def case(request: pytest.FixtureRequest) -> tuple[CausalGraph, tuple[str, ...]]:
    return request.param


def test_arrows_on_open_paths_are_red_and_no_others(case) -> None:
    graph, given = case
    arrows = [patch for patch in draw_graph(graph, given).axes[0].patches if isinstance(patch, FancyArrowPatch)]
    red = [arrow for arrow in arrows if matplotlib.colors.to_hex(arrow.get_edgecolor()) == OPEN]
    on_path = {frozenset(pair) for path in open_backdoor_paths(graph, given) for pair in pairwise(path)}
    assert len(arrows) == graph.graph.number_of_edges()
    assert len(red) == len(on_path)


def test_latent_nodes_are_dashed_and_nodes_adjusted_for_shaded(case) -> None:
    graph, given = case
    nodes = {
        text.get_text(): text.get_bbox_patch()
        for text in draw_graph(graph, given).axes[0].texts
        if text.get_bbox_patch()
    }
    assert {node for node, box in nodes.items() if box.get_linestyle() == "--"} == graph.latent
    assert {n for n, box in nodes.items() if matplotlib.colors.to_hex(box.get_facecolor()) == SHADE} == set(given)


def test_nothing_overlaps_and_nothing_is_cut_off(case) -> None:
    figure = draw_graph(*case)
    figure.draw_without_rendering()
    texts = figure.axes[0].texts
    boxes = [(text.get_bbox_patch() or text).get_window_extent() for text in texts]
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)
    arrows = [patch for patch in figure.axes[0].patches if isinstance(patch, FancyArrowPatch)]
    for box in [*boxes, *(arrow.get_window_extent() for arrow in arrows)]:
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1


def test_the_caption_names_the_paths() -> None:
    texts = [text.get_text() for text in draw_graph(preset("severity_visible")).axes[0].texts]
    assert "open back-door path: question ← severity → answer" in texts
    texts = [text.get_text() for text in draw_graph(preset("severity_visible"), ["severity"]).axes[0].texts]
    assert "no open back-door path" in texts
    assert "shaded: adjusted for (severity)" in texts
    assert "dashed: not measured (severity)" in [
        t.get_text() for t in draw_graph(preset("latent_severity")).axes[0].texts
    ]
    many = [text.get_text() for text in draw_graph(TEN).axes[0].texts]
    assert sum(text.startswith("open back-door path") for text in many) == 4
    assert f"and {len(open_backdoor_paths(TEN)) - 4} more open back-door paths" in many


def test_random_graphs_are_drawn_within_the_page(random_graph) -> None:
    rng = np.random.default_rng(4)
    for _ in range(15):
        graph = random_graph(rng, nodes="qabcdefghi", density=0.3)
        figure = draw_graph(graph)
        figure.draw_without_rendering()
        for text in figure.axes[0].texts:
            box = text.get_window_extent()
            assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
    with pytest.raises(GraphError, match="'z' as conditioned on"):
        draw_graph(graph, ["z"])


def test_the_same_graph_gives_the_same_bytes() -> None:
    assert graph_figure(TEN, ["age"]) == graph_figure(TEN, ["age"])
    assert "open back-door path in red" not in graph_figure(preset("severity_visible"), ["severity"])


@pytest.mark.parametrize("dpi", [72, 200])
def test_arrows_end_at_the_frames_whatever_the_resolution(dpi: int, monkeypatch) -> None:
    """An arrow's head that lies inside a box is behind it, and nobody sees which way the arrow points."""
    drawn = []
    draw = FancyArrowPatch.draw

    def spy(self, renderer) -> None:
        drawn.append(np.vstack([path.vertices for path in self._get_path_in_displaycoord()[0]]))
        draw(self, renderer)

    figure = draw_graph(preset("topic_and_style"))
    monkeypatch.setattr(FancyArrowPatch, "draw", spy)
    figure.savefig(io.BytesIO(), format="png", dpi=dpi)
    frames = [text.get_bbox_patch() for text in figure.axes[0].texts]
    boxes = [frame.get_window_extent() for frame in frames if frame is not None]
    assert len(drawn) == 8
    for points in drawn:
        assert not any(box.padded(-0.01 * dpi).contains(x, y) for box in boxes for x, y in points)
