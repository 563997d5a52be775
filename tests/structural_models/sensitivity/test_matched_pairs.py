from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from structural_models.errors import TableError
from structural_models.sensitivity.matched_pairs import rosenbaum_bounds, sensitivity_value


def test_the_example_as_printed() -> None:
    """122 discordant pairs, 110 one way: exact binomial tails at Γ = 4, 5, 6."""
    high = rosenbaum_bounds(122, 110, np.array([4.0, 5.0, 6.0]))[1]
    assert [float(f"{p:.3g}") for p in high] == [0.00196, 0.0232, 0.0969]
    assert 5 < sensitivity_value(122, 110) < 6


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.floats(1, 20))
def test_tails_are_those_of_a_binomial(favourable: int, against: int, gamma: float) -> None:
    pairs = favourable + against
    low, high = rosenbaum_bounds(pairs, favourable, gamma)
    if pairs:
        for p, share in ((low, 1 / (1 + gamma)), (high, gamma / (1 + gamma))):
            assert float(p) == pytest.approx(
                binomtest(favourable, pairs, share, alternative="greater").pvalue, rel=1e-9
            )
    once = rosenbaum_bounds(pairs, favourable, 1.0)
    assert float(low) <= float(once[0]) * (1 + 1e-12) and float(once[1]) <= float(high) * (1 + 1e-12)


@settings(deadline=None)
@given(st.integers(1, 80), st.integers(0, 80), st.sampled_from([0.01, 0.05, 0.2]))
def test_at_the_sensitivity_value_the_bound_is_alpha(favourable: int, against: int, alpha: float) -> None:
    pairs = favourable + against
    gamma = sensitivity_value(pairs, favourable, alpha)
    p = float(rosenbaum_bounds(pairs, favourable, gamma)[1])
    if gamma > 1:
        assert p == pytest.approx(alpha, rel=1e-6)
    else:
        assert p >= alpha * (1 - 1e-9)


def test_bad_input_is_refused() -> None:
    for call, says in (
        (lambda: rosenbaum_bounds(3, 4, 2.0), "cannot be among 3"),
        (lambda: rosenbaum_bounds(4, 3, 0.5), "at least 1"),
        (lambda: sensitivity_value(4, 3, 1.5), "between 0 and 1"),
    ):
        with pytest.raises(TableError, match=says):
            call()
    assert sensitivity_value(5, 0) == 1.0
