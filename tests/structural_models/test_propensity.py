from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from structural_models.cross_fitting import assign_folds, cross_fitted_propensity, patient_components
from structural_models.errors import PositivityError, TableError
from structural_models.propensity import ArmProbabilities, fit_propensity


def test_saturated_is_the_law_of_the_toy(toy) -> None:
    fitted = fit_propensity(toy.table, "style", ["severity"])
    law = np.array([[6, 3, 1], [3, 4, 3], [1, 2, 7]]) / 10
    assert fitted.levels.tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(fitted.predict(toy.table), law[toy.table["severity"]], atol=1e-15)
    assert fitted.predict(toy.table).dtype == np.float64
    assert fitted.codes(toy.table).tolist() == ["abc".index(style) for style in toy.table["style"]]


def test_multinomial_in_one_factor_is_saturated(toy) -> None:
    saturated = fit_propensity(toy.table, "style", ["severity"]).predict(toy.table)
    multinomial = fit_propensity(toy.table, "style", ["severity"], method="multinomial").predict(toy.table)
    np.testing.assert_allclose(multinomial, saturated, atol=1e-6)


def test_multinomial_solves_the_score_equations() -> None:
    """At the maximum of the likelihood, fitted and observed arms agree in every moment of the design."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"x": rng.normal(3, 20, 800), "g": rng.choice(list("uvw"), 800)})
    table["arm"] = np.where(
        rng.random(800) < 1 / (1 + np.exp(-(table["x"] - 3) / 20)), "m", rng.choice(["k", "l"], 800)
    )
    fitted = fit_propensity(table, "arm", ["x", "g"], method="multinomial")
    residual = fitted.predict(table) - (table["arm"].to_numpy()[:, None] == fitted.levels)
    design = np.column_stack([np.ones(800), table["x"] / 20, table["g"] == "v", table["g"] == "w"])
    np.testing.assert_allclose(design.T.astype(float) @ residual, 0, atol=1e-3)


def test_no_covariates_give_the_shares(toy) -> None:
    for method in ("saturated", "multinomial"):
        given = fit_propensity(toy.table, "style", [], method=method).cells(toy.table)
        assert given.table.shape == (1, 3)
        np.testing.assert_allclose(given.table[0], [0.41, 0.31, 0.28], atol=1e-12)


def test_smoothing_is_laplaces() -> None:
    table = pd.DataFrame({"s": [0, 0, 0, 1], "f": ["a", "a", "b", "b"]})
    fitted = fit_propensity(table, "f", ["s"], smoothing=1.0)
    np.testing.assert_allclose(fitted.predict(table), [[3 / 5, 2 / 5]] * 3 + [[1 / 3, 2 / 3]])


def test_combinations_that_never_occurred() -> None:
    seen = pd.DataFrame({"s": [0, 0, 1, 1], "t": ["x", "x", "y", "y"], "f": ["a", "b", "a", "b"]})
    new = pd.DataFrame({"s": [0, 0], "t": ["x", "y"], "f": ["a", "b"]})
    with pytest.raises(PositivityError, match="s = 0, t = y"):
        fit_propensity(seen, "f", ["s", "t"]).predict(new)
    np.testing.assert_allclose(fit_propensity(seen, "f", ["s", "t"], smoothing=0.5).predict(new), 0.5)


@pytest.mark.parametrize("method", ["saturated", "multinomial"])
def test_a_new_level_is_an_error(method, toy) -> None:
    fitted = fit_propensity(toy.table, "style", ["severity"], method=method)
    with pytest.raises(PositivityError, match="column 'severity' holds '9'"):
        fitted.predict(toy.table.head(2).assign(severity=[0, 9]))
    with pytest.raises(PositivityError, match="column 'style' holds 'z'"):
        fitted.codes(toy.table.head(2).assign(style=["a", "z"]))


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        ({"style": None}, {}, "column 'style' is empty in 4000 of 4000 rows"),
        ({"severity": [[1]] * 4000}, {}, "one plain value per row"),
        ({}, {"covariates": ["burden"]}, "lacks the column 'burden'"),
        ({}, {"smoothing": -1}, "smoothing must be"),
        ({}, {"method": "multinomial", "smoothing": 1}, "smoothing belongs to the saturated"),
        ({}, {"method": "probit"}, "no propensity method is called 'probit'"),
    ],
)
def test_what_cannot_be_fitted_is_said(toy, change, options, says: str) -> None:
    options = {"covariates": ["severity"], **options}
    with pytest.raises(TableError, match=says):
        fit_propensity(toy.table.assign(**change), "style", **options)
    with pytest.raises(TableError, match="no rows"):
        fit_propensity(toy.table.iloc[:0], "style", ["severity"])


def test_a_determined_arm_does_not_converge() -> None:
    x = np.linspace(-1, 1, 100)
    with pytest.raises(PositivityError, match="does not converge"):
        fit_propensity(pd.DataFrame({"x": x, "f": x > 0}), "f", ["x"], method="multinomial")


def test_probabilities_are_checked() -> None:
    for bad in ([[0.5, 0.4]], [[1.5, -0.5]], [[np.nan, 1.0]]):
        with pytest.raises(TableError, match="sum to one"):
            ArmProbabilities.of(np.array(bad))
    with pytest.raises(TableError, match=r"\(rows, arms\)"):
        ArmProbabilities.of(np.ones(3))


def test_cross_fitting_never_uses_a_row_of_the_same_patient() -> None:
    """With one row per (patient, severity) the held-out patients' own arms must not move their propensities."""
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"severity": rng.integers(0, 2, 600), "patient": rng.integers(0, 60, 600)})
    table["style"] = rng.choice(["a", "b"], 600)
    first, levels = cross_fitted_propensity(
        table, "style", ["severity"], groups="patient", folds=4, rng=np.random.default_rng(5)
    )
    assert levels.tolist() == ["a", "b"]
    assert len(first) == 600
    one = table["patient"] == 7
    changed = table.assign(style=np.where(one, np.where(table["style"] == "a", "b", "a"), table["style"]))
    second, _ = cross_fitted_propensity(
        changed, "style", ["severity"], groups="patient", folds=4, rng=np.random.default_rng(5)
    )
    np.testing.assert_array_equal(first.dense()[one], second.dense()[one])
    assert not np.array_equal(first.dense()[~one], second.dense()[~one])


def test_patients_joined_by_a_pair_item_share_a_component_and_a_fold() -> None:
    table = pd.DataFrame({"p": [["x"], ["x", "y"], ["y"], ["z"], ["w", "z"], ["v"]]})
    components = patient_components(table, "p")
    assert components.tolist() == [0, 0, 0, 1, 1, 2]
    fold = assign_folds(components, 2, np.random.default_rng(0))
    assert fold[0] == fold[1] == fold[2]
    assert fold[3] == fold[4]
    assert set(fold) == {0, 1}
    with pytest.raises(TableError, match="3 patient group"):
        assign_folds(components, 4, np.random.default_rng(0))


def test_folds_are_of_nearly_equal_size() -> None:
    components = np.repeat(np.arange(500), np.random.default_rng(0).integers(1, 6, 500))
    sizes = np.bincount(assign_folds(components, 5, np.random.default_rng(1)))
    assert np.ptp(sizes) <= 6
