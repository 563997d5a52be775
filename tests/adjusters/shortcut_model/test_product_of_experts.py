from __future__ import annotations

import numpy as np
import pytest
import torch

from adjusters.registry import adjuster
from adjusters.shortcut_model import product_of_experts


def equals_the_equation(items, scorers, view: str = "style", folds: int = 4, restore: bool = True) -> None:
    import product_of_experts_equation as equation

    options = {"bias_view": view, "folds": folds, "restore_prior": restore, "smoothing": 0.7, "prior": "counts"}
    found = adjuster("product_of_experts", **options).fit(items.table, None, rng=np.random.default_rng(0))
    scorer, new_scorer = scorers
    objective = found.attach(scorer, new_scorer=new_scorer, rng=np.random.default_rng(0)).double()
    rows = items.plain(view, folds)
    for kind in ("one", "set"):
        at = items.of(kind)
        batch = items.batch(at, **found.columns(items.table))
        terms = objective.loss(batch, "main", progress=0.0)
        true = equation.losses(items.scores(scorer, at), rows, [rows[i] for i in at], 0.7, folds, restore)
        assert terms.per_item.tolist() == pytest.approx(true, abs=1e-6)
        assert float(terms.total.detach()) == pytest.approx(np.mean(true), abs=1e-6)
        assert torch.equal(objective.validation_loss(batch), terms.per_item)
        assert torch.equal(objective(batch), scorer(batch))
        terms.total.backward()
        assert torch.isfinite(scorer.table.grad).all()


@pytest.mark.parametrize("restore", [True, False])
@pytest.mark.parametrize(("view", "folds"), [("style", 4), ("question", 1)])
def test_loss_equals_the_equation(items, scorers, view: str, folds: int, restore: bool) -> None:
    equals_the_equation(items, scorers, view, folds, restore)


def test_a_turned_sign_is_noticed(items, scorers, monkeypatch) -> None:
    added = product_of_experts.added
    monkeypatch.setattr(product_of_experts, "added", lambda scores, offset, batch: added(scores, -offset, batch))
    with pytest.raises(AssertionError):
        equals_the_equation(items, scorers)


@pytest.mark.parametrize("view", ["style", "question"])
@pytest.mark.parametrize("prior", ["counts", None])
def test_where_evidence_depends_on_the_answer_alone_it_is_exactly_right(law, view: str, prior: str | None) -> None:
    """P(A | E, T, do(F)) to the optimiser's accuracy, topic effect included, for a flexible scorer and all of the
    population."""
    learned = law.learned(adjuster("product_of_experts", bias_view=view, prior=prior, folds=1, smoothing=1e-9))
    assert np.abs(learned - law.truth[:, None, :]).max() < 1e-4


def test_the_published_form_has_lost_what_the_topic_tells(law, alike) -> None:
    """Its answer is that of a world in which all answers are equally frequent."""
    learned = law.learned(adjuster("product_of_experts", restore_prior=False, folds=1, smoothing=1e-9))
    assert np.abs(learned - alike.truth[:, None, :]).max() < 1e-4


def test_with_the_views_dealt_to_other_rows_it_learns_the_shortcut(law) -> None:
    found = adjuster("product_of_experts", folds=1)
    order = np.random.default_rng(0).permutation(len(law.table))
    found.columns = lambda table: {"bias_view": type(found).columns(found, table)["bias_view"][order]}
    learned = law.learned(found)
    assert (learned[:, 1] - learned[:, 0]).min() > 0.3
