from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causalecg.audits.checks.accuracy import accuracy_by_type
from causalecg.audits.score_set import ScoreSet


def test_accuracy_per_type_is_the_mean_and_its_interval_that_of_patients(tmp_path) -> None:
    """Against pandas, and against the closed form of a share where every patient has one item."""
    rng = np.random.default_rng(0)
    n = 600
    types = np.where(np.arange(n) < 400, "single-verify", "single-query")
    right = rng.random(n) < np.where(types == "single-verify", 0.8, 0.4)
    truth = np.where(rng.random(n) < 0.7, "yes", "no")
    given = np.where(right, truth, np.where(truth == "yes", "no", "yes"))
    table = pd.DataFrame(
        {
            "item_id": np.arange(n).astype(str), "run_id": "m", "intervention": "intact", "answer": truth,
            "answer_given": given, "patient_id": np.arange(n).astype(str), "template_id": types, "split": "test",
        }
    )  # fmt: skip
    table.to_csv(tmp_path / "a.csv", index=False)
    scores = ScoreSet.open(tmp_path / "a.csv")
    scores = ScoreSet(scores.items.assign(question_type=types), scores.scores, scores.runs)
    found = accuracy_by_type(scores, ["m"], split="test", seed=0)
    assert list(found["question_type"]) == ["single-query"] * 2 + ["single-verify"] * 2 + ["all"] * 2
    mine = found[found["who"] == "m"].set_index("question_type")
    for kind, rows in [*pd.Series(right).groupby(types), ("all", pd.Series(right))]:
        share, size = rows.mean(), len(rows)
        assert mine.loc[kind, "accuracy"] == share and mine.loc[kind, "items"] == size
        # Half the width: 1.96 standard errors; the bootstrap's 2,000 draws know it to 4 %, and its limits are BCa.
        half = 1.96 * np.sqrt(share * (1 - share) / size)
        assert (mine.loc[kind, "high"] - mine.loc[kind, "low"]) / 2 == pytest.approx(half, rel=0.15)
    majority = found[found["who"] != "m"].set_index("question_type")
    for kind, rows in pd.Series(truth).groupby(types):
        assert majority.loc[kind, "accuracy"] == rows.value_counts(normalize=True).iloc[0]
