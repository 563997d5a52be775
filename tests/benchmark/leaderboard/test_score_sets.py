"""Tier T1 end to end, and the cell of a score set against plain counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from causalecg.audits.interventions import OPPOSITE
from causalecg.audits.score_set import ScoreSet
from causalecg.benchmark.cells import Cell
from causalecg.benchmark.leaderboard.record import CellRecord, cell_path
from causalecg.benchmark.leaderboard.run import settings_of
from causalecg.benchmark.leaderboard.summary import summarise
from causalecg.benchmark.leaderboard.trained import fill_simulated, fill_statements

CONFIG = """
epochs = 1
[model]
encoder_options = { widths = [8, 16] }
embedded = { hidden = 16, layers = 1, heads = 2, vocabulary = 260 }
"""


@pytest.mark.slow
def test_tier_t1_fills_the_same_leaderboard(tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(CONFIG)
    out = tmp_path / "t1"
    arms = ("none", "oracle", "ipw")
    how = {"items": 200, "test_items": 60, "config": config, "audit_items": 60, "processes": 2, "progress": False}
    grid = fill_simulated(out, ("R3", "R5"), arms, 1, **how)  # type: ignore[arg-type]
    assert fill_simulated(out, ("R3", "R5"), arms, 1, **how) == grid  # type: ignore[arg-type]
    refused = CellRecord.read(cell_path(out, "R5", "ipw", 0))
    assert "no adjustment can part the two" in refused.refused and refused.items is None
    record = CellRecord.read(cell_path(out, "R3", "none", 0))
    found, run = record.items, Cell("none", 0).name
    assert found is not None
    scores = ScoreSet.open(out / "runs" / "R3" / "scores" / run)
    for split, column in (
        ("test", "correct_biased"),
        ("test_unbiased", "correct_unbiased"),
        ("test_anti", "correct_anti"),
    ):
        answers = scores.outcomes(split).answers(run, "intact")
        assert np.nanmean(found[column]) == np.nanmean(answers.correct) and found[column].notna().sum() == 60
    follows = scores.outcomes("test").answers(run, OPPOSITE).follows
    assert np.nanmean(found["follow"]) == np.nanmean(follows)
    donors = found.loc[found["follow"].notna(), ["patient", "donor_opposite"]]
    assert (donors >= 0).all().all() and (donors["patient"] != donors["donor_opposite"]).all()
    twins = scores.items[scores.items["split"] == "twins"]
    sets = int(twins["twin_of"].isna().sum())
    assert found["style_effect"].notna().sum() == found["topic_effect"].notna().sum() == sets
    assert np.allclose(found["style_effect"].dropna(), found["style_signed"].dropna().abs())
    # Right about both twins, counted pair by pair.
    outcomes = scores.outcomes("twins")
    right = dict(zip(outcomes.items["item_id"], outcomes.answers(run, "intact").correct, strict=True))
    answer = dict(zip(outcomes.items["item_id"], outcomes.items["answer"].str[0], strict=True))
    both = [
        right[item] * right[first]
        for item, first in zip(outcomes.items["item_id"], outcomes.items["twin_of"], strict=True)
        if item.startswith("twins-finding") and answer[item] != answer[first]
    ]
    assert np.nanmean(found["twin_right"]) == np.mean(both)
    board = summarise(out, settings_of(out), grid)
    rows = {(row["regime"], row["arm"]): row for row in board["rows"]}
    assert rows["R5", "ipw"]["refused"] and rows["R3", "oracle"]["accuracy"] and rows["R3", "none"]["topic_error"]
    runs = {name: how[name] for name in ("config", "audit_items", "processes", "progress")}
    grid = fill_statements(tmp_path / "t2", out / "cohorts" / "R3", ("none", "ipw"), 1, **runs)  # type: ignore[arg-type]
    board = summarise(tmp_path / "t2", settings_of(tmp_path / "t2"), grid)
    assert [row["regime"] for row in board["rows"]] == ["statements"] * 2
    assert [arm["worst_note"] for arm in board["arms"]] == ["", ""]  # regimes are of the other tiers
