"""Size and power of every kind of test, on small data sets with patients, thin strata, vectors and quantities."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from structural_models.conditional_independence.observations import Observations
from structural_models.conditional_independence.testing import IndependenceResult, IndependenceTests
from structural_models.errors import TableError
from structural_models.implications import Independence

Draw = Callable[[np.random.Generator, float], Observations]
GIVEN_S = Independence.of(["e"], ["q"], ["s"])


def rows(rng: np.random.Generator, tie: float) -> Observations:
    """s moves the vector and the rare level; rows of a patient do not resemble each other."""
    n = 120
    s = rng.integers(0, 3, n)
    q = (rng.random(n) < 0.2 + 0.05 * s).astype(np.int64)
    e = rng.standard_normal((n, 20)) + s[:, None]
    e[:, 3] += tie * q
    return observed(pd.DataFrame({"s": s, "q": q}), e, rng.integers(0, 60, n))


def thin_strata(rng: np.random.Generator, tie: float) -> Observations:
    """Two to three rows to a stratum."""
    n = 150
    s = rng.integers(0, 60, n)
    q = rng.integers(0, 2, n)
    e = rng.exponential(size=(n, 10)) + s[:, None]
    e[:, 3] += tie * q
    return observed(pd.DataFrame({"s": s, "q": q}), e, rng.integers(0, 75, n))


def alike_patients(rng: np.random.Generator, tie: float) -> Observations:
    """Vector and level are the patient's own, but for one row in ten."""
    n, patients = 240, 60
    patient = rng.integers(0, patients, n)
    s = rng.integers(0, 2, patients)[patient]
    own = rng.integers(0, 3, patients)[patient]
    q = np.where(rng.random(n) < 0.1, rng.integers(0, 3, n), own)
    e = rng.standard_normal((patients, 10))[patient] + 0.3 * rng.standard_normal((n, 10)) + s[:, None]
    e[:, 3] += tie * (q == 2)
    return observed(pd.DataFrame({"s": s, "q": q}), e, patient)


def pairs_of_patients(rng: np.random.Generator, tie: float) -> Observations:
    """Two patients to a row, each in about six rows; the vector sums up what is the patients' own."""
    n, patients = 180, 60
    members = np.stack([rng.integers(0, patients // 2, n), rng.integers(patients // 2, patients, n)], axis=1)
    own, level = rng.standard_normal((patients, 6)), rng.standard_normal(patients)
    s = rng.integers(0, 2, n)
    q = (level[members].sum(axis=1) + rng.standard_normal(n) > 0).astype(np.int64)
    e = own[members].sum(axis=1) + rng.standard_normal((n, 6)) + s[:, None]
    e[:, 3] += tie * q
    return observed(pd.DataFrame({"s": s, "q": q}), e, members)


def observed(table: pd.DataFrame, e: np.ndarray, groups: np.ndarray) -> Observations:
    return Observations(table, {"s": "s", "q": "q"}, {"e": e}, groups)


def found_on(observations: Observations, independence: Independence, seed: int, draws: int = 99) -> IndependenceResult:
    return IndependenceTests(observations, rng=np.random.default_rng([3, seed]), permutations=draws).result(
        independence
    )


def rejected(draw: Draw, independence: Independence, repetitions: int, tie: float = 0.0) -> int:
    results = [found_on(draw(np.random.default_rng([8, r]), tie), independence, r) for r in range(repetitions)]
    assert all(result.made and result.method == "covariance" for result in results)
    return sum(result.p_value <= 0.05 for result in results)


@pytest.mark.parametrize(
    ("draw", "tie"), [(rows, 1.5), (thin_strata, 1.5), (alike_patients, 1.5), (pairs_of_patients, 2.5)]
)
def test_size_and_power_of_a_vector_given_levels(draw: Draw, tie: float) -> None:
    repetitions = 300
    assert rejected(draw, GIVEN_S, repetitions) <= 0.05 * repetitions + 3 * np.sqrt(0.05 * 0.95 * repetitions)
    assert rejected(draw, GIVEN_S, 60, tie) >= 48


def test_rows_of_one_patient_taken_as_independent_would_reject_too_often() -> None:
    def alone(rng: np.random.Generator, tie: float) -> Observations:
        one = alike_patients(rng, tie)
        return Observations(one.table, one.columns, one.arrays)

    assert rejected(alone, GIVEN_S, 60) > 20


def confounded(rng: np.random.Generator, tie: float) -> Observations:
    one = rows(rng, tie)
    q = (rng.random(len(one.table)) < 0.1 + 0.4 * one.table["s"]).astype(np.int64)
    return observed(one.table.assign(q=q), one.arrays["e"], one.members)


def test_what_a_vector_is_given_is_held() -> None:
    assert rejected(confounded, Independence.of(["e"], ["q"]), 60) == 60
    assert rejected(confounded, GIVEN_S, 60) <= 0.05 * 60 + 3 * np.sqrt(0.05 * 0.95 * 60)


def curved(rng: np.random.Generator, tie: float) -> Observations:
    """A quantity and a level that depend on a vector, neither of them linearly."""
    n = 1000
    z = rng.standard_normal((n, 3))
    x = np.sin(2 * z[:, 0]) + 0.5 * rng.standard_normal(n)
    y = (2 * np.sin(2 * z[:, 0]) + z[:, 1] + tie * x + rng.standard_normal(n) > 0).astype(np.int64)
    return Observations(
        pd.DataFrame({"x": x, "y": y, "t": rng.integers(0, 3, n)}), {"x": "x", "y": "y", "t": "t"}, {"z": z}
    )


def test_size_and_power_given_a_vector() -> None:
    given_z = Independence.of(["x"], ["y"], ["z", "t"])
    few = 4
    assert rejected(curved, given_z, few) <= 0.05 * few + 3 * np.sqrt(0.05 * 0.95 * few)
    assert rejected(curved, given_z, 2, tie=2.5) == 2


@pytest.mark.slow
def test_size_given_a_vector_over_more_data_sets() -> None:
    more = 60
    given_z = Independence.of(["x"], ["y"], ["z", "t"])
    assert rejected(curved, given_z, more) <= 0.05 * more + 3 * np.sqrt(0.05 * 0.95 * more)


def test_levels_given_levels_are_permuted_unless_patients_are_alike() -> None:
    one = rows(np.random.default_rng(0), 0.0)
    found = found_on(one, Independence.of(["s"], ["q"]), 0)
    assert (found.method, found.rows) == ("permutation", 120)
    clustered = alike_patients(np.random.default_rng(0), 0.0)
    assert found_on(clustered, Independence.of(["s"], ["q"]), 0).method == "covariance"


def test_several_nodes_at_once_are_their_combinations() -> None:
    """x alone and y alone say nothing of their exclusive or; together they say all."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 2, (2, 200))
    table = pd.DataFrame({"x": x, "y": y, "z": x ^ y})
    observations = Observations(
        table, {name: name for name in "xyz"}, {"e": (x ^ y)[:, None] + 0.1 * rng.random((200, 1))}
    )
    for node in "ze":
        assert found_on(observations, Independence.of([node], ["x"]), 0).p_value > 0.05
        assert found_on(observations, Independence.of([node], ["x", "y"]), 0).p_value == 0.01


def test_rare_combinations_of_nodes_are_taken_together() -> None:
    """Of 10 x 10 combinations only (0, 0) has twenty rows, so it is compared with all others."""
    x, y = (grid.ravel() for grid in np.divmod(np.arange(100), 10))
    x, y = np.r_[x, x, np.zeros(40, dtype=np.int64)], np.r_[y, y, np.zeros(40, dtype=np.int64)]
    e = np.random.default_rng(0).standard_normal((240, 3))
    e[:, 1] += 2.0 * ((x == 0) & (y == 0))
    observations = Observations(pd.DataFrame({"x": x, "y": y}), {"x": "x", "y": "y"}, {"e": e})
    found = found_on(observations, Independence.of(["e"], ["x", "y"]), 0)
    assert (found.p_value, found.rows) == (0.01, 240)
    even = Observations(observations.table[:200], {"x": "x", "y": "y"}, {"e": e[:200]})
    assert "nothing is left to compare" in found_on(even, Independence.of(["e"], ["x", "y"]), 0).reason


def test_a_monotone_change_of_a_vector_changes_nothing() -> None:
    one = rows(np.random.default_rng(1), 0.0)
    bent = Observations(one.table, one.columns, {"e": np.exp(3 * one.arrays["e"])}, one.groups)
    assert found_on(one, GIVEN_S, 0) == found_on(bent, GIVEN_S, 0)


def test_answers_depend_neither_on_the_order_of_questions_nor_on_asking_twice() -> None:
    one = rows(np.random.default_rng(2), 0.3)
    questions = [GIVEN_S, Independence.of(["e"], ["s"]), Independence.of(["s"], ["q"])]
    there, back = (IndependenceTests(one, rng=np.random.default_rng(5), permutations=99) for _ in range(2))
    forth = [there.result(question) for question in questions]
    assert forth == [back.result(question) for question in reversed(questions)][::-1]
    assert there.result(GIVEN_S) is forth[0]


def test_what_cannot_be_tested_is_said() -> None:
    rng = np.random.default_rng(0)
    n = 60
    table = pd.DataFrame({"s": np.arange(n), "q": rng.integers(0, 2, n), "one": 0})
    observations = Observations(
        table, {"s": "s", "q": "q", "one": "one", "age": "age"}, {"e": rng.standard_normal((n, 2))},
        within=("one",), untestable={"one": "one is held fixed"},
    )  # fmt: skip

    def reason(first: str, second: str, *given: str) -> str:
        return found_on(observations, Independence.of([first], [second], given), 0).reason

    assert reason("e", "q", "s") == "nothing can be compared: one of the two does not vary within any stratum"
    assert reason("e", "one") == "one is held fixed"
    assert reason("e", "q", "one") == ""
    assert reason("e", "q", "age") == "age has no column: there is no 'age'"
    assert reason("e", "nobody") == "nobody has no column"
    few = Observations(table[:12], {"q": "q"}, {"e": rng.standard_normal((12, 2))})
    assert found_on(few, Independence.of(["e"], ["q"]), 0).reason == "only 12 patients can be compared; 20 are needed"
    tied = Observations(table, {"q": "q", "s": "s"}, {"e": rng.standard_normal((n, 2))}, np.minimum(np.arange(n), 21))
    assert "patients tie 65% of the rows together" in found_on(tied, Independence.of(["q"], ["s"], ["e"]), 0).reason
    assert not few.why_not(["e"]) and found_on(few, Independence.of(["e"], ["q"]), 0).to_dict()["p_value"] is None


def test_bad_input_is_refused() -> None:
    table = pd.DataFrame({"q": [0, 1]})
    with pytest.raises(TableError, match="no rows"):
        Observations(table[:0], {})
    with pytest.raises(TableError, match="must be \\(rows, dim\\) with 2 rows"):
        Observations(table, {}, {"e": np.zeros(2)})
    with pytest.raises(TableError, match="not finite"):
        Observations(table, {}, {"e": np.array([[0.0], [np.nan]])})
    with pytest.raises(TableError, match="at least 19"):
        IndependenceTests(Observations(table, {}), rng=np.random.default_rng(0), permutations=9)
