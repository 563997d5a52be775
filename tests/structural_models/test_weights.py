"""Weights against exact enumeration, algebraic identities, closed forms, and properties that must always hold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structural_models.errors import PositivityError, TableError
from structural_models.propensity import fit_propensity
from structural_models.weights import effective_sample_size, inverse_probability_weights, overlap_weights


def hajek(table: pd.DataFrame, weights: np.ndarray) -> np.ndarray:
    """(arms,) weighted mean answer of each style, in sorted order."""
    parts = table.assign(w=weights, wa=weights * table["answer"]).groupby("style")[["w", "wa"]].sum()
    return (parts["wa"] / parts["w"]).to_numpy()


def plug_in(table: pd.DataFrame) -> np.ndarray:
    """(arms,) g-formula: stratum means weighted by the strata's shares."""
    means = table.groupby(["severity", "style"])["answer"].mean().unstack()
    return (means.mul(table["severity"].value_counts(normalize=True), axis=0)).sum().to_numpy()


def sample(seed: int, rows: int = 400, arms: int = 3, levels: int = 3) -> pd.DataFrame:
    """Every (severity, style) cell is occupied."""
    rng = np.random.default_rng(seed)
    severity = rng.integers(0, levels, rows)
    style = (severity + rng.binomial(arms - 1, 0.4, rows)) % arms
    severity[: levels * arms], style[: levels * arms] = np.divmod(np.arange(levels * arms), arms)
    answer = (rng.random(rows) < 0.2 + 0.15 * severity + 0.1 * style).astype(int)
    return pd.DataFrame({"severity": severity, "style": style, "answer": answer})


def fitted_weights(table: pd.DataFrame, **options) -> np.ndarray:
    fitted = fit_propensity(table, "style", ["severity"])
    return inverse_probability_weights(fitted.codes(table), fitted.predict(table), **options)


@pytest.mark.parametrize("stabilised", [True, False])
def test_weighted_means_are_the_interventional_law_of_the_toy(toy, stabilised: bool) -> None:
    naive = toy.table.groupby("style")["answer"].mean().to_numpy()
    assert np.abs(naive - toy.do).max() > 0.05
    np.testing.assert_allclose(hajek(toy.table, fitted_weights(toy.table, stabilised=stabilised)), toy.do, atol=1e-12)


def test_within_the_ecg_the_weights_need_the_ecg_too(toy) -> None:
    """P(A | E, do(F)) is the weighted mean within E when the propensity is given (S, E): here F ⟂ E | S."""
    weights = fitted_weights(toy.table)
    for ecg in (0, 1):
        here = (toy.table["ecg"] == ecg).to_numpy()
        got = hajek(toy.table[here], weights[here])
        np.testing.assert_allclose(got, toy.do_given_ecg[:, ecg], atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_saturated_identities(seed: int) -> None:
    """g-formula = Hájek = Horvitz-Thompson = AIPW, and the weights of every arm sum to n."""
    table = sample(seed)
    raw = fitted_weights(table, stabilised=False, normalise=False)
    n = len(table)
    sums = pd.Series(raw).groupby(table["style"]).sum()
    np.testing.assert_allclose(sums, n, rtol=1e-12)
    horvitz = pd.Series(raw * table["answer"]).groupby(table["style"]).sum().to_numpy() / n
    fit = table.groupby(["severity", "style"])["answer"].mean().unstack().loc[table["severity"]].to_numpy()
    residual = raw * (table["answer"] - fit[np.arange(n), table["style"]])
    augmented = fit.mean(axis=0) + residual.groupby(table["style"]).sum().to_numpy() / n
    for estimate in (hajek(table, raw), horvitz, augmented):
        np.testing.assert_allclose(estimate, plug_in(table), atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_least_squares_with_severity_dummies_is_the_overlap_weighted_contrast(seed: int) -> None:
    table = sample(seed, arms=2)
    fitted = fit_propensity(table, "style", ["severity"])
    weights = overlap_weights(fitted.codes(table), fitted.predict(table))
    dummies = pd.get_dummies(table["severity"]).to_numpy(float)
    slope = np.linalg.lstsq(np.column_stack([table["style"], dummies]), table["answer"], rcond=None)[0][0]
    low, high = hajek(table, weights)
    assert high - low == pytest.approx(slope, abs=1e-12)
    low, high = plug_in(table)
    assert abs(high - low - slope) > 1e-4


def test_two_armed_overlap_weights_are_the_other_arms_propensity() -> None:
    codes, e = np.array([0, 1, 1]), np.array([[0.2, 0.8], [0.3, 0.7], [0.9, 0.1]])
    np.testing.assert_allclose(overlap_weights(codes, e, normalise=False), [0.8, 0.3, 0.9])


def test_overlap_weights_leave_out_rows_that_an_arm_cannot_reach() -> None:
    codes, e = np.array([0, 1, 0]), np.array([[1.0, 0.0], [0.5, 0.5], [0.5, 0.5]])
    np.testing.assert_allclose(overlap_weights(codes, e, normalise=False), [0.0, 0.5, 0.5])
    with pytest.raises(PositivityError, match="no overlap"):
        overlap_weights(np.array([0, 1]), np.eye(2))


@pytest.mark.parametrize("q", [0.6, 0.9, 0.95])
def test_effective_share_is_4q_1_minus_q(q: float) -> None:
    """Exactly on a table in proportion; to Monte-Carlo error on samples."""
    n = 2000
    counts = [round(n / 2 * p) for p in (q, 1 - q, 1 - q, q)]
    table = pd.DataFrame({"severity": np.repeat([0, 0, 1, 1], counts), "style": np.repeat([0, 1, 0, 1], counts)})
    assert effective_sample_size(fitted_weights(table)) / n == pytest.approx(4 * q * (1 - q), abs=1e-12)
    rng = np.random.default_rng(11)
    shares = []
    for _ in range(60):
        severity = rng.integers(0, 2, 4000)
        drawn = pd.DataFrame({"severity": severity, "style": severity ^ (rng.random(4000) > q)})
        shares.append(effective_sample_size(fitted_weights(drawn)) / 4000)
    assert np.mean(shares) == pytest.approx(4 * q * (1 - q), abs=4 * np.std(shares) / np.sqrt(60) + 1 / 4000)


def test_effective_sample_size_of_plain_cases() -> None:
    assert effective_sample_size(np.ones(7)) == pytest.approx(7)
    assert effective_sample_size(np.array([0.0, 0.0, 3.0])) == pytest.approx(1)
    assert effective_sample_size(np.full(5, 1e-300)) == pytest.approx(5)
    for bad in (np.zeros(3), np.array([1.0, -1.0]), np.array([np.nan])):
        with pytest.raises(TableError):
            effective_sample_size(bad)


def test_stabilised_weights_have_mean_one_without_normalising() -> None:
    table = sample(4)
    assert fitted_weights(table, normalise=False).mean() == pytest.approx(1, abs=1e-12)


def test_a_numerator_keeps_the_arms_within_its_strata() -> None:
    """P(F | T) / P(F | S, T): within a topic severity and style are unlinked, and the topic keeps its styles."""
    rng = np.random.default_rng(2)
    topic = rng.integers(0, 2, 3000)
    table = sample(5, rows=3000, arms=2).assign(topic=topic)
    table["style"] = table["style"] ^ (topic & (rng.random(3000) < 0.7))
    full = fit_propensity(table, "style", ["severity", "topic"])
    part = fit_propensity(table, "style", ["topic"])
    w = inverse_probability_weights(full.codes(table), full.cells(table), numerator=part.cells(table), normalise=False)
    mass = table.assign(w=w).pivot_table(index=["topic", "severity"], columns="style", values="w", aggfunc="sum")
    share = mass.div(mass.sum(axis=1), axis=0).to_numpy()
    kept = pd.crosstab(table["topic"], table["style"], normalize="index").to_numpy()
    np.testing.assert_allclose(share.reshape(2, 3, 2), np.repeat(kept[:, None], 3, axis=1), atol=1e-12)


def test_clipping_by_value_and_by_quantile() -> None:
    table = sample(6)
    raw = fitted_weights(table, normalise=False)
    limit = float(np.quantile(raw, 0.9))
    expected = np.minimum(raw, limit)
    np.testing.assert_allclose(fitted_weights(table, clip=limit), expected / expected.mean())
    np.testing.assert_allclose(fitted_weights(table, clip_quantile=0.9), expected / expected.mean())
    assert (raw > limit).any()


def test_compact_and_dense_propensities_agree() -> None:
    table = sample(7)
    fitted = fit_propensity(table, "style", ["severity"])
    codes = fitted.codes(table)
    for weigh in (inverse_probability_weights, overlap_weights):
        np.testing.assert_array_equal(weigh(codes, fitted.cells(table)), weigh(codes, fitted.predict(table)))


def test_bad_input_is_one_sentence() -> None:
    e = np.full((3, 2), 0.5)
    for codes, propensity, options, error, says in [
        (
            [0, 1, 1],
            np.array([[0.0, 1.0], [0.5, 0.5], [0.5, 0.5]]),
            {},
            PositivityError,
            "zero in 1 rows .first: row 0",
        ),
        ([0, 1], e, {}, TableError, "one code per row"),
        ([0, 1, 2], e, {}, TableError, "integers from 0 to 1"),
        ([0, 1, 1], e, {"clip": 2.0, "clip_quantile": 0.9}, TableError, "not both"),
        ([0, 1, 1], e, {"clip": 0.0}, TableError, "positive"),
        ([0, 1, 1], e, {"clip_quantile": 1.0}, TableError, "between 0 and 1"),
        ([0, 1, 1], e, {"numerator": e, "stabilised": False}, TableError, "numerator"),
    ]:
        with pytest.raises(error, match=says) as caught:
            inverse_probability_weights(np.array(codes), propensity, **options)
        assert "\n" not in str(caught.value)


tables = st.builds(
    sample,
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(30, 200),
    arms=st.integers(2, 4),
    levels=st.integers(1, 3),
)
FAMILIES = ("stabilised", "unstabilised", "overlap")


def estimate(table: pd.DataFrame, family: str) -> np.ndarray:
    return hajek(table, weigh(table, family))


def weigh(table: pd.DataFrame, family: str) -> np.ndarray:
    fitted = fit_propensity(table, "style", ["severity"])
    if family == "overlap":
        return overlap_weights(fitted.codes(table), fitted.cells(table))
    return inverse_probability_weights(fitted.codes(table), fitted.cells(table), stabilised=family == "stabilised")


@settings(max_examples=25, deadline=None)
@given(table=tables, family=st.sampled_from(FAMILIES), data=st.data())
def test_relabelling_arms_relabels_the_estimates(table: pd.DataFrame, family: str, data: st.DataObject) -> None:
    arms = table["style"].max() + 1
    names = np.array(data.draw(st.permutations(range(arms))))
    renamed = estimate(table.assign(style=names[table["style"]]), family)
    np.testing.assert_allclose(renamed[names], estimate(table, family), atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(table=tables, family=st.sampled_from(FAMILIES), seed=st.integers(0, 99))
def test_row_order_and_duplication_change_nothing(table: pd.DataFrame, family: str, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(table))
    shuffled = table.iloc[order].reset_index(drop=True)
    np.testing.assert_allclose(weigh(shuffled, family), weigh(table, family)[order], atol=1e-12)
    doubled = pd.concat([table, table], ignore_index=True)
    np.testing.assert_allclose(estimate(doubled, family), estimate(table, family), atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(table=tables, family=st.sampled_from(FAMILIES), scale=st.floats(1e-6, 1e6))
def test_weights_have_mean_one_and_their_scale_is_immaterial(table: pd.DataFrame, family: str, scale: float) -> None:
    weights = weigh(table, family)
    assert weights.dtype == np.float64
    assert weights.mean() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(hajek(table, weights * scale), hajek(table, weights), atol=1e-12)
    assert effective_sample_size(weights * scale) == pytest.approx(effective_sample_size(weights))
    assert 1 <= effective_sample_size(weights) <= len(table) * (1 + 1e-12)
