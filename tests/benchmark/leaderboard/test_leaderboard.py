"""The leaderboard: cells that resume, refusals that are shown, numbers against plain means, four files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from causalecg.benchmark.leaderboard.evidence import EvidencePlan, declared_estimand, regimes_alike, run_evidence_cell
from causalecg.benchmark.leaderboard.record import MEASURES, CellRecord, cell_path
from causalecg.benchmark.leaderboard.run import Grid, chosen_regimes, claim
from causalecg.benchmark.leaderboard.summary import summarise
from causalecg.cli import build_app
from causalecg.errors import InputError

ARMS = ("none", "oracle", "backdoor", "ipw")


def _record(regime: str, arm: str, seed: int, accuracy: float, n: int = 20_000, **more: object) -> CellRecord:
    rng = np.random.default_rng([seed, len(arm)])
    columns = {name: np.full(n, np.nan) for name in MEASURES}
    columns["correct_unbiased"] = (np.arange(n) < accuracy * n).astype(float)
    columns["correct_biased"] = (rng.random(n) < accuracy).astype(float)
    columns["topic_effect"] = np.full(n, 0.1) + 0.01 * rng.standard_normal(n)
    columns["random_drop"] = columns["correct_unbiased"] - 0.5
    items = pd.DataFrame({"item": np.arange(n), "patient": np.arange(n), **columns})
    about = {"truths": {"topic_effect": 0.4}, **more}
    return CellRecord("t0", regime, arm, seed, 0.99, items=None if more.get("refused") else items, **about)  # type: ignore[arg-type]


def _board(out: Path, accuracies: dict[str, float], regimes: tuple[str, ...], n: int = 20_000) -> dict[str, object]:
    grid = Grid(regimes, tuple(accuracies), 3)
    for regime, arm, seed in grid:
        refused = "no overlap" if arm == "ipw" and regime == "R5" else ""
        shift = 0.004 * (seed - 1)
        _record(regime, arm, seed, accuracies[arm] + shift, n, refused=refused).write(cell_path(out, regime, arm, seed))
    return summarise(out, {"tier": "t0"}, grid)


def test_a_cell_is_read_back_and_a_damaged_one_named(tmp_path: Path) -> None:
    path = cell_path(tmp_path, "R1", "backdoor?prior=marginal", 3)
    assert path.name == "backdoor-prior-marginal-seed3.parquet"
    record = _record("R1", "none", 0, 0.6, 50, certificate="adjustable: x")
    record.write(path)
    again = CellRecord.read(path)
    assert again.items is not None and record.items is not None
    pd.testing.assert_frame_equal(again.items, record.items)
    assert again.certificate == "adjustable: x" and CellRecord.read(path, items=False).items is None
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="is no cell of a leaderboard"):
        CellRecord.read(path)


def test_recovery_is_a_ratio_of_means_and_worst_is_the_smallest_lower_limit(tmp_path: Path) -> None:
    accuracies = {"none": 0.6, "oracle": 0.9, "backdoor": 0.87, "ipw": 0.75}
    board = _board(tmp_path, accuracies, ("R1", "R2", "R3", "R4", "R6", "R7", "R8", "R5"))
    rows = {(row["regime"], row["arm"]): row for row in board["rows"]}  # type: ignore[attr-defined]
    found = rows["R1", "backdoor"]
    assert abs(found["recovery"]["estimate"] - 0.9) < 1e-3
    assert found["recovery"]["low"] < found["recovery"]["estimate"] < found["recovery"]["high"]
    assert abs(found["points"]["estimate"] - 0.27) < 1e-3
    assert abs(found["reliance"]["estimate"] - 0.37 / 0.4) < 1e-3
    assert abs(found["topic_error"]["estimate"] - 0.3) < 1e-3
    assert (
        rows["R8", "backdoor"]["recovery"] is None and "nothing to recover" in rows["R8", "backdoor"]["recovery_note"]
    )
    refused = rows["R5", "ipw"]
    assert refused["refused"] == "no overlap" and "accuracy" not in refused
    arms = {arm["arm"]: arm for arm in board["arms"]}  # type: ignore[attr-defined]
    assert arms["ipw"]["refused"] == ["R5"]
    lows = [rows[r, "backdoor"]["recovery"]["low"] for r in ("R1", "R2", "R3", "R4", "R6", "R7")]
    assert arms["backdoor"]["worst_recovery"] == min(lows)
    assert arms["backdoor"]["no_harm"]["estimate"] == rows["R8", "backdoor"]["points"]["estimate"]


@pytest.mark.parametrize(
    ("arm", "weighting"),
    [
        ("ipw", True),
        ("group_weights", True),
        ("stratified?min_ess=0", True),
        ("stratified?plain=true", True),
        ("stratified", False),  # too few effective rows: its weights are not used
        ("stratified?epochs=0", False),
        ("question_randomised", False),
        ("question_randomised?fine_tuning=weighted", True),
        ("ecg_swap", False),  # weights of a half each
        ("none", False),
    ],
)
def test_weights_that_were_not_used_or_cost_no_rows_ask_for_no_matched_oracle(
    tmp_path: Path, arm: str, weighting: bool
) -> None:
    plan = EvidencePlan(0.95, 1000, 200, 100, "linear", declared_estimand())
    cell = CellRecord.read(run_evidence_cell(plan, tmp_path, "R1", arm, 0), items=False)
    assert not cell.refused and cell.weighting == weighting
    assert (cell.training["effective_rows"] is not None) == (weighting or arm == "ecg_swap")


def test_no_ratio_of_a_small_gap_or_a_small_test(tmp_path: Path) -> None:
    board = _board(tmp_path / "a", {"none": 0.88, "oracle": 0.9, "backdoor": 0.89}, ("R1",))
    assert board["rows"][2]["recovery"] is None and "lower limit of the gap" in board["rows"][2]["recovery_note"]  # type: ignore[index]
    board = _board(tmp_path / "b", {"none": 0.6, "oracle": 0.9, "backdoor": 0.89}, ("R1",), n=19_000)
    assert "recovery needs 20,000" in board["rows"][2]["recovery_note"]  # type: ignore[index]
    assert board["arms"][2]["worst_recovery"] is None  # type: ignore[index]


def test_an_arm_refused_in_some_seeds_is_refused(tmp_path: Path) -> None:
    for seed in (0, 1):
        _record("R1", "none", seed, 0.6, 200).write(cell_path(tmp_path, "R1", "none", seed))
        refused = "a cell is empty" if seed else ""
        _record("R1", "ipw", seed, 0.6, 200, refused=refused).write(cell_path(tmp_path, "R1", "ipw", seed))
    board = summarise(tmp_path, {}, Grid(("R1",), ("none", "ipw"), 2))
    assert board["rows"][1]["refused"] == "in 1 of 2 seeds: a cell is empty"
    with pytest.raises(InputError, match="no cell of R1, ipw, seed 2"):
        summarise(tmp_path, {}, Grid(("R1",), ("ipw",), 3))


def test_bad_input_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown regime 'R11'"):
        chosen_regimes("R1,R11")
    with pytest.raises(InputError, match="once"):
        chosen_regimes("R1,R1")
    claim(tmp_path / "x", {"items": 10}, Grid(("R1",), ("none",), 1))
    with pytest.raises(InputError, match="leaderboard with items 10, not 20"):
        claim(tmp_path / "x", {"items": 20}, Grid(("R1",), ("none",), 1))
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "notes").touch()
    with pytest.raises(InputError, match="holds no leaderboard"):
        claim(tmp_path / "y", {}, Grid(("R1",), ("none",), 1))


def _run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(build_app(), ["compare", *arguments])
    return result.exit_code, result.output


def test_the_command_fills_resumes_and_writes_four_files(tmp_path: Path) -> None:
    out = tmp_path / "board"
    arguments = ["--benchmark", "t0", "--regimes", "R5,R9", "--arms", "none,oracle,ipw", "--seeds", "1"]
    arguments += ["--items", "400", "--test-items", "300", "--processes", "1", "--out", str(out), "--json"]
    code, text = _run(*arguments)
    assert code == 0, text
    board = json.loads(text[text.index("{") :])
    reasons = {row["regime"]: row["refused"] for row in board["rows"] if row["arm"] == "ipw"}
    assert "no adjustment can part the two" in reasons["R5"]
    assert reasons["R9"].startswith("certificate: not adjustable")
    for name in ("leaderboard.parquet", "leaderboard.json", "leaderboard.md", "leaderboard.html"):
        assert (out / name).stat().st_size > 0
    page = (out / "leaderboard.html").read_text()
    assert "<script" not in page and "http" not in page and len(page) < 300_000
    assert "refused: no adjustment" not in page and "prefers-color-scheme: dark" in page
    flat = pd.read_parquet(out / "leaderboard.parquet")
    assert set(flat["arm"]) == {"none", "oracle", "ipw"}
    # One cell lost: only that one is made again, and the result is the same.
    cells = {path: path.stat().st_mtime_ns for path in out.rglob("cells/*/*.parquet")}
    lost = cell_path(out, "R9", "oracle", 0)
    lost.unlink()
    code, again = _run(*arguments)
    assert code == 0 and json.loads(again[again.index("{") :]) == board
    changed = [path for path, when in cells.items() if path.stat().st_mtime_ns != when]
    assert changed == [lost]


def test_the_command_says_what_it_needs(tmp_path: Path) -> None:
    for arguments, sentence in (
        (["--arms", "none"], "needs a cohort"),
        (["--arms", "none", "--benchmark", "t4"], "tiers t0, t1 and t2"),
        (["--arms", "none", "--benchmark", "t2"], "needs a cohort of statements"),
        (["--arms", "nine", "--benchmark", "t0"], "no arm is called 'nine'"),
        (["--arms", "none", "--benchmark", "t0", "--regimes", "R1", "--rho", "1.5"], "rho must be at least"),
        (
            ["--arms", "hybrid?exchange=2", "--benchmark", "t0", "--regimes", "R1"],
            "arm hybrid?exchange=2: hybrid's exchange",
        ),
    ):
        result = CliRunner().invoke(build_app(), ["compare", *arguments, "--out", str(tmp_path / "o")])
        assert result.exit_code != 0
        assert sentence in result.output + str(result.exception)


def test_regimes_alike_share_a_cell(tmp_path: Path) -> None:
    """R7 is R3 in other words, which this tier does not know: the same patients, the same items, trained or copied."""
    plan = EvidencePlan(0.99, 200, 200, 300, "spline", declared_estimand())
    assert regimes_alike(plan, "R7") == ["R3"]
    assert regimes_alike(plan, "R1") == []
    paths = [
        run_evidence_cell(plan, tmp_path / out, r, "none", 0) for out, r in (("a", "R3"), ("a", "R7"), ("b", "R7"))
    ]
    first, copied, trained = map(CellRecord.read, paths)
    assert (copied.regime, copied.truths) == (trained.regime, trained.truths)
    pd.testing.assert_frame_equal(copied.items, trained.items)
    pd.testing.assert_frame_equal(copied.items, first.items)
