"""Multilevel posteriors against the conjugate one where every cell has many rows, and their shrinkage where it has few."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from structural_models.errors import TableError
from structural_models.generative.multilevel import MultilevelPosterior, multilevel_posterior


def conjugate(table: pd.DataFrame, rng: np.random.Generator, draws: int = 20_000) -> np.ndarray:
    """(draws, arms): Beta(1/2, 1/2) cells, Dirichlet(rows) strata."""
    cells = table.groupby(["severity", "question"])["answer"].agg(["sum", "size"]).unstack()
    hits, rows = cells["sum"].to_numpy(), cells["size"].to_numpy()
    risks = rng.beta(hits + 0.5, rows - hits + 0.5, size=(draws, *hits.shape))
    return np.einsum("ds,dsq->dq", rng.dirichlet(rows.sum(axis=1), size=draws), risks)


def agrees(found: MultilevelPosterior, exact: np.ndarray) -> None:
    """Means within Monte-Carlo error and a fifth of the posterior's spread (what a prior of unit scale moves cells of
    hundreds of rows by); spreads within Monte-Carlo error of a standard deviation and 15 %, for the mean field."""
    spread = exact.std(axis=0)
    n = found.effective_draws
    assert (np.abs(found.mean - exact.mean(axis=0)) < spread * (0.2 + 4 / np.sqrt(n))).all()
    assert (np.abs(found.draws.std(axis=0) / spread - 1) < 0.15 + 4 / np.sqrt(2 * n)).all()


def test_svi_is_the_conjugate_posterior_where_rows_are_many(paper) -> None:
    table = paper.sample(20_000, rng=np.random.default_rng(1))
    found = multilevel_posterior(
        table, "question", "answer", ["severity"], success=1, rng=np.random.default_rng(2), warmup=600
    )
    agrees(found, conjugate(table, np.random.default_rng(3)))
    truth = np.array([paper.probability({"answer": 1}, do={"question": q}) for q in found.arms])
    low, high = found.interval(0.999).T
    assert ((low < truth) & (truth < high)).all()
    assert found.arms == (0, 1) and found.extrapolated == 0 and np.isnan(found.r_hat)
    record = found.to_dict()
    assert record["r_hat"] is None and record["arms"]["1"]["low"] < record["arms"]["1"]["mean"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_draws(paper) -> None:
    table = paper.sample(500, rng=np.random.default_rng(1))
    first, again, other = (
        multilevel_posterior(
            table, "question", "answer", ["severity"], success=1, rng=np.random.default_rng(seed), warmup=100, draws=100
        )
        for seed in (2, 2, 3)
    )
    np.testing.assert_array_equal(first.draws, again.draws)
    assert not np.array_equal(first.draws, other.draws)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_nuts_is_the_conjugate_posterior_where_rows_are_many(paper) -> None:
    table = paper.sample(8000, rng=np.random.default_rng(1))
    found = multilevel_posterior(
        table,
        "question",
        "answer",
        ["severity"],
        success=1,
        rng=np.random.default_rng(2),
        inference="nuts",
        draws=150,
        warmup=150,
    )
    assert found.r_hat < 1.1 and found.effective_draws > 30
    agrees(found, conjugate(table, np.random.default_rng(3)))


@pytest.mark.slow
def test_a_template_of_few_rows_borrows_from_the_others() -> None:
    """Twenty templates near .3, one with 4 rows all answered yes: its estimate lies between theirs and its own."""
    rng = np.random.default_rng(0)
    question = np.r_[np.repeat(np.arange(20), 200), np.full(4, 20)]
    answer = np.r_[rng.random(4000) < 0.3, np.ones(4, dtype=bool)].astype(int)
    table = pd.DataFrame({"question": question, "answer": answer, "severity": rng.integers(0, 2, len(question))})
    found = multilevel_posterior(
        table, "question", "answer", ["severity"], success=1, rng=np.random.default_rng(1), warmup=600
    )
    assert 0.35 < found.mean[20] < 0.9
    width = np.diff(found.interval(), axis=1)[:, 0]
    assert width[20] > 2 * width[:20].max()


def test_bad_input_is_one_sentence(paper) -> None:
    table = paper.sample(50, rng=np.random.default_rng(0))
    for options, says in [
        ({"success": "yes"}, "never holds 'yes'"),
        ({"success": 1, "inference": "mcmc"}, "use svi or nuts"),
        ({"success": 1, "draws": 5}, "at least 100 draws"),
        ({"success": 1, "adjustment": ["age"]}, "lacks the column 'age'"),
    ]:
        call = {"adjustment": ["severity"], **options}
        with pytest.raises(TableError, match=says) as caught:
            multilevel_posterior(table, "question", "answer", rng=np.random.default_rng(0), **call)
        assert "\n" not in str(caught.value)
