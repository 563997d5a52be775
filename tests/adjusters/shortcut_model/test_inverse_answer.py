from __future__ import annotations

import numpy as np
import pytest

from adjusters.contract import ContractError
from adjusters.registry import adjuster
from adjusters.shortcut_model import inverse_answer


def equal_the_equation(items, restore: bool = True) -> None:
    import inverse_answer_equation as equation

    found = adjuster("inverse_answer", folds=4, restore_prior=restore)
    found.fit(items.table, None, rng=np.random.default_rng(0))
    rows = items.plain("style", 4)
    assert found.weights(items.table).tolist() == pytest.approx(equation.weights(rows, rows, 1.0, 4, restore), abs=1e-9)


@pytest.mark.parametrize("restore", [True, False])
def test_weights_equal_the_equation(items, restore: bool) -> None:
    equal_the_equation(items, restore)


def test_weights_of_the_wrong_answer_are_noticed(items, monkeypatch) -> None:
    log_probability = inverse_answer._log_probability
    monkeypatch.setattr(inverse_answer, "_log_probability", lambda s, true, kind: log_probability(s, ~true, kind))
    with pytest.raises(AssertionError):
        equal_the_equation(items)


def test_where_evidence_depends_on_the_answer_alone_it_is_exactly_right(law, alike) -> None:
    learned = law.learned(adjuster("inverse_answer", folds=1, smoothing=1e-9))
    assert np.abs(learned - law.truth[:, None, :]).max() < 1e-4
    published = law.learned(adjuster("inverse_answer", folds=1, smoothing=1e-9, restore_prior=False))
    assert np.abs(published - alike.truth[:, None, :]).max() < 1e-4


def test_style_and_answer_are_independent_under_the_weights(law) -> None:
    found = adjuster("inverse_answer", folds=1, smoothing=1e-9).fit(law.table, None, rng=np.random.default_rng(0))
    table = law.table.assign(w=found.weights(law.table), yes=[a == ["yes"] for a in law.table["answer"]])
    for topic, share in zip(law.TOPICS, (0.3, 0.7), strict=True):
        for _, rows in table[table["topic"] == topic].groupby("style"):
            assert (rows["w"] * rows["yes"]).sum() / rows["w"].sum() == pytest.approx(share, abs=1e-6)


def test_clipped_weights(items) -> None:
    whole = adjuster("inverse_answer").fit(items.table, None, rng=np.random.default_rng(0)).weights(items.table)
    for clip, largest in ((1.5, 1.5), (0.9, np.quantile(whole, 0.9))):
        found = adjuster("inverse_answer", clip=clip).fit(items.table, None, rng=np.random.default_rng(0))
        expected = np.minimum(whole, largest)
        assert found.weights(items.table) == pytest.approx(expected / expected.mean())


def test_refusals(items) -> None:
    with pytest.raises(ContractError, match="clip must be"):
        adjuster("inverse_answer", clip=0.0)
    with pytest.raises(ContractError, match="has no option 'prior'"):
        adjuster("inverse_answer", prior="model")
