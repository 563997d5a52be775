from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from adjusters.contract import ContractError
from adjusters.registry import adjuster
from adjusters.shortcut_model import rubi


def attached(items, scorers, **options):
    found = adjuster("rubi", **options).fit(items.table, None, rng=np.random.default_rng(0))
    scorer, new_scorer = scorers
    return found, found.attach(scorer, new_scorer=new_scorer, rng=np.random.default_rng(1)).double()


def equals_the_equation(items, scorers) -> None:
    import rubi_equation as equation

    found, objective = attached(items, scorers, question_weight=0.6, hidden=5)
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
        true = equation.losses(z, questions, *layers, found.answers_, [rows[i] for i in at], 0.6)
        assert terms.per_item.tolist() == pytest.approx(true, abs=1e-6)
        assert torch.equal(objective.validation_loss(batch), terms.per_item)
        assert torch.equal(objective(batch), scorers[0](batch))
        terms.total.backward()
        assert all(torch.isfinite(p.grad).all() for p in (scorers[0].table, *branch.parameters()))


def test_loss_equals_the_equation(items, scorers) -> None:
    equals_the_equation(items, scorers)


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


def test_between_two_answers_it_decides_as_the_unadjusted_model(law) -> None:
    """A centred pair (u, -u) masked by any two shares keeps its sign, so a scorer that sees the style decides as it
    would without the mask."""
    learned, plain = law.learned(adjuster("rubi", hidden=8), iterations=60), law.learned(adjuster("none"))
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
