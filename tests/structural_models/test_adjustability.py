from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from structural_models.adjustability import Certificate, certify
from structural_models.errors import TableError


def exact(law: np.ndarray, rows: int) -> pd.DataFrame:
    """A table that holds a law P(t, s, f, a) exactly."""
    counts = np.rint(law * rows).astype(np.int64)
    assert np.allclose(counts, law * rows) and counts.sum() == rows
    at = np.repeat(np.arange(law.size), counts.ravel())
    return pd.DataFrame(dict(zip("tsfa", np.unravel_index(at, law.shape), strict=True)))


def dial(n: int, rho: float, wrong: float, seed: int, effect: float = 0.0) -> pd.DataFrame:
    """The binary benchmark: S -> F, S -> A, severity recorded wrongly with a probability, F -> A with another."""
    rng = np.random.default_rng([5, seed])
    q = (1 + np.sqrt(2 * rho - 1)) / 2
    s = rng.integers(0, 2, n)
    f, a = (np.where(rng.random(n) < q, s, 1 - s) for _ in range(2))
    a = np.where(rng.random(n) < effect, f, a)
    recorded = np.where(rng.random(n) < wrong, 1 - s, s)
    return pd.DataFrame({"s": recorded, "f": np.array(["calm", "urgent"])[f], "a": np.array(["no", "yes"])[a]})


def certified(table: pd.DataFrame, seed: int = 0, **options) -> Certificate:
    given = {"treatment_causes_outcome": False, "permutations": 199, "replicates": 200, "severity": "s", **options}
    return certify(table, "f", "a", rng=np.random.default_rng(seed), **given)


@pytest.fixture(scope="module")
def enumerated() -> tuple[np.ndarray, pd.DataFrame]:
    """Two topics, three severities, three styles, two answers; F ⟂ A | S, T."""
    t = np.array([0.5, 0.5])
    s = np.array([[0.4, 0.4, 0.2], [0.2, 0.4, 0.4]])
    f = np.array([[[5, 4, 1], [2, 4, 4], [1, 4, 5]], [[6, 2, 2], [2, 6, 2], [2, 2, 6]]]) / 10
    a = np.array([[1, 2, 3], [2, 3, 4]]) / 5
    law = np.einsum("t,ts,tsf,tsa->tsfa", t, s, f, np.stack([1 - a, a], axis=-1))
    return law, exact(law, 5000)


def test_against_the_enumerated_law(enumerated) -> None:
    law, table = enumerated
    found = certified(table, within=["t"])
    p_ts, p_tsf, p_tf, p_ta, p_tfa = law.sum((2, 3)), law.sum(3), law.sum((1, 3)), law.sum((1, 2)), law.sum(1)
    p_t = law.sum((1, 2, 3))
    f_given_t = p_tf / p_t[:, None]
    by_severity = (p_ts[:, :, None] * f_given_t[:, None, :] ** 2 / (p_tsf / p_ts[:, :, None])).sum()
    by_outcome = (p_ta[:, None, :] * f_given_t[:, :, None] ** 2 / (p_tfa / p_ta[:, None, :])).sum()
    assert found.shares.severity == pytest.approx(1 / by_severity)
    assert found.shares.compared_severity == pytest.approx(1 / by_severity)
    assert found.shares.compared_outcome == pytest.approx(1 / by_outcome)
    assert found.shares.compared_rows == 5000
    assert by_severity > by_outcome and not found.shares.refutes_sufficiency
    assert found.positivity.minimum == pytest.approx(0.1)
    assert found.positivity.quantiles[1.0] == pytest.approx(0.2)
    assert found.positivity.strata == 6 and not len(found.positivity.failures) and not len(found.positivity.thin)
    assert found.sufficiency.statistic == pytest.approx(0, abs=1e-9) and found.p_sufficiency == 1
    assert found.residual.adjusted == pytest.approx(1) and found.residual.e_value == pytest.approx(1, abs=1e-4)
    assert found.balance["smd_before"].max() > 0.2 and found.balance["smd_after"].max() < 1e-12
    assert found.decision == "adjustable"


def test_the_residual_risk_ratio_against_a_loop() -> None:
    """Two styles, and A depends on F besides: standardised by hand, in the strata where both styles occur."""
    table = dial(3000, 0.8, 0.1, 2, effect=0.3).assign(t=np.arange(3000) % 2)
    table = table[~((table["t"] == 1) & (table["s"] == 1) & (table["f"] == "calm"))]
    found = certified(table, within=["t"]).residual

    def ratio(strata: list[str]) -> float:
        risk, other = 0.0, 0.0
        for _, rows in table.groupby(strata):
            arms = [rows[rows["f"] == style] for style in ("urgent", "calm")]
            if min(map(len, arms)) == 0:
                continue
            risk += len(rows) * float((arms[0]["a"] == found.level).mean())
            other += len(rows) * float((arms[1]["a"] == found.level).mean())
        return risk / other

    assert found.arm == "urgent" and found.contrasts == 2
    assert found.adjusted == pytest.approx(ratio(["t", "s"]))
    assert found.crude == pytest.approx(ratio(["t"]))
    assert found.low < found.adjusted < found.high
    ratios = max(found.adjusted, 1 / found.adjusted)
    assert found.e_value == pytest.approx(ratios + np.sqrt(ratios * (ratios - 1)))


@pytest.mark.parametrize("rho", [0.9, 0.95])
def test_mismeasured_severity_is_warned_about_and_exact_severity_is_not(rho: float) -> None:
    """R4: a tenth of the severities is wrong. With p = q the weights by a sound severity leave fewer rows than by A."""
    for seed in range(5):
        sound, wrong = (certified(dial(2000, rho, w, seed), seed) for w in (0.0, 0.1))
        assert sound.decision == "adjustable" or sound.p_sufficiency < 0.05  # one in twenty
        assert not sound.warnings
        assert wrong.decision == "not adjustable" and wrong.p_sufficiency < 0.05
        assert any("does not suffice" in warning for warning in wrong.warnings)
        assert wrong.residual.e_value_limit > 1.5


@pytest.mark.slow
def test_the_warning_is_not_given_at_the_border_more_often_than_promised() -> None:
    """The border of F ⟂ A | S: the answer is the severity under other names (shares equal), or all is noise."""
    reps, noise, border = 200, 0, 0
    for seed in range(reps):
        rng = np.random.default_rng([9, seed])
        free = pd.DataFrame({"s": rng.integers(0, 2, 300), "f": rng.integers(0, 3, 300), "a": rng.integers(0, 20, 300)})
        noise += certified(free, seed, permutations=9, replicates=100).shares.refutes_sufficiency
        s = rng.integers(0, 3, 300)
        same = pd.DataFrame({"s": s, "f": np.where(rng.random(300) < 0.5, s, rng.integers(0, 3, 300)), "a": 7 - s})
        border += certified(same, seed, permutations=9, replicates=100).shares.refutes_sufficiency
    assert border == 0
    assert noise <= 0.025 * reps + 3 * np.sqrt(0.025 * 0.975 * reps)


def test_regime_nine_is_never_called_adjustable() -> None:
    """F causes A, and severity is insufficient: refused by the data if F is declared harmless, not testable if not."""
    for seed in range(5):
        table = dial(2000, 0.9, 0.1, seed, effect=0.2)
        assert certified(table, seed).decision == "not adjustable"
        declared = certified(table, seed, treatment_causes_outcome=True)
        assert declared.decision == "not testable"
        assert "declared graph" in declared.verdict
        assert declared.decision_without_effect == "not adjustable"


def test_a_sound_table_is_not_testable_either_where_the_treatment_may_act() -> None:
    found = certified(dial(2000, 0.9, 0.0, 0), treatment_causes_outcome=True)
    assert (found.decision, found.decision_without_effect) == ("not testable", "adjustable")


def test_no_confounding_leaves_nothing_to_adjust() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"s": rng.integers(0, 4, 2000), "f": rng.integers(0, 5, 2000)})
    table["a"] = (rng.random(2000) < 0.2 + 0.15 * table["s"]).astype(int)
    found = certified(table)
    assert found.decision == "nothing to adjust" and "nearly without effect" in found.verdict
    table["a"] = (table["f"] > 2).astype(int)
    assert certified(table).decision == "not adjustable"
    assert certified(table, treatment_causes_outcome=True).decision == "not testable"


def test_cells_that_never_occur_are_failures_where_they_should_have_occurred() -> None:
    table = dial(4000, 0.8, 0.0, 0).assign(t=0)
    rare = dial(8, 0.8, 0.0, 1).assign(t=1, f=["calm"] * 4 + ["urgent"] * 4, s=[0] * 4 + [1] * 4)
    both = pd.concat([table, rare], ignore_index=True)
    found = certified(both, within=["t"])
    assert not len(found.positivity.failures)
    assert list(found.positivity.thin["rows"]) == [0, 0] and set(found.positivity.thin["t"]) == {1}
    assert found.positivity.never_seen == 2
    assert found.positivity.thin_rows == pytest.approx(8 / 4008)
    assert found.shares.compared_rows == 4000
    gone = table[~((table["s"] == 1) & (table["f"] == "calm"))]
    found = certified(gone, within=["t"])
    (failure,) = found.positivity.failures.to_dict("records")
    assert (failure["arm"], failure["s"], failure["rows"], failure["propensity"]) == ("calm", 1, 0, 0.0)
    assert found.decision == "not adjustable" and "positivity fails in 1 of 2 strata" in found.verdict


def test_a_style_that_a_topic_does_not_have_is_no_failure_of_that_topic() -> None:
    table = pd.concat(
        [dial(1000, 0.8, 0.0, 0).assign(t=0), dial(1000, 0.8, 0.0, 1).assign(t=1, f=lambda x: x["f"] + "-1")]
    )
    found = certified(table, within=["t"])
    assert not len(found.positivity.failures) and found.positivity.strata == 4


def test_two_severities_make_one_stratum_and_answers_of_many_levels_are_taken() -> None:
    rng = np.random.default_rng(0)
    s = rng.integers(0, 2, (4000, 2))
    f = (s.sum(1) + rng.integers(0, 2, 4000)) % 4
    a = np.where(rng.random(4000) < 0.5, s[:, 0] * 2 + s[:, 1], rng.integers(0, 40, 4000))
    table = pd.DataFrame({"s1": s[:, 0], "s2": s[:, 1], "f": f, "a": a})
    pair = certified(table, severity=["s1", "s2"])
    assert pair.positivity.strata == 4 and pair.severity == ("s1", "s2")
    assert pair.p_sufficiency > 0.05
    assert certified(table, severity="s1").p_sufficiency < 0.05


def test_several_tests_are_allowed_for_and_all_is_json() -> None:
    found = certified(dial(400, 0.7, 0.1, 3))
    adjusted = found.with_adjusted_p(found.p_dependence, min(1.0, 20 * found.p_sufficiency))
    assert found.decision == "not adjustable" and adjusted.p_sufficiency > 0.05
    record = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert record["decision"] == "not adjustable" and record["shares"]["compared_rows"] == 400
    assert record["residual"]["e_value"] > 1


def test_same_seed_same_certificate_and_patients_widen_the_interval() -> None:
    table = dial(500, 0.8, 0.1, 0)
    assert certified(table, 4).to_dict() == certified(table, 4).to_dict()
    copies = pd.concat([table] * 4, ignore_index=True)
    patients = np.tile(np.arange(500), 4)
    known, taken = (certified(copies, groups=g).shares for g in (patients, None))
    once = certified(table).shares
    assert known.log_ratio == pytest.approx(taken.log_ratio) == pytest.approx(once.log_ratio)
    assert (known.high - known.low) / (once.high - once.low) == pytest.approx(1, abs=0.25)
    assert (taken.high - taken.low) / (once.high - once.low) == pytest.approx(0.5, abs=0.15)


def test_bad_input_is_refused() -> None:
    table = dial(100, 0.8, 0.0, 0)
    for change, options, says in (
        (table.assign(f="calm"), {}, "one value 'calm'"),
        (table, {"severity": []}, "at least one severity"),
        (table, {"threshold": 1.5}, "between 0 and 1"),
        (table, {"replicates": 10}, "at least 100"),
        (table, {"within": ["topic"]}, "lacks the column 'topic'"),
        (table.iloc[:0], {}, "no rows"),
        (table.assign(s=np.nan), {}, "is empty in 100"),
    ):
        with pytest.raises(TableError, match=says):
            certified(change, **options)
