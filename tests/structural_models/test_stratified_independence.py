from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, chi2, chi2_contingency

from structural_models.errors import TableError
from structural_models.stratified_independence import IndependenceTest, independence_test


def drawn(seed: int, rows: int = 240, *, tie: float = 0.0, alike: tuple[float, float] = (0.0, 0.0)) -> pd.DataFrame:
    """F and A depend on S; A on F besides with probability ``tie``; F and A are the patient's own with ``alike``."""
    rng = np.random.default_rng([11, seed])
    patient = rng.integers(0, rows // 3, rows)
    s = rng.integers(0, 3, rows)
    f = (s + rng.integers(0, 2, rows)) % 3
    f = np.where(rng.random(rows) < alike[0], rng.integers(0, 3, rows)[patient], f)
    a = (rng.random(rows) < 0.2 + 0.3 * s).astype(np.int64)
    a = np.where(rng.random(rows) < alike[1], rng.integers(0, 2, rows)[patient], a)
    a = np.where(rng.random(rows) < tie, f > 0, a).astype(np.int64)
    return pd.DataFrame({"f": f, "a": a, "s": s, "patient": patient})


def found_on(table: pd.DataFrame, seed: int = 0, **options) -> IndependenceTest:
    return independence_test(
        table, "f", "a", ["s"], rng=np.random.default_rng(seed), **{"permutations": 199, **options}
    )


def test_the_statistic_is_scipys_summed_over_strata() -> None:
    table = drawn(0)
    parts = [chi2_contingency(pd.crosstab(rows["f"], rows["a"]), correction=False) for _, rows in table.groupby("s")]
    found = found_on(table)
    assert found.statistic == pytest.approx(sum(part.statistic for part in parts))
    assert found.df == sum(part.dof for part in parts)
    assert found.rows == len(table) and found.exchanged == "rows"


def test_the_statistic_is_statsmodels_where_it_applies() -> None:
    Table = pytest.importorskip("statsmodels.api").stats.Table
    table = drawn(1)
    one = independence_test(table, "f", "a", [], rng=np.random.default_rng(0), permutations=9)
    theirs = Table(pd.crosstab(table["f"], table["a"]), shift_zeros=False).test_nominal_association()
    assert (one.statistic, one.df) == (pytest.approx(theirs.statistic), theirs.df)


def test_its_p_is_the_asymptotic_one_where_cells_are_large() -> None:
    table = drawn(2, rows=6000)
    found = found_on(table, permutations=1999)
    p = chi2.sf(found.statistic, found.df)
    assert abs(found.p_value - p) < 3 * np.sqrt(p * (1 - p) / 2000) + 0.01


def test_its_p_is_exact_against_every_permutation() -> None:
    """Two strata of 4 and 3 rows have 4! 3! = 144 permutations, all alike likely."""
    from itertools import permutations, product

    table = pd.DataFrame({"s": [0, 0, 0, 0, 1, 1, 1], "f": [0, 1, 1, 0, 0, 1, 1], "a": [0, 1, 1, 0, 0, 1, 0]})

    def statistic(f: np.ndarray) -> float:
        total = 0.0
        for s in (0, 1):
            counts = np.zeros((2, 2))
            np.add.at(counts, (f[table["s"] == s], table["a"][table["s"] == s]), 1)
            expected = np.outer(counts.sum(1), counts.sum(0)) / counts.sum()
            total += ((counts - expected) ** 2 / expected).sum()
        return total

    f = table["f"].to_numpy()
    every = [statistic(np.array([*x, *y])) for x, y in product(permutations(f[:4]), permutations(f[4:]))]
    exact = np.mean(np.array(every) >= statistic(f) - 1e-9)
    found = found_on(table, permutations=9999)
    assert found.statistic == pytest.approx(statistic(f))
    assert abs(found.p_value - exact) < 4 * np.sqrt(exact * (1 - exact) / 9999)


@pytest.mark.parametrize("alike", [(0.0, 0.0), (0.0, 0.9), (0.9, 0.9)])
def test_its_size(alike: tuple[float, float]) -> None:
    """F alike within patients too: then patients are exchanged whole."""
    reps = 300
    p = []
    for seed in range(reps):
        table = drawn(seed, rows=150, alike=alike)
        p.append(found_on(table, seed, permutations=99, groups=table["patient"].to_numpy()).p_value)
    rejected = int((np.array(p) <= 0.05).sum())
    assert rejected <= 0.05 * reps + 3 * np.sqrt(0.05 * 0.95 * reps)
    if alike == (0.0, 0.0):
        assert rejected >= binom.ppf(0.001, reps, 0.05)


def test_exchanging_rows_would_reject_too_often_where_patients_are_alike() -> None:
    by_rows = np.mean(
        [found_on(drawn(s, 150, alike=(1, 1)), s, permutations=99, exchange="rows").p_value <= 0.05 for s in range(60)]
    )
    assert by_rows > 0.3
    table = drawn(0, 150, alike=(1, 1))
    found = found_on(table, groups=table["patient"].to_numpy())
    assert found.exchanged == "patients" and found.p_clustering < 0.05
    plain = drawn(0, 150)
    assert found_on(plain, groups=plain["patient"].to_numpy()).exchanged == "rows"


def test_its_power_within_strata_and_that_strata_are_held() -> None:
    assert found_on(drawn(0, tie=0.5)).p_value < 0.01
    crude = independence_test(drawn(0, 600), "f", "a", [], rng=np.random.default_rng(0), permutations=199)
    assert crude.p_value < 0.01 < 0.05 < found_on(drawn(0, 600)).p_value


def test_two_patients_to_a_row() -> None:
    table = drawn(3)
    pairs = np.stack([table["patient"], (table["patient"] * 7 + 1) % 80], axis=1)
    pairs[::5, 1] = -1
    assert found_on(table, groups=pairs).exchanged == "rows"
    whole = found_on(table, groups=pairs, exchange="patients")
    assert whole.exchanged == "patients" and (not whole.made or 0 < whole.p_value <= 1)
    one_component = found_on(table, groups=np.zeros(len(table), dtype=np.int64), exchange="patients")
    assert not one_component.made


def test_nothing_to_compare_is_said_and_bad_input_refused() -> None:
    table = pd.DataFrame({"f": [0, 0, 1], "a": [0, 1, 1], "s": [0, 0, 1]})
    found = found_on(table)
    assert (found.df, found.rows, found.made) == (0, 0, False)
    for options, says in (
        ({"groups": np.array([0.5, 1, 2])}, "groups must hold one integer"),
        ({"groups": np.array([0, 1])}, "3 rows"),
        ({"exchange": "patients"}, "give the patient"),
        ({"permutations": 0}, "at least one permutation"),
    ):
        with pytest.raises(TableError, match=says):
            found_on(table, **options)
    with pytest.raises(TableError, match="lacks the column 'f'"):
        found_on(table.drop(columns="f"))


def test_same_seed_same_p() -> None:
    table = drawn(5)
    first, second, other = (found_on(table, seed) for seed in (1, 1, 2))
    assert first.p_value == second.p_value != other.p_value
