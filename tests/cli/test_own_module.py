"""A module of one's own, named on the command line: trained, compared and scored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cli import build_app
from causalecg.cohort.batches import TableBatches
from causalecg.cohort.schema import Cohort
from causalecg.errors import InputError
from causalecg.training.builds import imported
from causalecg.training.config import RunConfig
from causalecg.training.run import Run, train

MODULE = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(12, 2)
    def forward(self, batch):
        return self.layer(batch.ecg[:, 0].mean(-1)).masked_fill(batch.padding, float('-inf'))
def build(seed):
    return Net()
def other(seed):
    return Net()
"""


def command(*arguments: str) -> str:
    return CliRunner().invoke(build_app(), list(arguments), catch_exceptions=False).stdout


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """The current folder, with a cohort and a module."""
    monkeypatch.chdir(tmp_path)
    simulate_cohort("c", items=400, test_items=40, rho=0.8, seed=1, rate_hz=50, seconds=2, progress=False)
    (tmp_path / "own_net.py").write_text(MODULE)
    (tmp_path / "one.toml").write_text("epochs = 1\n")
    (tmp_path / "model.toml").write_text('epochs = 1\n[model]\nencoder = "patch_transformer"\n')
    (tmp_path / "stages.toml").write_text('epochs = 1\n[[stages]]\nname = "a"\n')
    return tmp_path


@torch.no_grad()
def test_it_is_trained_as_from_python_and_scored(place) -> None:
    common = ("--cohort", "c", "--arm", "ipw", "--config", "one.toml", "--seed", "3")
    assert "trained ipw (seed 3)" in command("train", *common, "--build", "own_net:build", "--out", "r")
    assert Run.open("r").record["scorer"] == "own_net:build"
    cohort, build = Cohort.open("c"), imported("own_net:build")
    other = train(cohort, "ipw", RunConfig(epochs=1), seed=3, out="p", scorer=build, progress=False)
    batch = TableBatches(cohort, cohort.split("test"))(np.arange(20))
    assert torch.equal(Run.open("r").scorer(build)(batch), other.scorer(build)(batch))
    assert "scored r" in command(
        "score", "r", "--cohort", "c", "--build", "own_net:build", "--interventions", "intact", "--out", "s"
    )
    for options, says in (
        (("--cohort", "c", "--arm", "ipw", "--build", "own_net:absent"), "'own_net:absent' cannot be imported"),
        (("--cohort", "c", "--arm", "ipw", "--build", "own_net:Net"), r"write lambda seed: Net\(\)"),
        (
            ("--cohort", "c", "--arm", "ipw", "--build", "own_net:build", "--config", "model.toml"),
            "leave out model.encoder",
        ),
        (("--config", "stages.toml", "--cohort", "c", "--build", "own_net:build"), "leave --build out"),
    ):
        with pytest.raises(InputError, match=says):
            command("train", *options, "--out", "x")
        assert not (place / "x").exists()


def test_it_is_compared(place) -> None:
    common = ("compare", "--cohort", "c", "--arms", "none,ipw", "--seeds", "1", "--audit-items", "20", "--json")
    own = ("--config", "one.toml", "--build", "own_net:build")
    record = json.loads(command(*common, *own, "--processes", "1", "--out", "k"))
    assert [row["arm"] for row in record["arms"]] == ["none", "ipw"]
    assert json.loads((place / "k" / "compare.json").read_text())["build"] == "own_net:build"
    assert Run.open("k/runs/ipw-seed0").record["scorer"] == "own_net:build"
    for options, says in (
        (("--config", "one.toml", "--out", "k"), "comparison with another build"),
        (("--config", "one.toml", "--build", "own_net:other", "--out", "k"), "comparison with another build"),
        (("--config", "model.toml", "--build", "own_net:build", "--out", "x"), "leave out model.encoder"),
        ((*own, "--benchmark", "t1", "--out", "x"), "--build is of a comparison on a cohort"),
    ):
        with pytest.raises(InputError, match=says):
            command(*common, *options)
        assert not (place / "x").exists()
