"""The conjugate Bayesian g-formula: exact means, and simulation-based calibration (Talts et al. 2018)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2, kstest

from structural_models.effects.bayesian import BayesianGFormula
from structural_models.effects.cells import Cells, tabulate
from structural_models.effects.estimate import estimate_effects
from structural_models.errors import TableError

STRATA, ARMS, ROWS = 3, 2, 60


def every_cell() -> Cells:
    grid = np.array(list(np.ndindex(STRATA, ARMS, 2)))
    (part,) = tabulate(
        pd.DataFrame(grid, columns=["severity", "question", "answer"]), "question", "answer", ["severity"]
    ).parts
    return part.cells


def replicate(rng: np.random.Generator, cells: Cells, concentration: float) -> tuple[np.ndarray, Cells]:
    """(2, arms) truth P(yes | arm) and P(yes | do(arm)) drawn from the prior, and a table drawn from that truth."""
    strata = rng.dirichlet(np.full(STRATA, concentration))
    arms = rng.dirichlet(np.full(ARMS, concentration), size=STRATA)
    answers = rng.dirichlet(np.full(2, concentration), size=(STRATA, ARMS))
    joint = strata[:, None] * arms
    seen = (joint / joint.sum(0) * answers[:, :, 1]).sum(0)
    done = strata @ answers[:, :, 1]
    law = joint[:, :, None] * answers
    counts = rng.multinomial(ROWS, law.ravel() / law.sum()).reshape(law.shape)
    order = cells.strata["severity"].to_numpy()[cells.stratum]
    return np.stack([seen, done]), cells.with_counts(counts[order, cells.arm, cells.value].astype(float))


@pytest.mark.parametrize("concentration", [0.5, 1.0])
def test_its_calibration(concentration: float) -> None:
    """The rank of the truth among 99 draws is uniform over 2,000 replicates; a wrong prior is found out."""
    rng = np.random.default_rng(0)
    cells = every_cell()
    ranks, wrong = [], []
    for _ in range(2000):
        truth, drawn = replicate(rng, cells, concentration)
        for method, kept in ((BayesianGFormula(concentration), ranks), (BayesianGFormula(5.0), wrong)):
            draws = method.draws(drawn, 100, rng)[:99, ..., 1]
            kept.append((draws < truth).sum(axis=0))
    stacked = np.array(ranks)
    for which in range(2):
        for arm in range(ARMS):
            counts = np.bincount(stacked[:, which, arm] // 10, minlength=10)
            statistic = ((counts - 200) ** 2 / 200).sum()
            # Four tests at a family level of 1 %.
            assert chi2.sf(statistic, 9) > 0.01 / 4
    counts = np.bincount(np.array(wrong)[:, 1, 0] // 10, minlength=10)
    assert chi2.sf(((counts - 200) ** 2 / 200).sum(), 9) < 1e-6


def test_draws_have_the_exact_mean() -> None:
    """By 4,000 draws: within four standard errors of the closed form, which has no error."""
    rng = np.random.default_rng(1)
    _, cells = replicate(rng, every_cell(), 1.0)
    draws = BayesianGFormula().draws(cells, 4000, rng)[:, 1]
    error = draws.std(axis=0) / np.sqrt(4000)
    assert (np.abs(draws.mean(axis=0) - BayesianGFormula().means(cells)) < 4 * error).all()


def test_one_stratum_is_a_beta_posterior() -> None:
    table = pd.DataFrame({"severity": "s", "question": ["a"] * 7 + ["b"] * 5, "answer": [1] * 5 + [0] * 5 + [1] * 2})
    (part,) = tabulate(table, "question", "answer", ["severity"]).parts
    draws = BayesianGFormula().draws(part.cells, 5000, np.random.default_rng(2))
    assert kstest(draws[:, 1, 0, 1], "beta", args=(1 + 5, 1 + 2)).pvalue > 0.001
    assert kstest(draws[:, 1, 1, 1], "beta", args=(1 + 2, 1 + 3)).pvalue > 0.001


def test_as_a_method(toy) -> None:
    found = estimate_effects(
        toy.table, "style", "answer", ["severity"], method=BayesianGFormula(), rng=np.random.default_rng(0)
    )
    assert found.interval == "posterior"
    rows = found.table[found.table["outcome"] == 1]
    assert (rows["interventional_low"] < toy.do).all()
    assert (toy.do < rows["interventional_high"]).all()
    again = estimate_effects(
        toy.table, "style", "answer", ["severity"], method=BayesianGFormula(), rng=np.random.default_rng(0)
    )
    pd.testing.assert_frame_equal(found.table, again.table)


def test_bad_input(toy) -> None:
    with pytest.raises(TableError, match="must be positive"):
        BayesianGFormula(0.0)
    with pytest.raises(TableError, match="give a generator"):
        estimate_effects(toy.table, "style", "answer", ["severity"], method=BayesianGFormula())
    with pytest.raises(TableError, match="which has no others"):
        estimate_effects(toy.table, "style", "answer", ["severity"], method=BayesianGFormula(), interval="influence")
    number = toy.table.assign(answer=toy.table["answer"].astype(float))
    with pytest.raises(TableError, match="answers that are levels"):
        estimate_effects(
            number, "style", "answer", ["severity"], method=BayesianGFormula(), rng=np.random.default_rng(0)
        )
