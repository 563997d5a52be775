"""Sensitivity of a linear estimate against PySensemakr and statsmodels, on the data of the paper."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from structural_models.sensitivity.linear_fit import LinearFit, fit_linear
from structural_models.sensitivity.robustness import (
    adjusted_error,
    adjusted_estimate,
    benchmark_bound,
    partial_r2,
    robustness_value,
)

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore::Warning:sensemakr")]
COVARIATES = ["age", "farmer_dar", "herder_dar", "pastvoted", "hhsize_darfur", "female"]


@pytest.fixture(scope="module")
def darfur() -> pd.DataFrame:
    return pytest.importorskip("sensemakr").load_darfur()


def fitted(darfur: pd.DataFrame, *, without: str = "", clustered: bool = False) -> LinearFit:
    village = pd.factorize(darfur["village"])[0]
    kept = [name for name in COVARIATES if name != without]
    return fit_linear(
        darfur["peacefactor"].to_numpy(),
        darfur["directlyharmed"].to_numpy(),
        darfur[kept].to_numpy(dtype=np.float64),
        strata=village,
        groups=village if clustered else None,
    )


def test_darfur_as_printed(darfur) -> None:
    """Cinelli & Hazlett 2020, tables of sections 4 and 5."""
    fit = fitted(darfur)
    assert (round(fit.estimate, 4), round(fit.standard_error, 4), fit.df) == (0.0973, 0.0233, 783)
    assert round(partial_r2(fit), 4) == 0.0219
    assert (round(robustness_value(fit), 4), round(robustness_value(fit, alpha=0.05), 4)) == (0.1388, 0.0763)
    female = fitted(darfur, without="female")
    for k, printed in {
        1: (0.0092, 0.1246, 0.0752, 0.0219, 0.0323, 0.1182),
        2: (0.0183, 0.2493, 0.0529, 0.0204, 0.0130, 0.0929),
        3: (0.0275, 0.3741, 0.0304, 0.0187, -0.0063, 0.0670),
    }.items():
        found = benchmark_bound(fit, female, "female", k_treatment=k)
        numbers = (found.r2_treatment, found.r2_outcome, found.estimate, found.error, found.low, found.high)
        assert tuple(round(number, 4) for number in numbers) == printed


def test_against_sensemakr(darfur) -> None:
    theirs = pytest.importorskip("sensemakr")
    api = pytest.importorskip("statsmodels.formula.api")
    model = api.ols(f"peacefactor ~ directlyharmed + {' + '.join(COVARIATES)} + village", data=darfur).fit()
    fit = fitted(darfur)
    assert fit.estimate == pytest.approx(model.params["directlyharmed"], rel=1e-9)
    assert fit.standard_error == pytest.approx(model.bse["directlyharmed"], rel=1e-9)
    for q in (1.0, 0.5):
        for alpha in (1.0, 0.05, 0.2):
            wanted = theirs.robustness_value(model=model, covariates="directlyharmed", q=q, alpha=alpha)
            ours = robustness_value(fit, q=q, alpha=None if alpha == 1 else alpha)
            assert ours == pytest.approx(float(wanted.iloc[0]), rel=1e-9)
    y, d = np.array([0.05, 0.3, 1.0]), np.array([0.02, 0.4, 0.1])
    options = {"estimate": fit.estimate, "se": fit.standard_error, "dof": fit.df}
    for i in range(3):
        wanted = theirs.adjusted_estimate(r2dz_x=d[i], r2yz_dx=y[i], **options)
        assert adjusted_estimate(fit, y, d)[i] == pytest.approx(float(np.squeeze(wanted)), rel=1e-9)
        wanted = theirs.adjusted_se(r2dz_x=d[i], r2yz_dx=y[i], se=fit.standard_error, dof=fit.df)
        assert adjusted_error(fit, y, d)[i] == pytest.approx(float(np.squeeze(wanted)), rel=1e-9, abs=1e-12)
    for name in ("female", "pastvoted"):
        bounds = theirs.ovb_bounds(
            model=model, treatment="directlyharmed", benchmark_covariates=name, kd=[1, 2], ky=[1, 3]
        )
        for (_, row), (k_d, k_y) in zip(bounds.iterrows(), ((1, 1), (2, 3)), strict=True):
            found = benchmark_bound(fit, fitted(darfur, without=name), name, k_treatment=k_d, k_outcome=k_y)
            assert found.r2_treatment == pytest.approx(row["r2dz_x"], rel=1e-6)
            assert found.r2_outcome == pytest.approx(row["r2yz_dx"], rel=1e-6)
            assert found.estimate == pytest.approx(row["adjusted_estimate"], rel=1e-6)


def test_clustered_errors_against_statsmodels(darfur) -> None:
    api = pytest.importorskip("statsmodels.formula.api")
    formula = f"peacefactor ~ directlyharmed + {' + '.join(COVARIATES)} + village"
    codes = pd.factorize(darfur["village"])[0]
    model = api.ols(formula, data=darfur).fit(cov_type="cluster", cov_kwds={"groups": codes})
    fit = fitted(darfur, clustered=True)
    assert fit.robust_error == pytest.approx(model.bse["directlyharmed"], rel=1e-8)
    assert fit.clusters == 486


def test_a_confounder_that_is_then_measured_against_statsmodels() -> None:
    """The formulas are exact: with the partial R² that Z turns out to have, they give the estimate beside Z."""
    api = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(0)
    x, z = rng.standard_normal((2, 500))
    d = 0.5 * x + 0.8 * z + rng.standard_normal(500)
    y = d + x + 0.7 * z + rng.standard_normal(500)
    fit = fit_linear(y, d, x)
    full = api.OLS(y, api.add_constant(np.column_stack([d, x, z]))).fit()
    given_d = api.OLS(y, api.add_constant(np.column_stack([d, x]))).fit()
    of_d = [api.OLS(d, api.add_constant(m)).fit().ssr for m in (np.column_stack([x, z]), x)]
    r2_y, r2_d = 1 - full.ssr / given_d.ssr, 1 - of_d[0] / of_d[1]
    assert float(adjusted_estimate(fit, r2_y, r2_d)) == pytest.approx(full.params[1], rel=1e-9)
    assert float(adjusted_error(fit, r2_y, r2_d)) == pytest.approx(full.bse[1], rel=1e-9)
