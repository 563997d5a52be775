"""Multilevel posteriors against the conjugate one where every cell has many rows, and their shrinkage where it has few."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from structural_models.errors import TableError
from structural_models.generative import multilevel
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
    # A chain that moves freely: without it, some seeds end with ten.
    assert found.r_hat < 1.1 and found.effective_draws > 60
    agrees(found, conjugate(table, np.random.default_rng(3)))


def by_weighting_the_prior(rows: np.ndarray, hits: np.ndarray, rng: np.random.Generator, draws: int = 500_000):
    """Mean, spread and standard error of the mean of each arm, by importance sampling from the prior as it is written
    in the module's own words; only where rows are few."""
    stratum, arm, cell = rng.gamma(2.0, 1 / 2.0, size=(3, draws, 1, 1))
    mean = rng.normal(0, 2.5, (draws, 1, 1)) + stratum * rng.normal(size=(draws, len(rows), 1))
    theta = mean + arm * rng.normal(size=(draws, 1, rows.shape[1])) + cell * rng.normal(size=(draws, *rows.shape))
    log_likelihood = (hits * theta - rows * np.logaddexp(0, theta)).sum((1, 2))
    weight = np.exp(log_likelihood - log_likelihood.max())
    weight /= weight.sum()
    risks = np.einsum("ds,dsq->dq", rng.dirichlet(rows.sum(axis=1), size=draws), 1 / (1 + np.exp(-theta)))
    centre = weight @ risks
    return centre, np.sqrt(weight @ (risks - centre) ** 2), np.sqrt(weight**2 @ (risks - centre) ** 2)


FEW = {
    "every cell": ([[5, 9], [7, 4]], [[1, 6], [3, 4]]),
    "one stratum each": ((4 * np.eye(4, dtype=int)).tolist(), (4 * np.eye(4, dtype=int)).tolist()),
}


@pytest.mark.parametrize(("rows", "hits"), FEW.values(), ids=list(FEW))
@pytest.mark.parametrize("inference", ["nuts", "svi"])
def test_few_rows_have_the_posterior_of_the_model_as_written(rows, hits, inference) -> None:
    """Also where a cell has no row. The chain within 4 standard errors; the mean field's spread within a fifth."""
    cells = [(s, q, int(i < hits[s][q])) for s, q in np.ndindex(np.shape(rows)) for i in range(rows[s][q])]
    table = pd.DataFrame(cells, columns=["severity", "question", "answer"])
    found = multilevel_posterior(
        table,
        "question",
        "answer",
        ["severity"],
        success=1,
        rng=np.random.default_rng(5),
        inference=inference,
        draws=400 if inference == "nuts" else 1000,
        warmup=200 if inference == "nuts" else 2000,
    )
    mean, spread, error = by_weighting_the_prior(np.array(rows), np.array(hits), np.random.default_rng(6))
    # How many draws a chain of 400 is worth is itself known within a factor of two.
    n = min(found.effective_draws / 2, len(found.draws))
    exact = inference == "nuts"
    allowed = 4 * np.hypot(spread / np.sqrt(n), error) + (0.0 if exact else 0.1) * spread
    assert (np.abs(found.mean - mean) < allowed).all(), (found.mean, mean, spread)
    # The variance of a spread that is estimated from n draws is at most a few times that of normal draws.
    off = np.abs(found.draws.std(axis=0) / spread - 1)
    assert (off < 4 * np.sqrt(2 / n) + (0.0 if exact else 0.2)).all(), off
    assert found.extrapolated == int((np.array(rows) == 0).sum())


def test_the_density_is_that_of_the_change_of_variables() -> None:
    """log N(effects) + log N(θ; their sum, σ) + log |Jacobian| - log N(what they are made of), the Jacobian by
    automatic differentiation."""
    import torch
    from torch.distributions import Normal

    rows, hits = np.array([[5, 0, 9], [1, 4, 30]]), np.array([[1, 0, 9], [0, 2, 7]])
    generator = torch.Generator().manual_seed(0)
    normals = torch.randn(6 + 6, generator=generator, dtype=torch.float64)
    sigma = {name: torch.tensor(s, dtype=torch.float64) for name, s in [("stratum", 0.7), ("arm", 1.3), ("cell", 0.4)]}

    def made(normals: torch.Tensor) -> torch.Tensor:
        effects, theta, _ = multilevel._cells(rows, hits, sigma, normals[:6], normals[6:].view(2, 3))
        return torch.cat([effects, theta.flatten()])

    effects, theta, density = multilevel._cells(rows, hits, sigma, normals[:6], normals[6:].view(2, 3))
    mean = 2.5 * effects[0] + 0.7 * effects[1:3, None] + 1.3 * effects[3:]
    prior = Normal(mean, 0.4).log_prob(theta).sum() + Normal(0.0, 1.0).log_prob(effects).sum()
    jacobian = torch.linalg.slogdet(torch.autograd.functional.jacobian(made, normals)).logabsdet
    expected = prior + jacobian - Normal(0.0, 1.0).log_prob(normals).sum()
    torch.testing.assert_close(density, expected, rtol=1e-10, atol=1e-10)


def test_a_template_of_few_rows_borrows_from_the_others() -> None:
    """Twenty templates of 200 rows, one of 4 that are all yes: its estimate lies between theirs and its own, nearer to
    theirs where they are alike; and it is the least certain."""

    def found(spread: float) -> MultilevelPosterior:
        rng = np.random.default_rng(0)
        risk = np.repeat(np.linspace(0.3 - spread, 0.3 + spread, 20), 200)
        answer = np.r_[rng.random(4000) < risk, np.ones(4, dtype=bool)].astype(int)
        question = np.r_[np.repeat(np.arange(20), 200), np.full(4, 20)]
        table = pd.DataFrame({"question": question, "answer": answer, "severity": rng.integers(0, 2, len(question))})
        return multilevel_posterior(
            table, "question", "answer", ["severity"], success=1, rng=np.random.default_rng(1), warmup=600
        )

    alike, varied = found(0.0), found(0.25)
    for each in (alike, varied):
        width = np.diff(each.interval(), axis=1)[:, 0]
        assert each.mean[:20].mean() < each.mean[20] < 0.9
        assert width[20] > width[:20].max()
    assert alike.mean[20] + 0.1 < varied.mean[20]


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
