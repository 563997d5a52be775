from __future__ import annotations

import json

import numpy as np
import pytest

from causalecg.benchmark.cells import Cell, finished_cells
from causalecg.benchmark.cohort import simulate_cohort
from causalecg.benchmark.compare import run_comparison
from causalecg.benchmark.comparison import MINIMUM_ITEMS, SeededBootstrap, _recovery, report_comparison, written
from causalecg.cohort.schema import Cohort
from causalecg.errors import InputError
from causalecg.models.config import EmbeddedLanguageModel, ModelConfig
from causalecg.training.config import RunConfig


def grid(
    accuracies: dict[str, float], seeds: int, items: int, spread: float = 0.0, seed: int = 0
) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shift = rng.standard_normal(seeds) * spread
    return {arm: (rng.random((items, seeds)) < a + shift).astype(float) for arm, a in accuracies.items()}


def singles(n: int) -> np.ndarray:
    return np.stack([np.arange(n)] * 2, 1)


def test_the_mean_over_seeds_and_its_interval() -> None:
    values = grid({"a": 0.8, "b": 0.6}, 5, 2000)
    boot = SeededBootstrap(singles(2000), 5, seed=0)
    means = boot.arms(values)
    assert means["a"][0] == pytest.approx(values["a"].mean())
    found = boot.interval(lambda a, b: a - b, means["a"], means["b"])
    assert found.low < values["a"].mean() - values["b"].mean() < found.high
    # Items answered by five independent models: at least as narrow as one model's, never narrower than 5 x n items'.
    assert 1.96 * np.sqrt(0.16 / 2000 / 5) * 0.8 < (boot.share(means["a"])["high"] - boot.share(means["a"])["low"]) / 2


def test_differences_between_seeds_widen_the_interval() -> None:
    still, moving = grid({"a": 0.7}, 5, 4000), grid({"a": 0.7}, 5, 4000, spread=0.05)
    boot = SeededBootstrap(singles(4000), 5, seed=0)
    widths = [v["high"] - v["low"] for v in (boot.share(boot.arms(g)["a"]) for g in (still, moving))]
    assert widths[1] > 2 * widths[0]


@pytest.mark.parametrize(
    ("items", "accuracies", "printed"),
    [
        (MINIMUM_ITEMS, {"none": 0.5, "oracle": 0.9, "x": 0.86}, True),
        (MINIMUM_ITEMS - 1, {"none": 0.5, "oracle": 0.9, "x": 0.86}, False),
        (MINIMUM_ITEMS, {"none": 0.87, "oracle": 0.9, "x": 0.89}, False),
    ],
)
def test_recovery_is_printed_only_where_it_may_be(items: int, accuracies: dict, printed: bool) -> None:
    class Simulated:
        meta = {"confounding": {"kind": "simulated"}}

    values = grid(accuracies, 2, items)
    boot = SeededBootstrap(singles(items), 2, seed=0, replicates=200)
    rows = {arm: {} for arm in accuracies}
    _recovery(rows, boot.arms(values), boot, Simulated(), items)
    assert rows["none"] == rows["oracle"] == {}
    if printed:
        wanted = (values["x"].mean() - values["none"].mean()) / (values["oracle"].mean() - values["none"].mean())
        assert rows["x"]["recovery"]["estimate"] == pytest.approx(wanted)
        assert rows["x"]["recovery_note"] == ""
    else:
        assert rows["x"]["recovery"] is None
        assert "points only" in rows["x"]["recovery_note"]


def test_numbers_are_written_short() -> None:
    assert written({"estimate": 0.5, "low": -0.25, "high": 1.0}) == ".500 (-.250, 1.000)"
    assert written(None) == "-"


@pytest.mark.slow
def test_a_comparison_resumes_and_reports(tmp_path) -> None:
    simulate_cohort(tmp_path / "c", items=200, test_items=60, rho=0.9, rate_hz=50, seconds=2, progress=False)
    cohort = Cohort.open(tmp_path / "c")
    model = ModelConfig(
        encoder_options={"widths": [8, 16]},
        embedded=EmbeddedLanguageModel(hidden=16, layers=1, heads=2, vocabulary=260),
    )
    config = RunConfig(model=model, epochs=1)
    arms = ("none", "ipw", "oracle")
    out = tmp_path / "out"
    cells = run_comparison(cohort, arms, 1, config, out, audit_items=30, progress=False)
    before = {p: p.stat().st_mtime_ns for p in (out / "runs").rglob("model.safetensors")}
    cells = run_comparison(cohort, arms, 2, config, out, audit_items=30, progress=False)
    assert cells == [Cell(arm, seed) for seed in (0, 1) for arm in arms]
    assert all(p.stat().st_mtime_ns == then for p, then in before.items())  # finished cells were left alone
    assert sorted(finished_cells(out), key=str) == sorted(cells, key=str)
    page, record = report_comparison(cohort, cells, out)
    assert page.stat().st_size < 300_000
    assert json.loads((out / "comparison.json").read_text()) == json.loads(json.dumps(record))
    assert [row["arm"] for row in record["arms"]] == list(arms)
    assert record["seeds"] == [0, 1]
    text = page.read_text()
    assert "Balance of the confounder" in text and "25 mm/s" in text
    with pytest.raises(InputError, match="comparison with another config"):
        run_comparison(cohort, arms, 1, config.model_copy(update={"epochs": 2}), out, progress=False)
    with pytest.raises(InputError, match="distinct arms"):
        run_comparison(cohort, ("none", "none"), 1, config, out, progress=False)
