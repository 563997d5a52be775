"""Where severity all but gives the answer, a reader of the ECG is not failed for it, and who goes by severity is."""

from __future__ import annotations

import numpy as np
import pytest

from causalecg.audits.suite import run_suite

from .conftest import reads


def by_severity(scores, share: float, seed: int = 3):
    """The same score set with a severity that agrees with the answer in this share of the items."""
    rng = np.random.default_rng(seed)
    ill = np.array([a[0] == "yes" for a in scores.items["answer"]])
    level = np.where(rng.random(len(ill)) < share, ill, ~ill).astype(int)
    return type(scores)(scores.items.assign(severity_known=level), scores.scores, scores.runs)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.95])
def test_a_reader_is_not_failed_where_severity_gives_the_answer(world, share: float) -> None:
    scores = by_severity(world(2000, {"m": ("audited", reads)}), share)
    (found,) = run_suite(scores, "severity_groups", replicates=400)
    assert found.verdict == "pass"
    for row in found.table.itertuples():
        level = scores.items["severity_known"].astype(str) == row.severity
        items = scores.items[level]
        given = scores.scores[(scores.scores["intervention"] == "intact")].set_index("item_id")["answer_given"]
        truth = items["answer"].str[0]
        right = (given[items["item_id"]].str[0].to_numpy() == truth.to_numpy()).astype(float)
        # Balanced accuracy less one half, as the majority answer has: the two recalls, averaged.
        recalls = [right[truth.to_numpy() == answer].mean() for answer in ("yes", "no")]
        assert row.balanced_gain == pytest.approx(np.mean(recalls) - 0.5)
        assert row.accuracy == pytest.approx(right.mean())


def test_who_goes_by_severity_fails(world) -> None:
    made = world(2000, {"m": ("audited", reads)})
    scores = by_severity(made, 0.9)
    ill = dict(zip(scores.items["item_id"], scores.items["severity_known"], strict=True))
    given = [["yes"] if ill[item] else ["no"] for item in scores.scores["item_id"]]
    followed = type(scores)(scores.items, scores.scores.assign(answer_given=given), scores.runs)
    (found,) = run_suite(followed, "severity_groups", replicates=400)
    assert found.verdict == "fail" and found.estimate > 0.85


def test_a_group_with_one_answer_is_described_not_judged(world) -> None:
    scores = by_severity(world(600, {"m": ("audited", reads)}), 1.0)
    (found,) = run_suite(scores, "severity_groups", replicates=100)
    assert found.verdict == "inconclusive" and found.table["patients_with_rarer_answer"].tolist() == [0, 0]
    assert found.table["accuracy"].min() > 0.8
