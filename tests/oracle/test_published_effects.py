"""Published estimates, to the digits they are printed with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from structural_models.effects.augmented import Augmented
from structural_models.effects.entropy_balancing import EntropyBalancing
from structural_models.effects.estimate import estimate_effects
from structural_models.effects.g_formula import GFormula
from structural_models.effects.result import Effects
from structural_models.effects.weighting import InverseProbability, Overlap

pytestmark = pytest.mark.oracle

QUANTITIES = ["age", "smokeintensity", "smokeyrs", "wt71"]
LEVELS = ["sex", "race", "education", "exercise", "active"]


@pytest.fixture(scope="module")
def nhefs() -> pd.DataFrame:
    """Hernán & Robins, "What If", chapters 12 and 13: weight gain, 1,566 smokers who quit or did not."""
    module = pytest.importorskip("causaldata").nhefs_complete
    table = module.load_pandas().data[["qsmk", "wt82_71", *QUANTITIES, *LEVELS]]
    squares = {f"{name}²": table[name] ** 2 for name in QUANTITIES}
    return table.astype({"qsmk": int, **dict.fromkeys(LEVELS, str)}).assign(**squares).reset_index(drop=True)


COVARIATES = [*QUANTITIES, *(f"{name}²" for name in QUANTITIES), *LEVELS]


def quitting(table: pd.DataFrame, method) -> tuple[float, float, float]:
    found = estimate_effects(table, "qsmk", "wt82_71", COVARIATES, method=method, threshold=0.0).contrasts()
    (row,) = found.itertuples()
    return row.difference, row.difference_low, row.difference_high


def test_nhefs_naive(nhefs) -> None:
    means = estimate_effects(nhefs, "qsmk", "wt82_71", COVARIATES, method=EntropyBalancing()).table["associated"]
    assert round(means[1] - means[0], 4) == 2.5406


def test_nhefs_weighting(nhefs) -> None:
    """The interval is the robust one of a weighted regression, which takes the weights as known."""
    estimate, low, high = quitting(nhefs, InverseProbability("multinomial", weights_known=True))
    assert (round(estimate, 4), round(low, 3), round(high, 3)) == (3.4405, 2.411, 4.470)
    narrower = quitting(nhefs, InverseProbability("multinomial"))
    assert low < narrower[1] < narrower[2] < high


def test_nhefs_standardisation(nhefs) -> None:
    product = GFormula("regression", interactions=("smokeintensity",))
    means = estimate_effects(nhefs, "qsmk", "wt82_71", COVARIATES, method=product, threshold=0.0).table[
        "interventional"
    ]
    assert [round(m, 4) for m in means] == [1.7562, 5.2736]
    assert round(quitting(nhefs, product)[0], 4) == 3.5174
    assert round(quitting(nhefs, GFormula("regression"))[0], 4) == 3.4626
    assert round(quitting(nhefs, GFormula("regression", interactions="all"))[0], 4) == 3.4358


def test_nhefs_augmented(nhefs) -> None:
    estimate, low, high = quitting(nhefs, Augmented("multinomial", GFormula("regression"), folds=1))
    assert round(estimate, 4) == 3.4451
    assert low < 2.6
    assert high > 4.3


def test_nhefs_overlap(nhefs) -> None:
    assert round(quitting(nhefs, Overlap("multinomial"))[0], 4) == 3.4611


@pytest.fixture(scope="module")
def cattaneo() -> pd.DataFrame:
    """Cattaneo 2010, birth weight and smoking mothers, as Stata's manual of teffects uses it."""
    statsmodels = pytest.importorskip("statsmodels.treatment.tests.test_teffects")
    table = pd.read_csv(Path(statsmodels.__file__).parent / "results" / "cataneo2.csv")
    numbers = ["mage", "mage2", "medu", "bweight"]
    return table[[*numbers, "mbsmoke_", "mmarried_", "fbaby_", "prenatal1_"]].astype(dict.fromkeys(numbers, float))


def probit(strata: pd.DataFrame, counts: np.ndarray) -> np.ndarray:
    api = pytest.importorskip("statsmodels.api")
    design = api.add_constant(strata[["mmarried_", "mage", "mage2", "fbaby_", "medu"]].astype(float))
    family = api.families.Binomial(api.families.links.Probit())
    p = np.asarray(api.GLM(counts[:, ::-1], design, family=family).fit(tol=1e-12, maxiter=200).fittedvalues)
    return np.column_stack([1 - p, p])


def smoking(table: pd.DataFrame, method) -> Effects:
    covariates = ["mmarried_", "mage", "mage2", "fbaby_", "medu", "prenatal1_"]
    return estimate_effects(table, "mbsmoke_", "bweight", covariates, method=method, threshold=0.0)


def test_cattaneo(cattaneo) -> None:
    regression = GFormula("regression", covariates=("prenatal1_", "mmarried_", "mage", "fbaby_"), interactions="all")
    for method, wanted in (
        (InverseProbability(probit), -230.6886),
        (regression, -239.6392),
        (Augmented(probit, regression, folds=1), -230.9892),
    ):
        (found,) = smoking(cattaneo, method).contrasts()["difference"]
        assert round(found, 4) == wanted, method.name


def test_cattaneo_standard_errors(cattaneo) -> None:
    """Stata's are those of M-estimation, without a correction for few rows: so are ours. In the augmented estimator Stata
    lets the scores of the nuisance models in, which vanish where both models are right; here they make 3 %."""
    regression = GFormula("regression", covariates=("prenatal1_", "mmarried_", "mage", "fbaby_"), interactions="all")
    for method, wanted, tolerance in (
        (regression, 23.824021, 5e-5),
        (Augmented(probit, regression, folds=1), 26.210565, 0.04),
    ):
        (row,) = smoking(cattaneo, method).contrasts().itertuples()
        assert (row.difference_high - row.difference_low) / (2 * 1.9599640) == pytest.approx(wanted, rel=tolerance)


def test_three_arms_against_causallib() -> None:
    """Stratified standardisation to rounding, weighting to what two optimisers of one likelihood agree on."""
    causallib = pytest.importorskip("causallib.estimation")
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    n = 20_000
    severity = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    question = (rng.random(n)[:, None] > np.array([[0.6, 0.9], [0.3, 0.7], [0.1, 0.3]])[severity]).sum(1)
    answer = (rng.random(n) < 0.2 + 0.15 * severity + 0.1 * question + 0.05 * (severity == question)).astype(int)
    table = pd.DataFrame({"severity": severity, "question": question, "answer": answer})
    found = estimate_effects(table, "question", "answer", ["severity"]).table
    ours = found[found["outcome"] == 1]["interventional"].to_numpy()
    dummies = pd.get_dummies(table["severity"], prefix="s").astype(float)
    saturated = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000)

    class CellMeans:
        """The mean outcome of every severity, as a scikit-learn regressor."""

        def fit(self, x: pd.DataFrame, y: pd.Series) -> CellMeans:
            self.means = (x.to_numpy() * y.to_numpy()[:, None]).sum(0) / x.to_numpy().sum(0)
            return self

        def predict(self, x: pd.DataFrame) -> np.ndarray:
            return x.to_numpy() @ self.means

        def get_params(self, deep: bool = True) -> dict:
            return {}

    theirs = causallib.StratifiedStandardization({q: CellMeans() for q in range(3)})
    theirs.fit(dummies, table["question"], table["answer"])
    wanted = theirs.estimate_population_outcome(dummies, table["question"]).to_numpy()
    assert np.abs(ours - wanted).max() < 1e-12
    weighting = causallib.IPW(saturated)
    weighting.fit(dummies.iloc[:, 1:], table["question"])
    wanted = weighting.estimate_population_outcome(dummies.iloc[:, 1:], table["question"], table["answer"]).to_numpy()
    weighted = estimate_effects(
        table, "question", "answer", ["severity"], method=InverseProbability("multinomial")
    ).table
    assert np.abs(weighted[weighted["outcome"] == 1]["interventional"].to_numpy() - wanted).max() < 5e-5
