"""Two processes of ``accelerate launch`` train what one does: the same gradients, up to the order of float32 sums (1e-6)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from causalecg.audits.score_set import ScoreSet
from causalecg.training.run import Run, train
from causalecg.training.stages import train_stages

PROCESSORS = Path(__file__).parents[2] / "examples" / "configs" / "accelerate" / "two_processes_cpu.yaml"
#: Port 0: one that is free.
LAUNCH = [
    sys.executable,
    "-m",
    "accelerate.commands.launch",
    "--config_file",
    str(PROCESSORS),
    "--main_process_port",
    "0",
]

#: An adjuster whose objective counts, after every step, what it was told of the batch.
COUNTING = """
import sys
import torch
from adjusters.contract import Adjuster, Card, Objective
from adjusters.registry import register
from causalecg.cohort.schema import Cohort
from causalecg.training.config import RunConfig
from causalecg.training.run import train

class CountingObjective(Objective):
    def __init__(self, scorer):
        super().__init__(scorer)
        self.register_buffer("told", torch.zeros(3, dtype=torch.float64))

    def after_step(self, batch, terms):
        per_item = terms["main"].per_item.double()
        assert len(per_item) == len(batch)
        self.told += torch.stack([torch.tensor(float(len(batch))), (batch.rows.double() * per_item).sum(), per_item.sum()])

@register("counting")
class Counting(Adjuster):
    card = Card(summary="Counts.", uses=("objective",))

    def attach(self, scorer, *, new_scorer, rng):
        return CountingObjective(scorer)

if __name__ == "__main__":
    cohort, config, out = sys.argv[1:]
    train(Cohort.open(cohort), "counting", RunConfig.read(config), seed=3, out=out, progress=False)
"""

#: An adjuster whose loss is that of the worse of two groups of the batch, which no mean over shards gives.
WORST = """
import sys
import torch
from adjusters.contract import Adjuster, Card, LossTerms, Objective, negative_log_likelihood
from adjusters.registry import register
from causalecg.cohort.schema import Cohort
from causalecg.training.config import RunConfig
from causalecg.training.run import train

class WorstObjective(Objective):
    per_item = False

    def __init__(self, scorer):
        super().__init__(scorer)
        self.register_buffer("told", torch.zeros((), dtype=torch.int64))

    def loss(self, batch, part, *, progress):
        per_item = negative_log_likelihood(self.scorer(batch), batch)
        groups = [per_item[batch.answer[:, k]] for k in range(2)]
        return LossTerms(torch.stack([g.mean() for g in groups if len(g)]).max(), per_item.detach())

    def after_step(self, batch, terms):
        assert len(terms["main"].per_item) == len(batch)
        self.told += len(batch)

@register("worst")
class Worst(Adjuster):
    card = Card(summary="The worse of two groups.", uses=("objective",))

    def attach(self, scorer, *, new_scorer, rng):
        return WorstObjective(scorer)

if __name__ == "__main__":
    cohort, config, out = sys.argv[1:]
    train(Cohort.open(cohort), "worst", RunConfig.read(config), seed=3, out=out, progress=False)
"""


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    settings = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    return subprocess.run(list(map(str, command)), env=settings, capture_output=True, text=True, timeout=240)


@pytest.fixture
def settings(cohort, config, tmp_path) -> Path:
    """A batch size that leaves shards of different sizes, and in the last batch (300 = 23 x 13 + 1) an empty one."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.model_copy(update={"batch_size": 13, "epochs": 1}).model_dump(mode="json")))
    return path


def in_one_and_in_two(script: str, cohort, settings: Path, folder: Path) -> list[Path]:
    """Run folders of the same script, alone and as two processes."""
    (folder / "script.py").write_text(script)
    for name, before in (("one", [sys.executable]), ("two", LAUNCH)):
        done = run(*before, folder / "script.py", cohort.path, settings, folder / name)
        assert done.returncode == 0, done.stderr
    return [folder / "one", folder / "two"]


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["none", "backdoor"])
def test_two_processes_train_what_one_does(cohort, settings, tmp_path, arm: str) -> None:
    out = tmp_path / "two"
    done = run(
        *LAUNCH, "-m", "causalecg", "train", "--cohort", cohort.path, "--arm", arm, "--config", settings,
        "--seed", 3, "--out", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained") == 1
    found = Run.open(out)
    assert found.record["processes"] == 2
    one = train(cohort, arm, found.config, seed=3, out=tmp_path / "one", progress=False)
    two_metrics, one_metrics = (json.loads((r.path / "metrics.jsonl").read_text()) for r in (found, one))
    assert two_metrics.keys() == one_metrics.keys()
    for key in ("loss_main", "validation_loss"):
        assert two_metrics[key] == pytest.approx(one_metrics[key], rel=1e-5)
    for name in ("model/model.safetensors", "objective.safetensors"):
        if not (one.path / name).exists():
            continue
        one_state, two_state = load_file(one.path / name), load_file(out / name)
        assert one_state.keys() == two_state.keys()
        for key, value in one_state.items():
            assert torch.allclose(value, two_state[key], atol=1e-6), key


@pytest.mark.slow
def test_two_processes_score_what_one_does_and_train_stages(cohort, config, tmp_path) -> None:
    """The same score set but for float32 sums; and stages, each trained by both."""
    stages = tmp_path / "stages.toml"
    sizes = "encoder_options = {widths = [8, 16]}\nembedded = {hidden = 16, layers = 1, heads = 2, vocabulary = 260}\n"
    stages.write_text(
        f"epochs = 1\nbatch_size = 50\n[model]\n{sizes}[[stages]]\nname = 'e'\ntask = 'contrast'\n"
        "[[stages]]\nname = 'q'\narm = 'none'\n"
    )
    given = ["--config", stages, "--cohort", cohort.path]
    done = run(*LAUNCH, "-m", "causalecg", "train", *given, "--out", tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained the stages") == 1
    folder = train_stages(stages, out=tmp_path / "one", seed=0, cohort=cohort.path, progress=False)
    for name in ("1-e/model.safetensors", "2-q/model/model.safetensors"):
        one, two = (load_file(tmp_path / which / name) for which in ("one", "two"))
        assert all(torch.allclose(value, two[key], atol=1e-5) for key, value in one.items())
    asked = ["score", folder, "--cohort", cohort.path, "--split", "test,test_unbiased"]
    for name, before in (("s1", [sys.executable]), ("s2", LAUNCH)):
        done = run(*before, "-m", "causalecg", *asked, "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
    one, two = (ScoreSet.open(tmp_path / name) for name in ("s1", "s2"))
    assert one.runs == two.runs
    key = ["item_id", "intervention", "draw"]
    first, second = (s.scores.sort_values(key, ignore_index=True) for s in (one, two))
    values = [np.concatenate(list(table["log_likelihood"])) for table in (first, second)]
    assert np.allclose(*values, rtol=1e-5, atol=1e-6)
    same = [name for name in first.columns if name != "log_likelihood"]
    pd.testing.assert_frame_equal(first[same], second[same])


@pytest.mark.slow
def test_what_follows_a_step_is_told_of_the_whole_batch(cohort, settings, tmp_path) -> None:
    folders = in_one_and_in_two(COUNTING, cohort, settings, tmp_path)
    one, two = (load_file(folder / "objective.safetensors")["told"] for folder in folders)
    assert one[0] == two[0] == 300
    assert torch.allclose(one, two, rtol=1e-5)


@pytest.mark.slow
def test_a_loss_that_is_no_mean_over_items_is_that_of_the_whole_batch(cohort, settings, tmp_path) -> None:
    folders = in_one_and_in_two(WORST, cohort, settings, tmp_path)
    for file in ("model/model.safetensors", "objective.safetensors"):
        one, two = (load_file(folder / file) for folder in folders)
        for key, value in one.items():
            assert torch.allclose(value, two[key], atol=1e-6), key
