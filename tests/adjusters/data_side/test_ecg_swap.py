from __future__ import annotations

from dataclasses import replace

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


def check_parity(table: pd.DataFrame, equation, how: str = "opposite", within: str | None = None) -> None:
    """Weights of the rows, each item's donors, and the law of answers that follows, against plain loops."""
    plain = equation("ecg_swap")
    question, answer = list(table["question_id"]), [frozenset(names) for names in table["answer"]]
    level = [""] * len(table) if within is None else list(table[within])
    ours = EcgSwap(copies=3, answer=how, within=within).fit(table, rng=rng())  # type: ignore[arg-type]
    rows = ours.rewrite(table, rng=rng())
    asker = rows["item_id"].str.split("~").str[0]
    kept = asker == rows["item_id"]
    own, given = (rows[at].groupby(asker[at])[WEIGHT].sum() for at in (kept, ~kept))
    pools, number = ecg_swap.donors(table, how, within)  # type: ignore[arg-type]
    for i in range(len(table)):
        wanted = plain.weight_of_own(question, level, answer, i, how)
        assert own.get(f"i{i}", 0.0) == pytest.approx(wanted, abs=1e-6)
        assert given.get(f"i{i}", 0.0) == pytest.approx(1 - wanted, abs=1e-6)
        donors = plain.donors(question, level, answer, i, how)
        assert [j for j in pools[i].tolist() if j != i] == donors and number[i] == len(donors)
    # Of the rows that were made, each donor is one of the asker's, and its answer weighs as the cell's does.
    told = ours.weights(rows) / rows[WEIGHT].to_numpy()
    cells = plain.cell_weights(question, level, answer) if within is not None else {}
    place = {item: i for i, item in enumerate(table["item_id"])}
    at = table.set_index(table["ecg_ids"].str[0])["item_id"].map(place)
    factor = [cells.get((question[j], level[j], answer[j]), 1.0) for j in at[rows["ecg_ids"].str[0]]]
    np.testing.assert_allclose(told / told.mean(), np.array(factor) / np.mean(factor), atol=1e-6)
    for i, j in zip(asker[~kept].map(place), at[rows.loc[~kept, "ecg_ids"].str[0]], strict=True):
        assert j in plain.donors(question, level, answer, i, how)


CASES = [(kind, how, None) for kind in ("one", "set") for how in ("opposite", "other", "any", "same")]


@pytest.mark.parametrize(("kind", "how", "within"), [*CASES, ("one", "opposite", "finding"), ("set", "any", "finding")])
def test_weights_and_donors_are_those_of_the_equation(kind: str, how: str, within: str | None, equation) -> None:
    check_parity(several_answers(kind=kind), equation, how, within)


@pytest.mark.parametrize(("kind", "how"), [("one", "opposite"), ("one", "other"), ("set", "other")])
def test_a_wording_comes_with_each_answer_as_often_as_its_question_does(kind: str, how: str, equation) -> None:
    plain, table = equation("ecg_swap"), several_answers(kind=kind)
    question, style = list(table["question_id"]), list(table["style"])
    answer = [frozenset(names) for names in table["answer"]]
    shares = plain.shares(question, answer)
    for (q, f, a), value in plain.expected_law(question, style, answer, how).items():
        rows = sum(x == q and y == f for x, y in zip(question, style, strict=True))
        assert value / rows == pytest.approx(shares[q, a], abs=1e-9)


def test_opposite_donors_do_not_give_that_law_for_sets_that_overlap(equation) -> None:
    """{a}, {b} and {a, b} at .8, .1, .1 in one style and .1, .1, .8 in the other: who is asked about both finds no
    donor that has neither."""
    a, b = frozenset("a"), frozenset("b")
    answer = [*[a] * 8, b, a | b, a, b, *[a | b] * 8]
    style, question = ["u"] * 10 + ["p"] * 10, ["q"] * 20
    for how, both in (("opposite", (0.1, 0.8)), ("other", (0.45, 0.45))):
        law = equation("ecg_swap").expected_law(question, style, answer, how)
        assert (law["q", "u", a | b] / 10, law["q", "p", a | b] / 10) == pytest.approx(both, abs=1e-9)


def test_a_treatment_of_another_name_goes_with_the_words() -> None:
    table = toy_cohort(train=200, valid=2, test=2, seed=2).split("train").rename(columns={"style": "manner"})
    renamed = replace(ESTIMAND, treatment="manner", roles={**ESTIMAND.roles, "treatment": "manner"})
    rows = EcgSwap().fit(table, renamed, rng=rng()).rewrite(table, rng=rng())
    manner_of = dict(zip(table["question"], table["manner"], strict=True))
    assert (rows["question"].map(manner_of) == rows["manner"]).all()


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
        ({"answer": "none"}, "opposite, other, any, same, not 'none'"),
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
