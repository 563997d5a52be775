from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structural_models.errors import PositivityError, TableError
from structural_models.resampling import matched_pairs, stratified_resample, systematic_resample


def within_one(counts: np.ndarray, expected: np.ndarray) -> bool:
    return bool((np.abs(counts - expected) < 1 + 1e-9).all())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=40), st.integers(1, 200), st.integers(0, 999))
def test_every_row_and_group_is_drawn_floor_or_ceil_times(values: list[float], size: int, seed: int) -> None:
    weights = np.array(values)
    if not (weights > 1e-9).any():
        return
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 5, len(weights))
    drawn = systematic_resample(weights, size, rng=rng, groups=groups)
    assert len(drawn) == size
    expected = size * weights / weights.sum()
    assert within_one(np.bincount(drawn, minlength=len(weights)), expected)
    assert within_one(np.bincount(groups[drawn], minlength=5), np.bincount(groups, expected, minlength=5))
    assert (weights[drawn] > 0).all()


def test_systematic_draws_are_unbiased_and_quieter_than_independent_ones() -> None:
    weights = np.array([0.2, 0.5, 1.3, 2.0])
    rng = np.random.default_rng(0)
    counts = np.array([np.bincount(systematic_resample(weights, 6, rng=rng), minlength=4) for _ in range(4000)])
    share = weights / weights.sum()
    multinomial = 6 * share * (1 - share)
    assert np.abs(counts.mean(axis=0) - 6 * share).max() < 4 * np.sqrt(0.25 / 4000)
    assert (counts.var(axis=0) <= 0.25 + 0.02).all()
    assert counts.var(axis=0).sum() < multinomial.sum()


def test_same_seed_same_rows() -> None:
    weights = np.random.default_rng(0).random(100)
    first, second = (systematic_resample(weights, 50, rng=np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    severity = rng.integers(0, 3, 1500)
    style = np.where(rng.random(1500) < 0.8, severity, rng.integers(0, 3, 1500))
    return pd.DataFrame({"severity": severity, "style": style, "patient": rng.integers(0, 400, 1500)})


def cell_counts(table: pd.DataFrame) -> np.ndarray:
    return pd.crosstab(table["severity"], table["style"]).to_numpy()


def test_the_independent_target_unties_severity_and_style(table: pd.DataFrame) -> None:
    rows = stratified_resample(table, ["severity", "style"], 1500, rng=np.random.default_rng(0))
    own = cell_counts(table)
    expected = np.outer(own.sum(axis=1), own.sum(axis=0)) / 1500
    assert within_one(cell_counts(table.iloc[rows]), expected)
    times = np.bincount(rows, minlength=1500)
    for _, cell in table.groupby(["severity", "style"]):
        assert np.ptp(times[cell.index]) <= 1


def test_uniform_and_given_targets(table: pd.DataFrame) -> None:
    rng = np.random.default_rng(0)
    rows = stratified_resample(table, ["severity", "style"], 900, target="uniform", rng=rng)
    assert within_one(cell_counts(table.iloc[rows]), np.full((3, 3), 100))
    rows = stratified_resample(table, ["severity", "style"], 100, target={(0, 2): 0.75, (2, 0): 0.25}, rng=rng)
    counts = table.iloc[rows].value_counts(["severity", "style"]).to_dict()
    assert counts == {(0, 2): 75, (2, 0): 25}


def test_draws_are_spread_over_patients(table: pd.DataFrame) -> None:
    """Each patient of a cell is drawn floor or ceil of the share of the cell's rows they hold."""
    patients = table["patient"].to_numpy()
    rows = stratified_resample(table, ["severity", "style"], 300, rng=np.random.default_rng(0), groups=patients)
    drawn = table.iloc[rows]
    for cell, all_rows in table.groupby(["severity", "style"]):
        here = drawn[(drawn["severity"] == cell[0]) & (drawn["style"] == cell[1])]
        expected = all_rows["patient"].value_counts() * len(here) / len(all_rows)
        got = here["patient"].value_counts().reindex(expected.index, fill_value=0)
        assert (np.abs(got - expected) < 2).all()


def test_a_cell_without_rows_cannot_be_drawn_from(table: pd.DataFrame) -> None:
    thinned = table[(table["severity"] != 0) | (table["style"] != 2)]
    with pytest.raises(PositivityError, match="no row to draw from"):
        stratified_resample(thinned, ["severity", "style"], 100, rng=np.random.default_rng(0))
    with pytest.raises(PositivityError):
        stratified_resample(thinned, ["severity", "style"], 9, target={(0, 2): 1.0}, rng=np.random.default_rng(0))


def test_options_out_of_range(table: pd.DataFrame) -> None:
    rng = np.random.default_rng(0)
    for call in (
        lambda: systematic_resample(np.ones(3), 0, rng=rng),
        lambda: systematic_resample(np.zeros(3), 1, rng=rng),
        lambda: systematic_resample(np.ones(3), 1, rng=rng, groups=np.zeros(2, dtype=int)),
        lambda: stratified_resample(table, ["severity"], 5, rng=rng),
        lambda: stratified_resample(table, ["severity", "style"], 5, target="balanced", rng=rng),
        lambda: stratified_resample(table, ["severity", "style"], 5, target={(0, 0): 0.5}, rng=rng),
    ):
        with pytest.raises(TableError):
            call()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 120), st.integers(1, 4), st.integers(1, 3), st.integers(0, 999))
def test_pairs_agree_in_severity_and_differ_in_style(rows: int, arms: int, levels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"severity": rng.integers(0, levels, rows), "style": rng.integers(0, arms, rows)})
    pairs = matched_pairs(table, "style", ["severity"], rng=rng)
    left, right = table.iloc[pairs[:, 0]], table.iloc[pairs[:, 1]]
    assert (left["severity"].to_numpy() == right["severity"].to_numpy()).all()
    assert (left["style"].to_numpy() != right["style"].to_numpy()).all()
    assert len(np.unique(pairs)) == pairs.size
    counts = pd.crosstab(table["severity"], table["style"]).to_numpy()
    total = counts.sum(axis=1)
    assert len(pairs) == np.minimum(total // 2, total - counts.max(axis=1)).sum()


def test_pairs_never_join_one_patient(table: pd.DataFrame) -> None:
    few = table.assign(patient=table["patient"] % 6)
    patients = few["patient"].to_numpy()
    free = matched_pairs(few, "style", ["severity"], rng=np.random.default_rng(0))
    parted = matched_pairs(few, "style", ["severity"], rng=np.random.default_rng(0), groups=patients)
    assert (patients[free[:, 0]] == patients[free[:, 1]]).any()
    assert (patients[parted[:, 0]] != patients[parted[:, 1]]).all()
    assert len(parted) == len(free)
    alone = matched_pairs(few, "style", ["severity"], rng=np.random.default_rng(0), groups=np.zeros(1500, dtype=int))
    assert alone.shape == (0, 2)
