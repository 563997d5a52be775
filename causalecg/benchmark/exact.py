"""What holds of a law exactly: its discrete part enumerated, the ECG's Gaussian part in closed form or by quadrature.

Tables are P(s, d, f, t, a), shape (levels, 2, 2**shortcuts, 2, 2): severity, finding, style (all shortcuts as one
number), topic, answer.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from causalecg.benchmark import dial
from causalecg.benchmark.law import Law
from structural_models.errors import PositivityError

_NODES, _REACH = 4001, 9.0


def joint_law(law: Law, *, randomised: bool = False) -> np.ndarray:
    """P(s, d, f, t, a); ``randomised``: under do(F), F a fair coin for every style."""
    scores, k = law.scores, law.levels
    driver = (1 - law.hidden) * np.eye(k) + law.hidden / k
    finding, topic = _given_level(law.p, scores), _given_level(law.q_topic, scores)
    styles = np.zeros((k, 1 << law.shortcuts))
    for q in law.site_q:
        one, every = _given_level(q, scores), np.ones((k, 1))
        for _ in range(law.shortcuts):
            every = np.einsum("vf,vg->vgf", every, one).reshape(k, -1)
        styles += every / len(law.site_q)
    if randomised:
        styles[:] = 1 / styles.shape[1]
    before = np.einsum("sv,vd,vf,vt->sdft", driver, finding, styles, topic) / k
    return before[..., None] * answer_given(law)


def answer_given(law: Law) -> np.ndarray:
    """(levels, 2, 2**shortcuts, 2, 2) P(a | s, d, f, t)."""
    d, f, t = np.arange(2.0)[:, None, None], (np.arange(1 << law.shortcuts) & 1)[:, None], np.arange(2.0)
    s = (0.5 * (1 + law.scores))[:, None, None, None]
    rest = 1 - law.tau - law.style_effect - law.direct
    yes = law.tau * t + law.style_effect * f + law.direct * s + rest * d
    yes = law.eta + (1 - 2 * law.eta) * yes
    return np.stack([1 - yes, yes], axis=-1)


def recorded_given(law: Law) -> np.ndarray:
    """(levels, levels) P(recorded level | true level)."""
    k = law.levels
    return (1 - law.severity_error) * np.eye(k) + law.severity_error * (1 - np.eye(k)) / (k - 1)


# ---- agreement and effective shares


def finding_agreement(law: Law) -> float:
    """rho_D = P(D = F) of the first style."""
    return _agreement(joint_law(law).sum((0, 3, 4)))


def answer_agreement(law: Law) -> float:
    """rho_A = P(A = F) of the first style."""
    return _agreement(joint_law(law).sum((0, 1, 3)).T)


def weighting_share(law: Law, *, severity: Literal["true", "recorded"] = "true") -> float:
    """Effective share of the sample under P(F)/P(F|S) weights, F all shortcuts together; of the severity named."""
    joint = joint_law(law).sum((1, 3, 4))
    return dial.effective_share(joint if severity == "true" else recorded_given(law).T @ joint)


def group_share(law: Law) -> float:
    """Effective share of the sample under P(F)/P(F|A) weights, F all shortcuts together."""
    return dial.effective_share(joint_law(law).sum((0, 1, 3)).T)


# ---- what the evidence says


def severity_posterior(law: Law, evidence: np.ndarray) -> np.ndarray:
    """(n, levels) P(s | E) at (n, 2) evidence, the question unknown."""
    weights = np.einsum("sd,nsd->ns", joint_law(law).sum((2, 3, 4)), _likelihood(law, evidence))
    return np.asarray(weights / weights.sum(1, keepdims=True))


def interventional(law: Law, evidence: np.ndarray, style: np.ndarray, topic: np.ndarray) -> np.ndarray:
    """(n,) the target P(A = 1 | E, do(F, T)), by the law itself.

    Args:
        evidence: (n, 2).
        style, topic: (n,) style as one number (:attr:`World.style_code`), and topic.
    """
    weights = joint_law(law).sum((2, 3, 4))[None] * _likelihood(law, evidence)
    yes = np.moveaxis(answer_given(law)[:, :, style, topic, 1], 2, 0)
    return np.asarray((weights * yes).sum((1, 2)) / weights.sum((1, 2)))


def observational(law: Law, evidence: np.ndarray, style: np.ndarray, topic: np.ndarray) -> np.ndarray:
    """(n,) P(A = 1 | E, F, T): what the optimal user of the shortcut believes. NaN where the question never occurs."""
    weights = np.einsum("sdna,nsd->na", joint_law(law)[:, :, style, topic], _likelihood(law, evidence))
    with np.errstate(invalid="ignore"):
        return np.asarray(weights[:, 1] / weights.sum(1))


def backdoor(
    law: Law,
    evidence: np.ndarray,
    style: np.ndarray,
    topic: np.ndarray,
    *,
    prior: Literal["conditional", "marginal"] = "conditional",
    severity: Literal["true", "recorded"] = "true",
) -> np.ndarray:
    """(n,) sum_s P(A = 1 | E, F, T, s) w(s), w = P(s | E) (``conditional``) or P(s) (``marginal``).

    Raises PositivityError where a style never occurs at some level, so that P(A | E, F, T, s) does not exist.
    """
    confusion = recorded_given(law) if severity == "recorded" else np.eye(law.levels)
    table, likelihood = joint_law(law)[:, :, style, topic], _likelihood(law, evidence)
    each = np.einsum("sdna,nsd,so->noa", table, likelihood, confusion)
    total = each.sum(2)
    if (total <= 0).any():
        raise PositivityError(
            "a style never occurs at some severity, so the back-door formula has an empty cell; take rho below 1"
        )
    if prior == "conditional":
        weights = severity_posterior(law, evidence) @ confusion
    else:
        weights = np.broadcast_to(confusion.mean(0), total.shape)
    return np.asarray((weights * each[..., 1] / total).sum(1))


# ---- how well one can answer

Reader = Literal["oracle", "shortcut"]
Test = Literal["unbiased", "biased", "anti"]


def accuracy(law: Law, reader: Reader, test: Test) -> float:
    """Accuracy of a Bayes-optimal reader of ECG, style and topic.

    Args:
        reader: ``oracle`` decides as is best where the style is random, ``shortcut`` as is best under the law.
        test: items under the law (``biased``), with the style random (``unbiased``), or with every style the answer's
            opposite (``anti``, InputError where the style causes the answer).
    """
    return _accuracy(law, _reads(law, reader), _items(law, test))


def random_swap_accuracy(law: Law, reader: Reader, test: Test) -> float:
    """:func:`accuracy` when the ECG is that of another patient who was asked the same question."""
    items = _items(law, test)
    of_topic = items.sum((2, 4))
    donors = of_topic / of_topic.sum((0, 1))
    return _accuracy(law, _reads(law, reader), np.einsum("sdt,fta->sdfta", donors, items.sum((0, 1))))


def follow_rate(law: Law, reader: Reader, test: Test = "biased") -> float:
    """P(the decision is the donor's true answer), the ECG being one of the same test with the opposite answer to the
    same question."""
    items = _items(law, test)
    of_answer = items.sum(2)
    donors = of_answer / of_answer.sum((0, 1))
    asked = items.sum((0, 1))[..., ::-1]
    return _accuracy(law, _reads(law, reader), np.einsum("sdta,fta->sdfta", donors, asked))


def topic_decision_effect(law: Law, reader: Reader = "oracle") -> float:
    """Share of (ECG, style), style random, for which the decision depends on the topic."""
    items = joint_law(law, randomised=True).sum((3, 4))
    decided = _decisions(law, _reads(law, reader))
    weight, likelihood = _severity_nodes(law)
    differ = np.abs(decided[..., 1] - decided[..., 0])
    return float(np.einsum("g,gs,sdf,gdf->", weight, likelihood, items, differ))


def topic_effect(law: Law) -> float:
    """E |p(A=1 | do T=1, E) - p(A=1 | do T=0, E)|."""
    return dial.topic_effect(law.tau, law.eta)


def style_effect(law: Law) -> float:
    """E |p(A=1 | do F=1, E) - p(A=1 | do F=0, E)| of the first style; 0 unless it causes the answer."""
    return law.style_effect * abs(1 - 2 * law.eta)


def _reads(law: Law, reader: Reader) -> np.ndarray:
    return joint_law(law, randomised=reader == "oracle")


def _items(law: Law, test: Test) -> np.ndarray:
    if test == "anti":
        law.require_anti()
        before = joint_law(law).sum(2)
        table = np.zeros((law.levels, 2, 1 << law.shortcuts, 2, 2))
        # Answers as the law's own styles gave them; style 0 is all zeros, the last one all ones.
        table[:, :, -1, :, 0], table[:, :, 0, :, 1] = before[..., 0], before[..., 1]
        return table
    return joint_law(law, randomised=test == "unbiased")


def _accuracy(law: Law, used: np.ndarray, items: np.ndarray) -> float:
    """P(decision = a) over a table of items, for the reader who decides by the posterior of the table ``used``."""
    yes = _decisions(law, used)
    right = np.stack([1 - yes, yes], axis=-1)
    weight, likelihood = _severity_nodes(law)
    return float(np.einsum("g,gs,sdfta,gdfta->", weight, likelihood, items, right))


def _decisions(law: Law, used: np.ndarray) -> np.ndarray:
    """(nodes, 2, styles, 2) P(decide 1 | severity channel, d, f, t). For given severity channel the posterior log-odds
    are monotone in the finding's channel x: the decision is 1 where c_1 exp(d' x) + c_0 > 0."""
    _, likelihood = _severity_nodes(law)
    c = np.einsum("gs,sdft->gdft", likelihood, used[..., 1] - used[..., 0])
    c0, c1 = c[:, 0], c[:, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        cut = np.log(-c0 / c1) / law.d_prime
    centre = law.d_prime * np.array([-0.5, 0.5])[None, :, None, None]
    above = dial.normal_cdf(centre - cut[:, None])
    rising, falling = (c1 > 0) & (c0 < 0), (c1 < 0) & (c0 > 0)
    # Elsewhere both have one sign; where both are zero the question never occurs and a coin decides.
    constant = np.where((c0 == 0) & (c1 == 0), 0.5, (c0 + c1 > 0).astype(np.float64))
    return np.where(rising[:, None], above, np.where(falling[:, None], 1 - above, constant[:, None]))


def _severity_nodes(law: Law) -> tuple[np.ndarray, np.ndarray]:
    """(nodes,) weights and (nodes, levels) density of the severity channel; one node where severity is invisible."""
    if not law.d_prime_severity:
        return np.ones(1), np.ones((1, law.levels))
    reach = law.d_prime_severity / 2 + _REACH
    x = np.linspace(-reach, reach, _NODES)
    density = np.exp(-0.5 * (x[:, None] - law.d_prime_severity * 0.5 * law.scores) ** 2) / np.sqrt(2 * np.pi)
    return np.full(_NODES, x[1] - x[0]), density


def _likelihood(law: Law, evidence: np.ndarray) -> np.ndarray:
    """(n, levels, 2) density of the evidence given (s, d), up to a factor of each row."""
    of_finding = -0.5 * (evidence[:, :1] - law.d_prime * np.array([-0.5, 0.5])) ** 2
    of_severity = -0.5 * (evidence[:, 1:] - law.d_prime_severity * 0.5 * law.scores) ** 2
    logs = of_severity[:, :, None] + of_finding[:, None, :]
    return np.exp(logs - logs.max((1, 2), keepdims=True))


def _given_level(p: float, scores: np.ndarray) -> np.ndarray:
    """(levels, 2) P(x | s)."""
    yes = dial.probability_at(p, scores)
    return np.stack([1 - yes, yes], axis=1)


def _agreement(table: np.ndarray) -> float:
    """P(x = first style) of a (2, styles) table."""
    first = np.arange(table.shape[1]) & 1
    return float(table[0, first == 0].sum() + table[1, first == 1].sum())
