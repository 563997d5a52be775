"""The leaderboard's tier T0 against benchmarks/t0_reference.py, which shares nothing with it but the law."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from causalecg.benchmark.regimes import regime
from causalecg.benchmark.t0.arms import EvidenceArm
from causalecg.benchmark.t0.evaluation import measured, patients_to_test, reader_of
from causalecg.benchmark.t0.training import train
from structural_models.estimand import Estimand

#: arm -> method of the independent code
SAME = {
    "none": "ERM",
    "question_only": "question-only",
    "ipw": "IPW(F given S)",
    # The other code gives the severity to a model that can read it, as one more column.
    "backdoor?answer_shares=false": "backdoor, P(s given E)",
    "backdoor?answer_shares=false&prior=marginal": "backdoor, P(s)",
    "oracle": "oracle",
}
TEST = 20_000


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    path = Path(__file__).parents[3] / "benchmarks" / "t0_reference.py"
    spec = importlib.util.spec_from_file_location("t0_reference", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["t0_reference"] = module
    spec.loader.exec_module(module)
    return module


def _agree(reference: ModuleType, estimand: Estimand, name: str, arm: str, seeds: int, items: int) -> None:
    """Both are given the same worlds, so that they differ by what is not the same in them alone: the solver, and for the
    back-door formula how P(s | E) is regularised and calibrated. That must be less than one training sample and one test
    sample would differ from another by: the standard error of the mean over seeds and test patients."""
    law = regime(name).law(0.99 if name != "R8" else None)
    world = patients_to_test(law, TEST)
    mine, theirs, errors = [], [], []
    for seed in range(seeds):
        trained = train(law, EvidenceArm.parse(arm), seed=seed, estimand=estimand, items=items)
        found = measured(reader_of(trained.yes), world)
        mine.append([found[c].mean() for c in ("correct_unbiased", "style_effect", "topic_effect")])
        errors.append([found[c].std() / TEST**0.5 for c in ("correct_unbiased", "style_effect", "topic_effect")])
        other = reference.run(law, SAME[arm], seed=seed, items=items, test=world, fit="spline")
        theirs.append([other[c] for c in ("accuracy", "style", "topic")])
    a, b = np.array(mine), np.array(theirs)
    error = np.sqrt(np.mean(errors, axis=0) ** 2 + a.var(0, ddof=1) / seeds)
    assert (np.abs(a.mean(0) - b.mean(0)) < 3 * error).all(), (a.mean(0), b.mean(0), error)


@pytest.mark.parametrize(
    "arm",
    [
        "ipw",
        "backdoor?answer_shares=false",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("none", "question_only", "oracle", "backdoor?answer_shares=false&prior=marginal")
        ),
    ],
)
def test_r1_agrees(reference: ModuleType, estimand: Estimand, arm: str) -> None:
    _agree(reference, estimand, "R1", arm, seeds=2, items=4000)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arm", "name"),
    [
        *((arm, name) for arm in SAME for name in ("R0", "R2", "R3", "R4")),
        ("backdoor?answer_shares=false", "R6"),
        ("none", "R8"),
    ],
)
def test_every_regime_agrees(reference: ModuleType, estimand: Estimand, name: str, arm: str) -> None:
    _agree(reference, estimand, name, arm, seeds=4, items=4000)


@pytest.mark.slow
def test_stratified_without_its_second_stage_is_the_oracle_in_law(reference: ModuleType, estimand: Estimand) -> None:
    """The exchange of wordings makes style independent of the rest, as re-drawing it does: the same model, other draws
    of the style. At rho = .99 the weights leave too few rows for the second stage."""
    law = regime("R1").law(0.99)
    world = patients_to_test(law, TEST)
    mine, theirs = [], []
    for seed in range(5):
        trained = train(law, EvidenceArm.parse("stratified"), seed=seed, estimand=estimand, items=4000)
        assert [stage.name for stage in trained.stages] == ["exchange"]
        mine.append(measured(reader_of(trained.yes), world)["correct_unbiased"].mean())
        theirs.append(reference.run(law, "oracle", seed=seed, items=4000, test=world, fit="spline")["accuracy"])
    error = (np.var(mine, ddof=1) / 5 + np.var(theirs, ddof=1) / 5) ** 0.5
    assert abs(np.mean(mine) - np.mean(theirs)) < 4 * error


def test_newton_of_the_independent_code_is_scikit_learns(reference: ModuleType) -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((300, 5)), rng.uniform(0.1, 3, 300)
    y = (rng.random(300) < 0.5).astype(np.int64)
    theirs = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-10, max_iter=1000)
    theirs.fit(x, y, sample_weight=w / w.mean())
    np.testing.assert_allclose(reference.newton(x, y, w), theirs.coef_[0], atol=1e-6)
