from __future__ import annotations

import answer_shares_equation
import hybrid_equation
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from adjusters.contract import Batch, ContractError
from adjusters.reference_loop import drive, weighted
from adjusters.registry import adjuster
from adjusters.severity_based.answer_shares import PSEUDO_ROWS
from adjusters.severity_based.backdoor import FOLDS, Backdoor
from adjusters.severity_based.hybrid import STYLE_CODE, TOPIC_CODE, Hybrid, HybridObjective
from adjusters.severity_based.severity_model import fit_calibration, fit_latent_calibration
from adjusters.toy import ESTIMAND, SEVERITY, ToyScorer, accuracy, toy_cohort

TOPICS = ("infarction", "fibrillation")


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def cohort():
    return toy_cohort(rho=0.9, train=300, valid=100, test=40, topics=TOPICS, seed=3)


def prepared(cohort, **options) -> tuple[HybridObjective, Batch]:
    ours = Hybrid(**options)
    train = cohort.split("train")
    ours.fit(train, ESTIMAND, rng=rng())
    objective = ours.attach(ToyScorer(), new_scorer=lambda variant: ToyScorer(), rng=rng()).double().eval()
    generator = torch.Generator().manual_seed(1)
    for parameter in objective.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    table = weighted(ours, train)
    batch = cohort.batch(table, np.arange(24), tuple(ours.columns(table)))
    return objective, batch.replace(ecg=batch.ecg.double())


def check_likelihood(cohort, objective: HybridObjective, batch: Batch) -> None:
    train = cohort.split("train")
    rows, folds = answer_shares_equation.rows_of(train, SEVERITY), answer_shares_equation.folds_of(train, FOLDS)
    m = answer_shares_equation.pseudo_rows(rows, folds, PSEUDO_ROWS)
    with torch.no_grad():
        found = objective.validation_loss(batch).tolist()
        told = [objective.scorer(batch.with_context(text)) for text in objective.contexts]
        severity = objective.severity.scores(objective.scorer, batch)
        record = objective.misclassification().tolist()
        styles = torch.softmax(objective.style_start + 10 * objective.style_moved, 2).tolist()
    for i, loss in enumerate(found):
        width = int((~batch.padding[i]).sum())
        code = int(batch.columns[STYLE_CODE][i])
        others = [row for row, fold in zip(rows, folds, strict=True) if fold != folds[int(batch.rows[i])]]
        shares = [
            answer_shares_equation.told(others, rows, batch.kind, batch.topic[i], s, batch.candidates[i], TOPICS, m)
            for s in range(2)
        ]
        wanted = hybrid_equation.negative_log_likelihood(
            [(scores[i, :width].numpy() + share).tolist() for scores, share in zip(told, shares, strict=True)], batch.answer[i, :width].tolist(), batch.kind,
            severity[i].tolist(), record, styles[int(batch.columns[TOPIC_CODE][i])],
            int(batch.columns[SEVERITY][i]), None if code < 0 else code,
        )  # fmt: skip
        assert loss == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("kind", ["one", "set"])
def test_the_likelihood_is_that_of_the_latent_class_model(cohort, kind: str, monkeypatch) -> None:
    objective, batch = prepared(cohort)
    style = batch.columns[STYLE_CODE].clone()
    style[:3] = -1
    batch = batch.replace(kind=kind, columns={**batch.columns, STYLE_CODE: style})
    check_likelihood(cohort, objective, batch)
    evidence = HybridObjective.log_evidence
    swapped = lambda self, recorded, style, topic: evidence(self, 1 - recorded, style, topic)  # noqa: E731
    monkeypatch.setattr(HybridObjective, "log_evidence", swapped)
    with pytest.raises(AssertionError):
        check_likelihood(cohort, objective, batch)


def test_without_wrong_severities_it_is_back_door_adjustment(cohort) -> None:
    """The likelihood is then P(A | E, Q, S) P(S | E) P(F | S): back-door adjustment's loss and a term of the tables."""
    objective, batch = prepared(cohort, misclassification=0.0, exchange=0.0)
    plain = Backdoor().fit(cohort.split("train"), ESTIMAND, rng=rng())
    reference = plain.attach(ToyScorer(), new_scorer=lambda variant: ToyScorer(), rng=rng()).double().eval()
    shared = {name: value for name, value in objective.state_dict().items() if name in reference.state_dict()}
    reference.load_state_dict(shared)
    with torch.no_grad():
        styles = torch.log_softmax(objective.style_start + 10 * objective.style_moved, 2)
        of_style = styles[batch.columns[TOPIC_CODE], batch.columns[SEVERITY], batch.columns[STYLE_CODE]]
        assert torch.allclose(
            objective.validation_loss(batch), reference.validation_loss(batch) - of_style, atol=1e-6, rtol=0
        )
        assert torch.allclose(objective(batch), reference(batch), atol=1e-12, rtol=0)
    assert not objective.record_moved.requires_grad


def test_latent_calibration_of_a_level_that_is_told_is_calibration() -> None:
    draw = rng()
    scores, levels = draw.standard_normal((400, 3)) * 2, draw.integers(0, 3, 400)
    told = np.where(np.arange(3) == levels[:, None], 0.0, -700.0)
    sharp, shift = fit_calibration(scores, levels)
    latent_sharp, latent_shift = fit_latent_calibration(scores, told)
    assert latent_sharp == pytest.approx(sharp, abs=1e-4)
    assert latent_shift == pytest.approx(shift, abs=1e-4)


class Views(nn.Module):
    """Answers "yes" by the told severity alone; the ECG's features are one of two values."""

    def __init__(self) -> None:
        super().__init__()
        self.told = nn.Embedding.from_pretrained(torch.tensor([[0.2, 0.0], [0.0, 0.2]]), freeze=False)

    def forward(self, batch: Batch) -> torch.Tensor:
        level = torch.tensor([1 if (text or "").startswith("Severity: level 1") else 0 for text in batch.question])
        return self.told(level)[:, : batch.candidate_ids.shape[1]].masked_fill(batch.padding, float("-inf"))

    def features(self, batch: Batch, view: str) -> torch.Tensor:
        return batch.ecg[:, 0, 0, :1].sign().double()

    def feature_dim(self, view: str) -> int:
        return 1


@pytest.mark.slow
def test_the_share_of_wrong_severities_is_the_one_of_an_independent_em() -> None:
    """Four views of a binary class: ECG (two values), record, style, answer. Minimised by gradients in the objective
    and by EM in plain numpy; the same maximum, so the same tables."""
    draw, n = rng(), 3000
    severity = draw.integers(0, 2, n)

    def follows(q: float) -> np.ndarray:
        return np.where(draw.random(n) < q, severity, 1 - severity)

    ecg, record, style, answer = follows(0.85), follows(0.9), follows(0.95), follows(0.8)
    toy = toy_cohort(rho=0.9, train=n, valid=60, test=10, seed=0)
    train = toy.split("train").assign(
        style=np.array(["calm", "urgent"])[style], answer=[[["no"], ["yes"]][a] for a in answer]
    )
    train[SEVERITY] = record
    ours = Hybrid(exchange=0.0).fit(train, ESTIMAND, rng=rng())
    objective = ours.attach(Views(), new_scorer=lambda variant: Views(), rng=rng()).double()
    table = weighted(ours, train)
    batch = toy.batch(table, np.arange(n), tuple(ours.columns(table)))
    batch = batch.replace(ecg=torch.from_numpy(2.0 * ecg - 1).reshape(n, 1, 1, 1).expand(n, 2, 1, 1))
    fit = torch.optim.LBFGS(
        objective.parameters(), max_iter=500, tolerance_grad=1e-9, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        fit.zero_grad()
        total = objective.loss(batch, "main", progress=0.0).total
        total.backward()
        return total

    fit.step(closure)
    near = np.array([[0.8, 0.2], [0.2, 0.8]])
    _, tables = hybrid_equation.latent_classes(np.stack([ecg, record, style, answer], 1), 2, [near] * 4)
    found = objective.misclassification().detach().numpy()
    assert found == pytest.approx(tables[1], abs=1e-3)
    # and the truth within four standard errors of the information that a level's 1,500 rows would give if it were seen
    # and twice that for what the other views leave open.
    assert found[0, 0] == pytest.approx(0.9, abs=8 * np.sqrt(0.9 * 0.1 / 1500))


@pytest.mark.slow
def test_it_survives_a_tenth_of_wrong_severities() -> None:
    """n = 4,000 test items: a standard error of .005 at .9; back-door adjustment by the record is the contrast."""
    toy = toy_cohort(rho=0.99, train=3000, test=4000, seed=4)
    wrong = np.random.default_rng(1).random(len(toy.items)) < 0.1
    toy.items[SEVERITY] = np.where(wrong, 1 - toy.items[SEVERITY], toy.items[SEVERITY])

    def unbiased(name: str, split: str = "") -> float:
        train, valid = toy.split(f"train{split}"), toy.split(f"valid{split}")
        done = drive(adjuster(name), train, valid, toy.batch, ToyScorer, estimand=ESTIMAND, epochs=10)
        return accuracy(done.objective, toy, "test_unbiased")

    oracle, naive, hybrid = unbiased("none", "_oracle"), unbiased("backdoor"), unbiased("hybrid")
    assert hybrid > oracle - 0.05, (oracle, naive, hybrid)
    assert hybrid > naive + 4 * np.sqrt(2) * 0.005, (oracle, naive, hybrid)


def test_a_matrix_from_the_command_line(cohort) -> None:
    from causalecg.training.arms import Arm

    arm = Arm.parse("hybrid?misclassification=0.9,0.1,0.2,0.8")
    assert str(arm) == "hybrid?misclassification=0.9,0.1,0.2,0.8"
    ours = arm.make().fit(cohort.split("train"), ESTIMAND, rng=rng())
    nested = Hybrid(misclassification=[[0.9, 0.1], [0.2, 0.8]]).fit(cohort.split("train"), ESTIMAND, rng=rng())
    wanted = np.array([[0.9, 0.1], [0.2, 0.8]])
    np.testing.assert_array_equal(ours.misclassification_table(), wanted)
    np.testing.assert_array_equal(nested.misclassification_table(), wanted)


def test_an_exchange_takes_its_share_of_a_true_effect() -> None:
    """Nothing confounded, no errors: of the style's own effect of .2 the share 1 - exchange is left, within four
    standard errors of a difference of shares of 1,000 rows each (.02, and its half)."""
    from causalecg.benchmark.law import Law
    from causalecg.benchmark.leaderboard.evidence import declared_estimand
    from causalecg.benchmark.t0.arms import EvidenceArm
    from causalecg.benchmark.t0.evaluation import measured, patients_to_test, reader_of
    from causalecg.benchmark.t0.training import train

    law, found = Law(p=0.9, q=0.5, style_effect=0.2), []
    for exchange in (0, 0.5):
        arm = EvidenceArm.parse(f"hybrid?exchange={exchange}")
        trained = train(law, arm, seed=0, estimand=declared_estimand(), items=2000, fit="linear")
        found.append(measured(reader_of(trained.yes), patients_to_test(law, 2000))["style_signed"].mean())
    assert found[0] == pytest.approx(0.2, abs=4 * 0.02)
    # Both of the same rows: what an exchange takes does not depend on their chance.
    assert found[1] / found[0] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"exchange": 1.5}, "exchange must be a share"),
        ({"misclassification": 1.0}, "must be a share in"),
        ({"misclassification": [[0.9, 0.1], [0.3, 0.3]]}, "sum to one"),
        ({"misclassification": [[1.0]]}, "2 x 2 table"),
        ({"misclassification": [[0.9, 0.1], [1.0]]}, "2 x 2 table"),
        ({"misclassification": [0.9, 0.1, 0.1]}, "its 4 numbers row by row"),
    ],
)
def test_refusals(cohort, options: dict, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        Hybrid(**options).fit(cohort.split("train"), ESTIMAND, rng=rng())


def test_without_canonical_questions_there_is_no_exchange(cohort) -> None:
    table = cohort.split("train").drop(columns="question_id")
    with pytest.raises(ContractError, match="question_id"):
        Hybrid().fit(table, ESTIMAND, rng=rng())
    assert Hybrid(exchange=0.0).fit(table, ESTIMAND, rng=rng()).wordings_ == {}


def test_styles_and_topics_it_does_not_know(cohort) -> None:
    ours = Hybrid().fit(cohort.split("train"), ESTIMAND, rng=rng())
    other = cohort.split("valid").head(2).assign(style=["plain", "sung"], topic=["infarction", "rhythm"])
    codes = ours.columns(other)
    assert codes[STYLE_CODE].tolist() == [0, -1]
    assert codes[TOPIC_CODE].tolist() == [1, 2]
    assert isinstance(other, pd.DataFrame)
