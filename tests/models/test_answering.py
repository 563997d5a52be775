"""Free text and single questions: what is written is what transformers' own decoding writes."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from causalecg import answer
from causalecg.audits.score_set import ScoreSet
from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cli import build_app
from causalecg.cohort.schema import Cohort
from causalecg.errors import InputError
from causalecg.models.answering import FreeText
from causalecg.models.config import EmbeddedLanguageModel, ModelConfig
from causalecg.models.pretrained import build_model
from causalecg.training import tables
from causalecg.training.config import RunConfig
from causalecg.training.run import Run, train


def prefix_of(model, batch, i: int) -> torch.Tensor:
    """(1, length, hidden) embeddings before the answer."""
    question = batch.question[i] or ""
    parts = [
        [*model._prompt.start, *model.tokenizer.encode(model._prompt.before + question, add_special_tokens=False)],
        model.tokenizer.encode(model._prompt.after, add_special_tokens=False),
    ]
    first, last = (model._embedding(torch.tensor(ids)) for ids in parts)
    return torch.cat([first, model._ecg(batch)[0][i], last])[None]


@torch.no_grad()
@pytest.mark.parametrize("chat", [False, True])
def test_what_is_written_is_what_transformers_writes(chat_llama, batch, chat: bool) -> None:
    model = build_model(ModelConfig(language_model=chat_llama, chat=chat), texts=[], leads=12, seed=0).eval()
    written = model.generate(batch, max_new_tokens=6)
    assert len(written) == 5 and any(written)
    for i in range(5):
        out = model.language_model.generate(
            inputs_embeds=prefix_of(model, batch, i), max_new_tokens=6, do_sample=False, pad_token_id=model._end
        )
        assert model.tokenizer.decode(out[0], skip_special_tokens=True).strip() == written[i]


@torch.no_grad()
def test_writing_stops_at_the_end_token_of_each_item(chat_llama, batch) -> None:
    model = build_model(ModelConfig(language_model=chat_llama), texts=[], leads=12, seed=0).eval()
    long = model._written(batch, 8)
    assert [len(row) for row in long] == [8] * 5
    model._end = long[0][3]  # what the first item writes fourth ends a text now
    wanted = [row[: row.index(model._end)] if model._end in row else row for row in long]
    assert len(wanted[0]) <= 3 and max(map(len, wanted)) == 8
    assert model._written(batch, 8) == wanted
    assert [model._written(batch.select([i]), 8)[0] for i in range(5)] == wanted
    assert model.generate(batch, max_new_tokens=0) == [""] * 5


@torch.no_grad()
def test_one_question_about_one_two_or_no_ecgs(model, batch) -> None:
    scores = torch.softmax(model(batch), dim=1)
    names = ["yes", "no", "not sure"]
    for i, shown in ((0, batch.ecg[0, 0].numpy()), (1, batch.ecg[1].numpy()), (2, None)):
        asked = batch.candidates[i]
        found = answer(model, shown, batch.question[i], candidates=asked)
        assert np.allclose(list(found.probabilities.values()), scores[i, : len(asked)].tolist(), atol=1e-5)
        assert found.given == (max(found.probabilities, key=found.probabilities.get),) and found.text == found.given[0]
    several = answer(model, batch.ecg[0, 0].numpy(), "Which?", candidates=names, several=True)
    assert set(several.given) == {name for name, chance in several.probabilities.items() if chance > 0.5}
    assert answer(model, batch.ecg[0, 0].numpy(), "Is it normal?").text == model.generate(batch.select([0]))[0]


@pytest.mark.parametrize(
    ("ecgs", "candidates", "message"),
    [
        (np.zeros(1000), ["yes"], r"not \(1000,\)"),
        (np.zeros((3, 12, 1000)), ["yes"], r"for two, not \(3, 12, 1000\)"),
        (np.full((12, 1000), np.nan), ["yes"], "fill their gaps"),
        (np.zeros((8, 1000)), ["yes"], r"\(12, samples\), or \(2, 12, samples\) for two, not \(8, 1000\)"),
        (np.zeros((1000, 12)), ["yes"], r"\(12, samples\), .*, not \(1000, 12\)"),
        ([np.zeros((12, 1000)), np.zeros((12, 500))], ["yes"], "the same leads and number of samples"),
        ("an ECG", ["yes"], "one array of numbers in mV"),
        (np.zeros((12, 3)), ["yes"], "3 samples is shorter"),
        (np.zeros((12, 1000)), "yes", r"a list of answers, e\.g\. \['yes', 'no'\], not the text 'yes'"),
        (np.zeros((12, 1000)), ["yes", " "], "distinct candidates, not 'yes', ' '"),
        (np.zeros((12, 1000)), ["yes", 3], "distinct candidates, not 'yes', 3"),
        (np.zeros((12, 1000)), ["yes", "yes"], "distinct candidates, not 'yes', 'yes'"),
        (np.zeros((12, 1000)), [], "distinct candidates, not none"),
    ],
)
def test_what_cannot_be_asked_is_said(model, ecgs, candidates, message: str) -> None:
    with pytest.raises(InputError, match=message):
        answer(model, ecgs, "Is it normal?", candidates=candidates)


@pytest.mark.parametrize("longest", [0, -3])
def test_a_text_has_a_length(model, longest: int) -> None:
    with pytest.raises(InputError, match=f"1 or more, not {longest}"):
        answer(model, None, "Is it normal?", max_new_tokens=longest)
    with pytest.raises(InputError, match=f"1 or more, not {longest}"):
        FreeText(model, longest)


def test_a_scorer_that_cannot_write_is_said() -> None:
    with pytest.raises(InputError, match="function scores candidates and cannot write; name candidates"):
        answer(lambda batch: torch.zeros(1, 1), None, "Is it normal?")


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[Cohort, dict[str, str]]:
    folder = tmp_path_factory.mktemp("runs")
    simulate_cohort(folder / "c", items=300, test_items=24, rho=0.9, seed=1, rate_hz=50, seconds=2, progress=False)
    parts = ModelConfig(
        encoder_options={"widths": [8, 16]},
        embedded=EmbeddedLanguageModel(hidden=16, layers=1, heads=2, vocabulary=260),
    )
    cohort = Cohort.open(folder / "c")
    for arm in ("none", "backdoor"):
        train(cohort, arm, RunConfig(model=parts, epochs=1), seed=0, out=folder / arm, progress=False)
    return cohort, {arm: str(folder / arm) for arm in ("none", "backdoor")}


def test_texts_are_scored_parsed_and_their_decoding_recorded(runs, tmp_path) -> None:
    cohort, folders = runs
    options = ["--cohort", str(cohort.path), "--free-text", "3", "--interventions", "intact,no_ecg"]
    options += ["--out", str(tmp_path / "s")]
    CliRunner().invoke(build_app(), ["score", folders["none"], *options], catch_exceptions=False)
    found = ScoreSet.open(tmp_path / "s")
    assert found.runs["none"]["decoding"] == "greedy, up to 3 tokens"
    assert found.scores["text"].notna().all() and found.scores["log_likelihood"].isna().all()
    with pytest.raises(InputError, match="arm backdoor predicts from several answers of its model"):
        CliRunner().invoke(build_app(), ["score", folders["backdoor"], *options], catch_exceptions=False)


def test_several_answers_are_asked_of_a_run_that_learned_from_sets(runs, tmp_path) -> None:
    cohort, folders = runs
    names = ["yes", "no"]
    model = Run.open(folders["none"]).scorer()
    assert answer(model, None, "Is it normal?", candidates=names).probabilities.keys() == set(names)
    with pytest.raises(InputError, match=r"\(12, samples\)"):
        answer(model, np.zeros((8, 100)), "Is it normal?", candidates=names)
    with pytest.raises(InputError, match=r"learned from no question with a set of answers .* leave several out"):
        answer(model, None, "Which?", candidates=names, several=True)
    sets = Cohort(cohort.path, cohort.items.assign(kind="set"), cohort.ecgs, cohort.wordings, cohort.meta)
    config = Run.open(folders["none"]).config
    run = train(sets, "none", config, seed=0, out=tmp_path / "sets", progress=False)
    assert run.record["kinds"] == ["set"]
    assert answer(run.scorer(), None, "Which?", candidates=names, several=True).probabilities.keys() == set(names)
    # A run that begins with it has learned from sets too; with a model of which nothing is known, it is not known.
    for start, kinds in ((run.path, ["one", "set"]), (run.path / "model", ["one", "set"]), (tmp_path / "bare", None)):
        if start.name == "bare":
            shutil.copytree(run.path / "model", start)
        begun = config.model_copy(update={"model": config.model.model_copy(update={"start": str(start)})})
        later = train(cohort, "none", begun, seed=0, out=tmp_path / f"after-{start.name}", progress=False)
        assert later.record["kinds"] == kinds
        assert answer(later.scorer(), None, "Which?", candidates=names, several=True).probabilities


def test_texts_of_sets_are_remarked_upon(runs, tmp_path, monkeypatch) -> None:
    cohort, folders = runs
    given = ["score", folders["none"], "--cohort", str(cohort.path), "--interventions", "intact", "--max-items", "4"]
    rows = tables.rows_of
    for kind, noted in (("one", False), ("set", True)):
        monkeypatch.setattr(tables, "rows_of", lambda *a, kind=kind, **k: rows(*a, **k).assign(kind=kind))
        for text, options in ((True, ["--free-text", "2"]), (False, [])):
            out = str(tmp_path / f"{kind}{text}")
            said = CliRunner().invoke(build_app(), [*given, *options, "--out", out], catch_exceptions=False)
            assert ("note: questions with a set of answers" in said.stderr) == (noted and text)
