from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from adjusters.contract import ContractError
from causalecg.audits.score_set import ScoreSet
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


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("spread", [0.05, 0.02])
def test_coverage_over_few_seeds(seeds: int, spread: float) -> None:
    """Seeds whose accuracy is normal around .7; 400 patients, who differ.

    Within 3 Monte-Carlo standard errors below nominal; named conservative above, as patients' noise is part of the
    spread between seeds. Drawing seeds with replacement covers .74, .83 and .89 at 2, 3 and 5 seeds.
    """
    rng = np.random.default_rng(seeds)
    covered, sets = 0, 300
    for number in range(sets):
        patient = rng.standard_normal(400)[:, None] * 0.1
        values = 0.7 + patient + rng.standard_normal(seeds) * spread + 0.2 * rng.standard_normal((400, seeds))
        boot = SeededBootstrap(singles(400), seeds, seed=number, replicates=400)
        found = boot.interval(lambda a: a, boot.arms({"a": values})["a"])
        covered += found.low <= 0.7 <= found.high
    assert covered / sets > 0.95 - 3 * np.sqrt(0.95 * 0.05 / sets)


def test_donors_widen_the_interval_and_differences_stay_paired() -> None:
    rng = np.random.default_rng(0)
    donor = rng.integers(0, 30, 600)
    readable = (rng.random(30) < 0.8)[donor].astype(float)
    values = {"a": np.stack([readable] * 2, 1), "b": np.stack([readable] * 2, 1)}
    values["b"][:20] = 0.0
    alone = SeededBootstrap(singles(600), 2, seed=0)
    shared = SeededBootstrap(singles(600), 2, seed=0, donors=600 + np.stack([donor] * 2, 1))
    widths = []
    for boot in (alone, shared):
        means = boot.arms(values)
        own, less = boot.share(means["a"]), boot.interval(lambda a, b: a - b, means["a"], means["b"])
        widths.append((own["high"] - own["low"], less.high - less.low))
    assert widths[1][0] > 2 * widths[0][0]
    assert widths[1][1] < widths[1][0] / 2


def test_what_no_training_decides_has_the_interval_of_an_arm_that_answers_so_with_every_seed() -> None:
    values = (np.random.default_rng(0).random(300) < 0.9).astype(float)
    boot = SeededBootstrap(singles(300), 3, seed=0)
    arm = boot.share(boot.arms({"a": np.stack([values] * 3, 1)})["a"])
    assert boot.share(boot.without_seeds(values)) == pytest.approx(arm)


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
    assert written({"estimate": 10.5, "low": 0.0, "high": 20.25}) == "10.500 (.000, 20.250)"
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
    assert "Balance of the confounder" in text and "25 mm/s" in text and "Loss by epoch" in text
    assert [len(curve["epochs"]) for curve in record["curves"]] == [1] * 6
    further = config.model_copy(update={"model": model.model_copy(update={"start": str(out)})})
    with pytest.raises(InputError, match="none-seed2 cannot begin with its run in .* is not a run"):
        run_comparison(cohort, ("none",), 3, further, tmp_path / "after", progress=False)
    assert not (tmp_path / "after").exists()
    run_comparison(cohort, ("ipw",), 1, further, tmp_path / "after", audit_items=30, progress=False)
    started = json.loads((tmp_path / "after" / "runs" / "ipw-seed0" / "config.json").read_text())["model"]["start"]
    assert started == str((out / "runs" / "ipw-seed0").resolve())
    with pytest.raises(InputError, match=r"comparison with another configuration \(epochs: 1 there, 2 here\)"):
        run_comparison(cohort, arms, 1, config.model_copy(update={"epochs": 2}), out, progress=False)
    with pytest.raises(InputError, match="distinct arms"):
        run_comparison(cohort, ("none", "none"), 1, config, out, progress=False)


@pytest.mark.slow
def test_topics_held_out_are_a_column_of_their_own(tmp_path) -> None:
    folder = simulate_cohort(
        tmp_path / "c", regime="R3", items=80, test_items=60, rate_hz=50, seconds=2, progress=False
    )  # fmt: skip
    cohort = Cohort.open(folder)
    topic = str(cohort.items["topic"].iloc[0])
    model = ModelConfig(
        encoder_options={"widths": [8, 16]},
        embedded=EmbeddedLanguageModel(hidden=16, layers=1, heads=2, vocabulary=260),
    )
    config = RunConfig(model=model, epochs=1, held_out_topics=(topic,))
    cells = run_comparison(cohort, ["none"], 1, config, tmp_path / "out", audit_items=20, progress=False)
    _, record = report_comparison(cohort, cells, tmp_path / "out")
    asked = cohort.split("test_unbiased").query("topic == @topic")
    scores = ScoreSet.open(tmp_path / "out" / "scores" / "none-seed0").scores.query("intervention == 'intact'")
    given = scores.set_index("item_id")["answer_given"].loc[asked["item_id"]]
    right = [set(a) == set(b) for a, b in zip(given, asked["answer"], strict=True)]
    assert 0 < len(asked) < 60 and record["items"]["zero_shot"] == len(asked)
    assert record["arms"][0]["zero_shot"]["estimate"] == pytest.approx(np.mean(right))
    text = (tmp_path / "out" / "report" / "report.html").read_text()
    assert "topics held out" in text and "takes no knowledge of them" in text
    most = asked["answer"].str[0].groupby(asked["question_id"]).agg(lambda a: a.value_counts().iloc[0]).sum()
    assert record["majority"]["zero_shot"]["estimate"] == pytest.approx(most / len(asked))


def test_an_arm_that_cannot_work_is_refused_before_any_is_trained(tmp_path) -> None:
    folder = simulate_cohort(tmp_path / "c", items=60, test_items=20, rho=0.9, rate_hz=50, seconds=2, progress=False)
    cohort = Cohort.open(folder)
    bare = replace(cohort, items=cohort.items.drop(columns="severity_simulated"))
    with pytest.raises(ContractError, match="severity_simulated"):
        run_comparison(bare, ("none", "ipw"), 1, RunConfig(), tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_a_comparison_that_lacks_an_arm_is_not_reported(tmp_path) -> None:
    (tmp_path / "compare.json").write_text(json.dumps({"arms": ["none", "backdoor"]}))
    cell = tmp_path / "scores" / "none-seed0"
    cell.mkdir(parents=True)
    (cell / "done").touch()
    (cell / "runs.json").write_text(json.dumps({"runs": {"none-seed0": {"arm": "none", "seed": 0}}}))
    with pytest.raises(InputError, match=r"no seed that every arm has finished \(backdoor: none\)"):
        finished_cells(tmp_path)


def test_a_cohort_without_a_severity_scale_is_compared_without_what_needs_one(tmp_path) -> None:
    folder = simulate_cohort(
        tmp_path / "c", items=80, test_items=40, rho=0.9, rate_hz=50, seconds=2, progress=False
    )  # fmt: skip
    meta = json.loads((folder / "cohort.json").read_text())
    (folder / "cohort.json").write_text(json.dumps({**meta, "severity_scales": {}}))
    cohort, model = Cohort.open(folder), ModelConfig(
        encoder_options={"widths": [4]}, embedded=EmbeddedLanguageModel(hidden=16, layers=1, heads=2, vocabulary=260)
    )  # fmt: skip
    cells = run_comparison(cohort, ["none"], 1, RunConfig(model=model, epochs=1), tmp_path / "out", progress=False)
    _, record = report_comparison(cohort, cells, tmp_path / "out")
    assert record["items"]["follow_rate"] > 0
    (about,) = ScoreSet.open(tmp_path / "out" / "scores" / cells[0].name).runs.values()
    assert any("the cohort has no severity scale" in note for note in about["notes"])
