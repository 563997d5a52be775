from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import structural_models
from structural_models.errors import TableError
from structural_models.sensitivity.answer_counts import AnswerCells
from structural_models.sensitivity.refuters import Refutations, refute_contrast

DRAWS = 8
SEVERITY = np.array([0.5, 0.3, 0.2])
ARMS = np.array([[6, 3, 1], [3, 4, 3], [1, 2, 7]]) / 10
ANSWER = np.array([[15, 25, 35], [40, 50, 60], [65, 75, 90]]) / 100


def cells_of(rows: int, seed: int = 0) -> AnswerCells:
    """Severity raises both the arm and the answer; the arm has an effect of its own."""
    rng = np.random.default_rng([11, seed])
    s = rng.choice(3, rows, p=SEVERITY)
    q = (ARMS[s].cumsum(1) < rng.random(rows)[:, None]).sum(1)
    a = (rng.random(rows) < ANSWER[s, q]).astype(np.int64)
    return AnswerCells(s.astype(np.int64), q.astype(np.int64), a, (3, 3, 2))


def plug_in(cells: AnswerCells, arm: int, other: int | None) -> float:
    n = cells.counts()
    two = n[:, [arm, other]] if other is not None else np.stack([n[:, arm], n.sum(1) - n[:, arm]], 1)
    p = two[..., 1] / two.sum(2)
    weight = two.sum((1, 2)) / two.sum()
    return float(weight @ (p[:, 0] - p[:, 1]))


@pytest.fixture(scope="module")
def cells() -> AnswerCells:
    return cells_of(3000)


@pytest.fixture(scope="module")
def found(cells: AnswerCells) -> Refutations:
    return refute_contrast(cells, 2, 1, other=0, rng=np.random.default_rng(0), simulations=DRAWS)


def test_the_estimate_is_the_plug_in_of_the_estimand_that_is_named(cells: AnswerCells, found: Refutations) -> None:
    assert found.estimate == pytest.approx(plug_in(cells, 2, 0), abs=1e-6)
    assert "do(arm 2)" in found.estimand and "do(arm 0)" in found.estimand and "either of the two" in found.estimand
    assert found.rows == int((cells.arm != 1).sum())
    rest = refute_contrast(cells, 2, 1, rng=np.random.default_rng(0), simulations=5)
    assert rest.estimate == pytest.approx(plug_in(cells, 2, None), abs=1e-6)
    assert "all other arms together" in rest.estimand and rest.rows == 3000
    assert abs(rest.estimate - found.estimate) > 0.01


def test_a_sound_estimate_is_refuted_by_none(cells: AnswerCells, found: Refutations) -> None:
    by_name = {result.name: result for result in found.results}
    for name, wanted in {
        "placebo treatment": 0.0,
        "dummy answer": 0.0,
        "80% of the rows": found.estimate,
        "bootstrap": found.estimate,
    }.items():
        result = by_name[name]
        # The mean of the draws; a subset or bootstrap estimate is itself off by far less than its spread.
        assert abs(result.mean - wanted) <= 4 * result.spread / np.sqrt(DRAWS)
        assert result.spread > 0 and result.verdict == "as expected"
    idle = by_name["random common cause"]
    assert idle.verdict == "as expected" and 0 < abs(idle.mean - found.estimate) < 0.1 * by_name["bootstrap"].spread
    # The bootstrap's spread is the delta method's, to the error of a spread of so few draws.
    n = cells.counts()[:, [2, 0]]
    p, w = n[..., 1] / n.sum(2), n.sum((1, 2)) / n.sum()
    gap = p[:, 0] - p[:, 1]
    variance = w**2 @ (p * (1 - p) / n.sum(2)).sum(1) + w @ (gap - w @ gap) ** 2 / n.sum()
    assert by_name["bootstrap"].spread == pytest.approx(np.sqrt(variance), rel=4 / np.sqrt(2 * (DRAWS - 1)))


def test_turning_both_around_in_the_same_rows_adds_association(found: Refutations) -> None:
    strengths = [result for result in found.results if result.expectation == "informative"]
    assert len(strengths) == 4 and {result.verdict for result in strengths} == {"informative"}
    moved = [abs(result.mean - found.estimate) for result in strengths]
    assert moved[-1] > 3 * strengths[-1].spread / np.sqrt(DRAWS)


@pytest.mark.filterwarnings("ignore::RuntimeWarning:dowhy")
def test_the_naive_calls_are_wrong_and_ours_are_not(cells: AnswerCells, found: Refutations) -> None:
    """One frame for estimate and placebo; an integer seed for the bootstrap."""
    import networkx as nx
    from dowhy.causal_estimators.propensity_score_weighting_estimator import PropensityScoreWeightingEstimator
    from dowhy.causal_identifier import EstimandType, identify_effect_auto
    from dowhy.causal_refuters import refute_bootstrap, refute_placebo_treatment
    from dowhy.causal_refuters.placebo_treatment_refuter import PlaceboType

    kept = cells.arm != 1
    frame = pd.DataFrame(
        {"s": cells.stratum[kept].astype(str), "d": (cells.arm[kept] == 2).astype(int), "y": cells.answer[kept]}
    ).astype({"s": object})
    estimand = identify_effect_auto(
        nx.DiGraph([("s", "d"), ("s", "y"), ("d", "y")]), ["d"], ["y"], ["s", "d", "y"], EstimandType.NONPARAMETRIC_ATE
    )
    estimand.set_identifier_method("backdoor")
    estimate = (
        PropensityScoreWeightingEstimator(estimand)
        .fit(frame, effect_modifier_names=[])
        .estimate_effect(frame, treatment_value=1, control_value=0, target_units="ate")
    )
    assert "propensity_score" in frame.columns
    placebo = refute_placebo_treatment(
        frame, estimand, estimate, ["d"], num_simulations=10, placebo_type=PlaceboType.PERMUTE, random_state=0
    )
    ours = found.results[0]
    assert abs(placebo.new_effect) > 5 * ours.spread
    assert abs(ours.mean) <= 4 * ours.spread / np.sqrt(DRAWS)
    clean = frame[["s", "d", "y"]].copy()
    repeated = {
        float(
            refute_bootstrap(
                clean.copy(), estimand, estimate, num_simulations=k, random_state=0, required_variables=False
            ).new_effect
        )
        for k in (1, 2, 3)
    }
    assert max(repeated) - min(repeated) < 1e-9
    assert next(result for result in found.results if result.name == "bootstrap").spread > 0.005


def test_a_wrong_estimator_would_be_found_out(monkeypatch: pytest.MonkeyPatch, cells: AnswerCells) -> None:
    """Without copies of the frame the placebo is refuted."""
    monkeypatch.setattr(pd.DataFrame, "copy", lambda self, deep=True: self)
    broken = refute_contrast(cells, 2, 1, other=0, rng=np.random.default_rng(0), simulations=5)
    assert broken.results[0].verdict == "not as expected"


def test_same_seed_same_bytes_and_numpys_own_state_is_left_alone() -> None:
    small = cells_of(400, 1)
    np.random.seed(5)
    wanted = np.random.RandomState(5).random()
    records = [
        json.dumps(refute_contrast(small, 2, 1, other=0, rng=np.random.default_rng(3), simulations=5).to_dict())
        for _ in range(2)
    ]
    assert records[0] == records[1]
    assert np.random.random() == wanted


def test_two_files_speak_to_dowhy() -> None:
    root = Path(structural_models.__file__).parent
    speaking = {path.relative_to(root).as_posix() for path in root.rglob("*.py") if "dowhy" in _imported(path)}
    assert speaking == {"adjustment_sets.py", "sensitivity/refuters.py"}


def _imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.split(".")[0] for name in found}


def test_bad_input_is_refused(cells: AnswerCells) -> None:
    rng = np.random.default_rng(0)
    never = AnswerCells(cells.stratum, cells.arm, np.zeros_like(cells.answer), cells.shape)
    for call, says in (
        (lambda: refute_contrast(cells, 1, 1, other=1, rng=rng), "with itself"),
        (lambda: refute_contrast(cells, 1, 1, other=0, rng=rng, simulations=2), "at least 5"),
        (lambda: refute_contrast(never, 1, 1, other=0, rng=rng), "nothing to refute"),
    ):
        with pytest.raises(TableError, match=says):
            call()
