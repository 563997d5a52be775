"""Training with shared-out weights (FSDP): what is served and refused, and that two processes with half of the weights
each train, save and resume what one process does."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from causalecg.benchmark.compare import run_comparison
from causalecg.benchmark.leaderboard.trained import fill_simulated
from causalecg.errors import InputError
from causalecg.models.pretrained import build_model, save_pretrained
from causalecg.training import sharding
from causalecg.training.encoder_pretraining import pretrain_encoder
from causalecg.training.loop import Loop
from causalecg.training.run import train

CONFIGURATIONS = Path(__file__).parents[2] / "examples" / "configs" / "accelerate"
LAUNCHED = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "NO_WRAP"}
#: learned_mixin has a scalar parameter; jtt starts its second stage afresh; lff trains two parts in turn and counts
#: after each step. The last is interrupted besides.
ARMS = ("learned_mixin", "jtt", "lff")
STOPS_AT, CHECKPOINTS = 3, 2

SCRIPT = """
import sys
from causalecg.cohort.schema import Cohort
from causalecg.training.config import RunConfig
from causalecg.training.loop import Loop
from causalecg.training.run import train

cohort, config, out, stop = Cohort.open(sys.argv[1]), RunConfig.read(sys.argv[2]), sys.argv[3], int(sys.argv[4])
for arm in sys.argv[5:]:
    train(cohort, arm, config, seed=3, out=f"{out}/{arm}", progress=False)
step, done = Loop._step, []

def stopping(self, *given):
    done.append(1)
    if len(done) > stop:
        raise KeyboardInterrupt
    step(self, *given)

Loop._step = stopping
try:
    train(cohort, arm, config, seed=3, out=f"{out}/stopped", progress=False)
except KeyboardInterrupt:
    pass
Loop._step = step
import accelerate, shutil
if accelerate.PartialState().is_main_process:
    shutil.copytree(f"{out}/stopped", f"{out}/as_it_stopped")
accelerate.PartialState().wait_for_everyone()
train(cohort, arm, config, seed=3, out=f"{out}/stopped", progress=False)
"""


def launcher(config_file: Path, *rest: object) -> argparse.Namespace:
    """What ``accelerate launch`` makes of a configuration file."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    given = launch_command_parser().parse_args(["--config_file", str(config_file), *map(str, rest), "script.py"])
    return _validate_launch_command(given)[0]


@pytest.mark.parametrize("name", sorted(path.name for path in CONFIGURATIONS.glob("*.yaml")))
def test_a_configuration_is_one_of_accelerates_and_is_served(name: str, monkeypatch) -> None:
    import yaml
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.utils.launch import prepare_multi_gpu_env

    path = CONFIGURATIONS / name
    load_config_from_file(str(path))  # ValueError for a key it does not know
    args = launcher(path)
    assert args.num_processes == 2
    assert args.use_fsdp or args.multi_gpu  # anything else would start one process
    for key, value in (yaml.safe_load(path.read_text()).get("fsdp_config") or {}).items():
        assert getattr(args, key) == value
    for variable, value in prepare_multi_gpu_env(args).items():
        monkeypatch.setenv(variable, value)
    sharding.check_launch()
    assert sharding.is_asked_for() == (name == "fsdp.yaml")


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("FSDP_VERSION", "1", "fsdp_version: 2, not 1"),
        ("FSDP_AUTO_WRAP_POLICY", "TRANSFORMER_BASED_WRAP", "fsdp_auto_wrap_policy: NO_WRAP"),
        ("FSDP_CPU_RAM_EFFICIENT_LOADING", "true", "fsdp_cpu_ram_efficient_loading: false"),
        ("FSDP_OFFLOAD_PARAMS", "True", "fsdp_offload_params: false"),
        ("FSDP_ACTIVATION_CHECKPOINTING", "true", "fsdp_activation_checkpointing: false"),
        ("ACCELERATE_MIXED_PRECISION", "bf16", "mixed_precision: no, not bf16"),
        ("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR", "dynamo_backend: no, not INDUCTOR"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4", "cannot accumulate gradients over 4"),
        ("ACCELERATE_USE_DEEPSPEED", "true", "does not go through DeepSpeed"),
        ("ACCELERATE_USE_MEGATRON_LM", "true", "does not go through Megatron-LM"),
    ],
)
def test_what_is_not_served_is_refused_before_anything_is_written(
    cohort, config, tmp_path, monkeypatch, variable, value, says
) -> None:
    for name, given in {**LAUNCHED, variable: value}.items():
        monkeypatch.setenv(name, given)
    with pytest.raises(InputError, match=says):
        train(cohort, "none", config, seed=0, out=tmp_path / "run", progress=False)
    with pytest.raises(InputError, match=says):
        pretrain_encoder(cohort, "labels", config, seed=0, out=tmp_path / "encoder", progress=False)
    with pytest.raises(InputError, match=says):
        run_comparison(cohort, ["none"], 1, config, tmp_path / "board", progress=False)
    with pytest.raises(InputError, match=says):
        fill_simulated(tmp_path / "t1", ["R1"], ["none"], 1, progress=False)
    assert not list(tmp_path.iterdir())


def test_a_version_that_is_not_said_is_the_first(monkeypatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.delenv("FSDP_VERSION", raising=False)
    with pytest.raises(InputError, match="fsdp_version"):
        sharding.check_launch()


def test_a_gradient_is_clipped_as_torch_does() -> None:
    """Without processes: whole parameters only."""
    torch.manual_seed(0)
    mine, theirs = ([torch.nn.Parameter(torch.ones(n)) for n in (3, 5)] for _ in range(2))
    for a, b in zip(mine, theirs, strict=True):
        a.grad = torch.randn(len(a))
        b.grad = a.grad.clone()
    sharding._scale(mine, torch.stack([p.grad.square().sum() for p in mine]).sum(), 0.5)
    torch.nn.utils.clip_grad_norm_(theirs, 0.5)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_parameters_that_a_loss_reaches() -> None:
    first, second, third = (torch.nn.Parameter(torch.ones(2)) for _ in range(3))
    total = (first * 2 + second.detach()).sum() + third[0]
    assert sharding._reached(total) == {id(first), id(third)}


@pytest.mark.slow
def test_two_processes_with_shares_train_save_and_resume_what_one_does(cohort, config, tmp_path, monkeypatch) -> None:
    settings = tmp_path / "config.json"
    texts = [*cohort.wordings["question"], *(f" {name}" for name in cohort.answer_vocabulary)]
    save_pretrained(build_model(config.model, texts=texts, leads=12, seed=9), tmp_path / "begun")
    frozen = config.model.model_copy(update={"train_encoder": False, "start": str(tmp_path / "begun")})
    changes = {"batch_size": 77, "epochs": 1, "checkpoint_steps": CHECKPOINTS, "clip_norm": 0.5, "model": frozen}
    config = config.model_copy(update=changes)
    settings.write_text(json.dumps(config.model_dump(mode="json")))
    (tmp_path / "script.py").write_text(SCRIPT)
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", CONFIGURATIONS / "fsdp.yaml"]
    given = [tmp_path / "script.py", cohort.path, settings, tmp_path / "two", STOPS_AT, *ARMS]
    done = subprocess.run(
        list(map(str, [*launch, "--main_process_port", "0", *given])), capture_output=True, text=True, timeout=280,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for arm in ARMS:
        train(cohort, arm, config, seed=3, out=tmp_path / "one" / arm, progress=False)
        same_run(tmp_path / "one" / arm, tmp_path / "two" / arm)
    same_run(tmp_path / "one" / arm, tmp_path / "two" / "stopped")

    step, steps = Loop._step, []

    def stopping(self, *given) -> None:
        steps.append(1)
        if len(steps) > STOPS_AT:
            raise KeyboardInterrupt
        step(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            train(cohort, arm, config, seed=3, out=tmp_path / "one" / "stopped", progress=False)
    (one,) = (tmp_path / "one" / "stopped" / "checkpoint").iterdir()
    two = tmp_path / "two" / "as_it_stopped" / "checkpoint" / one.name
    assert (one / "about.json").read_text()[:60] == (two / "about.json").read_text()[:60]
    same_tensors(one / "t", two / "t")
    # One process goes on with what two have begun.
    shutil.copytree(tmp_path / "two" / "as_it_stopped", tmp_path / "alone")
    train(cohort, arm, config, seed=3, out=tmp_path / "alone", progress=False)
    same_run(tmp_path / "one" / arm, tmp_path / "alone")


def same_run(one: Path, two: Path) -> None:
    records = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (one, two)]
    assert len(records[0]) == len(records[1])
    for a, b in zip(*records, strict=True):
        assert a.pop("stage") == b.pop("stage")
        assert a == pytest.approx(b, rel=1e-5)
    files = sorted(path.relative_to(one) for path in one.rglob("*.safetensors"))
    assert files == sorted(path.relative_to(two) for path in two.rglob("*.safetensors"))
    for file in files:
        same_tensors(one / file, two / file)


def same_tensors(one: Path, two: Path) -> None:
    first, second = load_file(one), load_file(two)
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, atol=1e-5, rtol=1e-4, msg=lambda text, n=name: f"{n}: {text}")
