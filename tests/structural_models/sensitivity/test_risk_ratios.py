from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from structural_models.adjustability import certify
from structural_models.errors import TableError
from structural_models.patient_bootstrap import PatientBootstrap
from structural_models.residual_association import strongest_risk_ratio
from structural_models.sensitivity.risk_ratios import ratio_limits, standardised_risk, wilson_limits
from structural_models.treatment_cells import TreatmentCells

Z = float(norm.ppf(0.975))


@settings(deadline=None)
@given(st.integers(1, 200), st.floats(0, 1), st.floats(0.5, 4))
def test_score_limits_are_where_the_score_test_just_rejects(rows: int, share: float, critical: float) -> None:
    cases = round(share * rows)
    for limit in wilson_limits(np.array(cases), np.array(rows), critical):
        error = critical * np.sqrt(limit * (1 - limit) / rows)
        assert abs(cases / rows - limit) == pytest.approx(error, abs=1e-9)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.floats(0, 1), st.integers(1, 40), st.floats(0, 1)), min_size=1),
    st.floats(1, 5),
)
def test_limits_of_the_ratio_solve_their_equation(cells: list, critical: float) -> None:
    n, x = np.array([c[0] for c in cells]), np.array([round(c[0] * c[1]) for c in cells])
    m, y = np.array([c[2] for c in cells]), np.array([round(c[2] * c[3]) for c in cells])
    one = standardised_risk(x, n, n + m, critical=critical)
    two = standardised_risk(y, m, n + m, critical=critical)
    low, high = map(float, ratio_limits(one, two))
    a, b = float(one.estimate), float(two.estimate)
    assert low <= high
    if b:
        assert (low * b <= a * (1 + 1e-12) and a <= high * b * (1 + 1e-12)) or not np.isfinite(high)
    for r, mine, theirs in ((low, one.low, two.high), (high, one.high, two.low)):
        if 0 < r < 1e4:
            assert (a - r * b) ** 2 == pytest.approx((a - mine) ** 2 + r**2 * (b - theirs) ** 2, rel=1e-6, abs=1e-9)


def exact_coverage(n: list, m: list, p: list, q: list, weights: list) -> tuple[float, float]:
    """Of the limits here, and of log-normal ones with the plug-in's standard error: over every possible table."""
    strata, w = len(weights), np.array(weights) / np.sum(weights)
    x = np.stack(np.meshgrid(*(np.arange(k + 1) for k in (*n, *m)), indexing="ij"), -1).reshape(-1, 2 * strata)
    law = np.prod([binom.pmf(x[:, i], k, r) for i, (k, r) in enumerate(zip((*n, *m), (*p, *q), strict=True))], axis=0)
    one, two = (
        standardised_risk(part, np.array(k), w, critical=Z) for part, k in ((x[:, :strata], n), (x[:, strata:], m))
    )
    low, high = ratio_limits(one, two)
    truth = (w @ np.array(p)) / (w @ np.array(q))
    none = one.estimate + two.estimate == 0
    with np.errstate(divide="ignore", invalid="ignore"):
        error = 0.0
        for part, k, risk in ((x[:, :strata], n, one), (x[:, strata:], m, two)):
            share = part / np.array(k)
            error = error + (w**2 * share * (1 - share) / np.array(k)).sum(1) / risk.estimate**2
        wald = np.abs(np.log(one.estimate / two.estimate / truth)) <= Z * np.sqrt(error)
    held = (low <= truth * (1 + 1e-12)) & (truth <= high * (1 + 1e-12))
    return float(law[held | none].sum()), float(law[wald | none].sum())


@pytest.mark.parametrize(
    "law",
    [
        ([20], [20], [0.05], [0.2], [1]),
        ([30], [30], [0.02], [0.5], [1]),
        ([10, 30], [30, 10], [0.02, 0.02], [0.5, 0.5], [1, 3]),
        ([25, 25], [25, 25], [0.02, 0.04], [0.02, 0.04], [1, 1]),
    ],
)
def test_limits_cover_where_a_cell_often_has_no_case(law: tuple) -> None:
    """Score limits of one share cover .92 or more at such sizes (Brown, Cai & DasGupta 2001); log-normal ones do not."""
    ours, log_normal = exact_coverage(*law)
    assert ours >= 0.92
    assert log_normal < 0.7


def test_limits_cover_where_cases_are_frequent() -> None:
    for law in (
        ([15, 20], [20, 15], [0.05, 0.1], [0.3, 0.4], [1, 2]),
        ([8, 20], [20, 8], [0.5, 0.9], [0.5, 0.9], [1, 1]),
    ):
        assert exact_coverage(*law)[0] >= 0.94


def rows_of(n: tuple[int, int], p: tuple[float, float], seed: int, times: int = 1) -> tuple[TreatmentCells, np.ndarray]:
    rng = np.random.default_rng([3, seed])
    f = np.repeat(np.repeat([0, 1], n), times)
    a = np.repeat((rng.random(sum(n)) < np.repeat(p, n)).astype(np.int64), times)
    zero = np.zeros(len(f), dtype=np.int64)
    return TreatmentCells(f=f.astype(np.int64), a=a, s=zero, t=zero), np.repeat(np.arange(sum(n)), times)


def test_the_limit_of_a_cell_without_a_case_is_no_nearer_than_the_score_limit() -> None:
    """200 of 400 against 0 of 40: the bootstrap sees no chance in the latter, and no ratio at all."""
    f = np.repeat([0, 1], [400, 40])
    a = np.where(f == 1, 0, np.arange(440) % 2)
    zero = np.zeros(440, dtype=np.int64)
    cells = TreatmentCells(f=f, a=a, s=zero, t=zero)
    bootstrap = PatientBootstrap.of(None, 440, 100, rng=np.random.default_rng(0))
    found = strongest_risk_ratio(cells, np.array(["calm", "urgent"]), np.array(["no", "yes"]), bootstrap)
    assert found is not None and found.contrasts == 2
    by_hand = norm.ppf(1 - 0.025 / 2) ** 2
    upper = by_hand / (40 + by_hand)
    assert (found.level, found.adjusted, found.low) == ("yes", 0.0, 0.0)
    assert found.high >= upper / 0.5
    assert 1 < found.e_value_limit < np.inf


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 4])
def test_the_certificates_limits_cover_rare_outcomes_of_patients_with_several_rows(times: int) -> None:
    """1,000 tables; rows of a patient agree, so they must count once. One side has .6 expected cases."""
    p, n, tables = (0.02, 0.4), (30, 60), 1000
    arms, levels = np.array(["a", "b"]), np.array(["no", "yes"])
    held = made = 0
    for seed in range(tables):
        cells, patients = rows_of(n, p, seed, times)
        bootstrap = PatientBootstrap.of(patients[:, None], len(patients), 100, rng=np.random.default_rng(seed))
        found = strongest_risk_ratio(cells, arms, levels, bootstrap)
        assert found is not None
        truth = p[1] / p[0] if found.level == "yes" else (1 - p[1]) / (1 - p[0])
        held, made = held + (found.low <= truth <= found.high), made + 1
    assert held / made >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / made)


def test_patients_count_once_however_many_rows_they_have() -> None:
    arms, levels = np.array(["a", "b"]), np.array(["no", "yes"])
    widths = []
    for times in (1, 4):
        cells, patients = rows_of((300, 300), (0.2, 0.4), 0, times)
        bootstrap = PatientBootstrap.of(patients[:, None], len(patients), 400, rng=np.random.default_rng(0))
        found = strongest_risk_ratio(cells, arms, levels, bootstrap)
        assert found is not None
        widths.append(np.log(found.high / found.low))
    # A standard error of 400 replicates is right to 1 / sqrt(800) of itself.
    assert widths[1] / widths[0] == pytest.approx(1, abs=3 * np.sqrt(1 / 800))


def test_a_ratio_without_a_case_on_one_side_still_has_an_e_value_of_its_limit() -> None:
    table = pd.DataFrame({"s": 0, "f": np.repeat(["calm", "urgent"], 60), "a": "no"})
    table.loc[70:100, "a"] = "yes"
    found = certify(
        table,
        "f",
        "a",
        "s",
        treatment_causes_outcome=False,
        rng=np.random.default_rng(0),
        permutations=99,
        replicates=100,
    ).residual
    assert found is not None and found.e_value_limit > 1.5 and found.high > found.low
    assert found.to_dict()["e_value_limit"] == found.e_value_limit


def test_bad_counts_are_refused() -> None:
    with pytest.raises(TableError, match="between 0 and the rows"):
        standardised_risk(np.array([3.0]), np.array([2.0]), np.array([1.0]), critical=Z)
    with pytest.raises(TableError, match="no row of the arm"):
        standardised_risk(np.array([0.0, 0.0]), np.array([2.0, 0.0]), np.array([1.0, 1.0]), critical=Z)
