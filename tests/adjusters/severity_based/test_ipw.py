from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch

from adjusters.contract import Batch, ContractError
from adjusters.registry import adjuster
from adjusters.severity_based import cells, logit_weights, text_weights
from adjusters.severity_based.question_embedding import QuestionEmbedding
from adjusters.toy import ESTIMAND, SEVERITY

WITH_SITE = replace(
    ESTIMAND, adjustment=("severity", "site"), roles={**ESTIMAND.roles, "site": "site"}, treatment_given=()
)
WITH_AGE = replace(WITH_SITE, adjustment=("severity", "age"), roles={**ESTIMAND.roles, "age": "age"})
WHOLE = replace(ESTIMAND, conditioning=("ecg",))


@pytest.fixture(scope="module")
def loops(equation: Callable[[str], ModuleType]) -> ModuleType:
    return equation("ipw")


def weights(table: pd.DataFrame, estimand=ESTIMAND, seed: int = 0, **options) -> np.ndarray:
    return adjuster("ipw", **options).fit(table, estimand, rng=np.random.default_rng(seed)).weights(table)


def parts(table: pd.DataFrame, *names: str) -> list[list]:
    return [table[name].tolist() for name in names]


# ---------------------------------------------------------------- parity with plain loops


def counts_agree(loops: ModuleType, table: pd.DataFrame, scheme: str) -> None:
    wanted = loops.cell_weights(*parts(table, SEVERITY, "topic", "style"), scheme)
    np.testing.assert_allclose(weights(table, scheme=scheme), wanted, rtol=1e-10)


def entropy_agrees(loops: ModuleType, table: pd.DataFrame) -> None:
    wanted = loops.raked(parts(table, SEVERITY, "site"), *parts(table, "topic", "style"), sweeps=60)
    np.testing.assert_allclose(weights(table, WITH_SITE, scheme="entropy"), wanted, rtol=1e-6)


def logit_agrees(loops: ModuleType, table: pd.DataFrame, scheme: str) -> None:
    age = table["age"].to_numpy()
    design = np.column_stack(
        [(age - age.mean()) / age.std(), table[SEVERITY] == 1, table[SEVERITY] == 2, table["topic"] == "infarction"]
    ).astype(float)
    code = np.searchsorted(["calm", "plain", "urgent"], table["style"])
    p = loops.logit(design, code)
    own = p[np.arange(len(table)), code]
    if scheme == "stabilised":
        both = table.groupby(["topic", "style"])["style"].transform("size")
        wanted = (both / table.groupby("topic")["style"].transform("size")).to_numpy() / own
    else:
        tilt = 1 / (1 / p).sum(1) if scheme == "overlap" else np.ones(len(table))
        wanted = tilt / own
        for t in table["topic"].unique():
            wanted[table["topic"] == t] /= wanted[table["topic"] == t].mean()
    found = weights(table, WITH_AGE, propensity="multinomial", scheme=scheme)
    np.testing.assert_allclose(found, wanted / wanted.mean(), rtol=1e-6)


def text_agrees(loops: ModuleType, table: pd.DataFrame) -> None:
    vectors = np.random.default_rng(0).standard_normal((len(table), 2)).round(1)
    vectors[:, 0] += table["style"] == "urgent"
    wanted = loops.text_weights(vectors.tolist(), *parts(table, SEVERITY, "topic"), text_weights.RIDGE)
    given = table.assign(vector=list(vectors))
    found = weights(given, propensity="embedding", embedding="vector", folds=0)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("scheme", ["stabilised", "unstabilised", "overlap"])
def test_counts_by_plain_loops(loops: ModuleType, table: pd.DataFrame, scheme: str) -> None:
    counts_agree(loops, table, scheme)


def test_entropy_is_raking(loops: ModuleType, table: pd.DataFrame) -> None:
    entropy_agrees(loops, table)


@pytest.mark.parametrize("scheme", ["stabilised", "unstabilised", "overlap"])
def test_logit_by_plain_loops(loops: ModuleType, table: pd.DataFrame, scheme: str) -> None:
    logit_agrees(loops, table, scheme)


def test_text_by_plain_loops(loops: ModuleType, table: pd.DataFrame) -> None:
    text_agrees(loops, table)


def test_mutations_are_seen(loops: ModuleType, table: pd.DataFrame, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        right = cells.inverse_probability_weights
        patch.setattr(
            cells, "inverse_probability_weights", lambda arm, given, stabilised: right(arm, given, stabilised=False)
        )
        with pytest.raises(AssertionError):
            counts_agree(loops, table, "stabilised")
    with monkeypatch.context() as patch:
        balanced = cells.entropy_weights
        patch.setattr(cells, "entropy_weights", lambda s, n, arms: balanced(s.iloc[:, :1], n, arms))
        with pytest.raises(AssertionError):
            entropy_agrees(loops, table)
    with monkeypatch.context() as patch:
        shares = logit_weights.Multinomial.probabilities
        patch.setattr(logit_weights.Multinomial, "probabilities", lambda self, design: shares(self, -design))
        with pytest.raises(AssertionError):
            logit_agrees(loops, table, "stabilised")
    with monkeypatch.context() as patch:
        patch.setattr(text_weights, "RIDGE", 5.0)
        wanted = loops.text_weights
        patch.setattr(loops, "text_weights", lambda v, s, t, ridge: wanted(v, s, t, 0.1))
        with pytest.raises(AssertionError):
            text_agrees(loops, table)


@pytest.mark.parametrize("kind", ["one", "set"])
def test_the_loss_is_the_weighted_mean(loops: ModuleType, kind: str) -> None:
    rng = np.random.default_rng(0)
    ids = torch.tensor([[0, 1, 2], [0, 1, -1], [2, 0, 1]])
    scores = torch.tensor(rng.standard_normal((3, 3))).masked_fill(ids < 0, float("-inf"))
    answer = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.bool)
    weight = torch.tensor([0.5, 2.0, 0.5], dtype=torch.float64)
    batch = Batch(
        rows=torch.arange(3), ecg=torch.zeros(3, 2, 1, 1), ecg_present=torch.ones(3, 2, dtype=torch.bool),
        question=("?",) * 3, candidates=(("a", "b", "c"), ("a", "b"), ("c", "a", "b")), candidate_ids=ids,
        answer=answer, kind=kind, columns={"weight": weight},
    )  # fmt: skip
    objective = adjuster("ipw").attach(lambda b: scores, new_scorer=None, rng=rng)
    found = float(objective.loss(batch, "main", progress=0.0).total)
    assert found == pytest.approx(loops.weighted_loss(scores.numpy(), answer.numpy(), kind, weight.numpy()), abs=1e-12)


# ---------------------------------------------------------------- what the weights do


@pytest.mark.parametrize("options", [{}, {"scheme": "unstabilised"}, {"scheme": "overlap"}, {"scheme": "entropy"}])
def test_weighted_style_and_severity_are_independent_within_topics(table: pd.DataFrame, options: dict) -> None:
    mass = table.assign(w=weights(table, **options)).pivot_table("w", ["topic", SEVERITY], "style", "sum")
    for _, joint in mass.groupby(level="topic"):
        p = joint.to_numpy() / joint.to_numpy().sum()
        np.testing.assert_allclose(p, p.sum(1, keepdims=True) * p.sum(0), atol=1e-12)


def test_entropy_with_one_column_is_stabilised_and_with_several_balances_each(table: pd.DataFrame) -> None:
    np.testing.assert_allclose(weights(table, scheme="entropy"), weights(table), rtol=1e-10)
    weighted = table.assign(w=weights(table, WITH_SITE, scheme="entropy"))
    for column in (SEVERITY, "site"):
        for _, rows in weighted.groupby("topic"):
            wanted = rows[column].value_counts(normalize=True).sort_index()
            for _, own in rows.groupby("style"):
                share = own.groupby(column)["w"].sum() / own["w"].sum()
                np.testing.assert_allclose(share.sort_index(), wanted, atol=1e-12)


def test_weights_by_wording_are_finer_than_by_style(table: pd.DataFrame) -> None:
    weighted = table.assign(w=weights(table, treatment="wording_id"))
    for treatment in ("wording_id", "style"):
        mass = weighted.pivot_table("w", ["topic", SEVERITY], treatment, "sum")
        for _, joint in mass.groupby(level="topic"):
            p = joint.to_numpy() / joint.to_numpy().sum()
            np.testing.assert_allclose(p, p.sum(1, keepdims=True) * p.sum(0), atol=1e-12)


def test_weights_by_topic_where_the_whole_question_is_the_treatment(table: pd.DataFrame) -> None:
    weighted = table.assign(w=weights(table, WHOLE, treatment="topic", by=None))
    p = weighted.pivot_table("w", SEVERITY, "topic", "sum").to_numpy() / len(table)
    np.testing.assert_allclose(p, p.sum(1, keepdims=True) * p.sum(0), atol=1e-12)


def test_cross_fitted_weights_of_a_patient_do_not_know_that_patient(table: pd.DataFrame) -> None:
    """Turning one patient's severities changes no weight of the fold's other patients; theirs are by others' rows."""
    ours = adjuster("ipw", folds=4).fit(table, ESTIMAND, rng=np.random.default_rng(0))
    fold = ours.weighing_["fold_of"]
    assert sorted(set(fold.values())) == [0, 1, 2, 3] and len(fold) == 120
    mine = table["patient_ids"].str[0].map(fold).to_numpy() == 0
    rest = adjuster("ipw").fit(table[~mine], ESTIMAND, rng=np.random.default_rng(0))
    by_rest = rest.weights(table[mine])
    found = ours.weights(table)[mine]
    np.testing.assert_allclose(found / found.mean(), by_rest, rtol=1e-12)
    order = np.random.default_rng(3).permutation(len(table))
    again = adjuster("ipw", folds=4).fit(table.iloc[order], ESTIMAND, rng=np.random.default_rng(0))
    np.testing.assert_allclose(again.weights(table), ours.weights(table), rtol=1e-12)
    stranger = table.assign(patient_ids=[["new"]] * len(table))
    np.testing.assert_allclose(ours.weights(stranger), weights(table), rtol=1e-12)


def test_a_text_that_tells_the_style_weighs_as_the_style_does() -> None:
    """Wordings carry no more of severity than styles do; with two styles and severities the logit is saturated, so that
    both weights estimate the same ratio: they differ by the errors of four shares of about n / 8 rows each."""
    rng = np.random.default_rng(2)
    n = 8000
    severity = rng.integers(0, 2, n)
    style = np.where(rng.random(n) < 0.8, severity, 1 - severity)
    wording = rng.integers(0, 2, n)
    texts = (("is there any", "could you see"), ("quick show me", "emergency tell us"))
    rows = pd.DataFrame(
        {
            SEVERITY: severity, "style": style, "topic": "t", "patient_ids": [[str(i)] for i in range(n)],
            "question": [texts[f][w] for f, w in zip(style, wording, strict=True)],
        }
    )  # fmt: skip
    by_text, by_style = weights(rows, propensity="embedding"), weights(rows)
    error = np.sqrt(0.8 * 0.2 / (n / 8)) / 0.2
    assert np.abs(by_text / by_style - 1).max() < 4 * error


def test_the_embedding_is_of_the_texts_not_of_their_order(table: pd.DataFrame) -> None:
    texts = table["question"].tolist()
    one, other = QuestionEmbedding.fit(texts, 4), QuestionEmbedding.fit(texts[::-1] * 2, 4)
    np.testing.assert_array_equal(one.directions, other.directions)
    again = QuestionEmbedding.from_dict(one.to_dict())
    np.testing.assert_array_equal(again.vectors(texts), one.vectors(texts))
    assert one.vectors(["no word of it was ever known"]).shape == (1, 4)
    assert not one.vectors(["zzz"]).any()


def test_rows_of_a_kind_not_learned_from_weigh_nothing(table: pd.DataFrame) -> None:
    strange = table.assign(**{SEVERITY: np.where(np.arange(len(table)) < 5, 9, table[SEVERITY])})
    for options in ({}, {"propensity": "multinomial"}, {"propensity": "embedding", "folds": 0}):
        ours = adjuster("ipw", **options).fit(table, ESTIMAND, rng=np.random.default_rng(0))
        found = ours.weights(strange)
        assert not found[:5].any() and found[5:].all() and found.mean() == pytest.approx(1.0)
        with pytest.raises(ContractError, match="none of these 5 rows"):
            ours.weights(strange.iloc[:5])


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"scheme": "plain"}, "scheme is stabilised, unstabilised, overlap, entropy, not 'plain'"),
        ({"propensity": "forest"}, "not 'forest'"),
        ({"scheme": "entropy", "propensity": "multinomial"}, "have no propensity"),
        ({"scheme": "entropy", "folds": 3}, "do not cross-fit"),
        ({"folds": 1}, "at least 2, not 1"),
        ({"dimensions": 8}, "belong to propensity=embedding"),
        ({"propensity": "embedding", "scheme": "overlap"}, "only stabilised weights"),
        ({"propensity": "embedding", "treatment": "style"}, "only stabilised weights"),
        ({"propensity": "embedding", "dimensions": 0}, "at least 1"),
        ({"propensity": "embedding", "dimensions": 3, "embedding": "v"}, "without a column"),
    ],
)
def test_options_that_make_no_sense(options: dict, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        adjuster("ipw", **options)


@pytest.mark.parametrize(
    ("options", "estimand", "says"),
    [
        ({"treatment": "sex"}, ESTIMAND, "neither the treatment of the estimand .'style'. nor a finer division"),
        ({"treatment": "topic", "by": None}, ESTIMAND, "holds the topic fixed"),
        ({"treatment": "topic"}, WHOLE, "use by=none"),
        ({}, WITH_AGE, "'age' is a quantity"),
        ({"folds": 500}, ESTIMAND, "cannot cut 120 patient group"),
        ({"propensity": "embedding", "embedding": "sex"}, ESTIMAND, "must hold a vector of finite numbers"),
        ({"propensity": "embedding", "embedding": "vector"}, ESTIMAND, "column 'vector', which the table lacks"),
    ],
)
def test_tables_that_cannot_be_weighted_so(table: pd.DataFrame, options: dict, estimand, says: str) -> None:
    with pytest.raises(ContractError, match=says) as caught:
        weights(table, estimand, **options)
    assert "\n" not in str(caught.value)


def test_more_refusals(table: pd.DataFrame) -> None:
    twice = table.assign(ecg_ids=[[f"e{i // 2}"] for i in range(len(table))])
    with pytest.raises(ContractError, match="differs between questions about one ECG"):
        weights(twice, WHOLE, treatment="topic", by=None)
    with pytest.raises(ContractError, match="cross-fits by patient and needs the column 'patient_ids'"):
        weights(table.drop(columns="patient_ids"), folds=3)
    alone = table.assign(**{SEVERITY: np.where(np.arange(len(table)) == 0, 7, table[SEVERITY])})
    with pytest.raises(ContractError, match="their own fold of patients alone"):
        weights(alone, folds=3)
    aged = adjuster("ipw", propensity="multinomial").fit(table, WITH_AGE, rng=np.random.default_rng(0))
    with pytest.raises(ContractError, match="'age' was a quantity"):
        aged.weights(table.assign(age=1))
    apart = table.assign(site=np.where(table["style"] == "calm", 0, table["site"]), topic="t")
    lacking = table[(table[SEVERITY] > 0) | (table["style"] != "urgent")].reset_index(drop=True)
    with pytest.raises(ContractError, match="leave out 2.% of the rows, of strata in which some style never occurs"):
        weights(lacking, scheme="overlap")
    with pytest.raises(ContractError, match="entropy balancing within topic = t: no weights give style = calm"):
        weights(apart, WITH_SITE, scheme="entropy")
