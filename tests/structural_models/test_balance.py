from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from structural_models.balance import arm_summary, balance_table, overlap_summary
from structural_models.errors import TableError
from structural_models.propensity import fit_propensity
from structural_models.weights import inverse_probability_weights, overlap_weights


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    severity = rng.integers(0, 3, 900)
    style = np.array(list("abcd"))[np.minimum(severity + rng.binomial(2, 0.3, 900), 3)]
    style[:12], severity[:12] = np.repeat(list("abcd"), 3), np.tile([0, 1, 2], 4)
    age = 50 + 8 * severity + rng.normal(0, 10 + 3 * severity)
    return pd.DataFrame({"severity": severity, "style": style, "age": age, "sex": rng.choice(["f", "m"], 900)})


def test_by_hand_on_two_arms() -> None:
    table = pd.DataFrame({"f": [0, 0, 1, 1], "s": ["x", "x", "x", "y"], "age": [1.0, 3.0, 5.0, 5.0]})
    balance = balance_table(table, "f", ["s", "age"], np.array([1.0, 1.0, 3.0, 1.0]))
    x, y, age = (row for _, row in balance.iterrows())
    assert (x["level"], y["level"], age["level"]) == ("x", "y", "")
    scale = np.sqrt((0 + 0.25) / 2)
    assert x["smd_before"] == pytest.approx(0.25 / scale)
    assert x["pairwise_smd_before"] == y["pairwise_smd_before"] == pytest.approx(0.5 / scale)
    assert x["smd_after"] == pytest.approx(0.25 / scale)
    assert x["pairwise_smd_after"] == pytest.approx(0.25 / scale)
    scale = np.sqrt((2 + 0) / 2)
    assert age["smd_before"] == pytest.approx(1.5 / scale)
    assert age["pairwise_smd_after"] == pytest.approx(3 / scale)
    assert x["worst_arm"] == 0
    assert np.isnan(x["variance_ratio_before"])


def test_saturated_weights_balance_every_severity_dummy(table: pd.DataFrame) -> None:
    fitted = fit_propensity(table, "style", ["severity"])
    codes = fitted.codes(table)
    whole = balance_table(table, "style", ["severity"], inverse_probability_weights(codes, fitted.cells(table)))
    assert whole["smd_before"].min() > 0.1
    assert whole[["smd_after", "pairwise_smd_after"]].to_numpy().max() < 1e-12
    weights = overlap_weights(codes, fitted.cells(table))
    overlap = balance_table(table, "style", ["severity"], weights, target="weighted")
    assert overlap[["smd_after", "pairwise_smd_after"]].to_numpy().max() < 1e-12
    away = balance_table(table, "style", ["severity"], weights)
    assert away["smd_after"].max() > 0.05


def test_quantities_against_pandas(table: pd.DataFrame) -> None:
    (row,) = balance_table(table, "style", ["age"], np.full(900, 3.0)).to_dict("records")
    arms = table.groupby("style")["age"]
    scale = np.sqrt(arms.var().mean())
    assert row["smd_before"] == pytest.approx((arms.mean() - table["age"].mean()).abs().max() / scale)
    assert row["pairwise_smd_before"] == pytest.approx((arms.mean().max() - arms.mean().min()) / scale)
    assert row["variance_ratio_before"] == pytest.approx(arms.var().max() / arms.var().min())
    assert row["worst_arm"] == (arms.mean() - table["age"].mean()).abs().idxmax()
    for name in ("smd", "pairwise_smd"):
        assert row[f"{name}_after"] == pytest.approx(row[f"{name}_before"])


def test_without_weights_there_is_no_after(table: pd.DataFrame) -> None:
    balance = balance_table(table, "style", ["severity", "sex", "age"])
    assert balance["covariate"].tolist() == ["severity"] * 3 + ["sex"] * 2 + ["age"]
    assert balance["smd_after"].isna().all()


def test_constants() -> None:
    table = pd.DataFrame({"f": [0, 0, 0, 1], "same": [0.1] * 4, "apart": [0.1, 0.1, 0.1, 0.7]})
    same, apart = balance_table(table, "f", ["same", "apart"])["smd_before"]
    assert same == 0
    assert np.isinf(apart)


def test_bad_weights_are_refused(table: pd.DataFrame) -> None:
    for weights in (np.ones(3), np.zeros(900), (table["style"] != "a").to_numpy(float)):
        with pytest.raises(TableError):
            balance_table(table, "style", ["severity"], weights)


def test_arm_summary(table: pd.DataFrame) -> None:
    weights = np.where(table["style"] == "b", 2.0, np.arange(900) % 2)
    summary = arm_summary(table, "style", weights).set_index("arm")
    b, a = table["style"] == "b", table["style"] == "a"
    assert summary.loc["b", "ess"] == pytest.approx(b.sum())
    assert summary.loc["b", "weight"] == pytest.approx(2 * b.sum())
    assert summary.loc["a", "ess"] == pytest.approx(weights[a].sum())
    assert summary["rows"].sum() == 900


def test_overlap_lists_what_is_thin_and_what_is_empty() -> None:
    counts = {(0, "a"): 500, (0, "b"): 4, (1, "a"): 0, (1, "b"): 96, (2, "a"): 100, (2, "b"): 100}
    table = pd.DataFrame([cell for cell, n in counts.items() for _ in range(n)], columns=["severity", "style"])
    overlap = overlap_summary(table, "style", ["severity"])
    assert overlap.min_propensity == 0
    assert overlap.share_below == pytest.approx(600 / 800)
    assert overlap.empty.to_dict("records") == [
        {"severity": 1, "arm": "a", "rows": 0, "stratum_rows": 96, "propensity": 0.0}
    ]
    assert overlap.thin[["severity", "arm", "rows"]].to_numpy().tolist() == [[1, "a", 0], [0, "b", 4]]
    assert overlap_summary(table[table["severity"] == 2], "style", ["severity"]).thin.empty
    assert overlap_summary(table[table["severity"] == 2], "style", ["severity"]).ess_share == pytest.approx(1)
