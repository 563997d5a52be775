from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from adjusters.contract import ContractError, log_probabilities
from adjusters.registry import adjuster
from adjusters.shortcut_model.answer_counts import AnswerCounts
from adjusters.shortcut_model.answer_prior import AnswerPrior
from adjusters.shortcut_model.bias_view import CODE, Codes, ViewColumns
from adjusters.toy import ESTIMAND


def prior_of(items, view="style", by="topic", folds=1, smoothing=1.0):
    columns = ViewColumns.of("test", items.table, None, view, by)
    codes = Codes.seen_in(items.table, columns, folds)
    counts = AnswerCounts.of(items.table, columns, codes)
    given_view, given_topic = (AnswerPrior(t, counts.answers).double() for t in counts.tables(smoothing))
    return given_view, given_topic, codes.of(items.table, columns)


def equal_the_equation(items, **options) -> None:
    import answer_prior_equation as equation

    given_view, given_topic, code = prior_of(items, **options)
    view = {"style": "style", "template": "template_id", "type": "question_type", "question": "question"}
    folds, smoothing = options.get("folds", 1), options.get("smoothing", 1.0)
    rows = items.plain(view[options.get("view", "style")], folds, options.get("by", "topic"))
    for kind in ("one", "set"):
        at = items.of(kind)
        batch = items.batch(at, **{CODE: code})
        for prior, of_view in ((given_view, True), (given_topic, False)):
            found = prior(batch).tolist()
            for i, row in enumerate(at):
                true = equation.log_prior(rows, rows[row], smoothing, folds, of_view)
                assert found[i][: len(true)] == pytest.approx(true, abs=1e-6)
                assert not any(found[i][len(true) :])


@pytest.mark.parametrize(
    "options",
    [{}, {"folds": 4}, {"view": "template", "smoothing": 0.3}, {"view": "question", "folds": 2}, {"by": None}],
    ids=str,
)
def test_priors_equal_counts_made_row_by_row(items, options: dict) -> None:
    equal_the_equation(items, **options)


def test_a_row_that_is_part_of_its_own_prior_is_noticed(items, monkeypatch) -> None:
    monkeypatch.setattr(Codes, "of", lambda self, table, columns: self.places_of(table, columns) * self.folds)
    with pytest.raises(AssertionError):
        equal_the_equation(items, folds=4)


def test_a_patients_rows_are_all_in_one_fold(items) -> None:
    folds = Codes([], 5).folds_of(items.table)
    assert set(folds) == set(range(5))
    assert items.table.assign(fold=folds).groupby(items.table["patient_ids"].str[0])["fold"].nunique().max() == 1


def test_a_view_that_training_lacked_has_its_topics_prior_and_a_strange_topic_none(items) -> None:
    columns = ViewColumns("style", "topic")
    codes = Codes.seen_in(items.table, columns, 1)
    counts = AnswerCounts.of(items.table, columns, codes)
    view, topic = counts.tables(1.0)
    new = items.table.head(2).assign(style="rude", topic=[items.table["topic"][0], "weather"])
    known, strange = codes.of(new, columns)
    assert np.array_equal(view[known], topic[known]) and view[known].any()
    assert not view[strange].any() and not topic[strange].any()


def test_a_candidate_that_training_lacked_counts_as_one_never_true(items) -> None:
    given_view, _, code = prior_of(items, folds=1)
    row = int(items.of("one")[0])
    batch = items.batch([row], **{CODE: code})
    names = (*batch.candidates[0][:-1], "snow")
    strange = given_view(batch.replace(candidates=(names,)))
    assert torch.isfinite(strange).all() and strange[0, len(names) - 1] == strange[0, : len(names)].min()


def question_model(items, scorers, **options):
    found = adjuster("product_of_experts", bias_view="question", **options)
    found.fit(items.table, None, rng=np.random.default_rng(0))
    scorer, new_scorer = scorers
    objective = found.attach(scorer, new_scorer=new_scorer, rng=np.random.default_rng(0)).double()
    return found, objective, found.columns(items.table), new_scorer.made[0]


def test_a_models_prior_is_scored_once_per_question_and_is_what_the_model_says(items, scorers) -> None:
    _, objective, columns, model = question_model(items, scorers)
    for kind in ("one", "set"):
        batch = items.batch(items.of(kind), **columns)
        said = objective.given_view(batch)
        live = model(batch.without_ecg())
        live = log_probabilities(live, batch) if kind == "one" else live
        assert torch.allclose(said, live.masked_fill(batch.padding, 0.0), atol=1e-6)
        before = model.calls
        assert torch.equal(objective.given_view(batch), said) and model.calls == before
    assert objective.given_view.known.sum() < objective.given_view.known.numel()


def test_a_models_prior_is_scored_again_when_it_has_learned(items, scorers) -> None:
    found, objective, columns, model = question_model(items, scorers)
    batch = items.batch(items.of("one"), **columns)
    before = objective.given_view(batch)
    with torch.no_grad():
        model.sharpness.fill_(2.0)
    assert torch.equal(objective.given_view(batch), before)
    objective.begin(found.stages()[1], None, {}, {})
    assert not torch.allclose(objective.given_view(batch), before)


def test_a_models_prior_sees_the_question_that_was_dealt_and_nothing_else(items, scorers) -> None:
    """Neither what stands before the question, nor its own where the code says another."""
    _, objective, columns, _ = question_model(items, scorers)
    at = items.of("one")
    batch = items.batch(at, **columns)
    other = batch.replace(question=("Age 50. nonsense",) * len(at), metadata=("Age 50.",) * len(at), topic=())
    assert torch.equal(objective.given_view.scores(other), objective.given_view.scores(batch))
    dealt = {CODE: columns[CODE].copy()}
    dealt[CODE][at] = columns[CODE][at[::-1]]
    assert not torch.equal(objective.given_view.scores(items.batch(at, **dealt)), objective.given_view.scores(batch))


def test_only_the_model_learns_in_its_stage(items, scorers) -> None:
    found, objective, columns, model = question_model(items, scorers)
    parts = {part: set(map(id, objective.parameters_of(part))) for part in objective.parts}
    assert parts["prior"] == set(map(id, model.parameters())) and not parts["prior"] & parts["main"]
    batch = items.batch(items.of("one"), **columns)
    objective.begin(found.stages()[0], None, {}, {})
    in_prior = objective.validation_loss(batch)
    assert torch.equal(in_prior, objective.loss(batch, "prior", progress=0.0).per_item)
    objective.begin(found.stages()[1], None, {}, {})
    assert torch.equal(objective.validation_loss(batch), objective.loss(batch, "main", progress=0.0).per_item)
    assert not torch.equal(objective.validation_loss(batch), in_prior)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"bias_view": "hair"}, "style, template, type, question"),
        ({"prior": "guess"}, "counts, model or none"),
        ({"prior": "model"}, "shown the whole question"),
        ({"smoothing": 0.0}, "smoothing must be"),
        ({"folds": 0}, "folds must be"),
    ],
)
def test_options_out_of_range_are_refused(options: dict, says: str) -> None:
    for name in ("product_of_experts", "learned_mixin"):
        with pytest.raises(ContractError, match=says):
            adjuster(name, **options)


@pytest.mark.parametrize("name", ["product_of_experts", "learned_mixin"])
def test_a_models_prior_has_no_folds(items, name: str, tmp_path) -> None:
    """It is fitted on the rows that it is used for. What was saved with ten folds that were never made still loads."""
    rng = np.random.default_rng(0)
    with pytest.raises(ContractError, match=f"{name}'s folds=5 are of counts"):
        adjuster(name, bias_view="question", folds=5).fit(items.table, rng=rng)
    adjuster(name, bias_view="question", folds=5, prior="counts").fit(items.table, rng=rng)
    found = adjuster(name, bias_view="question").fit(items.table, rng=rng)
    found.folds = 10
    found.save(tmp_path)
    again = type(found).load(tmp_path)
    assert np.array_equal(again.columns(items.table)[CODE], found.columns(items.table)[CODE])


def test_what_the_table_lacks_is_refused(items) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ContractError, match="'template_id', which the table lacks"):
        adjuster("product_of_experts", bias_view="template").fit(items.table.drop(columns="template_id"), rng=rng)
    with pytest.raises(ContractError, match="use by=none"):
        adjuster("product_of_experts").fit(items.table.drop(columns="topic"), rng=rng)
    with pytest.raises(ContractError, match="'style' is empty in 1 rows"):
        adjuster("product_of_experts").fit(items.table.assign(style=[None, *items.table["style"][1:]]), rng=rng)
    with pytest.raises(ContractError, match="'question_type' has a single value in each topic"):
        adjuster("product_of_experts", bias_view="type").fit(items.table, rng=rng)
    tone = replace(ESTIMAND, roles={**ESTIMAND.roles, "treatment": "tone"})
    with pytest.raises(ContractError, match="'tone', which the table lacks"):
        adjuster("product_of_experts").fit(items.table, tone, rng=rng)
