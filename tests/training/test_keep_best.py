"""A stage that keeps its best gives up the state it began with for a clearly better one only."""

from __future__ import annotations

import pytest
import torch

from adjusters.kept_state import clearly_lower
from causalecg.training.run import train


def test_two_standard_errors_of_the_paired_difference() -> None:
    torch.manual_seed(0)
    before = torch.rand(400, dtype=torch.float64)
    noise = torch.randn(400, dtype=torch.float64)
    noise = (noise - noise.mean()) / noise.std()
    assert clearly_lower(before, before - 0.11 - noise)  # the standard error of the difference is 1/20
    assert not clearly_lower(before, before - 0.09 - noise)
    assert not clearly_lower(before, before)


@pytest.mark.parametrize(("fall", "kept"), [(0.05, False), (0.5, True)])
def test_only_a_clear_fall_is_believed(cohort, config, tmp_path, falling, fall: float, kept: bool) -> None:
    run = train(cohort, falling(fall), config, seed=0, out=tmp_path / "r", progress=False)
    assert (run.scorer().objective.steps > 0) == kept
