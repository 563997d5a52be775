"""Pretrained language models through a whole run: trained, interrupted, gone on with, opened and asked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from adjusters.contract import Batch
from causalecg.benchmark.cells import Cell, Plan, run_cell
from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cli import build_app
from causalecg.cohort.batches import TableBatches
from causalecg.cohort.schema import Cohort
from causalecg.errors import InputError
from causalecg.training.config import RunConfig
from causalecg.training.loop import Loop
from causalecg.training.run import Run, train


class Killed(BaseException):
    """Not an Exception: nothing on the way may catch it."""


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Cohort:
    """96 training items of 2 s at 50 Hz."""
    folder = tmp_path_factory.mktemp("cohort") / "c"
    simulate_cohort(folder, items=96, test_items=16, rho=0.9, seed=1, rate_hz=50, seconds=2, progress=False)
    return Cohort.open(folder)


def configuration(folder: str, **parts) -> RunConfig:
    model = {"language_model": folder, "encoder_options": {"widths": [8, 16]}, **parts}
    return RunConfig(model=model, epochs=2, batch_size=32, checkpoint_steps=2)


def asked(cohort: Cohort) -> Batch:
    return TableBatches(cohort, cohort.split("test"))(np.arange(12))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("parts", "learned"),
    [
        ({"chat": True}, False),
        ({"lora": {"rank": 2}}, True),
        ({"dtype": "bfloat16", "lora": {"rank": 2}}, True),
        ({"dtype": "bfloat16"}, False),
        ({"train_language_model": True}, True),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_an_interrupted_run_ends_with_the_same_bytes_and_is_opened_as_it_ended(
    cohort, chat_llama, tmp_path, monkeypatch, parts, learned: bool
) -> None:
    config = configuration(chat_llama, **parts)
    ended = []
    run_loop = Loop.run
    monkeypatch.setattr(Loop, "run", lambda self: run_loop(self) or ended.append(self.objective))
    run = train(cohort, "none", config, seed=5, out=tmp_path / "whole", progress=False)
    step, steps = Loop._step, []

    def dies(self, *given) -> None:
        steps.append(1)
        if len(steps) == 4:  # in the second epoch, after a checkpoint within the first and one at its end
            raise Killed
        step(self, *given)

    with monkeypatch.context() as patched:
        patched.setattr(Loop, "_step", dies)
        with pytest.raises(Killed):
            train(cohort, "none", config, seed=5, out=tmp_path / "killed", progress=False)
    assert (tmp_path / "killed" / "checkpoint").is_dir()
    torch.manual_seed(99)
    train(cohort, "none", config, seed=5, out=tmp_path / "killed", progress=False)
    assert files(tmp_path / "whole") == files(tmp_path / "killed")

    batch = asked(cohort)
    with torch.no_grad():
        scores = ended[0].eval()(batch)
        for folder in ("whole", "killed"):
            assert torch.equal(Run.open(tmp_path / folder).scorer()(batch), scores)
    saved = [name for name in load_file(run.path / "model" / "model.safetensors") if name.startswith("language_model.")]
    assert bool(saved) == learned
    if "lora" in parts:
        assert all(".lora_" in name for name in saved)
    moved = [float(p.detach().abs().max()) for n, p in ended[0].named_parameters() if "lora_B" in n]
    assert bool(moved) == ("lora" in parts) and all(value > 0 for value in moved)


def test_a_run_does_not_go_on_with_another_language_model_of_the_same_name(
    cohort, tmp_path, monkeypatch, save_gpt2
) -> None:
    save_gpt2(tmp_path / "gpt2")
    config = configuration(str(tmp_path / "gpt2"))
    epoch = Loop._end_epoch

    def dies(self, stage) -> None:
        epoch(self, stage)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Loop, "_end_epoch", dies)
        with pytest.raises(Killed):
            train(cohort, "none", config, seed=0, out=tmp_path / "r", progress=False)
    path = tmp_path / "gpt2" / "model.safetensors"
    before = path.read_bytes()
    save_file({name: value + 0.01 for name, value in load_file(path).items()}, path, {"format": "pt"})
    with pytest.raises(InputError, match="begun with another state of its language model .*; put that one back"):
        train(cohort, "none", config, seed=0, out=tmp_path / "r", progress=False)
    path.write_bytes(before)
    assert train(cohort, "none", config, seed=0, out=tmp_path / "r", progress=False).record["status"] == "done"


@pytest.mark.parametrize("trained", [False, True])
def test_a_run_of_a_model_with_code_of_its_own_is_opened_where_that_is_allowed(
    cohort, tmp_path, save_gpt2, bring_code, trained: bool
) -> None:
    save_gpt2(tmp_path / "gpt2")
    bring_code(tmp_path / "gpt2", tmp_path / "marker")
    config = configuration(str(tmp_path / "gpt2"), train_language_model=trained)
    with pytest.raises(InputError, match="language model .*gpt2' cannot be loaded"):
        train(cohort, "none", config, seed=0, out=tmp_path / "r", progress=False)
    assert not (tmp_path / "marker").exists()
    parts = config.model.model_copy(update={"trust_remote_code": True})
    config = config.model_copy(update={"model": parts})
    # An adjuster with a further model of the same make.
    run = train(cohort, "rebias", config, seed=0, out=tmp_path / "r", progress=False)
    assert type(run.scorer(trust_remote_code=True).objective.scorer.language_model).__module__.endswith("theirs")
    (tmp_path / "marker").unlink()
    assert json.loads((run.path / "config.json").read_text())["model"]["trust_remote_code"] is True
    with pytest.raises(InputError, match="language model .* cannot be"):
        Run.open(run.path).scorer()
    assert not (tmp_path / "marker").exists()
    with torch.no_grad():
        first, second = (Run.open(run.path).scorer(trust_remote_code=True)(asked(cohort)) for _ in range(2))
    assert torch.equal(first, second)
    given = ["--cohort", str(cohort.path), "--interventions", "intact", "--max-items", "4"]
    for folder in (run.path, run.path / "model"):
        options = ["score", str(folder), *given, "--out", str(tmp_path / f"scores-{folder.name}")]
        with pytest.raises(InputError, match="language model .* cannot be"):
            CliRunner().invoke(build_app(), options, catch_exceptions=False)
        said = CliRunner().invoke(build_app(), [*options, "--trust-remote-code"], catch_exceptions=False)
        assert said.exit_code == 0 and (tmp_path / f"scores-{folder.name}" / "runs.json").is_file()
    with pytest.raises(InputError, match="--trust-remote-code is for runs and saved models"):
        CliRunner().invoke(
            build_app(), ["score", "a:b", *given, "--out", "o", "--trust-remote-code"], catch_exceptions=False
        )


def test_a_comparison_runs_the_code_that_its_configuration_allows(cohort, tmp_path, save_gpt2, bring_code) -> None:
    save_gpt2(tmp_path / "gpt2")
    bring_code(tmp_path / "gpt2", tmp_path / "marker")
    config = configuration(str(tmp_path / "gpt2"), trust_remote_code=True)
    plan = Plan(cohort.path, tmp_path / "out", config, ("test",), audit_items=4)
    assert run_cell(Cell("none", 0), plan) == "none-seed0"
    assert (tmp_path / "out" / "scores" / "none-seed0" / "done").is_file()
