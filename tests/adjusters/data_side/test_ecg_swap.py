from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from adjusters.contract import ContractError
from adjusters.data_side import ecg_swap
from adjusters.data_side.ecg_swap import WEIGHT, EcgSwap
from adjusters.registry import adjuster
from adjusters.toy import ESTIMAND, toy_cohort


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def several_answers(n: int = 60, kind: str = "one") -> pd.DataFrame:
    """Two questions, two styles that follow the answer; in kind "set" answers overlap."""
    draw = rng(1)
    names = ["a", "b", "c"] if kind == "one" else ["a", "b", "c", "a,b"]
    answer = draw.choice(names, n, p=[0.5, 0.3, 0.2] if kind == "one" else [0.4, 0.3, 0.1, 0.2])
    topic = draw.choice(["x", "y"], n)
    follows = draw.random(n) < 0.9
    style = np.where(follows == np.isin(answer, ["a", "a,b"]), "plain", "urgent")
    return pd.DataFrame(
        {
            "item_id": [f"i{i}" for i in range(n)], "split": "train", "patient_ids": [[f"p{i}"] for i in range(n)],
            "ecg_ids": [[f"e{i}"] for i in range(n)], "topic": topic, "question_id": topic, "template_id": "t",
            "style": style, "question": [f"{s} {t}?" for s, t in zip(style, topic, strict=True)],
            "candidates": [["a", "b", "c"]] * n, "kind": kind, "answer": [a.split(",") for a in answer],
            "severity_simulated": draw.integers(0, 2, n), "finding": draw.integers(0, 2, n),
        }
    )  # fmt: skip


def check_parity(table: pd.DataFrame, equation) -> None:
    """Weights of the rows, each item's donors, and the law of answers that follows, against plain loops."""
    plain = equation("ecg_swap")
    question, style = list(table["question_id"]), list(table["style"])
    answer = [frozenset(names) for names in table["answer"]]
    ours = EcgSwap(copies=3).fit(table, rng=rng())
    rows = ours.rewrite(table, rng=rng())
    own = rows[WEIGHT].to_numpy()[: len(table)]
    wanted = [plain.weight_of_own(question, answer, i) for i in range(len(table))]
    np.testing.assert_allclose(own, wanted, atol=1e-6)
    by_asker = rows.iloc[len(table) :].groupby(rows["item_id"].str.split("~").str[0])[WEIGHT].sum()
    for i in range(len(table)):
        assert by_asker.get(f"i{i}", 0.0) == pytest.approx(1 - wanted[i], abs=1e-6)
    pools, number = ecg_swap.donors(table, "opposite", None)
    law: dict[tuple, float] = {}
    for i in range(len(table)):
        assert len(pools[i]) == number[i]
        parts = [(answer[i], own[i]), *((answer[j], (1 - own[i]) / number[i]) for j in pools[i])]
        for a, weight in parts:
            key = question[i], style[i], a
            law[key] = law.get(key, 0.0) + weight
    expected = plain.expected_law(question, style, answer)
    assert law.keys() == expected.keys()
    for key, value in expected.items():
        assert law[key] == pytest.approx(value, abs=1e-6)
    if table["kind"].iloc[0] == "one":
        shares = plain.shares(question, answer)
        for (q, f, a), value in expected.items():
            rows_of_style = sum(x == q and y == f for x, y in zip(question, style, strict=True))
            assert value / rows_of_style == pytest.approx(shares[q, a], abs=1e-9)


@pytest.mark.parametrize("kind", ["one", "set"])
def test_weights_donors_and_law_are_those_of_the_equation(kind: str, equation) -> None:
    check_parity(several_answers(kind=kind), equation)


def test_the_parity_check_sees_a_mutation(equation, monkeypatch) -> None:
    sizes = ecg_swap.stratum_sizes
    monkeypatch.setattr(ecg_swap, "stratum_sizes", lambda table, within: sizes(table, within) + 1)
    with pytest.raises(AssertionError):
        check_parity(several_answers(), equation)


def test_what_a_new_row_has_of_whom() -> None:
    table = several_answers()
    rows = EcgSwap().fit(table, rng=rng()).rewrite(table, rng=rng())
    assert rows["item_id"].is_unique
    assert rows.iloc[: len(table)].drop(columns=WEIGHT).equals(table)
    items, ecgs = table.set_index("item_id"), table.set_index(table["ecg_ids"].str[0])
    new = rows.iloc[len(table) :]
    assert len(new) == len(table)
    for row in new.to_dict("records"):
        asks, donor = items.loc[row["item_id"].split("~")[0]], ecgs.loc[row["ecg_ids"][0]]
        for name in ("question", "style", "topic", "question_id", "template_id"):
            assert row[name] == asks[name]
        for name in ("patient_ids", "answer", "candidates", "kind", "severity_simulated", "finding"):
            assert row[name] == donor[name]
        assert donor["question_id"] == asks["question_id"]
        assert row["answer"] != asks["answer"]


def test_pairs_are_swapped_whole_and_never_for_one_ecg() -> None:
    table = several_answers(40)
    two = [i % 2 == 0 for i in range(40)]
    table["ecg_ids"] = [[f"e{i}", f"f{i}"] if pair else [f"e{i}"] for i, pair in enumerate(two)]
    new = EcgSwap().fit(table, rng=rng()).rewrite(table, rng=rng()).iloc[40:]
    asked = new["item_id"].str.split("~").str[0].str[1:].astype(int)
    for i, ids in zip(asked, new["ecg_ids"], strict=True):
        assert len(ids) == (2 if two[i] else 1)
        assert len({name[1:] for name in ids}) == 1


@pytest.mark.parametrize(("answer", "agrees"), [("opposite", 0.5), ("any", 0.5), ("same", None)])
def test_the_style_no_longer_tells_the_answer(answer: str, agrees: float | None) -> None:
    """P(style agrees with the answer), weighted: one half, but for the placebo as before. Standard error of a share of
    4,000 rows, doubled for the weights."""
    table = toy_cohort(rho=0.95, train=4000, valid=10, test=10, seed=2).split("train")
    ours = EcgSwap(answer=answer).fit(table, rng=rng())  # type: ignore[arg-type]

    def agreement(rows: pd.DataFrame) -> float:
        same = (rows["style"] == "urgent") == (rows["answer"].str[0] == "yes")
        return float(np.average(same, weights=ours.weights(rows)))

    rows = ours.rewrite(table, rng=rng())
    assert agreement(table) > 0.9
    wanted = agreement(table) if agrees is None else agrees
    assert agreement(rows) == pytest.approx(wanted, abs=4 * 2 * np.sqrt(0.25 / 4000))


def test_within_severity_the_answer_is_as_frequent_at_every_severity() -> None:
    table = toy_cohort(rho=0.8, train=4000, valid=10, test=10, seed=2).split("train")
    ours = EcgSwap(within="severity").fit(table, ESTIMAND, rng=rng())
    rows = ours.rewrite(table, rng=rng())
    weight = ours.weights(rows)
    yes = (rows["answer"].str[0] == "yes").to_numpy()
    for level in (0, 1):
        at = (rows["severity_simulated"] == level).to_numpy()
        # Donors are drawn: an effective sample of a quarter of the 2,000 rows.
        assert np.average(yes[at], weights=weight[at]) == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / 500))


def test_rows_without_a_donor_stay_and_are_counted() -> None:
    table = several_answers()
    alone = table.iloc[:4].assign(question_id="alone", item_id=[f"x{i}" for i in range(4)], answer=[["a"]] * 4)
    both = pd.concat([table, alone], ignore_index=True)
    ours = EcgSwap().fit(both, rng=rng())
    rows = ours.rewrite(both, rng=rng())
    assert ours.without_donor_ == 4
    assert (rows.loc[rows["question_id"] == "alone", WEIGHT] == 1).all()
    assert len(rows) == 2 * 60 + 4


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"copies": 0}, "whole number, at least 1"),
        ({"copies": 1.5}, "whole number"),
        ({"answer": "other"}, "opposite, any or same, not 'other'"),
    ],
)
def test_bad_options_are_refused(options: dict, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        adjuster("ecg_swap", **options)


def test_hopeless_tables_are_refused() -> None:
    table = several_answers()
    with pytest.raises(ContractError, match="finds a donor for 0 of 60 rows"):
        EcgSwap().fit(table.assign(question_id=table["item_id"]), rng=rng())
    with pytest.raises(ContractError, match="needs the column 'severity' \\(within\\)"):
        EcgSwap(within="severity").fit(table, rng=rng())
    with pytest.raises(ContractError, match="needs the column 'question_id', or 'topic'"):
        EcgSwap().fit(table.drop(columns=["question_id", "topic"]), rng=rng())


@pytest.mark.slow
def test_recovery_at_tier_t0() -> None:
    """R1: the oracle's accuracy. R3: opposite donors leave a style effect, donors of any answer do not, and keep the
    topic's. 20,000 test patients: a standard error of .002 for R1 and .003 for R3, of either arm."""
    from causalecg.benchmark import exact
    from causalecg.benchmark.leaderboard.evidence import declared_estimand
    from causalecg.benchmark.regimes import regime
    from causalecg.benchmark.t0.arms import EvidenceArm
    from causalecg.benchmark.t0.evaluation import measured, patients_to_test, reader_of
    from causalecg.benchmark.t0.training import train

    def means(name: str, arm: str) -> pd.Series:
        law = regime(name).law()
        trained = train(law, EvidenceArm.parse(arm), seed=0, estimand=declared_estimand())
        return measured(reader_of(trained.yes), patients_to_test(law, 20_000)).mean()

    base = regime("R1").law()
    oracle = exact.accuracy(base, "oracle", "unbiased")
    shortcut = exact.accuracy(base, "shortcut", "unbiased")
    assert means("R1", "ecg_swap")["correct_unbiased"] == pytest.approx(oracle, abs=0.01)
    assert means("R1", "placebo:ecg_swap")["correct_unbiased"] == pytest.approx(shortcut, abs=0.03)
    topic = exact.topic_effect(regime("R3").law())
    opposite, anyone = means("R3", "ecg_swap"), means("R3", "ecg_swap?answer=any")
    assert opposite["style_effect"] > 0.15 and anyone["style_effect"] < 0.06
    assert anyone["topic_effect"] == pytest.approx(topic, abs=0.05)
