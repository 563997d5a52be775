from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structural_models.errors import TableError
from structural_models.multiplicity import holm
from structural_models.sensitivity.e_values import e_value, e_value_of_limit, e_value_of_risks


def test_the_example_of_the_paper() -> None:
    """VanderWeele & Ding 2017: maternal infection and respiratory death, RR 3.9 (1.8 to 8.7) -> 7.26 and 3.0."""
    assert e_value(3.9) == pytest.approx(7.26, abs=0.005)
    assert e_value_of_limit(1.8, 8.7) == pytest.approx(3.0, abs=0.005)


def test_of_risks_and_never_of_odds() -> None:
    """Risks of .78 and .20 have the ratio 3.9; their odds ratio, 14.2, would have said 27.8."""
    found = e_value_of_risks(0.78, 0.20, 1.8, 8.7)
    assert found.ratio == pytest.approx(3.9)
    assert (round(found.e_value, 2), round(found.e_value_limit, 1)) == (7.26, 3.0)
    assert e_value_of_risks(0.2, 0.0, 1.5, float("inf")).to_dict()["ratio"] is None
    for risks in ((0.0, 0.0), (1.2, 0.5), (0.5, float("nan"))):
        with pytest.raises(TableError, match="between 0 and 1"):
            e_value_of_risks(*risks, 1.0, 2.0)


@settings(deadline=None)
@given(st.floats(0.01, 100), st.floats(1.001, 2))
def test_what_it_means(ratio: float, more: float) -> None:
    """A confounder of that strength with both sides has the bounding factor E E / (2 E - 1) = RR; of less, less."""
    e = e_value(ratio)
    assert e * e / (2 * e - 1) == pytest.approx(max(ratio, 1 / ratio), rel=1e-9)
    assert e == pytest.approx(e_value(1 / ratio))
    assert e_value(max(ratio, 1 / ratio) * more) > e


def test_its_ends() -> None:
    assert e_value(1.0) == 1.0
    assert e_value(0.0) == e_value(float("inf")) == float("inf")
    assert e_value_of_limit(0.8, 1.2) == 1.0
    assert e_value_of_limit(0.2, 0.5) == e_value(0.5)
    for bad in (-1.0, float("nan")):
        with pytest.raises(TableError, match="at least 0"):
            e_value(bad)
    with pytest.raises(TableError, match="in order"):
        e_value_of_limit(2.0, 1.0)


def test_holm_is_statsmodels_holm() -> None:
    multipletests = pytest.importorskip("statsmodels.stats.multitest").multipletests
    rng = np.random.default_rng(0)
    for size in (1, 2, 7):
        p = rng.random(size) ** 3
        assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    with_gap = holm([0.01, float("nan"), 0.04])
    assert with_gap[[0, 2]] == pytest.approx([0.02, 0.04]) and np.isnan(with_gap[1])
    assert len(holm([])) == 0
    with pytest.raises(TableError, match="between 0 and 1"):
        holm([0.5, 1.5])
