"""Two processes never write into one folder; nothing has to be removed after one that was killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from causalecg.audits.scoring import score
from causalecg.benchmark.compare import run_comparison
from causalecg.errors import InputError
from causalecg.only_writer import only_writer
from causalecg.training.encoder_pretraining import pretrain_encoder
from causalecg.training.run import Run, train

pytest.importorskip("fcntl")
HOLD = """
import sys
from pathlib import Path
from causalecg.only_writer import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held_elsewhere():
    """Hold a folder in another process; gives that process."""
    started: list[subprocess.Popen[str]] = []

    def hold(folder: Path) -> subprocess.Popen[str]:
        other = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(other)
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        return other

    yield hold
    for other in started:
        other.kill()
        other.communicate()


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_folder_is_held_by_one_process_and_free_when_that_is_killed(tmp_path, held_elsewhere) -> None:
    other = held_elsewhere(tmp_path / "out")
    with (
        pytest.raises(InputError, match="another process is writing into .*out; wait until"),
        only_writer(tmp_path / "out"),
    ):
        pass
    with only_writer(tmp_path / "beside"):
        pass
    other.kill()
    other.wait()
    for _ in range(2):
        with only_writer(tmp_path / "out"):
            pass
    assert not list((tmp_path / "out").iterdir())


def test_training_leaves_another_process_run_as_it_is(cohort, config, tmp_path, held_elsewhere) -> None:
    out = tmp_path / "run"
    other = held_elsewhere(out)
    for attempt in (
        lambda: train(cohort, "none", config, seed=0, out=out, progress=False),
        lambda: pretrain_encoder(cohort, "labels", config, seed=0, out=out, progress=False),
        lambda: run_comparison(cohort, ["none"], 1, config, out, progress=False),
    ):
        with pytest.raises(InputError, match="another process is writing"):
            attempt()
        assert not contents(out)
    other.kill()
    other.wait()
    assert train(cohort, "none", config, seed=0, out=out, progress=False).record["status"] == "done"
    # A run that has begun is not taken for one that failed before it began.
    before = contents(out)
    held_elsewhere(out)
    with pytest.raises(InputError, match="another process is writing"):
        train(cohort, "none", config, seed=0, out=out, progress=False)
    assert contents(out) == before and Run.open(out).record["status"] == "done"


def test_scoring_waits_its_turn(cohort, config, tmp_path, held_elsewhere) -> None:
    scorer = train(cohort, "none", config, seed=0, out=tmp_path / "run", progress=False).scorer()
    out = tmp_path / "scores"
    other = held_elsewhere(out)
    with pytest.raises(InputError, match="another process is writing into .*scores"):
        score(scorer, cohort, split="test", run_id="r", out=out, interventions=("intact",), progress=False)
    assert not contents(out)
    other.kill()
    other.wait()
    score(scorer, cohort, split="test", run_id="r", out=out, interventions=("intact",), progress=False)
    assert (out / "runs.json").is_file()
