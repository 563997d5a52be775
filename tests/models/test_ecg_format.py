"""A model is asked about, and begun with on, ECGs of the rate, length and leads that it has learned from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from adjusters.contract import Batch
from causalecg import answer
from causalecg.audits.loading import load_model
from causalecg.audits.scoring import score
from causalecg.benchmark.cohort import simulate_cohort
from causalecg.benchmark.compare import run_comparison
from causalecg.cohort.schema import Cohort
from causalecg.errors import InputError
from causalecg.models.config import EmbeddedLanguageModel, ModelConfig
from causalecg.models.pretrained import from_pretrained
from causalecg.training.config import RunConfig
from causalecg.training.encoder_pretraining import pretrain_encoder
from causalecg.training.prepared import prepare
from causalecg.training.run import Run, train
from causalecg.training.stages import train_stages

FORMAT = {"leads": 12, "samples": 100, "rate_hz": 50.0}
OTHER = r"12 leads and 100 samples at 50 Hz, and those of cohort .* have 12 leads and 200 samples at 100 Hz"
QUESTION, NAMES = "Is it normal?", ["yes", "no"]


class Theirs(nn.Module):
    """Reads twelve leads, and does not say so."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Conv1d(12, 2, 16), nn.AdaptiveAvgPool1d(1), nn.Flatten())

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.layer(batch.ecg[:, 0])


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory) -> tuple[Cohort, Cohort]:
    """Of 50 and of 100 Hz."""
    folder: Path = tmp_path_factory.mktemp("cohorts")
    size = {"items": 150, "test_items": 24, "rho": 0.9, "seed": 1, "seconds": 2, "progress": False}
    return tuple(Cohort.open(simulate_cohort(folder / str(hz), rate_hz=hz, **size)) for hz in (50, 100))


@pytest.fixture(scope="module")
def config() -> RunConfig:
    small = EmbeddedLanguageModel(hidden=16, layers=1, heads=2, vocabulary=260)
    return RunConfig(model=ModelConfig(encoder_options={"widths": [8, 16]}, embedded=small), epochs=1)


@pytest.fixture(scope="module")
def run(cohorts, config, tmp_path_factory) -> Run:
    return train(cohorts[0], "none", config, seed=0, out=tmp_path_factory.mktemp("runs") / "r", progress=False)


def begun(config: RunConfig, start: Path) -> RunConfig:
    return config.model_copy(update={"model": config.model.model_copy(update={"start": str(start)})})


def test_a_run_and_its_model_say_what_ecgs_they_learned_from(run, cohorts, config, tmp_path) -> None:
    pretrain_encoder(cohorts[0], "labels", config, seed=0, out=tmp_path / "e", progress=False)
    for path in (run.path / "run.json", run.path / "model" / "config.json", tmp_path / "e" / "config.json"):
        record = json.loads(path.read_text())
        assert {key: record.get(key) for key in FORMAT} == FORMAT, path
    ready = prepare(cohorts[0], "none", from_pretrained(run.path / "model"))
    assert ready.objective.scorer.ecg_format.record() == ready.scorer().ecg_format.record() == FORMAT
    with pytest.raises(InputError, match=f"the model learned from ECGs of {OTHER}"):
        prepare(cohorts[1], "none", from_pretrained(run.path / "model"))


def test_what_learned_from_ecgs_of_another_form_is_neither_begun_with_nor_scored(
    run, cohorts, config, tmp_path
) -> None:
    encoder = pretrain_encoder(cohorts[0], "labels", config, seed=0, out=tmp_path / "e", progress=False)
    out, other = tmp_path / "x", cohorts[1]
    for start in (run.path, run.path / "model", encoder):
        begins = begun(config, start)
        for attempt in (
            lambda c=begins: train(other, "none", c, seed=0, out=out, progress=False),
            lambda c=begins: pretrain_encoder(other, "labels", c, seed=0, out=out, progress=False),
            lambda c=begins: run_comparison(other, ["none"], 1, c, out, progress=False),
        ):
            with pytest.raises(InputError, match=f"model.start: {start} learned from ECGs of {OTHER}"):
                attempt()
            assert not out.exists()
    for attempt in (
        lambda: load_model(str(run.path / "model"), other),
        lambda: score(run.scorer(), other, split="test", run_id="m", out=out, progress=False),
    ):
        with pytest.raises(InputError, match=f"the model learned from ECGs of {OTHER}"):
            attempt()
        assert not out.exists()


def test_stages_are_of_one_form(run, cohorts, tmp_path) -> None:
    file, out = tmp_path / "s.toml", tmp_path / "s"
    stages = "".join(f"[[stages]]\nname = '{c.path.name}'\ncohort = '{c.path}'\n" for c in cohorts)
    file.write_text(stages)
    with pytest.raises(InputError, match=f"the stage on cohort .* learned from ECGs of {OTHER}"):
        train_stages(file, out=out, seed=0, progress=False)
    file.write_text(f"[model]\nstart = '{run.path}'\n[[stages]]\nname = 'a'\n")
    with pytest.raises(InputError, match=f"model.start: .* learned from ECGs of {OTHER}"):
        train_stages(file, out=out, seed=0, cohort=cohorts[1].path, progress=False)
    assert not out.exists()


def test_of_a_model_that_does_not_say_nothing_is_known(run, cohorts, config, tmp_path) -> None:
    later = train(cohorts[0], "none", begun(config, run.path), seed=1, out=tmp_path / "later", progress=False)
    for name in ("run.json", "model/config.json"):
        record = json.loads((later.path / name).read_text())
        (later.path / name).write_text(json.dumps({k: v for k, v in record.items() if k not in ("samples", "rate_hz")}))
    earlier = Run.open(later.path).scorer()
    assert answer(earlier, np.zeros((12, 300)), QUESTION, candidates=NAMES).given
    load_model(str(later.path / "model"), cohorts[1])
    begins = begun(config, later.path)
    assert train(cohorts[1], "none", begins, seed=0, out=tmp_path / "x", progress=False).record["samples"] == 200


def test_a_question_is_about_ecgs_of_that_form(run, cohorts) -> None:
    ecg = cohorts[0].signals.read([0])[0]
    for model in (run.scorer(), from_pretrained(run.path / "model")):
        found = answer(model, ecg, QUESTION, candidates=NAMES)
        assert answer(model, torch.tensor(ecg, requires_grad=True), QUESTION, candidates=NAMES) == found
        with pytest.raises(InputError, match="200 samples, and the model .* 100 samples at 50 Hz; resample"):
            answer(model, np.repeat(ecg, 2, axis=1), QUESTION, candidates=NAMES)
        with pytest.raises(InputError, match=r"\(12, samples\)"):
            answer(model, ecg[:8], QUESTION, candidates=NAMES)
        for unit in (1000 * ecg, (1000 * ecg).astype(np.int16), -1000 * ecg):
            with pytest.raises(InputError, match=r"no ECG's voltage in mV; divide microvolts by 1000"):
                answer(model, unit, QUESTION, candidates=NAMES)


def test_a_model_of_ones_own_is_asked_without_an_ecg(cohorts, tmp_path) -> None:
    trained = train(
        cohorts[0], "none", RunConfig(epochs=1), seed=0, out=tmp_path / "r", scorer=lambda _: Theirs(), progress=False
    )
    model = trained.scorer(lambda _: Theirs())
    seen: list[torch.Size] = []
    model.objective.scorer.register_forward_pre_hook(lambda _, given: seen.append(given[0].ecg.shape))
    blank = answer(model, None, QUESTION, candidates=NAMES)
    assert seen == [(1, 2, 12, 100)]
    assert blank.probabilities == pytest.approx(
        answer(model, np.zeros((12, 100)), QUESTION, candidates=NAMES).probabilities
    )
    with pytest.raises(InputError, match="100 samples at 50 Hz"):
        answer(model, np.zeros((12, 1000)), QUESTION, candidates=NAMES)
    # Of a bare module nothing is known: an absent ECG is that of a cohort as they are made unless one says otherwise.
    assert answer(Theirs(), None, QUESTION, candidates=NAMES).given
