"""An embedded language model has the size of the one that it begins with, and says so."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from causalecg.cohort.batches import TableBatches
from causalecg.errors import InputError
from causalecg.models.config import EmbeddedLanguageModel, ModelConfig
from causalecg.models.pretrained import build_model, from_pretrained, save_pretrained
from causalecg.training.config import RunConfig
from causalecg.training.run import Run, train
from causalecg.training.stages import train_stages

TEXTS = ["Is it normal?", " yes", " no"]
SMALL = {"hidden": 16, "layers": 1, "heads": 2, "vocabulary": 260}


@pytest.fixture
def saved(tmp_path) -> str:
    model = build_model(ModelConfig(embedded=SMALL), texts=TEXTS, leads=12, seed=0)
    save_pretrained(model, tmp_path / "m")
    return str(tmp_path / "m")


@pytest.mark.parametrize("said", [{"hidden": 32}, {"layers": 2}, {"heads": 4}, {"vocabulary": 1024}])
def test_another_size_that_was_given_is_refused(saved, said: dict[str, int]) -> None:
    ((key, value),) = said.items()
    with pytest.raises(InputError, match=rf"of {key} = {SMALL[key]}, which model.embedded.{key} = {value} cannot"):
        build_model(ModelConfig(start=saved, embedded=said), texts=TEXTS, leads=12, seed=0)


@pytest.mark.parametrize("said", [{}, {"embedded": {}}, {"embedded": {"hidden": 16}}, {"embedded": SMALL}])
def test_the_size_that_it_has_is_noted(saved, said, tmp_path) -> None:
    model = build_model(ModelConfig(start=saved, **said), texts=TEXTS, leads=12, seed=0)
    save_pretrained(model, tmp_path / "later")
    record = json.loads((tmp_path / "later" / "config.json").read_text())
    assert record["config"]["embedded"] == SMALL
    assert from_pretrained(tmp_path / "later").config.embedded == EmbeddedLanguageModel(**SMALL)


@torch.no_grad()
def test_a_run_that_begun_so_is_read_and_begun_with(saved, cohort, tmp_path) -> None:
    config = RunConfig(model=ModelConfig(start=saved), epochs=1)
    run = train(cohort, "effect_subtraction", config, seed=0, out=tmp_path / "a", progress=False)
    # As an earlier version noted it.
    path = run.path / "model" / "config.json"
    record = json.loads(path.read_text())
    record["config"]["embedded"] = EmbeddedLanguageModel().model_dump()
    path.write_text(json.dumps(record))
    batch = TableBatches(cohort, cohort.split("test"))(np.arange(5))
    assert Run.open(run.path).scorer()(batch).isfinite().all()
    for said in ({}, {"embedded": SMALL}):
        begins = RunConfig(model=ModelConfig(start=str(run.path), **said), epochs=1)
        later = train(cohort, "none", begins, seed=0, out=tmp_path / f"b{len(said)}", progress=False)
        assert later.scorer()(batch).isfinite().all()


def test_another_size_of_a_later_stage_is_refused_before_the_first(cohort, tmp_path) -> None:
    stages = (
        "epochs = 1\n[[stages]]\nname = 'labels'\ntask = 'labels'\n[[stages]]\nname = 'a'\n[[stages]]\nname = 'b'\n"
    )
    (tmp_path / "s.toml").write_text(f"{stages}model.embedded.hidden = 32\n")
    with pytest.raises(InputError, match="stage b: model.embedded.hidden is not that of stage a"):
        train_stages(tmp_path / "s.toml", out=tmp_path / "s", seed=0, cohort=cohort.path, progress=False)
    assert not (tmp_path / "s").exists()
