from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from causalecg.audits.loading import load_model
from causalecg.audits.score_set import ScoreSet
from causalecg.audits.scoring import score
from causalecg.audits.suite import run_suite
from causalecg.errors import InputError
from causalecg.training.run import train
from causalecg.training.tables import without_held_out

A, B = "atrial fibrillation", "bundle branch block"


@pytest.fixture
def two_topics(cohort):
    """Every third item asks about the second topic."""
    topic = np.where(np.arange(len(cohort.items)) % 3 == 0, B, A)
    items = cohort.items.assign(
        topic=topic, question=[f"{q} ({t})" for q, t in zip(cohort.items["question"], topic, strict=True)]
    )
    return replace(cohort, items=items)


def test_no_item_about_them_is_learned_from_or_validated_on(two_topics, config, tmp_path) -> None:
    config = config.model_copy(update={"held_out_topics": (B,), "epochs": 1})
    run = train(two_topics, "stratified", config, seed=0, out=tmp_path / "r", progress=False)
    expected = {s: int((two_topics.split(s)["topic"] == A).sum()) for s in ("train", "valid")}
    assert run.record["rows"] == expected
    assert run.record["held_out_topics"] == [B]
    assert not any(B in text for text in run.record["texts"])
    assert json.loads((tmp_path / "r" / "config.json").read_text())["held_out_topics"] == [B]
    assert load_model(str(tmp_path / "r"), two_topics).about["held_out_topics"] == [B]
    model = load_model(str(tmp_path / "r"), two_topics)
    told = {"run": model.about, "severity": model.severity, "interventions": ("intact",), "progress": False}
    folder = score(model.scorer, two_topics, split="test", run_id="r", out=tmp_path / "s", **told)
    scores = ScoreSet.open(folder)
    found = {r.name: r for r in run_suite(scores, "zero_shot,accuracy", replicates=100)}["zero_shot"]
    assert found.verdict != "not assessed" and f"Held out: {B}." in found.note
    # By a plain loop over the rows.
    topic = dict(zip(scores.items["item_id"], scores.items["topic"], strict=True))
    truth = dict(zip(scores.items["item_id"], scores.items["answer"], strict=True))
    split = dict(zip(scores.items["item_id"], scores.items["split"], strict=True))
    rows = [row for row in scores.scores.itertuples() if topic[row.item_id] == B and split[row.item_id] == "test"]
    right = [list(row.answer_given) == list(truth[row.item_id]) for row in rows]
    assert found.estimate == pytest.approx(sum(right) / len(right))
    other = config.model_copy(update={"held_out_topics": ()})
    with pytest.raises(InputError, match="another configuration"):
        train(two_topics, "stratified", other, seed=0, out=tmp_path / "r", progress=False)


def test_none_are_held_out_by_default(two_topics, config, tmp_path) -> None:
    tables = [two_topics.split("train"), two_topics.split("valid")]
    assert [len(t) for t in without_held_out(tables, config, two_topics)] == [len(t) for t in tables]
    run = train(two_topics, "none", config.model_copy(update={"epochs": 1}), seed=0, out=tmp_path / "r", progress=False)
    assert load_model(str(run.path), two_topics).about["held_out_topics"] == []


def test_a_run_that_knew_no_such_setting_is_still_the_same_run(two_topics, config, tmp_path) -> None:
    config = config.model_copy(update={"epochs": 1})
    train(two_topics, "none", config, seed=0, out=tmp_path / "r", progress=False)
    path = tmp_path / "r" / "config.json"
    earlier = json.loads(path.read_text())
    del earlier["held_out_topics"]
    path.write_text(json.dumps(earlier))
    assert train(two_topics, "none", config, seed=0, out=tmp_path / "r", progress=False).record["status"] == "done"


@pytest.mark.parametrize("start", ["r", "r/model"])
def test_a_beginning_that_may_know_the_topic_is_refused(two_topics, config, tmp_path, start: str) -> None:
    train(two_topics, "none", config.model_copy(update={"epochs": 1}), seed=0, out=tmp_path / "r", progress=False)
    model = config.model.model_copy(update={"start": str(tmp_path / start)})
    later = config.model_copy(update={"model": model, "held_out_topics": (B,)})
    with pytest.raises(InputError, match=f"'{B}' is to be held out, but .*r may have learned of it"):
        train(two_topics, "none", later, seed=0, out=tmp_path / "later", progress=False)


def test_topics_that_do_not_occur_are_refused(two_topics, config, tmp_path) -> None:
    unknown = config.model_copy(update={"held_out_topics": ("bundle branch",)})
    with pytest.raises(InputError, match=f"the topic 'bundle branch'.*nearest is '{B}'"):
        train(two_topics, "none", unknown, seed=0, out=tmp_path / "r", progress=False)
    with pytest.raises(InputError, match="every item of split train .* is held out; name fewer"):
        train(two_topics, "none", unknown.model_copy(update={"held_out_topics": (A, B)}), seed=0, out=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_topic_of_the_test_alone_cannot_be_held_out(two_topics, config) -> None:
    items = two_topics.items.copy()
    items.loc[items["split"] == "test", "topic"] = "ectopic beats"
    only_tested = replace(two_topics, items=items)
    tables, held_out = [only_tested.split("train"), only_tested.split("valid")], {"held_out_topics": ("ectopic beats",)}
    with pytest.raises(InputError, match="the topic 'ectopic beats'"):
        without_held_out(tables, config.model_copy(update=held_out), only_tested)


@pytest.fixture
def two_templates(cohort):
    """Every third item is of a second template."""
    template = np.where(np.arange(len(cohort.items)) % 3 == 0, "2", "1")
    return replace(cohort, items=cohort.items.assign(template_id=template))


def test_templates_are_held_out_of_training_and_asked_in_the_test(two_templates, config, tmp_path) -> None:
    held_out = config.model_copy(update={"held_out_templates": ("2",), "epochs": 1})
    run = train(two_templates, "none", held_out, seed=0, out=tmp_path / "r", progress=False)
    assert run.record["rows"] == {
        s: int((two_templates.split(s)["template_id"] == "1").sum()) for s in ("train", "valid")
    }
    model = load_model(str(tmp_path / "r"), two_templates)
    told = {"run": model.about, "severity": model.severity, "interventions": ("intact",), "progress": False}
    folder = score(
        model.scorer,
        two_templates,
        split="test",
        run_id="r",
        out=tmp_path / "s",
        template_ids=model.template_ids,
        **told,
    )
    scores = ScoreSet.open(folder)
    (found,) = run_suite(scores, "zero_shot", replicates=100)
    assert found.verdict != "not assessed" and "Held out: template 2." in found.note
    of = dict(zip(scores.items["item_id"], scores.items["template_id"], strict=True))
    truth = dict(zip(scores.items["item_id"], scores.items["answer"], strict=True))
    right = [list(r.answer_given) == list(truth[r.item_id]) for r in scores.scores.itertuples() if of[r.item_id] == "2"]
    assert right and found.estimate == pytest.approx(np.mean(right))


def test_a_beginning_that_was_asked_by_the_template_is_refused(two_templates, config, tmp_path) -> None:
    config = config.model_copy(update={"epochs": 1})
    only_one = config.model_copy(update={"template_ids": ("1",)})
    train(two_templates, "none", config, seed=0, out=tmp_path / "both", progress=False)
    train(two_templates, "none", only_one, seed=0, out=tmp_path / "one", progress=False)
    for start in ("both", "one"):
        model = config.model.model_copy(update={"start": str(tmp_path / start)})
        later = config.model_copy(update={"model": model, "held_out_templates": ("2",)})
        if start == "one":
            train(two_templates, "none", later, seed=0, out=tmp_path / "later", progress=False)
            continue
        with pytest.raises(
            InputError, match="'2' is to be held out, but .*both may have learned of it; name it in held_out_templates"
        ):
            train(two_templates, "none", later, seed=0, out=tmp_path / "later", progress=False)
