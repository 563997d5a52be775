"""Formulas against enumeration, by hand, and against a general optimiser."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize

from adjusters.contract import Batch, ContractError, decide, log_probabilities, negative_log_likelihood
from adjusters.registry import adjuster
from adjusters.severity_based.backdoor import mix
from adjusters.severity_based.ipw import InverseProbabilityWeighting
from adjusters.severity_based.severity_model import calibration_error, fit_calibration, log_loss
from adjusters.toy import ESTIMAND, toy_cohort


def batch_of(kind: str, answer: list[list[int]], ids: list[list[int]]) -> Batch:
    n = len(ids)
    names = ("a", "b", "none")
    return Batch(
        rows=torch.arange(n), ecg=torch.zeros(n, 2, 1, 4), ecg_present=torch.ones(n, 2, dtype=torch.bool),
        question=("?",) * n, candidates=tuple(tuple(names[i] for i in row if i >= 0) for row in ids),
        candidate_ids=torch.tensor(ids), answer=torch.tensor(answer, dtype=torch.bool), kind=kind,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["one", "set"])
def test_the_mixture_over_strata_by_enumeration(kind: str) -> None:
    rng = np.random.default_rng(0)
    batch = batch_of(kind, [[1, 0, 0], [0, 1, 0]], [[0, 1, 2], [0, 1, -1]])
    scores = rng.standard_normal((3, 2, 3)) * 2
    weights = rng.dirichlet(np.ones(3), 2)
    found = mix(torch.tensor(scores), torch.tensor(np.log(weights)), batch).numpy()
    for item, width in ((0, 3), (1, 2)):
        for c in range(width):
            p = 0.0
            for s in range(3):
                z = scores[s, item, :width]
                own = np.exp(z[c]) / np.exp(z).sum() if kind == "one" else 1 / (1 + np.exp(-z[c]))
                p += weights[item, s] * own
            wanted = np.log(p) if kind == "one" else np.log(p / (1 - p))
            assert found[item, c] == pytest.approx(wanted, abs=1e-12)
    assert np.isneginf(found[1, 2])


def test_losses_and_decisions_by_hand() -> None:
    one = batch_of("one", [[0, 1, 0]], [[0, 1, 2]])
    z = torch.tensor([[0.3, 1.1, -0.4]])
    p = np.exp([0.3, 1.1, -0.4]) / np.exp([0.3, 1.1, -0.4]).sum()
    assert float(negative_log_likelihood(z, one)) == pytest.approx(-np.log(p[1]), abs=1e-6)
    assert log_probabilities(z, one).exp().sum() == pytest.approx(1.0, abs=1e-6)
    assert decide(z, one) == [["b"]]
    several = batch_of("set", [[1, 1, 0], [1, 0, 0]], [[0, 1, 2], [0, 1, -1]])
    z = torch.tensor([[0.5, 2.0, 3.0], [-1.0, -2.0, float("-inf")]])
    sigmoid = 1 / (1 + np.exp(-np.array([0.5, 2.0, 3.0])))
    wanted = -np.log(sigmoid[0]) - np.log(sigmoid[1]) - np.log(1 - sigmoid[2])
    assert float(negative_log_likelihood(z, several)[0]) == pytest.approx(wanted, abs=1e-5)
    assert decide(z, several) == [["a", "b"], []]  # "none" is exclusive; nothing else to fall back on
    assert decide(torch.tensor([[-1.0, -1.0, -5.0]]), batch_of("set", [[0, 0, 1]], [[0, 1, 2]])) == [["none"]]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Three styles, two severities, two topics."""
    rng = np.random.default_rng(0)
    n = 3000
    severity, topic = rng.integers(0, 2, n), rng.integers(0, 2, n)
    p = np.array([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7]])[severity]
    style = (p.cumsum(1) < rng.random(n)[:, None]).sum(1)
    return pd.DataFrame(
        {
            "severity_simulated": severity,
            "topic": np.array(["x", "y"])[topic],
            "style": np.array(["s", "t", "u"])[style],
            "kind": "one",
            "candidates": [["yes", "no"]] * n,
            "answer": [["yes"]] * n,
            "patient_ids": [[f"p{i}"] for i in range(n)],
        }
    )


def by_hand(table: pd.DataFrame, stabilised: bool) -> np.ndarray:
    joint = table.groupby(["topic", "severity_simulated", "style"]).size()
    stratum = table.groupby(["topic", "severity_simulated"]).size()
    arm, topic = table.groupby(["topic", "style"]).size(), table.groupby("topic").size()
    weights = [
        (arm[t, f] / topic[t] if stabilised else 1.0) / (joint[t, s, f] / stratum[t, s])
        for t, s, f in zip(table["topic"], table["severity_simulated"], table["style"], strict=True)
    ]
    found = np.array(weights)
    for t in ("x", "y"):  # mean one within a topic, then overall
        at = (table["topic"] == t).to_numpy()
        found[at] /= found[at].mean()
    return found / found.mean()


@pytest.mark.parametrize("stabilised", [True, False])
def test_weights_by_hand(table, stabilised: bool) -> None:
    scheme = "stabilised" if stabilised else "unstabilised"
    found = InverseProbabilityWeighting(scheme=scheme).fit(table, ESTIMAND, rng=np.random.default_rng(0))
    assert np.allclose(found.weights(table), by_hand(table, stabilised), rtol=1e-12)


@pytest.mark.parametrize("clip", [1.5, 0.9])
def test_clipping_by_hand(table, clip: float) -> None:
    plain = by_hand(table, True)
    wanted = np.minimum(plain, clip if clip >= 1 else np.quantile(plain, clip))
    found = InverseProbabilityWeighting(clip=clip).fit(table, ESTIMAND, rng=np.random.default_rng(0))
    assert np.allclose(found.weights(table), wanted / wanted.mean(), rtol=1e-12)


def test_overlap_weights_by_hand(table) -> None:
    """Li & Li 2019: (1 / e_f) / sum_g (1 / e_g)."""
    joint = table.groupby(["topic", "severity_simulated", "style"]).size().unstack()
    e = joint.div(joint.sum(axis=1), axis=0)
    h = 1 / (1 / e).sum(axis=1)
    found = np.array(
        [
            h[t, s] / e.loc[(t, s), f]
            for t, s, f in zip(table["topic"], table["severity_simulated"], table["style"], strict=True)
        ]
    )
    for t in ("x", "y"):
        at = (table["topic"] == t).to_numpy()
        found[at] /= found[at].mean()
    ours = InverseProbabilityWeighting(scheme="overlap").fit(table, ESTIMAND, rng=np.random.default_rng(0))
    assert np.allclose(ours.weights(table), found / found.mean(), rtol=1e-12)


def test_weighting_balances_exactly(table) -> None:
    ours = InverseProbabilityWeighting().fit(table, ESTIMAND, rng=np.random.default_rng(0))
    balance = ours.balance(table)
    assert balance["smd_before"].max() > 0.5
    assert balance["smd_after"].max() < 1e-12
    assert ours.overlap_["ess"] == pytest.approx(ours.weights(table).sum() ** 2 / (ours.weights(table) ** 2).sum())


def test_no_overlap_is_refused(table) -> None:
    one_sided = table.assign(style=np.where(table["severity_simulated"] == 1, "u", table["style"]))
    rng = np.random.default_rng(0)
    within = table.assign(style=np.where((table["severity_simulated"] == 1) == (table["topic"] == "x"), "s", "u"))
    for name in ("ipw", "stratified", "backdoor", "matched"):
        for rows in (one_sided, within):  # the second only within topics: across them every style occurs
            with pytest.raises(ContractError, match="so no adjustment can part the two"):
                adjuster(name).fit(rows.assign(question="?", question_id="q"), ESTIMAND, rng=rng)
    adjuster("backdoor", exclusion=True).fit(one_sided, ESTIMAND, rng=rng)  # "style does not cause the answer"
    with pytest.raises(ContractError, match="single value"):
        adjuster("ipw").fit(table.assign(style="s"), ESTIMAND, rng=np.random.default_rng(0))


def test_calibration_is_the_penalised_optimum() -> None:
    rng = np.random.default_rng(3)
    z = rng.standard_normal((300, 3)) * 2
    p = np.exp(0.5 * z + [0.3, 0, -0.3])
    levels = (p.cumsum(1) / p.sum(1, keepdims=True) < rng.random(300)[:, None]).sum(1)
    sharpness, shift = fit_calibration(z, levels)
    centred = z - z.mean(1, keepdims=True)

    def objective(t: np.ndarray) -> float:
        eta = t[0] * centred + t[1:]
        fit = -(eta[np.arange(300), levels] - np.log(np.exp(eta).sum(1))).sum()
        return fit + 0.5 * ((t[0] - 1) ** 2 + (t[1:] ** 2).sum())

    best = minimize(objective, [1.0, 0, 0, 0], method="BFGS", options={"gtol": 1e-10}).x
    assert sharpness == pytest.approx(best[0], abs=1e-5)
    assert np.allclose(shift, best[1:] - best[1:].mean(), atol=1e-5)


def test_scores_that_mislead_are_left_aside() -> None:
    """Where more score means less of the level, the sharpness is at its bound and the shift tells the shares."""
    rng = np.random.default_rng(4)
    levels = rng.choice(3, 600, p=[0.6, 0.3, 0.1])
    z = -3.0 * np.eye(3)[levels] + rng.standard_normal((600, 3))
    sharpness, shift = fit_calibration(z, levels)
    assert sharpness == 0.0
    found = np.exp(shift) / np.exp(shift).sum()
    # At the optimum n (p - share) = -penalty * shift; the shifts are below two here.
    assert np.allclose(found, np.bincount(levels) / 600, atol=2 / 600)


def test_calibration_figures_by_hand() -> None:
    p = np.array([[0.9, 0.1], [0.2, 0.8]])
    assert log_loss(p, np.array([0, 0])) == pytest.approx(-(np.log(0.9) + np.log(0.2)) / 2)
    sure = np.tile([1.0, 0.0], (100, 1))
    assert calibration_error(sure, np.zeros(100, dtype=int)) == pytest.approx(0.0)
    assert calibration_error(sure, np.ones(100, dtype=int)) == pytest.approx(1.0)


def test_stratified_deals_every_cell_evenly() -> None:
    toy = toy_cohort(rho=0.9, train=1000, valid=10, test=10, seed=0)
    table = toy.split("train").assign(question_id="q")
    ours = adjuster("stratified").fit(table, ESTIMAND, rng=np.random.default_rng(0))
    batches = list(ours.batches(table, 50, seed=1, epoch=0))
    assert sorted(np.concatenate(batches).tolist()) == list(range(1000))
    cell = table["severity_simulated"].astype(str) + table["style"]
    counts = pd.DataFrame([cell.iloc[rows].value_counts() for rows in batches]).fillna(0)
    # Dealt out like cards: a cell's counts differ by the cards at its two ends at most.
    assert (counts.max() - counts.min()).max() <= 2
