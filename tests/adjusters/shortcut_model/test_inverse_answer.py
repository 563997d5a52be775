from __future__ import annotations

import numpy as np
import pandas as pd
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
    monkeypatch.setattr(inverse_answer, "_log_probability", lambda s, true: log_probability(s, ~true))
    with pytest.raises(AssertionError):
        equal_the_equation(items)


def together(candidates: str = "same") -> pd.DataFrame:
    """All of a population of sets of A, B, C, with 1,000 rows a style and topic: A and B are always true together, given
    the style in 90 % or 10 %; C is true as often in either, more often where A is. ``candidates="differ"``: in half of
    the rows C is no candidate."""
    rows = []
    for topic, of_c in (("leads", 0.5), ("waves", 0.2)):
        for style, both in (("calm", 0.1), ("urgent", 0.9)):
            for pair in (True, False):
                for c in (True, False):
                    share = (both if pair else 1 - both) * ((of_c + 0.2 * pair) if c else (1 - of_c - 0.2 * pair))
                    answer = ["A", "B"] * pair + ["C"] * c
                    rows += [(topic, style, answer, ["A", "B", "C"])] * round(1000 * share)
                if candidates == "differ":
                    rows += [(topic, style, ["A", "B"] * pair, ["A", "B"])] * round(1000 * (both if pair else 1 - both))
    table = pd.DataFrame(rows, columns=["topic", "style", "answer", "candidates"])
    return table.assign(
        kind="set", question=table["style"] + table["topic"], patient_ids=[[f"p{i}"] for i in table.index]
    )


@pytest.mark.parametrize("restore", [True, False])
def test_a_view_tells_nothing_of_whole_sets_however_their_candidates_go_together(restore: bool) -> None:
    """By enumeration: under the weights every style has the topic's sets (or all sets alike) in the same shares. With a
    product over candidates, P(A and B) would be .10 and .90 again, the wrong way round."""
    table = together()
    found = adjuster("inverse_answer", folds=1, smoothing=1e-9, restore_prior=restore)
    found.fit(table, None, rng=np.random.default_rng(0))
    table = table.assign(w=found.weights(table), whole=table["answer"].map("".join))
    for _, of_topic in table.groupby("topic"):
        plain = of_topic["whole"].value_counts(normalize=True)
        for _, rows in of_topic.groupby("style"):
            shares = rows.groupby("whole")["w"].sum() / rows["w"].sum()
            for name, share in shares.items():
                assert share == pytest.approx(plain[name] if restore else 1 / len(plain), abs=1e-6)


def test_sets_compete_with_those_that_the_candidates_allow() -> None:
    """Where C is no candidate, {A, B} and {} share out what the topic's counts give the two."""
    table = together("differ")
    found = adjuster("inverse_answer", folds=1, smoothing=1e-9).fit(table, None, rng=np.random.default_rng(0))
    table = table.assign(w=found.weights(table), whole=table["answer"].map("".join))
    short = table[(table["candidates"].map(len) == 2) & (table["topic"] == "leads")]
    counts = table[table["topic"] == "leads"].groupby("style")["whole"].value_counts()
    of_style = {style: counts[style]["AB"] / (counts[style]["AB"] + counts[style][""]) for style in ("calm", "urgent")}
    both = sum(counts[style]["AB"] for style in of_style)
    of_topic = both / (both + sum(counts[style][""] for style in of_style))
    ratio = {row.style: row.w for row in short[short["whole"] == "AB"].itertuples()}
    assert ratio["calm"] / ratio["urgent"] == pytest.approx(of_style["urgent"] / of_style["calm"], abs=1e-9)
    none = {row.style: row.w for row in short[short["whole"] == ""].itertuples()}
    odds = (of_topic / (1 - of_topic)) * (1 - of_style["calm"]) / of_style["calm"]
    assert ratio["calm"] / none["calm"] == pytest.approx(odds, abs=1e-9)


def test_a_set_that_training_lacked_has_a_finite_weight() -> None:
    table = together()
    found = adjuster("inverse_answer").fit(table, None, rng=np.random.default_rng(0))
    weights = found.weights(table.assign(answer=[["B"], *table["answer"][1:]]))
    assert np.isfinite(weights).all() and weights[0] > 0


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


@pytest.mark.parametrize("name", ["product_of_experts", "learned_mixin", "inverse_answer"])
@pytest.mark.parametrize("column", ["patient_ids", "kind", "candidates", "answer"])
def test_missing_columns_are_named(items, name: str, column: str) -> None:
    table, rng = items.table.drop(columns=column), np.random.default_rng(0)
    with pytest.raises(ContractError, match=f"{name} needs the column '{column}', which the table lacks"):
        adjuster(name).fit(table, rng=rng)
    if column == "patient_ids":
        adjuster(name, folds=1).fit(table, rng=rng)
