from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causalecg.benchmark import dial, exact
from causalecg.benchmark.law import Law
from causalecg.errors import InputError

#: Every dial away from its default at once.
EVERYTHING = Law(
    p=0.9, q=(0.7, 0.8, 0.95), q_topic=0.6, tau=0.3, eta=0.1, severity_error=0.2, d_prime=1.5, d_prime_severity=1.0,
    levels=4, shortcuts=2, direct=0.1, style_effect=0.2, hidden=0.15,
)  # fmt: skip


def counted(world) -> np.ndarray:
    """Counts of (severity, finding, style, topic, answer)."""
    law = world.law
    table = np.zeros((law.levels, 2, 1 << law.shortcuts, 2, 2))
    np.add.at(table, (world.severity, world.finding, world.style_code, world.topic, world.answer), 1)
    return table


@pytest.mark.parametrize("randomised", [False, True])
@pytest.mark.parametrize(
    "law",
    [EVERYTHING, Law(0.9, 0.8), Law(0.95, 0.9, tau=0.4, kappa=0.7), Law(0.8, 0.7, levels=5, shortcuts=3, direct=0.4)],
)
def test_what_is_drawn_has_the_law_that_is_enumerated(law: Law, randomised: bool) -> None:
    """Pearson's chi-squared over all cells of (S, D, F, T, A): cells of one enumeration, counts of another."""
    from scipy.stats import chi2

    n = 200_000
    world = law.draw(n, np.random.default_rng(4))
    observed = counted(world.unbiased() if randomised else world)
    expected = n * exact.joint_law(law, randomised=randomised)
    assert expected.sum() == pytest.approx(n)
    assert observed[expected == 0].sum() == 0
    there = expected > 0
    statistic = ((observed - expected)[there] ** 2 / expected[there]).sum()
    assert 1e-4 < chi2.sf(statistic, there.sum() - 1) < 1 - 1e-4


def test_recorded_severity_and_evidence_are_as_declared() -> None:
    n = 200_000
    world = EVERYTHING.draw(n, np.random.default_rng(0))
    seen = np.zeros((4, 4))
    np.add.at(seen, (world.severity, world.severity_observed), 1)
    share = seen / seen.sum(1, keepdims=True)
    assert np.abs(share - exact.recorded_given(EVERYTHING)).max() < 5 * np.sqrt(0.25 / (n / 4))
    for d in (0, 1):
        part = world.evidence[world.finding == d, 0]
        assert abs(part.mean() - 1.5 * (d - 0.5)) < 5 / np.sqrt(len(part))
        assert abs(part.std() - 1) < 5 / np.sqrt(2 * len(part))
    for s, score in enumerate(EVERYTHING.scores):
        part = world.evidence[world.severity == s, 1]
        assert abs(part.mean() - 0.5 * score) < 5 / np.sqrt(len(part))
    q = [(world.style == dial.side_of(EVERYTHING.scores)[world.severity])[world.site == e].mean() for e in range(3)]
    assert q[0] < q[1] < q[2]


def test_same_seed_same_world_and_the_dials_share_their_noise() -> None:
    one, two = (EVERYTHING.draw(500, np.random.default_rng(7)) for _ in range(2))
    other = replace(EVERYTHING, tau=0.0, p=0.6).draw(500, np.random.default_rng(7))
    for f in fields(one.noise):
        assert np.array_equal(getattr(one.noise, f.name), getattr(two.noise, f.name))
        assert np.array_equal(getattr(one.noise, f.name), getattr(other.noise, f.name))
    assert np.array_equal(one.answer, two.answer) and not np.array_equal(one.answer, other.answer)


def test_do_changes_descendants_only_and_keeps_the_noise() -> None:
    world = EVERYTHING.draw(4000, np.random.default_rng(1))
    flipped = world.do(finding=1 - world.finding)
    moved = flipped.evidence - world.evidence
    assert np.allclose(moved[:, 0], EVERYTHING.d_prime * (1 - 2 * world.finding)) and not moved[:, 1].any()
    for name in ("severity", "severity_observed", "styles", "topic", "site"):
        assert np.array_equal(getattr(flipped, name), getattr(world, name))
    # Where the finding settles the answer, and nowhere else, the answer changes; same for topic and style.
    rule, tau, phi, direct = world.noise.rule, EVERYTHING.tau, EVERYTHING.style_effect, EVERYTHING.direct
    by_topic, by_style = rule < tau, (tau <= rule) & (rule < tau + phi)
    by_finding = rule >= tau + phi + direct
    assert np.array_equal(flipped.answer != world.answer, by_finding)
    assert np.array_equal(world.do(topic=1 - world.topic).answer != world.answer, by_topic)
    assert np.array_equal(world.do(style=1 - world.styles).answer != world.answer, by_style)
    # Setting what is already so changes nothing, and what was set stays set.
    same = world.do(finding=world.finding, style=world.styles, topic=world.topic)
    assert np.array_equal(same.answer, world.answer) and np.array_equal(same.evidence, world.evidence)
    both = world.do(topic=1).do(finding=0)
    assert both.topic.all() and not both.finding.any()


def test_the_anti_test_has_every_style_against_the_answer() -> None:
    world = Law(0.9, 0.9, shortcuts=3, tau=0.2).draw(300, np.random.default_rng(2)).anti()
    assert (world.styles == 1 - world.answer[:, None]).all()
    with pytest.raises(InputError, match="no test with F = not A"):
        EVERYTHING.draw(3, np.random.default_rng(0)).anti()


@settings(deadline=None, max_examples=40)
@given(
    p=st.floats(0.5, 0.99), q=st.floats(0.5, 0.99), levels=st.integers(2, 6),
    tau=st.floats(0, 0.5), eta=st.floats(0, 0.5), direct=st.floats(0, 0.25), style=st.floats(0, 0.25),
)  # fmt: skip
def test_effects_are_the_shares_of_the_answers_whatever_else_is_dialled(p, q, levels, tau, eta, direct, style) -> None:
    """By the enumerated law: E_E |p(do x=1) - p(do x=0)|, at any evidence, is share x (1 - 2 eta)."""
    law = Law(p, q, levels=levels, tau=tau, eta=eta, direct=direct, style_effect=style, d_prime_severity=1.0)
    evidence = np.random.default_rng(0).normal(0, 2, (20, 2))
    ones, zeros = np.ones(20, dtype=np.int64), np.zeros(20, dtype=np.int64)
    by_topic = exact.interventional(law, evidence, zeros, ones) - exact.interventional(law, evidence, zeros, zeros)
    by_style = exact.interventional(law, evidence, ones, ones) - exact.interventional(law, evidence, zeros, ones)
    assert np.allclose(by_topic, exact.topic_effect(law), atol=1e-12)
    assert np.allclose(by_style, exact.style_effect(law), atol=1e-12)


def test_the_dial_of_kappa_is_the_agreement_of_nuisance_and_content() -> None:
    for levels, kappa in ((2, 0.5), (2, 0.7), (4, 0.65)):
        law = Law(0.9, 0.8, tau=0.4, kappa=kappa, levels=levels)
        table = exact.joint_law(law).sum((0, 1, 4))
        assert np.trace(table) == pytest.approx(kappa)


@pytest.mark.parametrize(
    ("dials", "says"),
    [
        ({"p": 1.2}, "p must lie between 0 and 1, not at 1.2"), ({"q": (0.9, -1)}, "q must lie between"),
        ({"q": ()}, "q names no site"), ({"tau": 0.7, "direct": 0.4}, "together they are at most 1"),
        ({"d_prime": 0.0}, "d' must be positive"), ({"d_prime_severity": -1.0}, "d' of severity"),
        ({"levels": 1}, "at least 2 levels"), ({"shortcuts": 0}, "1 to 6 shortcuts"),
        ({"kappa": 0.9}, "kappa = 0.9 is out of reach"), ({"kappa": 0.5, "shortcuts": 2}, "kappa is for one style"),
    ],
)  # fmt: skip
def test_impossible_dials_are_refused(dials, says) -> None:
    with pytest.raises(InputError, match=says):
        Law(**{"p": 0.9, "q": 0.8, **dials})


def test_impossible_interventions_are_refused() -> None:
    world = EVERYTHING.draw(5, np.random.default_rng(0))
    for how, says in (({"topic": 2}, r"do\(topic\) takes 0 or 1"), ({"finding": np.zeros(4)}, r"shape \(4,\)")):
        with pytest.raises(InputError, match=says):
            world.do(**how)
