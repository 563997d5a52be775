from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from adjusters.contract import ContractError
from adjusters.registry import adjuster
from adjusters.shortcut_model import learned_mixin


def attached(items, scorers, **options):
    found = adjuster("learned_mixin", **options).fit(items.table, None, rng=np.random.default_rng(0))
    scorer, new_scorer = scorers
    return found, found.attach(scorer, new_scorer=new_scorer, rng=np.random.default_rng(0)).double()


def equals_the_equation(items, scorers, restore: bool = True) -> None:
    import learned_mixin_equation as equation

    found, objective = attached(items, scorers, folds=3, restore_prior=restore)
    with torch.no_grad():
        objective.gate.weight.copy_(torch.tensor([0.4, -0.8, 0.3]))
        objective.gate.shift.fill_(0.2)
    rows = items.plain("style", 3)
    for kind in ("one", "set"):
        at = items.of(kind)
        batch = items.batch(at, **found.columns(items.table))
        terms = objective.loss(batch, "main", progress=0.0)
        features = scorers[0].fused[at].tolist()
        z = items.scores(scorers[0], at)
        true = equation.losses(z, features, [0.4, -0.8, 0.3], 0.2, rows, [rows[i] for i in at], 1.0, 3, restore, 0.36)
        assert terms.per_item.tolist() == pytest.approx(true, abs=1e-6)
        assert torch.equal(objective.validation_loss(batch), terms.per_item)
        assert torch.equal(objective(batch), scorers[0](batch))
        terms.total.backward()
        assert all(torch.isfinite(p.grad).all() for p in (scorers[0].table, *objective.gate.parameters()))


@pytest.mark.parametrize("restore", [True, False])
def test_loss_equals_the_equation(items, scorers, restore: bool) -> None:
    equals_the_equation(items, scorers, restore)


def test_a_penalty_of_the_wrong_sign_is_noticed(items, scorers, monkeypatch) -> None:
    entropy = learned_mixin.entropy
    monkeypatch.setattr(learned_mixin, "entropy", lambda scores, batch: -entropy(scores, batch))
    with pytest.raises(AssertionError):
        equals_the_equation(items, scorers)


def test_it_starts_as_a_product_of_experts(items, scorers) -> None:
    found, objective = attached(items, scorers, entropy=0.0)
    product = adjuster("product_of_experts").fit(items.table, None, rng=np.random.default_rng(0))
    beside = product.attach(scorers[0], new_scorer=scorers[1], rng=np.random.default_rng(0)).double()
    batch = items.batch(items.of("one"), **found.columns(items.table))
    assert torch.allclose(objective.beside_prior(batch), beside.beside_prior(batch), atol=1e-6)


def test_the_penalty_turns_the_shortcut_round_for_a_scorer_that_sees_it(law) -> None:
    """The scorer makes up for any g in training, so the penalised optimum is at an ever larger g, and what is left at
    prediction, without the offset, answers against the style."""
    learned = law.learned(adjuster("learned_mixin", folds=1), iterations=60)
    assert (learned[:, 0] - learned[:, 1]).mean() > 0.1


class Bare(nn.Module):
    def forward(self, batch):
        return torch.zeros(batch.candidate_ids.shape)


def test_refusals(items, scorers) -> None:
    with pytest.raises(ContractError, match="entropy must be"):
        adjuster("learned_mixin", entropy=-0.1)
    with pytest.raises(ContractError, match="learned_mixin needs a scorer with features"):
        attached(items, (Bare(), scorers[1]))
