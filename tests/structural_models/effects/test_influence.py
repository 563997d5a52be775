"""The influence of a row is how the estimate moves as rows like it are added: checked by adding a little of one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from structural_models.effects.association import Association
from structural_models.effects.augmented import Augmented
from structural_models.effects.cells import Cells, tabulate
from structural_models.effects.clusters import Clusters
from structural_models.effects.entropy_balancing import EntropyBalancing
from structural_models.effects.estimate import estimate_effects
from structural_models.effects.g_formula import GFormula, Stratification
from structural_models.effects.method import Method
from structural_models.effects.weighting import InverseProbability, Overlap


def drawn(rng: np.random.Generator, n: int = 900) -> pd.DataFrame:
    severity, sex = rng.integers(0, 3, n), rng.integers(0, 2, n)
    age = rng.integers(-2, 3, n) / 2.0
    score = np.stack([np.zeros(n), 0.5 * severity - 0.4 + age * 0.3, 0.6 * sex + 0.2 * severity - 0.5], axis=1)
    p = np.exp(score) / np.exp(score).sum(1, keepdims=True)
    question = (p.cumsum(1) < rng.random(n)[:, None]).sum(1)
    logit = -0.7 + 0.5 * severity + 0.6 * (question == 1) + 0.4 * (question == 2) * severity + 0.3 * sex + 0.2 * age
    u = rng.random(n) * (1 + np.exp(-logit))
    answer = np.where(u < 1, "yes", np.where(u < 1 + np.exp(-logit) / 2, "no", "unsure"))
    return pd.DataFrame({"severity": severity, "sex": sex, "age": age, "question": question, "answer": answer})


def numerical(method: Method, cells: Cells, outcome: int) -> np.ndarray:
    """(cells, arms) by central differences in the counts."""
    step = 1e-4
    columns = []
    for i in range(len(cells)):
        unit = np.zeros(len(cells))
        unit[i] = step
        up, down = (method.means(cells.with_counts(cells.counts + s * unit))[:, outcome] for s in (1, -1))
        columns.append((up - down) / (2 * step) * cells.rows)
    return np.array(columns)


@pytest.mark.parametrize(
    ("method", "covariates", "tolerance"),
    [
        (Association(), ["severity"], 1e-5),
        (GFormula(), ["severity", "sex"], 1e-5),
        (Stratification(), ["severity", "sex"], 1e-5),
        (InverseProbability(), ["severity", "sex"], 1e-5),
        (Overlap(), ["severity", "sex"], 1e-5),
        (EntropyBalancing(), ["severity", "sex"], 1e-4),
        (Augmented(folds=1), ["severity", "sex"], 1e-5),
        # Fitted by iteration: differences of two fits are good to a few digits.
        pytest.param(GFormula("regression"), ["severity", "sex"], 2e-2, marks=pytest.mark.slow),
        pytest.param(InverseProbability("multinomial"), ["severity", "sex"], 2e-2, marks=pytest.mark.slow),
    ],
    ids=lambda value: value.name if hasattr(value, "name") else "",
)
def test_it_is_the_derivative_in_the_counts(method: Method, covariates: list[str], tolerance: float) -> None:
    (part,) = tabulate(drawn(np.random.default_rng(0)), "question", "answer", covariates).parts
    for outcome in range(3):
        wanted = numerical(method, part.cells, outcome)
        found = method.influence(part.cells, method.means(part.cells), outcome)
        if isinstance(method, InverseProbability | GFormula) and tolerance > 1e-3:
            # M-estimators: the sandwich uses expected information, which is the observed one up to the sample's noise.
            assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.999
        assert np.abs(found - wanted).max() < tolerance * max(1.0, np.abs(wanted).max())


def test_it_sums_to_zero() -> None:
    (part,) = tabulate(drawn(np.random.default_rng(1)), "question", "answer", ["severity", "sex"]).parts
    cells = part.cells
    for method in (Association(), GFormula(), InverseProbability(), Overlap(), EntropyBalancing(), Augmented(folds=1)):
        total = cells.counts @ method.influence(cells, method.means(cells), 0)
        assert np.abs(total).max() < 1e-6 * cells.rows


def test_a_number_as_outcome() -> None:
    """Linear models of a number; the information of least squares is exact, so is the influence."""
    rng = np.random.default_rng(2)
    table = drawn(rng, 400)
    table["weight"] = 1.0 * table["question"] + 0.5 * table["severity"] + rng.integers(-3, 4, len(table)) / 2
    (part,) = tabulate(table, "question", "weight", ["severity", "age"]).parts
    for interactions in ((), ("age",), "all"):
        method = GFormula("regression", interactions=interactions)
        found = method.influence(part.cells, method.means(part.cells), 0)
        assert np.abs(found - numerical(method, part.cells, 0)).max() < 1e-4


@pytest.mark.parametrize("width", [1, 2])
def test_the_variance_is_the_sum_over_pairs_of_rows_that_share_a_patient(width: int) -> None:
    rng = np.random.default_rng(3)
    table = drawn(rng, 120)
    members = rng.integers(0, 30, (120, width))
    if width == 2:
        members[rng.random(120) < 0.3, 1] = -1
        members[5] = members[6] = (3, 4)
        members[7] = (8, 8)
    counted = tabulate(table, "question", "answer", ["severity"])
    (part,) = counted.parts
    method = GFormula()
    influence = method.influence(part.cells, method.means(part.cells), 0)
    clusters = Clusters.of(counted.cell_of_row, counted.cells, members)
    by_row = influence[counted.cell_of_row]
    wanted = np.zeros((3, 3))
    for i in range(120):
        for j in range(120):
            if (set(members[i]) - {-1}) & (set(members[j]) - {-1}) or i == j:
                wanted += np.outer(by_row[i], by_row[j])
    patients = len(np.unique(members[members >= 0]))
    wanted *= patients / (patients - 1) / 120**2
    assert np.abs(clusters.covariance(influence, part.at, part.cells.rows) - wanted).max() < 1e-12


def test_the_bootstrap_agrees() -> None:
    """Standard deviation over 1,000 replicates: within 3 of its own standard errors (1/sqrt(2000) each) of the
    influence function's, and 5 % for what the linearisation leaves out at 2,000 rows."""
    rng = np.random.default_rng(4)
    table = drawn(rng, 2000)
    groups = rng.integers(0, 500, 2000)
    for method in (GFormula(), Overlap(), EntropyBalancing()):
        normal, drawn_ = (
            estimate_effects(
                table, "question", "answer", ["severity"], method=method, groups=groups, interval=kind,
                replicates=1000, rng=np.random.default_rng(5),
            ).table
            for kind in ("influence", "bootstrap")
        )  # fmt: skip
        for name in ("associated", "interventional", "bias"):
            widths = [(t[f"{name}_high"] - t[f"{name}_low"]).to_numpy() for t in (normal, drawn_)]
            # Percentiles are noisier than a standard deviation: their spread at 1,000 draws is about 4 %.
            assert np.abs(widths[1] / widths[0] - 1).max() < 3 * 0.04 + 0.05
