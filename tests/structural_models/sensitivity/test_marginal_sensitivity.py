from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linprog

from structural_models.errors import PositivityError, TableError
from structural_models.patient_bootstrap import PatientBootstrap
from structural_models.sensitivity.answer_counts import AnswerCells, one_against_rest
from structural_models.sensitivity.marginal_sensitivity import critical_lambda, marginal_bounds, marginal_interval

tables = hnp.arrays(np.int64, (3, 3, 2), elements=st.integers(1, 9))


def by_linear_programme(n: np.ndarray, arm: int, answer: int, factor: float, sharp: bool, sign: float) -> float:
    """Every row of the arm has a weight of its own; the ratio is made linear as in Charnes & Cooper 1962. The solver
    keeps constraints to 1e-7."""
    strata, a = np.nonzero(n[:, arm] > 0)
    stratum = np.repeat(strata, n[strata, arm, a])
    case = np.repeat(a, n[strata, arm, a]) == answer
    e = n[:, arm].sum(1) / n.sum((1, 2))
    odds = (1 / e - 1)[stratum]
    low, high = 1 + odds / factor, 1 + odds * factor
    rows = len(stratum)
    # Variables: weight / sum of weights of every row, and 1 / sum of weights.
    upper = np.vstack([np.c_[np.eye(rows), -high], np.c_[-np.eye(rows), low]])
    equal, right = [np.r_[np.ones(rows), 0.0]], [1.0]
    if sharp:
        for s in range(len(n)):
            equal.append(np.r_[(stratum == s).astype(float), -n[s].sum()])
            right.append(0.0)
    found = linprog(-sign * np.r_[case.astype(float), 0.0], upper, np.zeros(2 * rows), np.array(equal), right)
    assert found.success
    return -sign * found.fun


@settings(deadline=None, max_examples=40)
@given(tables, st.floats(1, 8), st.booleans())
def test_bounds_solve_the_linear_programme(n: np.ndarray, factor: float, sharp: bool) -> None:
    found = marginal_bounds(n, np.array([factor]), sharp=sharp)
    for arm, answer in ((0, 1), (2, 0)):
        for side, sign in ((found.low, -1.0), (found.high, 1.0)):
            wanted = by_linear_programme(n, arm, answer, factor, sharp, sign)
            assert side[0, arm, answer] == pytest.approx(wanted, abs=1e-6)


@settings(deadline=None)
@given(tables)
def test_they_start_at_the_estimate_widen_and_the_sharp_ones_lie_within(n: np.ndarray) -> None:
    grid = np.array([1.0, 1.2, 2.0, 5.0, 100.0])
    sharp, wide = (marginal_bounds(n, grid, sharp=kind) for kind in (True, False))
    share = n.sum((1, 2)) / n.sum()
    plug_in = np.einsum("s,sqa->qa", share, n / n.sum(2, keepdims=True))
    for found in (sharp, wide):
        assert np.abs(found.low[0] - plug_in).max() < 1e-12 and np.abs(found.high[0] - plug_in).max() < 1e-12
        assert (np.diff(found.low, axis=0) <= 1e-12).all() and (np.diff(found.high, axis=0) >= -1e-12).all()
        assert (found.low >= -1e-12).all() and (found.high <= 1 + 1e-12).all()
    assert (wide.low <= sharp.low + 1e-12).all() and (sharp.high <= wide.high + 1e-12).all()
    # One answer's upper bound is the lower bound of the other one.
    assert np.abs(sharp.high[..., 1] - 1 + sharp.low[..., 0]).max() < 1e-12
    assert np.abs(wide.high[..., 1] - 1 + wide.low[..., 0]).max() < 1e-12


def law_with_hidden_cause() -> tuple[np.ndarray, np.ndarray, float]:
    """P(s, q, a) with u summed out, P(a | do(q)), and the largest factor between odds with and without u."""
    p_s, p_u = np.array([0.4, 0.6]), np.array([0.5, 0.5])
    q = np.array([[[5, 3, 2], [3, 3, 4]], [[2, 3, 5], [1, 6, 3]]]) / 10
    a = np.array([[[2, 3, 4], [4, 5, 7]], [[1, 5, 6], [3, 6, 9]]]) / 10
    law = np.einsum("s,u,suq,suqa->sqa", p_s, p_u, q, np.stack([1 - a, a], -1))
    e = np.einsum("u,suq->sq", p_u, q)
    odds = (q / (1 - q)) / (e / (1 - e))[:, None]
    return law, np.einsum("s,u,suq->q", p_s, p_u, a), float(np.maximum(odds, 1 / odds).max())


def test_the_truth_lies_within_at_the_true_lambda() -> None:
    law, do, factor = law_with_hidden_cause()
    found = marginal_bounds(law, np.array([1.0, factor]))
    assert (found.low[1, :, 1] <= do).all() and (do <= found.high[1, :, 1]).all()
    assert not np.allclose(found.low[0, :, 1], do, atol=0.005)


def test_the_critical_lambda_is_where_zero_enters() -> None:
    law, _, _ = law_with_hidden_cause()
    for kind in (True, False):
        for arm, other in ((2, 0), (0, 2)):
            least = critical_lambda(law, arm, other, 1, sharp=kind)
            low, high = marginal_bounds(law, np.array([least]), sharp=kind).contrast(arm, other, 1)
            assert min(abs(low[0]), abs(high[0])) < 1e-9 and 1 < least < 20
    assert critical_lambda(law, 2, 0, 1) >= critical_lambda(law, 2, 0, 1, sharp=False)
    assert critical_lambda(np.ones((1, 2, 2)), 0, 1, 0) == 1.0


def cells_of(rows: int, seed: int = 0) -> AnswerCells:
    law, _, _ = law_with_hidden_cause()
    at = np.random.default_rng([1, seed]).choice(law.size, rows, p=law.ravel())
    s, q, a = (codes.astype(np.int64) for codes in np.unravel_index(at, law.shape))
    return AnswerCells(s, q, a, law.shape)


def test_the_interval_holds_the_bounds_and_is_as_wide_as_the_delta_method_says() -> None:
    cells, replicates = cells_of(3000), 2000
    bootstrap = PatientBootstrap.of(None, 3000, replicates, rng=np.random.default_rng(0))
    grid = np.array([1.0, 2.0])
    inner, outer = marginal_bounds(cells.counts(), grid), marginal_interval(cells, grid, bootstrap)
    assert (outer.low <= inner.low).all() and (inner.high <= outer.high).all()
    n = cells.counts()
    by_arm, share = n.sum(2), n.sum((1, 2)) / n.sum()
    p = n[..., 1] / by_arm
    do = share @ p
    variance = share**2 @ (p * (1 - p) / by_arm) + share @ (p - do) ** 2 / n.sum()
    width = (outer.high - outer.low)[0, :, 1] / (2 * 1.96 * np.sqrt(variance))
    # A percentile of 2,000 has a relative error of sqrt(.025 .975 / 2000) / (1.96 phi(1.96)) = .030; two of them make up
    # a width.
    assert np.abs(width - 1).max() < 3 * 0.030 / np.sqrt(2)


@pytest.mark.slow
def test_the_interval_covers() -> None:
    """Percentile intervals of an estimate of about .4 from 600 rows, over 400 tables."""
    law, _, _ = law_with_hidden_cause()
    wanted = marginal_bounds(law, np.array([2.0]))
    held = np.zeros((3,))
    for seed in range(400):
        bootstrap = PatientBootstrap.of(None, 600, 200, rng=np.random.default_rng(seed))
        found = marginal_interval(cells_of(600, seed), np.array([2.0]), bootstrap)
        held += ((found.low <= wanted.low) & (wanted.high <= found.high))[0, :, 1]
    assert (held / 400 >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 400)).all()


def test_a_million_rows_are_as_good_as_a_few() -> None:
    """Counts are all that is used: linear in rows, and in strata."""
    rng = np.random.default_rng(0)
    rows = 1_000_000
    cells = AnswerCells(rng.integers(0, 350, rows), rng.integers(0, 5, rows), rng.integers(0, 3, rows), (350, 5, 3))
    n = cells.counts()
    assert n.sum() == rows and n.shape == (350, 5, 3)
    found = marginal_bounds(n, np.linspace(1, 3, 21))
    assert found.low.shape == (21, 5, 3)
    assert np.abs(marginal_bounds(n * 2, np.linspace(1, 3, 21)).low - found.low).max() < 1e-12


def test_one_arm_against_the_rest() -> None:
    n = np.array([[[1, 2], [3, 4], [5, 6]], [[0, 0], [1, 1], [2, 2]]], dtype=float)
    assert one_against_rest(n, 1)[0].tolist() == [[6, 8], [3, 4]]
    assert not one_against_rest(n, 0)[1].any()


def test_bad_input_is_refused() -> None:
    n = np.ones((2, 2, 2))
    hole = n.copy()
    hole[1, 0] = 0
    for call, error, says in (
        (lambda: marginal_bounds(hole, np.array([1.0])), PositivityError, "arm 0 has no row in stratum 1"),
        (lambda: marginal_bounds(n, np.array([0.5])), TableError, "at least 1"),
        (lambda: marginal_bounds(n[0], np.array([1.0])), TableError, "stratum x treatment x answer"),
        (lambda: AnswerCells(np.array([2]), np.array([0]), np.array([0]), (2, 2, 2)), TableError, "from 0 to 1"),
    ):
        with pytest.raises(error, match=says):
            call()
