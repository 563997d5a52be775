from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from adjusters.contract import ContractError
from adjusters.registry import adjuster
from adjusters.shortcut_model import answer_prior, rubi


def attached(items, scorers, **options):
    found = adjuster("rubi", **options).fit(items.table, None, rng=np.random.default_rng(0))
    scorer, new_scorer = scorers
    return found, found.attach(scorer, new_scorer=new_scorer, rng=np.random.default_rng(1)).double()


def equals_the_equation(items, scorers, centre: bool = True) -> None:
    import rubi_equation as equation

    found, objective = attached(items, scorers, question_weight=0.6, hidden=5, centred=centre)
    branch = objective.branch
    layers = [
        (layer.weight.tolist(), layer.bias.tolist())
        for layer in (*(module for module in branch.mask if isinstance(module, nn.Linear)), branch.answer)
    ]
    rows = items.plain("style", 1)
    for kind in ("one", "set"):
        at = items.of(kind)
        batch = items.batch(at, **found.columns(items.table))
        terms = objective.loss(batch, "main", progress=0.0)
        questions = scorers[0].features(batch, "question").tolist()
        z = items.scores(scorers[0], at)
        true = equation.losses(z, questions, *layers, found.answers_, [rows[i] for i in at], 0.6, centre)
        assert terms.per_item.tolist() == pytest.approx(true, abs=1e-6)
        assert torch.equal(objective.validation_loss(batch), terms.per_item)
        assert torch.equal(objective(batch), scorers[0](batch))
        terms.total.backward()
        assert all(torch.isfinite(p.grad).all() for p in (scorers[0].table, *branch.parameters()))


@pytest.mark.parametrize("centre", [True, False], ids=["centred", "as printed"])
def test_loss_equals_the_equation(items, scorers, centre: bool) -> None:
    equals_the_equation(items, scorers, centre)


def test_the_paper_centres_nothing(items, scorers) -> None:
    """Which matters: what all candidates have in common is taken for evidence where the mask is."""
    batch = items.batch(items.of("one"), **attached(items, scorers)[0].columns(items.table))
    ours, printed = (attached(items, scorers, centred=c)[1] for c in (True, False))
    before = ours.losses(batch)[0], printed.losses(batch)[0]
    with torch.no_grad():
        scorers[0].table += 3.0
    assert torch.allclose(ours.losses(batch)[0], before[0], atol=1e-9)
    assert not torch.allclose(printed.losses(batch)[0], before[1], atol=0.1)


VIEWS = {"style": "style", "template": "template_id", "question": "question"}


def of_a_view_equals_the_equation(items, scorers, view: str, restore: bool = True, centre: bool = True) -> None:
    import rubi_equation as equation

    options = {"bias_view": view, "folds": 4, "smoothing": 0.7, "restore_prior": restore, "centred": centre}
    found, objective = attached(items, scorers, prior="counts", **options)
    rows = items.plain(VIEWS[view], 4)
    for kind in ("one", "set"):
        at = items.of(kind)
        batch = items.batch(at, **found.columns(items.table))
        terms = objective.loss(batch, "main", progress=0.0)
        z = items.scores(scorers[0], at)
        true = equation.losses_of_view(z, rows, [rows[i] for i in at], 0.7, 4, restore, centre)
        assert terms.per_item.tolist() == pytest.approx(true, abs=1e-6)
        assert torch.equal(objective.validation_loss(batch), terms.per_item)
        assert torch.equal(objective(batch), scorers[0](batch))
        terms.total.backward()
        assert torch.isfinite(scorers[0].table.grad).all()
    assert not scorers[1].made, "no further model"


@pytest.mark.parametrize("restore", [True, False])
@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize("view", VIEWS)
def test_loss_masked_by_a_view_equals_the_equation(items, scorers, view: str, restore: bool, centre: bool) -> None:
    of_a_view_equals_the_equation(items, scorers, view, restore, centre)


def test_a_mask_of_the_view_alone_is_noticed(items, scorers, monkeypatch) -> None:
    forward = answer_prior.ViewOffset.forward
    monkeypatch.setattr(answer_prior.ViewOffset, "forward", lambda self, b: forward(self, b) + self.given_topic(b))
    with pytest.raises(AssertionError):
        of_a_view_equals_the_equation(items, scorers, "style")


def test_a_view_that_says_nothing_beyond_its_topic_masks_all_alike(items, scorers) -> None:
    """By halves, so that its optimum is that of the plain loss, at twice the scores."""
    found, objective = attached(items, scorers, bias_view="style")
    for kind in ("one", "set"):
        batch = items.batch(items.of(kind), **found.columns(items.table.assign(style="never seen")))
        mask = objective.mask(batch)
        assert torch.allclose(mask[~batch.padding], torch.tensor(0.5, dtype=mask.dtype), atol=1e-6)


def test_scores_masked_before_they_are_centred_are_noticed(items, scorers, monkeypatch) -> None:
    monkeypatch.setattr(rubi, "centred", lambda scores, batch: scores.masked_fill(batch.padding, 0.0))
    with pytest.raises(AssertionError):
        equals_the_equation(items, scorers)


class Reads(nn.Module):
    """Its question features have a parameter."""

    def __init__(self, inner) -> None:
        super().__init__()
        self.inner, self.scale = inner, nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, batch):
        return self.inner(batch)

    def features(self, batch, view):
        return self.scale * self.inner.features(batch, view)

    def feature_dim(self, view):
        return self.inner.feature_dim(view)


def test_no_gradient_reaches_the_question_encoder(items, scorers) -> None:
    scorer = Reads(scorers[0])
    found, objective = attached(items, (scorer, scorers[1]))
    objective.loss(items.batch(items.of("one"), **found.columns(items.table)), "main", progress=0.0).total.backward()
    assert scorer.scale.grad is None and scorers[0].table.grad.abs().sum() > 0


def test_the_mask_is_of_the_question_that_was_dealt(items, scorers) -> None:
    found, objective = attached(items, scorers)
    at, columns = items.of("one"), found.columns(items.table)
    dealt = {"bias_view": np.roll(columns["bias_view"], 1)}
    own, other = (objective.losses(items.batch(at, **c))[0] for c in (columns, dealt))
    assert not torch.equal(own, other)
    blind = items.batch(at, **columns).replace(question=("whatever",) * len(at))
    assert torch.equal(objective.losses(blind)[0], own)


@pytest.mark.parametrize("options", [{"hidden": 8}, {"bias_view": "style", "folds": 1}], ids=str)
def test_between_two_answers_it_decides_as_the_unadjusted_model(law, options: dict) -> None:
    """A centred pair (u, -u) masked by any two shares keeps its sign, so a scorer that sees the style decides as it
    would without the mask."""
    learned, plain = law.learned(adjuster("rubi", **options), iterations=60), law.learned(adjuster("none"))
    assert np.array_equal(learned > 0.5, plain > 0.5)
    assert ((law.truth[:, None, :] > 0.5) != (learned > 0.5)).any()


class Bare(nn.Module):
    def forward(self, batch):
        return torch.zeros(batch.candidate_ids.shape)


def test_refusals(items, scorers) -> None:
    with pytest.raises(ContractError, match="question_weight must be"):
        adjuster("rubi", question_weight=0.0)
    with pytest.raises(ContractError, match="hidden must be"):
        adjuster("rubi", hidden=0)
    with pytest.raises(ContractError, match="rubi needs a scorer with question features"):
        attached(items, (Bare(), scorers[1]))
    assert attached(items, (Bare(), scorers[1]), bias_view="style")
    for options, says in (
        ({"bias_view": "hair"}, "bias_view is style"),
        ({"folds": 3}, "folds has no role with bias_view=question, where a branch"),
        ({"by": None}, "by has no role"),
        ({"bias_view": "style", "hidden": 8}, "hidden has no role with bias_view=style, where counts give the mask"),
        ({"bias_view": "style", "prior": "model"}, "more than the style"),
    ):
        with pytest.raises(ContractError, match=says):
            adjuster("rubi", **options)


@pytest.mark.parametrize("column", ["kind", "candidates", "answer", "patient_ids", "style"])
def test_missing_columns_are_named(items, column: str) -> None:
    table, rng = items.table.drop(columns=column), np.random.default_rng(0)
    with pytest.raises(ContractError, match=f"rubi needs the column '{column}'"):
        adjuster("rubi", bias_view="style").fit(table, rng=rng)
    if column in ("kind", "candidates"):
        with pytest.raises(ContractError, match=f"rubi needs the column '{column}'"):
            adjuster("rubi").fit(table, rng=rng)
