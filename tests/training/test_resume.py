from __future__ import annotations

import json
from pathlib import Path

import pytest

from causalecg.training import checkpoint
from causalecg.training.loop import Loop
from causalecg.training.run import Run, train


class Killed(BaseException):
    """Not an Exception: nothing on the way may catch it."""


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("arm", ["none", "backdoor", "stratified"])
@pytest.mark.parametrize(("patience", "checkpoint_steps"), [(0, 4), (1, 0)])
def test_a_killed_run_ends_with_the_same_bytes(
    cohort, config, tmp_path, monkeypatch, arm: str, patience: int, checkpoint_steps: int
) -> None:
    config = config.model_copy(update={"patience": patience, "checkpoint_steps": checkpoint_steps})
    train(cohort, arm, config, seed=5, out=tmp_path / "whole", progress=False)
    whole = files(tmp_path / "whole")
    step, seen = Loop._step, {"n": 0}

    def dies(self, *arguments) -> None:
        seen["n"] += 1
        if seen["n"] in (7, 14, 21):  # in the first epoch, and after each resumption
            raise Killed
        step(self, *arguments)

    monkeypatch.setattr(Loop, "_step", dies)
    attempts = 0
    while True:
        attempts += 1
        try:
            train(cohort, arm, config, seed=5, out=tmp_path / "killed", progress=False)
            break
        except Killed:
            assert json.loads((tmp_path / "killed" / "run.json").read_text())["status"] == "training"
    assert attempts == 4
    assert files(tmp_path / "killed") == whole
    assert any(name.endswith(".safetensors") for name in whole)


def test_a_half_written_checkpoint_is_passed_over(cohort, config, tmp_path, monkeypatch) -> None:
    train(cohort, "none", config, seed=0, out=tmp_path / "whole", progress=False)
    end = Loop._end_epoch

    def dies(self, stage) -> None:
        end(self, stage)
        if self.at.epoch == 2:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Loop, "_end_epoch", dies)
        with pytest.raises(Killed):
            train(cohort, "none", config, seed=0, out=tmp_path / "r", progress=False)
    newest = sorted((tmp_path / "r" / "checkpoint").glob("step-*"))[-1]
    (newest / "t").write_bytes((newest / "t").read_bytes()[:100])
    train(cohort, "none", config, seed=0, out=tmp_path / "r", progress=False)
    assert files(tmp_path / "r") == files(tmp_path / "whole")


def test_a_finished_run_is_returned_untouched(cohort, config, tmp_path) -> None:
    train(cohort, "none", config, seed=0, out=tmp_path / "r", progress=False)
    before = files(tmp_path / "r")
    assert isinstance(train(cohort, "none", config, seed=0, out=tmp_path / "r", progress=False), Run)
    assert files(tmp_path / "r") == before
    assert "checkpoint" not in {name.split("/")[0] for name in before}


def test_two_checkpoints_are_kept(tmp_path) -> None:
    import torch

    for step in range(1, 5):
        checkpoint.save(tmp_path, step, {"x": torch.full((2,), float(step))}, {"step": step})
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["step-00000003", "step-00000004"]
    found = checkpoint.load_latest(tmp_path)
    assert found is not None and found[1] == {"step": 4}
