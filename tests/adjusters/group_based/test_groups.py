from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from adjusters.batching import dealt_batches
from adjusters.contract import ContractError
from adjusters.group_based.batches import balanced_batches
from adjusters.group_based.groups import group_codes, inverse_frequency, learn_groups
from adjusters.toy import ESTIMAND, SEVERITY


def table(answers: list[list[str]], styles: list[str], **further) -> pd.DataFrame:
    return pd.DataFrame({"answer": answers, "style": styles, SEVERITY: [0, 1] * (len(styles) // 2), **further})


COMMON = [(["yes"], "plain")] * 8 + [(["no"], "urgent")] * 8
RARE = [(["yes"], "urgent")] * 2 + [(["no"], "plain")] * 2


def of(rows: list[tuple[list[str], str]]) -> pd.DataFrame:
    return table([answer for answer, _ in rows], [style for _, style in rows])


def test_groups_are_combinations_in_sorted_order() -> None:
    rows = of([*COMMON, *RARE])
    found = learn_groups("x", ["answer", "style"], rows, ESTIMAND, 1)
    assert found["keys"] == [["no", "plain"], ["no", "urgent"], ["yes", "plain"], ["yes", "urgent"]]
    assert found["rows"] == [2, 8, 8, 2] and found["merged"] == []
    assert group_codes(found, rows, "x").tolist() == [2] * 8 + [1] * 8 + [3] * 2 + [0] * 2


def test_a_set_is_one_answer_whatever_its_order() -> None:
    rows = table([["a", "b"], ["b", "a"], ["a"], []], ["plain"] * 4)
    found = learn_groups("x", ["answer"], rows, ESTIMAND, 1)
    assert found["keys"] == [[""], ["a"], ["a|b"]] and group_codes(found, rows, "x").tolist() == [2, 2, 1, 0]


def test_rare_groups_keep_their_style_and_lose_their_answer() -> None:
    rows = of([*COMMON, *RARE, (["maybe"], "plain"), (["maybe"], "plain")])
    found = learn_groups("x", ["answer", "style"], rows, ESTIMAND, 3)
    # Four rows of other answers in plain words are enough; two in urgent ones are not.
    assert found["keys"] == [["*", "*"], ["*", "plain"], ["no", "urgent"], ["yes", "plain"]]
    assert found["rows"] == [2, 4, 8, 8]
    assert found["merged"] == [["maybe", "plain"], ["no", "plain"], ["yes", "urgent"]]


def test_what_training_lacked_goes_where_a_rare_group_goes_or_nowhere() -> None:
    merged = learn_groups("x", ["answer", "style"], of([*COMMON, *RARE]), ESTIMAND, 3)
    strange = of([(["never"], "plain"), (["never"], "calm"), (["yes"], "plain"), (["no"], "urgent")])
    assert merged["keys"] == [["*", "*"], ["no", "urgent"], ["yes", "plain"]]
    assert group_codes(merged, strange, "x").tolist() == [0, 0, 2, 1]
    plain = learn_groups("x", ["answer", "style"], of([*COMMON, *RARE]), ESTIMAND, 1)
    assert group_codes(plain, strange, "x").tolist() == [-1, -1, 2, 1]


def test_severity_and_style_are_roles_and_anything_else_a_column() -> None:
    rows = of([*COMMON, *RARE]).assign(ward=["a", "b"] * 10)
    assert learn_groups("x", ["answer", "severity"], rows, ESTIMAND, 1)["columns"] == ["answer", SEVERITY]
    assert learn_groups("x", ["ward"], rows, None, 1)["keys"] == [["a"], ["b"]]
    assert learn_groups("x", ["style"], rows, None, 1)["columns"] == ["style"], "no estimand: the column of that name"


@pytest.mark.parametrize(
    ("parts", "change", "says"),
    [
        (["answer", "ward"], {}, "needs the column 'ward'"),
        (["answer", "answer"], {}, "different columns joined by '-'"),
        (["answer", ""], {}, "different columns joined by '-'"),
        (["style"], {"style": "plain"}, "all 20 rows are in one group of style"),
        (["style"], {"style": None}, "column 'style' is empty in 20 rows"),
        (["age"], {"age": 1.5}, "column 'age' is a quantity"),
    ],
)
def test_refusals(parts: list[str], change: dict, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        learn_groups("x", parts, of([*COMMON, *RARE]).assign(**change), ESTIMAND, 1)


def test_severity_without_an_estimand_is_refused() -> None:
    with pytest.raises(ContractError, match="no estimand names its column"):
        learn_groups("x", ["severity"], of(COMMON), None, 1)


def test_inverse_frequencies_give_every_group_the_same_weight() -> None:
    codes = np.array([0] * 5 + [2] * 15 + [-1] * 4)
    weights = inverse_frequency(codes, 3)
    assert weights.mean() == pytest.approx(1.0) and (weights[codes < 0] == 0).all()
    assert weights[codes == 0].sum() == pytest.approx(weights[codes == 2].sum())
    with pytest.raises(ContractError, match="none of these 2 rows is in a group"):
        inverse_frequency(np.array([-1, -1]), 3)


def test_dealt_batches_hold_every_group_in_proportion_and_every_row_once() -> None:
    rows = pd.DataFrame({"kind": ["one"] * 120 + ["set"] * 40})
    codes = np.array(([0] * 4 + [1] * 2) * 20 + [0] * 40)
    found = list(dealt_batches(rows, codes, 30, np.random.default_rng(0)))
    assert sorted(np.concatenate(found)) == list(range(160))
    ones = [positions for positions in found if positions.max() < 120]
    assert len(ones) == 4 and all(np.bincount(codes[positions]).tolist() == [20, 10] for positions in ones)


def test_balanced_batches_draw_every_group_as_often() -> None:
    n = 4000
    rows, codes = pd.DataFrame({"kind": ["one"] * n}), np.array([0] * 3800 + [1] * 150 + [-1] * 50)
    drawn = np.concatenate(list(balanced_batches(rows, codes, 2, 100, np.random.default_rng(0))))
    assert len(drawn) == n and (codes[drawn] >= 0).all()
    assert (codes[drawn] == 1).mean() == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / n))
