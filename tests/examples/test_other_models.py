"""Models that know nothing of causalecg go through the protocol: one of transformers' own, and scikit-learn pipelines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from adjusters.contract import Batch
from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cohort.batches import make_batch
from causalecg.cohort.schema import Cohort
from causalecg.errors import InputError
from causalecg.parquet import read_parquet

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(EXAMPLES), str(EXAMPLES.parent)])}
NAMES = ("transformers_model", "sklearn_model")


def example(name: str) -> Any:
    spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module: ModuleType = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    out = tmp_path_factory.mktemp("simulated") / "cohort"
    return Cohort.open(simulate_cohort(out, rho=0.9, items=100, test_items=12, progress=False))


@pytest.fixture(scope="module")
def batch(cohort: Cohort) -> Batch:
    """Eight items: one without an ECG, one with two, one without a question, one with a third candidate."""
    plain = make_batch(cohort, cohort.split("test"), np.arange(8))
    present, ecg = plain.ecg_present.clone(), plain.ecg.clone()
    present[1, 0] = False
    ecg[1] = 0
    present[2, 1] = True
    ecg[2, 1] = ecg[3, 0]
    third = torch.full((8, 1), -1)
    third[4] = 2
    return plain.replace(
        ecg=ecg,
        ecg_present=present,
        question=(*plain.question[:5], None, *plain.question[6:]),
        candidates=(*plain.candidates[:4], ("yes", "no", "not sure"), *plain.candidates[5:]),
        candidate_ids=torch.cat([plain.candidate_ids, third], 1),
        answer=torch.cat([plain.answer, torch.zeros(8, 1, dtype=torch.bool)], 1),
    )


@pytest.fixture(scope="module")
def llava(cohort: Cohort) -> Any:
    module = example("transformers_model")
    return module.Scorer(*module.build({*cohort.wordings["question"], "yes", "no"}))


@pytest.fixture(scope="module")
def pipelines(cohort: Cohort) -> dict[str, Any]:
    module = example("sklearn_model")
    return {name: module.scorer(cohort, words=name == "ecg_and_question") for name in ("ecg_and_question", "ecg_only")}


@pytest.fixture(params=["llava", "ecg_and_question", "ecg_only"])
def scorer(request: pytest.FixtureRequest, pipelines: dict[str, Any]) -> Any:
    return request.getfixturevalue("llava") if request.param == "llava" else pipelines[request.param]


def scores_of(scorer: Any, batch: Batch) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(scorer(batch).double())


# ---------------------------------------------------------------- the protocol, whichever model


def test_scores_are_those_of_the_contract(scorer: Any, batch: Batch) -> None:
    scores = scores_of(scorer, batch)
    assert scores.shape == batch.candidate_ids.shape
    assert (np.isneginf(scores) == batch.padding.numpy()).all()
    assert (scores[np.isfinite(scores)] < 0).all()


def test_an_item_does_not_see_its_batch_mates(scorer: Any, batch: Batch) -> None:
    together = scores_of(scorer, batch)
    for i in range(len(batch)):
        np.testing.assert_allclose(scores_of(scorer, batch.select([i]))[0], together[i], rtol=1e-5)


def test_the_ecg_counts_where_there_is_one(scorer: Any, batch: Batch) -> None:
    before, after = scores_of(scorer, batch), scores_of(scorer, batch.replace(ecg=batch.ecg.flip(0)))
    changed = (np.abs(before[:, :2] - after[:, :2]) > 1e-4).any(1)
    assert changed.tolist() == batch.ecg_present.any(1).tolist()


def test_the_second_ecg_counts(llava: Any, batch: Batch) -> None:
    one = batch.ecg_present.clone()
    one[2, 1] = False
    both, first = scores_of(llava, batch), scores_of(llava, batch.replace(ecg_present=one))
    assert (np.abs(both[2, :2] - first[2, :2]) > 1e-4).all()
    np.testing.assert_allclose(np.delete(both, 2, 0), np.delete(first, 2, 0), rtol=1e-5)


def test_the_question_counts_where_it_should(llava: Any, pipelines: dict[str, Any], batch: Batch) -> None:
    urgent = batch.replace(question=("Urgent: is the ECG abnormal?",) * len(batch))
    for name, scorer in {"llava": llava, **pipelines}.items():
        difference = np.abs(scores_of(scorer, batch)[:, :2] - scores_of(scorer, urgent)[:, :2]).max(1)
        assert (difference == 0).all() if name == "ecg_only" else (difference > 1e-4).all(), name


def test_a_set_of_answers_is_refused(scorer: Any, batch: Batch) -> None:
    with pytest.raises(InputError, match="one answer"):
        scorer(batch.replace(kind="set"))


def test_nothing_of_our_models_is_imported() -> None:
    code = f"import sys, {', '.join(NAMES)}; print([m for m in sys.modules if m.startswith('causalecg.models')])"
    run = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# ---------------------------------------------------------------- the image-text model


def test_a_score_is_the_models_own_loss_on_the_answer(llava: Any, batch: Batch) -> None:
    """transformers' own loss, one sequence at a time: mean negative log-likelihood where the label is not -100."""
    scores = scores_of(llava, batch)
    for i, names in enumerate(batch.candidates):
        prompt = llava.prompt(batch.question[i], batch.ecg_present[i].tolist())
        for j, name in enumerate(names):
            answer = llava.tokenizer.encode(f" {name}<eos>", add_special_tokens=False)
            with torch.no_grad():
                loss = llava.model(
                    input_ids=torch.tensor([prompt + answer]),
                    labels=torch.tensor([[-100] * len(prompt) + answer]),
                    pixel_values=llava.images(batch.ecg[i], batch.ecg_present[i]),
                ).loss
            assert scores[i, j] == pytest.approx(-loss.item() * len(answer), rel=1e-5)


def test_a_question_cannot_smuggle_an_image_in(llava: Any, batch: Batch) -> None:
    asked = ("Is this <image> normal? <eos>",) * len(batch)
    assert np.isfinite(scores_of(llava, batch.replace(question=asked))[:, :2]).all()


def test_no_ecg_is_said(llava: Any) -> None:
    said = [llava.tokenizer.decode(llava.prompt("Q?", present)) for present in ((0, 0), (1, 0), (0, 1), (1, 1))]
    words = [text.replace("<image>" * 49, "*") for text in said]
    assert words == [
        "<bos>No ECG:* Q? Answer:",
        "<bos>First ECG:* Q? Answer:",
        "<bos>Second ECG:* Q? Answer:",
        "<bos>First ECG:*Second ECG:* Q? Answer:",
    ]


def test_a_lead_is_drawn_in_its_place_and_to_scale() -> None:
    module = example("transformers_model")
    blank = module.draw(torch.zeros(1, 12, 1000))[0, 0]
    ecg = torch.zeros(1, 12, 1000)
    ecg[0, 1] = 1.0  # lead II: second row, first column
    ecg[0, 9] = -0.5  # V4: first row, last column
    ecg[0, 5] = 100.0  # aVF: third row, second column, far out of its row
    image = module.draw(ecg)[0, 0]
    # The mean row of the ink, per row of leads, of a pixel column in each column of leads.
    middle, height, width = module.HEIGHT / 2 - 0.5, module.HEIGHT, module.WIDTH
    for row, column, moved in ((1, 0, 20.0), (0, 3, -10.0), (0, 0, 0.0), (2, 2, 0.0)):
        ink = (1 - image[row * height : (row + 1) * height, column * width + 20]) / 2
        centre = float((ink * torch.arange(height)).sum() / ink.sum())
        assert centre == pytest.approx(middle - moved, abs=1e-3)
    rows, columns = slice(2 * height, 3 * height), slice(width + 2, 2 * width - 2)
    assert (image[rows, columns] == 1).all()  # cut off, and not in the row above
    assert torch.equal(image[height : 2 * height, columns], blank[height : 2 * height, columns])


def test_a_jump_is_joined() -> None:
    module = example("transformers_model")
    ecg = torch.zeros(1, 12, 1000)
    ecg[:, 0, 112:] = 1.0  # lead I, from the middle of its quarter
    ink = module.draw(ecg)[0, 0, : module.HEIGHT, : module.WIDTH] < 0.5
    rows = torch.arange(module.HEIGHT)[ink.any(1)]
    assert rows.tolist() == list(range(int(rows[0]), int(rows[-1]) + 1)) and len(rows) > 20


# ---------------------------------------------------------------- the pipelines


def test_the_median_beat_is_the_beat() -> None:
    """A template that is repeated, with an artefact in one beat of nine, comes out as it went in."""
    module = example("sklearn_model")
    rng = np.random.default_rng(0)
    beat = 0.02 * rng.standard_normal((12, 100))
    beat[:, 30] += 1.0
    ecg = np.tile(beat, 10)
    ecg[:, 300:320] += 0.3
    found = module.median_beat(ecg, 100.0).reshape(12, -1)
    lags = np.round(module.LAGS * 100).astype(int)
    shifts = [np.abs(found - beat[:, (30 + shift + lags) % 100]).max() for shift in range(-4, 5)]
    assert min(shifts) < 1e-9


def test_a_score_is_the_pipelines_log_probability(pipelines: dict[str, Any], cohort: Cohort) -> None:
    module = example("sklearn_model")
    plain = make_batch(cohort, cohort.split("test"), np.arange(8))
    for scorer in pipelines.values():
        inputs = module.table(plain.ecg.numpy(), plain.ecg_present.numpy(), plain.question, 100.0)
        want = scorer.fitted.predict_log_proba(inputs)
        assert list(scorer.fitted.classes_) == ["no", "yes"] and plain.candidates[0] == ("yes", "no")
        np.testing.assert_allclose(scores_of(scorer, plain), want[:, ::-1], rtol=1e-12)


# ---------------------------------------------------------------- whole


def run_main(name: str, folder: Path, options: str) -> dict[str, Any]:
    code = (
        f"import sys; from pathlib import Path; import {name}; {name}.main(Path('out'), {options}); "
        "assert not [m for m in sys.modules if m.startswith('causalecg.models')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder, env=ENVIRONMENT, capture_output=True)
    assert (folder / "out" / "report" / "report.html").stat().st_size < 300_000
    record: dict[str, Any] = json.loads((folder / "out" / "report" / "report.json").read_text())
    return record


@pytest.mark.slow
def test_an_image_text_model_gets_a_report(tmp_path: Path) -> None:
    record = run_main("transformers_model", tmp_path, "items=400")
    assert [(v["run"], v["verdict"]) for v in record["verdicts"]] == [("llava", "fail")]


@pytest.mark.slow
def test_the_pipeline_that_uses_the_wording_is_caught_and_the_other_passes(tmp_path: Path) -> None:
    record = run_main("sklearn_model", tmp_path, "items=2000")
    assert {v["run"]: v["verdict"] for v in record["verdicts"]} == {"ecg_and_question": "fail", "ecg_only": "pass"}
    command = [sys.executable, "-m", "causalecg", "score", "sklearn_model:ecg_and_question", "--cohort", "cohort"]
    subprocess.run([*command, "--out", "asked"], check=True, cwd=tmp_path / "out", env=ENVIRONMENT, capture_output=True)
    asked = {folder: answers(tmp_path / "out" / folder, run) for folder, run in (("scores", "ecg_and"), ("asked", ""))}
    assert asked["scores"] == asked["asked"] and len(asked["asked"]) > 5000


def answers(folder: Path, run: str) -> dict[tuple[str, str], list[float]]:
    """(item, intervention) -> scores, of the runs whose name begins like this."""
    found = {}
    for part in sorted((folder / "scores").glob(f"{run}*.parquet")):
        for row in read_parquet(part).itertuples():
            found[row.item_id, row.intervention] = list(row.log_likelihood)
    return found
