from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from structural_models.errors import TableError
from structural_models.sensitivity.misclassification import (
    corrected_counts,
    misclassification_curve,
    misclassification_matrix,
    tipping_rate,
)


def law(levels: int, effect: float, seed: int = 0, topics: int = 2) -> np.ndarray:
    """P(t, s, q, a), all cells positive: three arms, two answers; ``effect`` of the arm on the answer."""
    rng = np.random.default_rng([levels, seed])
    p_ts = rng.dirichlet(np.full(topics * levels, 5.0)).reshape(topics, levels)
    tilt = np.linspace(-1, 1, levels)[:, None] * np.array([-1.0, 0.0, 1.0]) + rng.normal(0, 0.2, (topics, levels, 3))
    q = np.exp(tilt) / np.exp(tilt).sum(-1, keepdims=True)
    a = np.linspace(0.2, 0.7, levels)[None, :, None] + effect * np.array([0.0, 0.05, 0.1]) + np.zeros((topics, 1, 1))
    return np.einsum("ts,tsq,tsqa->tsqa", p_ts, q, np.stack([1 - a, a], -1))


def do(joint: np.ndarray) -> np.ndarray:
    p_ts = joint.sum((2, 3))
    return np.einsum("ts,tsqa->qa", p_ts, joint / joint.sum(3, keepdims=True))


@pytest.mark.parametrize("levels", [2, 3, 5])
@pytest.mark.parametrize("errors", ["uniform", "adjacent"])
def test_the_truth_comes_back_exactly(levels: int, errors: str) -> None:
    joint = law(levels, 1.0)
    wrong = misclassification_matrix(levels, 0.15, errors)
    recorded = np.einsum("tsqa,sj->tjqa", joint, wrong)
    found = corrected_counts(recorded, wrong)
    assert np.abs(found.counts - joint).max() < 1e-12 and found.moved == 0
    curve = misclassification_curve(
        recorded, np.array([0.0, 0.15]), lambda rate: misclassification_matrix(levels, rate, errors)
    )
    assert np.abs(curve.risks[1] - do(joint)).max() < 1e-10
    assert np.abs(curve.risks[0] - do(recorded)).max() < 1e-12
    assert np.abs(curve.risks[0] - do(joint)).max() > 0.005
    crude = np.einsum("t,tqa->qa", joint.sum((1, 2, 3)), joint.sum(1) / joint.sum((1, 3))[..., None])
    assert np.abs(curve.observed - crude).max() < 1e-12
    assert np.abs(curve.bias(2, 1) - (crude - curve.risks)[:, 2, 1]).max() < 1e-12


@settings(deadline=None)
@given(st.integers(2, 5), st.integers(0, 50), st.floats(0, 0.45), st.floats(1, 1e6))
def test_error_and_correction_undo_each_other(levels: int, seed: int, rate: float, rows: float) -> None:
    joint = law(levels, 1.0, seed) * rows
    wrong = misclassification_matrix(levels, rate)
    found = corrected_counts(np.einsum("tsqa,sj->tjqa", joint, wrong), wrong)
    assert np.allclose(found.counts, joint, rtol=1e-7, atol=1e-10 * rows)


@pytest.mark.parametrize("levels", [2, 4])
def test_a_contrast_that_is_all_error_tips_at_the_true_rate(levels: int) -> None:
    """The arm causes nothing: what is left after adjusting for recorded severity is due to the errors."""
    joint = law(levels, 0.0)
    true_rate = 0.1
    recorded = np.einsum("tsqa,sj->tjqa", joint, misclassification_matrix(levels, true_rate))

    def family(rate: float) -> np.ndarray:
        return misclassification_matrix(levels, rate)

    assert tipping_rate(recorded, family, 2, 1, other=0, most=0.3) == pytest.approx(true_rate, abs=1e-9)
    assert tipping_rate(recorded, family, 2, 1, other=0, most=0.05) is None
    assert tipping_rate(joint, family, 2, 1, other=0, most=0.3) == 0.0
    # The bias of what was observed does not vanish by assuming errors; it grows.
    assert tipping_rate(recorded, family, 2, 1, most=0.1) is None
    bias = misclassification_curve(recorded, np.linspace(0, 0.1, 5), family).bias(2, 1)
    assert (np.diff(np.abs(bias)) > 0).all()


@pytest.mark.parametrize("levels", [2, 3])
def test_impossible_counts_are_replaced_by_the_likeliest_possible_ones(levels: int) -> None:
    """Against a general optimiser of the multinomial likelihood over the simplex."""
    wrong = misclassification_matrix(levels, 0.3)
    recorded = np.full((1, levels, 2, 2), 50.0)
    recorded[0, 0, 0, 0], recorded[0, 1, 1, 1] = 2.0, 1.0
    assert (np.einsum("tjqa,js->tsqa", recorded, np.linalg.inv(wrong)) < 0).any()
    found = corrected_counts(recorded, wrong)
    assert (found.counts >= 0).all() and found.moved > 0
    assert np.allclose(found.counts.sum(1), recorded.sum(1))
    for q in range(2):
        for a in range(2):
            seen = recorded[0, :, q, a]

            def minus_log_likelihood(p: np.ndarray, seen: np.ndarray = seen) -> float:
                return -float(seen @ np.log(p @ wrong))

            best = minimize(
                minus_log_likelihood,
                np.full(levels, 1 / levels),
                bounds=[(0, 1)] * levels,
                constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
                method="SLSQP",
                options={"ftol": 1e-14, "maxiter": 500},
            )
            mine = found.counts[0, :, q, a] / seen.sum()
            assert minus_log_likelihood(mine) <= best.fun + 1e-6
            assert np.abs(mine - best.x).max() < 1e-3


@settings(deadline=None)
@given(st.integers(3, 5), st.integers(0, 1000))
def test_no_level_could_be_given_more_for_a_greater_likelihood(levels: int, seed: int) -> None:
    """Karush, Kuhn and Tucker: the slope is one in every level that has counts, and no more in the others."""
    wrong = misclassification_matrix(levels, 0.3)
    recorded = np.random.default_rng(seed).integers(0, 60, (1, levels, 2, 3)).astype(float) + 0.5
    found = corrected_counts(recorded, wrong).counts
    slope = np.einsum("tjqa,sj->tsqa", recorded / np.einsum("tsqa,sj->tjqa", found, wrong), wrong)
    share = found / found.sum(1, keepdims=True)
    assert slope.max() <= 1 + 1e-3
    assert np.abs(share * (slope - 1)).max() <= 1e-4


def test_strata_that_a_correction_empties_are_left_out_and_said() -> None:
    recorded = np.array([[[[40.0, 10.0], [3.0, 3.0]], [[12.0, 3.0], [30.0, 30.0]]]])
    curve = misclassification_curve(recorded, np.array([0.0, 0.2]), lambda rate: misclassification_matrix(2, rate))
    assert curve.left_out[0] == 0 and curve.left_out[1] > 0 and curve.moved[1] > 0
    assert json.loads(json.dumps(curve.to_dict()))["rates"] == [0.0, 0.2]


def test_bad_input_is_refused() -> None:
    n = np.ones((1, 2, 2, 2))
    for call, says in (
        (lambda: misclassification_matrix(1, 0.1), "cannot be mistaken"),
        (lambda: misclassification_matrix(2, 0.5), "below 0.5"),
        (lambda: misclassification_matrix(3, 0.1, "odd"), "uniform or adjacent"),
        (lambda: corrected_counts(n, np.full((2, 2), 0.5)), "cannot be inverted"),
        (lambda: corrected_counts(n, np.array([[0.5, 0.2], [0, 1]])), "sums to one"),
        (lambda: corrected_counts(n[0], np.eye(2)), "held fixed x severity"),
        (lambda: corrected_counts(-n, np.eye(2)), "at least zero"),
    ):
        with pytest.raises(TableError, match=says):
            call()
    lonely = np.zeros((1, 2, 2, 2))
    lonely[0, :, 0] = 1
    with pytest.raises(TableError, match="Nowhere|nowhere"):
        misclassification_curve(lonely, np.zeros(1), lambda rate: np.eye(2))
