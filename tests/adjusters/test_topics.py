"""Several topics: what is exchanged, and whose severity is summed out."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch

from adjusters.contract import ContractError
from adjusters.reference_loop import drive, variants
from adjusters.registry import adjuster
from adjusters.toy import ESTIMAND, SEVERITY, ToyCohort, ToyScorer, toy_cohort

TOPICS = tuple(f"finding {letter}" for letter in "abcdefghijklmnopqrstuv")


@pytest.fixture(scope="module")
def many() -> ToyCohort:
    toy = toy_cohort(rho=0.9, train=4000, valid=800, test=2000, topics=TOPICS, seed=4)
    return ToyCohort(toy.items.assign(question_id=toy.items["topic"]), toy.signals)


def test_exchanged_wordings_know_nothing_of_the_answer(many: ToyCohort) -> None:
    """Also with few items of a question in a batch. P(style = answer): .9 before, 1/2 after, within 4 standard errors."""
    table = many.split("train")
    ours = adjuster("stratified").fit(table, ESTIMAND, rng=np.random.default_rng(0))
    objective = ours.attach(ToyScorer(), new_scorer=variants(ToyScorer), rng=np.random.default_rng(0))
    style_of = dict(zip(table["question"], table["style"], strict=True))
    topic_of = dict(zip(table["question"], table["topic"], strict=True))
    yes = np.array([answer == ["yes"] for answer in table["answer"]])
    torch.manual_seed(0)
    agree, same_topic, before = [], [], []
    for positions in ours.batches(table, 64, seed=0, epoch=0):
        batch = many.batch(table, positions)
        asked = objective.words.at(batch, torch.rand(len(batch), dtype=torch.float64)).question
        agree += [(style_of[q] == "urgent") == a for q, a in zip(asked, yes[positions], strict=True)]
        before += [(style_of[q] == "urgent") == a for q, a in zip(batch.question, yes[positions], strict=True)]
        same_topic += [topic_of[q] == t for q, t in zip(asked, table["topic"].iloc[positions], strict=True)]
    agreed = max(np.mean(before), 1 - np.mean(before))
    assert agreed > 0.85
    assert abs(np.mean(agree) - 0.5) < 4 * np.sqrt(0.25 / len(table))
    assert all(same_topic)


def test_wordings_are_drawn_as_often_as_they_were_asked(many: ToyCohort) -> None:
    table = many.split("train")
    ours = adjuster("stratified").fit(table, ESTIMAND, rng=np.random.default_rng(0))
    objective = ours.attach(ToyScorer(), new_scorer=variants(ToyScorer), rng=np.random.default_rng(0))
    rows = np.flatnonzero(table["topic"] == TOPICS[0])
    asked = Counter(table["question"].iloc[rows])
    batch = many.batch(table, np.full(2000, rows[0]))
    drawn = Counter(objective.words.at(batch, (torch.arange(2000).double() + 0.5) / 2000).question)
    for text, number in asked.items():
        assert drawn[text] / 2000 == pytest.approx(number / len(rows), abs=1 / 1000)


def test_where_a_question_has_one_style_there_is_nothing_to_exchange(many: ToyCohort) -> None:
    table = many.split("train").assign(question_id=lambda t: t["topic"] + t["style"])
    ours = adjuster("stratified").fit(table, ESTIMAND, rng=np.random.default_rng(0))
    assert [stage.name for stage in ours.stages()] == ["weigh"]
    with pytest.raises(ContractError, match="nothing to do"):
        adjuster("stratified", epochs=0).fit(table, ESTIMAND, rng=np.random.default_rng(0))


@pytest.mark.parametrize(("rho", "stages"), [(0.9, ["exchange", "weigh"]), (0.99, ["exchange"])])
def test_weights_that_rest_on_a_few_rows_are_left_out(rho: float, stages: list[str]) -> None:
    """Effective sample 4q(1-q) = 2(1-rho) of 4,000 rows: 800 and 80, from 200 and 20 rare rows (four Poisson errors)."""
    toy = toy_cohort(rho=rho, train=4000, valid=10, test=10, seed=4)
    table = toy.split("train").assign(question_id="q")
    ours = adjuster("stratified").fit(table, ESTIMAND, rng=np.random.default_rng(0))
    assert ours.overlap_["ess"] == pytest.approx(8000 * (1 - rho), rel=4 / np.sqrt(2000 * (1 - rho)))
    assert ours.weighs_ is (len(stages) == 2)
    assert [stage.name for stage in ours.stages()] == stages
    anyway = adjuster("stratified", min_ess=0).fit(table, ESTIMAND, rng=np.random.default_rng(0))
    assert [stage.name for stage in anyway.stages()] == ["exchange", "weigh"]
    alone = table.assign(question_id=table["style"])
    only = adjuster("stratified").fit(alone, ESTIMAND, rng=np.random.default_rng(0))
    assert [stage.name for stage in only.stages()] == ["weigh"]


def by_topic(seed: int = 0) -> ToyCohort:
    """Severity is .9 likely in one topic and .1 in the other, and shows in the ECG no more than through the finding."""
    toy = toy_cohort(rho=0.9, train=3000, valid=1000, test=1000, topics=("common", "rare"), seed=seed)
    items = toy.items
    severe = items[SEVERITY].to_numpy() == 1
    rng = np.random.default_rng(seed)
    # Whole ECGs are dealt to the topics by their severity, the same in the unbiased twin of a split.
    chance = dict(zip(items["ecg_ids"].str[0], rng.random(len(items)), strict=True))
    low = items["ecg_ids"].str[0].map(chance).to_numpy() < 0.1
    topic = np.where(severe ^ low, "common", "rare")
    text = [q.replace(old, new) for q, old, new in zip(items["question"], items["topic"], topic, strict=True)]
    return ToyCohort(items.assign(topic=topic, question=text, question_id=topic), toy.signals)


def test_the_severity_summed_out_is_that_of_the_topic() -> None:
    toy = by_topic()
    train = toy.split("train")
    share = train.groupby("topic")[SEVERITY].mean()
    assert share["common"] > 0.85 and share["rare"] < 0.15
    done = drive(adjuster("backdoor"), train, toy.split("valid"), toy.batch, ToyScorer, estimand=ESTIMAND, epochs=6)
    test = toy.split("test")
    batch = toy.batch(test, np.arange(len(test)))
    with torch.no_grad():
        p = done.objective.log_severity(batch).exp()[:, 1].numpy()
        marginal = adjuster("backdoor", prior="marginal").fit(train, ESTIMAND, rng=np.random.default_rng(0))
        plain = marginal.attach(ToyScorer(), new_scorer=variants(ToyScorer), rng=np.random.default_rng(0))
        prior = plain.log_severity(batch).exp()[:, 1].numpy()
    for name in ("common", "rare"):
        at = (test["topic"] == name).to_numpy()
        # Calibrated in each topic, to four standard errors of the share observed there and of that learned from.
        error = 4 * np.sqrt(0.09 / at.sum() + 0.09 / (train["topic"] == name).sum())
        assert abs(p[at].mean() - test.loc[at, SEVERITY].mean()) < error
        assert np.allclose(prior[at], share[name], atol=0.002)
    unknown = batch.replace(topic=("never seen",) * len(batch))
    assert np.allclose(plain.log_severity(unknown).exp()[:, 1].numpy(), train[SEVERITY].mean(), atol=1e-6)


def test_topics_are_not_told_apart_where_the_question_is_the_treatment() -> None:
    from dataclasses import replace

    toy = by_topic()
    whole = replace(ESTIMAND, conditioning=("ecg",))
    ours = adjuster("backdoor").fit(toy.split("train"), whole, rng=np.random.default_rng(0))
    assert ours.topics_ == [] and ours.shares_.shape == (1, 2)


def test_severity_asked_as_a_question_names_the_topic() -> None:
    toy = by_topic()
    heard: list[str] = []

    class Listening(ToyScorer):
        def forward(self, batch):
            heard.extend(q for q in batch.question if q and q.startswith("How severe"))
            return super().forward(batch)

    ours = adjuster("backdoor", severity_from="question", words=["low", "high"])
    drive(ours, toy.split("train").head(800), toy.split("valid"), toy.batch, Listening, estimand=ESTIMAND, epochs=1)
    assert {q.removeprefix("How severe is the illness? ") for q in heard} == {"common", "rare"}


def test_a_text_is_no_list_of_words() -> None:
    with pytest.raises(ContractError, match="one word per level"):
        adjuster("backdoor", words="low")


def test_columns_an_adjuster_makes_reach_training_and_validation() -> None:
    """As GroupDRO, IRM or a style prior need them: codes that are no columns of the table."""
    from adjusters.contract import Adjuster, Card, Objective

    seen: list[tuple[bool, set[int]]] = []

    class Coded(Adjuster):
        card = Card(summary="Groups of answer and style.", uses=("objective",))

        def columns(self, table: pd.DataFrame):
            yes = np.array([answer == ["yes"] for answer in table["answer"]])
            return {"group_code": (2 * yes + (table["style"] == "urgent")).to_numpy(dtype=np.int64)}

        def attach(self, scorer, *, new_scorer, rng):
            return Noting(scorer)

    class Noting(Objective):
        def loss(self, batch, part, *, progress):
            seen.append((True, set(batch.columns["group_code"].tolist())))
            return super().loss(batch, part, progress=progress)

        def validation_loss(self, batch):
            seen.append((False, set(batch.columns["group_code"].tolist())))
            return super().validation_loss(batch)

    toy = toy_cohort(rho=0.9, train=200, valid=100, test=10)
    drive(Coded(), toy.split("train"), toy.split("valid"), toy.batch, ToyScorer, estimand=None, epochs=1)
    assert {training for training, _ in seen} == {True, False}
    assert set().union(*(codes for _, codes in seen)) == {0, 1, 2, 3}
