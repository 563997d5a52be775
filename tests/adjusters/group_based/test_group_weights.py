from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from adjusters.contract import ContractError
from adjusters.group_based.group_weights import GroupWeights
from adjusters.toy import ESTIMAND, toy_cohort


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return toy_cohort(rho=0.9, train=300, valid=10, test=10, seed=2).split("train")


def fitted(table: pd.DataFrame, **options) -> GroupWeights:
    return GroupWeights(**options).fit(table, ESTIMAND, rng=np.random.default_rng(0))


def check_parity(rows: pd.DataFrame, equations, scheme: str) -> None:
    answers, styles = rows["answer"].str[0].tolist(), rows["style"].tolist()
    wanted = getattr(equations, scheme)(answers, styles)
    assert np.allclose(fitted(rows, scheme=scheme).weights(rows), wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("scheme", ["uniform", "independent"])
def test_weights_are_those_of_the_equation(rows, equation, scheme: str, monkeypatch) -> None:
    check_parity(rows, equation("group_weights"), scheme)
    codes = GroupWeights.codes
    monkeypatch.setattr(GroupWeights, "codes", lambda self, table: np.roll(codes(self, table), 1))
    with pytest.raises(AssertionError):
        check_parity(rows, equation("group_weights"), scheme)


@pytest.mark.parametrize("scheme", ["uniform", "independent"])
def test_the_style_tells_nothing_of_the_answer_any_more(rows, scheme: str) -> None:
    """Exact on the training rows: the weighted table of answer and style is the product of its margins."""
    weights = fitted(rows, scheme=scheme).weights(rows)
    yes, urgent = rows["answer"].str[0] == "yes", rows["style"] == "urgent"
    share = pd.crosstab(yes, urgent, weights, aggfunc="sum").to_numpy() / len(rows)
    assert np.allclose(share, share.sum(1, keepdims=True) * share.sum(0), atol=1e-12)
    if scheme == "uniform":
        assert np.allclose(share, 0.25)
    else:
        assert share[1].sum() == pytest.approx(yes.mean()) and share[:, 1].sum() == pytest.approx(urgent.mean())


def test_clipped_weights_are_bounded(rows) -> None:
    free, clipped = fitted(rows).weights(rows), fitted(rows, clip=2.0).weights(rows)
    assert free.max() > 2.5
    assert clipped.max() == pytest.approx(2.0 * clipped.min() / free.min()), "all are scaled alike afterwards"


def test_a_validation_row_in_no_group_has_weight_zero(rows) -> None:
    found = fitted(rows)
    strange = rows.head(4).assign(style=["calm", *rows["style"].iloc[1:4]])
    assert found.weights(strange)[0] == 0 and found.weights(strange).mean() == pytest.approx(1.0)
    with pytest.raises(ContractError, match="none of these 4 rows"):
        found.weights(rows.head(4).assign(style="calm"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"scheme": "some"}, "scheme is uniform or independent"),
        ({"clip": 0.0}, "clip must be a positive weight"),
        ({"scheme": "independent", "groups": "style"}, "needs groups of the answer and something else"),
        ({"smallest": 0}, "smallest is a number of rows"),
        ({"groups": ""}, "groups are columns joined"),
    ],
)
def test_refused_options(options: dict, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        GroupWeights(**options)


def test_a_cohort_without_an_estimand_is_served(rows) -> None:
    found = GroupWeights().fit(rows, None, rng=np.random.default_rng(0))
    assert np.array_equal(found.weights(rows), fitted(rows).weights(rows))
