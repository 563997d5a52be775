"""The arms that stand for the adjusters on a leaderboard."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from adjusters.registry import available
from causalecg.benchmark.tuned import TUNED, arm_of, every_arm, tuning_of
from causalecg.training.arms import Arm

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "tuning.py"


def test_every_adjuster_has_an_arm_and_a_placebo_written_as_they_are_read() -> None:
    arms = every_arm()
    assert len(set(arms)) == len(arms)
    assert all(str(Arm.parse(arm)) == arm for arm in arms)
    for name in set(available()) - {"none"}:
        assert Arm.parse(arm_of(name)).adjuster == name
        assert {arm_of(name), f"placebo:{arm_of(name)}"} <= set(arms)


def test_what_was_tuned_is_a_candidate_of_the_script() -> None:
    spec = importlib.util.spec_from_file_location("tuning", SCRIPT)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for name, arm in TUNED.items():
        assert arm in {str(Arm.parse(candidate)) for candidate in script.GRID[name]}, name
    for grid in script.GRID.values():
        assert len({str(Arm.parse(candidate)) for candidate in grid}) == len(grid)


def test_what_an_arm_was_tuned_by() -> None:
    assert tuning_of(arm_of("ecg_swap")) == tuning_of(f"placebo:{arm_of('ecg_swap')}") == "no S"
    assert tuning_of("ecg_swap?copies=3") == tuning_of("rebias?strength=1.0") == "no tuning"
    assert tuning_of("hybrid?exchange=0.0") == "no tuning"
    assert tuning_of("hybrid?exchange=0.5") == "no S"


def test_a_default_that_was_set_on_test_patients_says_so() -> None:
    for arm in ("hybrid", "placebo:hybrid", "hybrid?misclassification=0", "rebias", "rebias?dependence=hsic"):
        assert tuning_of(arm) == "oracle"
