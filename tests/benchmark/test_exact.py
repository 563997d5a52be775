"""Closed forms (dial) against enumeration and quadrature (exact), and both against worlds that are drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causalecg.benchmark import dial, exact
from causalecg.benchmark.law import Law
from causalecg.benchmark.regimes import REGIMES, regime
from structural_models.errors import PositivityError

D_PRIME = 2.56


@settings(deadline=None, max_examples=60)
@given(
    p=st.floats(0.5, 1), q=st.floats(0.5, 0.999), tau=st.floats(0, 1), eta=st.floats(0, 0.5), levels=st.integers(2, 7)
)
def test_agreements_and_shares_in_closed_form(p, q, tau, eta, levels) -> None:
    law = Law(p, q, tau=tau, eta=eta, levels=levels)
    assert exact.finding_agreement(law) == pytest.approx(dial.agreement(p, q, levels), abs=1e-12)
    two_rho = 2 * dial.agreement(p, q, levels) - 1
    assert 2 * exact.answer_agreement(law) - 1 == pytest.approx((1 - tau) * (1 - 2 * eta) * two_rho, abs=1e-12)
    yes = dial.probability_at(q, law.scores)
    # P(f) = 1/2, so 1 / sum P(s) / (4 P(f=1|s) P(f=0|s)).
    assert exact.weighting_share(law) == pytest.approx(1 / np.mean(1 / (4 * yes * (1 - yes))), rel=1e-9)
    assert exact.group_share(law) == pytest.approx(dial.group_share(exact.answer_agreement(law)), rel=1e-9, abs=1e-12)
    if levels == 2:
        assert exact.answer_agreement(law) == pytest.approx(dial.answer_agreement(p, q, tau=tau, eta=eta), abs=1e-12)
        assert exact.weighting_share(law) == pytest.approx(dial.weighting_share(q), rel=1e-9)


@settings(deadline=None, max_examples=40)
@given(rho=st.floats(0.5, 1), levels=st.integers(2, 6))
def test_the_symmetric_dial_gives_the_rho_asked_for(rho, levels) -> None:
    if rho > dial.largest_agreement(levels):
        with pytest.raises(ValueError, match="levels leave their middle one undecided"):
            dial.symmetric(rho, levels)
        return
    p = dial.symmetric(rho, levels)
    assert dial.agreement(p, p, levels) == pytest.approx(rho, abs=1e-9)
    if levels == 2 and rho < 1:
        # Two levels only: share of the weights 2 (1 - rho).
        assert exact.weighting_share(Law(p, p)) == pytest.approx(2 * (1 - rho), rel=1e-6, abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(d=st.floats(0.3, 5), rho=st.floats(0.5, 0.9999))
def test_the_shortcut_user_in_closed_form(d, rho) -> None:
    q = dial.symmetric(rho)
    law = Law(q, q, d_prime=d)
    assert exact.accuracy(law, "oracle", "unbiased") == pytest.approx(dial.oracle_accuracy(d), abs=1e-9)
    assert exact.accuracy(law, "shortcut", "unbiased") == pytest.approx(dial.shortcut_accuracy(d, rho), abs=1e-9)
    assert exact.follow_rate(law, "shortcut") == pytest.approx(dial.follow_rate(d, rho), abs=1e-9)
    assert exact.follow_rate(law, "oracle") == pytest.approx(dial.oracle_accuracy(d), abs=1e-9)
    for test in ("unbiased", "biased"):
        drop = exact.accuracy(law, "shortcut", test) - exact.random_swap_accuracy(law, "shortcut", test)
        assert drop == pytest.approx(dial.random_swap_drop(d, rho), abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(d=st.floats(0.3, 5), tau=st.floats(0, 1), eta=st.floats(0, 0.45))
def test_the_reader_of_a_true_topic_effect_in_closed_form(d, tau, eta) -> None:
    law = Law(0.95, 0.9, d_prime=d, tau=tau, eta=eta)
    assert exact.accuracy(law, "oracle", "unbiased") == pytest.approx(dial.topic_oracle_accuracy(d, tau, eta), abs=1e-9)
    if abs(tau - 0.5) > 1e-9:
        assert exact.topic_decision_effect(law) == pytest.approx(dial.topic_decision_effect(d, tau), abs=1e-9)


def test_figures_named_in_the_definitions() -> None:
    r1, r2, r3 = regime("R1").law(0.99), regime("R2").law(0.99), regime("R3")
    assert dial.random_swap_drop(D_PRIME, 0.99) == pytest.approx(0.151, abs=5e-4)
    assert dial.reliance_ratio(D_PRIME, 0.99) == pytest.approx(0.378, abs=5e-4)
    assert exact.follow_rate(r1, "shortcut") == pytest.approx(0.31, abs=5e-3)
    assert exact.follow_rate(r1, "oracle") == pytest.approx(0.90, abs=5e-3)
    for tau, effect, accuracy in ((0.4, 0.229, 0.760), (0.6, 1.0, 0.800)):
        law = r3.law(0.99, tau=tau)
        assert exact.topic_decision_effect(law) == pytest.approx(effect, abs=5e-4)
        assert exact.accuracy(law, "oracle", "unbiased") == pytest.approx(accuracy, abs=5e-4)
    assert exact.weighting_share(regime("R6").law(0.99)) == pytest.approx(0.02, abs=1e-9)
    assert exact.weighting_share(r1) == pytest.approx(0.02, abs=1e-9)
    assert dial.information(0.9) == pytest.approx(0.53, abs=5e-3)
    assert dial.information(0.99) == pytest.approx(0.92, abs=5e-3)
    # The reference's .948 is Phi(sqrt(d'^2 + d'_S^2) / 2), which takes severity for the finding; they differ in .5 %.
    assert exact.accuracy(r2, "oracle", "unbiased") == pytest.approx(0.9464, abs=5e-5)
    assert dial.oracle_accuracy(float(np.hypot(D_PRIME, 2.0))) == pytest.approx(0.948, abs=5e-4)


def test_information_is_that_of_the_enumerated_law() -> None:
    law = Law(0.9, 0.8, tau=0.2, eta=0.05)
    table = exact.joint_law(law).sum((0, 1, 3))
    product = table.sum(1, keepdims=True) * table.sum(0, keepdims=True)
    bits = (table * np.log2(table / product)).sum()
    assert dial.information(exact.answer_agreement(law)) == pytest.approx(bits, abs=1e-12)


@pytest.mark.parametrize("name", REGIMES)
def test_accuracies_of_every_regime_against_a_drawn_world(name: str) -> None:
    """The readers decide by their posteriors, evaluated item by item; accuracy within 4.5 standard errors."""
    n = 200_000
    law = regime(name).law()
    world = law.draw(n, np.random.default_rng(11))
    believes = {"oracle": exact.interventional, "shortcut": exact.observational}
    tests = {"biased": world, "unbiased": world.unbiased()}
    if not law.style_effect:
        tests["anti"] = world.anti()
    for reader, belief in believes.items():
        for test, items in tests.items():
            yes = belief(law, items.evidence, items.style_code, items.topic)
            # Where a question cannot occur (R5, several levels), the belief does not exist.
            right = np.where(np.isnan(yes), 0.5, (yes > 0.5) == items.answer)
            expected = exact.accuracy(law, reader, test)
            assert abs(right.mean() - expected) <= 4.5 * np.sqrt(expected * (1 - expected) / n) + 1e-9, (reader, test)


@pytest.mark.parametrize("name", ["R1", "R2", "R3", "R6", "R9"])
def test_follow_rate_and_topic_effect_against_a_drawn_world(name: str) -> None:
    n = 200_000
    law = regime(name).law(0.9)
    world = law.draw(n, np.random.default_rng(5))
    rng = np.random.default_rng(6)
    donor = np.zeros(n, dtype=np.int64)
    for t in (0, 1):
        for a in (0, 1):
            asked = np.flatnonzero((world.topic == t) & (world.answer == a))
            donors = np.flatnonzero((world.topic == t) & (world.answer == 1 - a))
            donor[asked] = rng.choice(donors, len(asked))
    yes = exact.observational(law, world.evidence[donor], world.style_code, world.topic)
    follows = ((yes > 0.5) == 1 - world.answer).mean()
    assert abs(follows - exact.follow_rate(law, "shortcut")) < 5 * np.sqrt(2 * 0.25 / n)
    swapped = rng.permutation(n)
    for t in (0, 1):
        rows = np.flatnonzero(world.topic == t)
        swapped[rows] = rng.permutation(rows)
    yes = exact.observational(law, world.evidence[swapped], world.style_code, world.topic)
    right = ((yes > 0.5) == world.answer).mean()
    assert abs(right - exact.random_swap_accuracy(law, "shortcut", "biased")) < 5 * np.sqrt(2 * 0.25 / n)
    style = world.unbiased().style_code
    both = [exact.interventional(law, world.evidence, style, np.full(n, t)) > 0.5 for t in (0, 1)]
    differ = (both[0] != both[1]).mean()
    assert abs(differ - exact.topic_decision_effect(law)) < 5 * np.sqrt(0.25 / n)


def test_same_noise_twins_and_the_oracle() -> None:
    """Both of two ECGs that differ in the finding alone: 2 Phi(d'/2) - 1."""
    n = 400_000
    world = regime("R1").law(0.99).draw(n, np.random.default_rng(3))
    right = np.ones(n, dtype=bool)
    for one in (world.do(finding=0), world.do(finding=1)):
        right &= (one.evidence[:, 0] > 0) == one.answer
    expected = dial.twin_accuracy(D_PRIME)
    assert abs(right.mean() - expected) < 4 * np.sqrt(expected * (1 - expected) / n)


# ---- the target and the back-door formula


def question(n: int, rng: np.random.Generator, shortcuts: int = 1) -> tuple[np.ndarray, ...]:
    return rng.normal(0, 2, (n, 2)), rng.integers(0, 1 << shortcuts, n), rng.integers(0, 2, n)


@pytest.mark.parametrize("levels", [2, 5])
@pytest.mark.parametrize("name", ["R0", "R1", "R2", "R3", "R4", "R6", "R7", "R8"])
def test_adjusting_for_the_true_severity_given_the_ecg_gives_the_target(name: str, levels: int) -> None:
    rho = None if name == "R8" else 0.8
    law = regime(name).law(rho, levels=levels)
    if name == "R7" and levels == 5:
        assert law.q_topic == pytest.approx(0.5)
    asked = question(50, np.random.default_rng(0), law.shortcuts)
    target = exact.interventional(law, *asked)
    assert np.allclose(exact.backdoor(law, *asked), target, atol=1e-12)


@pytest.mark.parametrize("levels", [2, 5])
def test_p_of_s_and_p_of_s_given_e_agree_in_r0_and_not_in_r2(levels: int) -> None:
    asked = question(200, np.random.default_rng(1))
    for name, agree in (("R0", True), ("R1", False), ("R2", False)):
        law = regime(name).law(0.85, levels=levels)
        apart = np.abs(exact.backdoor(law, *asked) - exact.backdoor(law, *asked, prior="marginal")).max()
        assert (apart < 1e-12) if agree else (apart > 0.1), name
    r0 = regime("R0").law(0.85, levels=levels)
    assert np.allclose(exact.severity_posterior(r0, asked[0]), 1 / levels, atol=1e-12)


def test_a_wrong_or_insufficient_severity_misses_the_target() -> None:
    asked = question(200, np.random.default_rng(2))
    r4, r9 = regime("R4").law(0.9), regime("R9").law(0.9)
    assert np.abs(exact.backdoor(r4, *asked, severity="recorded") - exact.interventional(r4, *asked)).max() > 0.05
    assert np.abs(exact.backdoor(r9, *asked) - exact.interventional(r9, *asked)).max() > 0.05


def test_recorded_severity_in_the_back_door_formula_against_counting() -> None:
    """Among patients whose evidence lies in a narrow window, P(A = 1 | F, recorded S) weighted by P(recorded S)."""
    law = regime("R4").law(0.8)
    world = law.draw(2_000_000, np.random.default_rng(8))
    near = np.abs(world.evidence[:, 0] - 0.4) < 0.05
    total = 0.0
    for o in (0, 1):
        cell = near & (world.severity_observed == o)
        total += cell.sum() / near.sum() * world.answer[cell & (world.style == 1)].mean()
    rows = np.array([[0.4, 0.0]])
    formula = exact.backdoor(law, rows, np.array([1]), np.array([0]), severity="recorded")[0]
    assert abs(total - formula) < 4 * np.sqrt(0.25 / (near.sum() / 8)) + 0.002


def test_without_overlap_the_back_door_formula_is_refused() -> None:
    asked = question(10, np.random.default_rng(0))
    with pytest.raises(PositivityError, match="never occurs at some severity"):
        exact.backdoor(regime("R5").law(), *asked)
    assert exact.weighting_share(regime("R5").law()) == 0
    # With the exclusion declared (style causes nothing) the target needs no style at all.
    assert np.isfinite(exact.interventional(regime("R5").law(), *asked)).all()
