from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from adjusters.contract import ContractError
from adjusters.registry import adjuster
from adjusters.severity_based.matched import SET
from adjusters.toy import ESTIMAND, SEVERITY
from structural_models import matching


@pytest.fixture(scope="module")
def loops(equation: Callable[[str], ModuleType]) -> ModuleType:
    return equation("matched")


def matched(table: pd.DataFrame, seed: int = 0, **options) -> tuple[pd.DataFrame, np.ndarray]:
    ours = adjuster("matched", **options).fit(table, ESTIMAND, rng=np.random.default_rng(seed))
    made = ours.rewrite(table, rng=np.random.default_rng([seed, 1]))
    return made, ours.weights(made)


def agrees(loops: ModuleType, table: pd.DataFrame, ratio: int) -> None:
    columns = [table[name].tolist() for name in (SEVERITY, "style", "sex", "age")]
    pairs = loops.nearest(*columns, ratio)
    wanted = loops.weights_with_replacement(columns[0], columns[1], pairs, ratio)
    found = matched(table, by=None, ratio=ratio, near=["age", "sex"])[1]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("ratio", [1, 2])
def test_nearest_neighbours_by_plain_loops(loops: ModuleType, table: pd.DataFrame, ratio: int) -> None:
    agrees(loops, table, ratio)


def test_a_mutation_is_seen(loops: ModuleType, table: pd.DataFrame, monkeypatch) -> None:
    place = matching._places
    monkeypatch.setattr(matching, "_places", lambda *given: place(*given) * np.array([4.0, 1.0, 1.0]))
    with pytest.raises(AssertionError):
        agrees(loops, table, 1)


@pytest.mark.parametrize(
    "options", [{}, {"ratio": 3}, {"near": ["age"]}, {"replace": False}, {"replace": False, "ratio": 3}]
)
def test_weighted_style_and_severity_are_independent_within_topics(table: pd.DataFrame, options: dict) -> None:
    made, weights = matched(table, **options)
    if options.get("replace", True):
        assert len(made) == len(table)
        share = made.assign(w=weights).groupby(["topic", SEVERITY])["w"].sum() / len(made)
        np.testing.assert_allclose(share, table.groupby(["topic", SEVERITY]).size() / len(table), atol=1e-12)
    mass = made.assign(w=weights).pivot_table("w", ["topic", SEVERITY], "style", "sum")
    for _, joint in mass.groupby(level="topic"):
        p = joint.to_numpy() / joint.to_numpy().sum()
        np.testing.assert_allclose(p, p.sum(1, keepdims=True) * p.sum(0), atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"replace": False, "ratio": 3}])
def test_other_rows_weigh_what_their_cell_does_on_average(table: pd.DataFrame, options: dict) -> None:
    """Relative to each other: without replacement, cells also hold rows that are in no set."""
    ours = adjuster("matched", **options).fit(table, ESTIMAND, rng=np.random.default_rng(0))
    made = ours.rewrite(table, rng=np.random.default_rng(1))
    cells = ["topic", SEVERITY, "style"]
    inside = made.assign(w=ours.weights(made)).groupby(cells)["w"].sum() / len(made)
    outside = table.assign(w=ours.weights(table)).groupby(cells)["w"].sum() / len(table)
    np.testing.assert_allclose(inside, outside, atol=1e-12)


def test_batches_hold_sets_whole_and_every_row_once(table: pd.DataFrame) -> None:
    made, _ = matched(table, ratio=2)
    ours = adjuster("matched", ratio=2).fit(table, ESTIMAND, rng=np.random.default_rng(0))
    batches = list(ours.batches(made, 20, seed=0, epoch=0))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(made)))
    assert max(map(len, batches)) <= 20 + 5 and len(batches) == 12
    where = np.empty(len(made), dtype=int)
    for number, rows in enumerate(batches):
        where[rows] = number
    sets = made[SET].to_numpy()
    assert (sets >= 0).mean() > 0.5
    for number in np.unique(sets[sets >= 0]):
        assert len(set(where[sets == number])) == 1
    mixed = made.assign(kind=np.where(made["topic"] == "infarction", "set", "one"))
    for rows in ours.batches(mixed, 20, seed=0, epoch=1):
        assert mixed["kind"].iloc[rows].nunique() == 1


def test_a_placebo_chooses_rows_that_tell_nothing(table: pd.DataFrame) -> None:
    """Of rows alike in severity, those kept by true severities have balanced styles; by dealt ones, they keep theirs."""
    big = pd.concat(
        [table.assign(patient_ids=[[f"{i}-{j}"] for j in range(240)]) for i in range(10)], ignore_index=True
    )
    before = (big.groupby("topic")["style"].transform("count") > 0) & (big["topic"] == "infarction")
    tie = [
        pd.crosstab(rows[SEVERITY], rows["style"], normalize="index").to_numpy()
        for rows in (
            big[before],
            *(matched(big, replace=False, severity=s)[0].query("topic == 'infarction'") for s in ("observed", "dealt")),
        )
    ]
    assert np.ptp(tie[1], axis=0).max() < 1e-12
    assert np.ptp(tie[2], axis=0).max() > 0.5 * np.ptp(tie[0], axis=0).max()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"ratio": 0}, "at least 1, not 0"),
        ({"near": "age"}, "a list of columns, not the text 'age'"),
        ({"severity": "none"}, "observed or dealt, not 'none'"),
    ],
)
def test_options_that_make_no_sense(options: dict, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        adjuster("matched", **options)


def test_tables_that_cannot_be_matched(table: pd.DataFrame) -> None:
    for near, rows in (("height", table), ("age", table.assign(age=np.nan))):
        with pytest.raises(ContractError, match=f"matched cannot match on '{near}'"):
            matched(rows, near=[near])
    with pytest.raises(ContractError, match="holds the topic fixed"):
        matched(table, treatment="topic", by=None)
