from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from causalecg.benchmark import dial


@pytest.mark.parametrize("rho", [0.5, 0.7, 0.9, 0.99])
def test_closed_forms_against_simulation(rho: float) -> None:
    rng = np.random.default_rng(0)
    n, d = 400_000, 2.56
    q = dial.symmetric(rho)
    severity = rng.integers(0, 2, n)
    finding = np.where(rng.random(n) < q, severity, 1 - severity)
    style = np.where(rng.random(n) < q, severity, 1 - severity)
    evidence = rng.standard_normal(n) + d * (finding - 0.5)
    error = 4 * 0.5 / np.sqrt(n)
    assert abs((finding == style).mean() - rho) < error
    assert dial.agreement(q, q) == pytest.approx(rho)
    assert abs(((evidence > 0) == finding).mean() - dial.oracle_accuracy(d)) < error
    # The Bayes-optimal user of the shortcut, on re-drawn styles and on an opposite donor of the biased split.
    prior = np.log(rho / (1 - rho)) if rho > 0.5 else 0.0
    redrawn = rng.integers(0, 2, n)
    given = d * evidence + prior * (2 * redrawn - 1) > 0
    assert abs((given == finding).mean() - dial.shortcut_accuracy(d, rho)) < error
    donor = rng.standard_normal(n) + d * (0.5 - finding)
    swapped = d * donor + prior * (2 * style - 1) > 0
    assert abs((swapped == 1 - finding).mean() - dial.follow_rate(d, rho)) < error


def test_figures_named_in_the_definitions() -> None:
    assert dial.oracle_accuracy(2.56) == pytest.approx(0.900, abs=5e-4)
    assert dial.follow_rate(2.56, 0.99) == pytest.approx(0.31, abs=5e-3)
    assert dial.shortcut_accuracy(2.56, 0.99) - 0.5 == pytest.approx(0.151, abs=5e-4)
    assert dial.achieved_d_prime(norm.cdf(1.28)) == pytest.approx(2.56)
    curve = dial.shortcut_curve(0.99, np.array([0.9, 0.5, 0.3]))
    assert curve[0] == pytest.approx(dial.shortcut_accuracy(dial.achieved_d_prime(0.9), 0.99))
    assert curve[1:] == pytest.approx([0.5, 0.5], abs=1e-3)


def test_effective_shares_against_the_weights() -> None:
    rng = np.random.default_rng(1)
    n, q = 400_000, 0.9
    severity = rng.integers(0, 2, n)
    style = np.where(rng.random(n) < q, severity, 1 - severity)
    weight = 0.5 / np.where(style == severity, q, 1 - q)
    assert weight.sum() ** 2 / (weight**2).sum() / n == pytest.approx(dial.weighting_share(q), rel=0.02)
    assert dial.answer_agreement(q, q, tau=0.4, eta=0.1) == pytest.approx(0.5 + 0.5 * 0.6 * 0.8 * 0.64)
    assert dial.group_share(0.9) == pytest.approx(0.36)
    with pytest.raises(ValueError, match=r"between 0\.5 and 1"):
        dial.symmetric(0.4)
