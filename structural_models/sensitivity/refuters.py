"""DoWhy's refuters, called so that they say what they seem to say. With identification.py, all that speaks to DoWhy.

DoWhy 0.14 writes its weights into the frame it is given and reads them back at the next call, repeats one draw where it
is given an integer seed, and lets a grid of simulated confounders pile up in one frame. So every draw here is a call of
its own, with one simulation, on a fresh copy of the columns, with a RandomState of its own; the spread and the verdict
are ours. Its estimator is propensity weighting with one indicator per stratum, no penalty and next to no clipping: that
is the plug-in g-formula (or Hájek weighting) of a binary treatment.

A treatment of several arms is made binary, which is a choice of estimand, and :attr:`Refutations.estimand` says which:
one arm against another, in the population of the rows that have either, or one arm against all others together.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from structural_models.adjustment_sets import quiet
from structural_models.errors import TableError
from structural_models.json_values import plain
from structural_models.sensitivity.answer_counts import AnswerCells

if TYPE_CHECKING:
    import pandas as pd

Expectation = Literal["zero", "unmoved", "informative"]
Verdict = Literal["as expected", "not as expected", "informative"]
SIMULATIONS = 20
#: How far from what is expected the mean of the draws may lie, in standard deviations of a single draw.
TOLERANCE = 2.0
#: A random common cause hardly scatters; it may always move the estimate by this share of the bootstrap's deviation.
IDLE = 0.1
#: Probabilities with which a simulated common cause turns treatment and answer around.
STRENGTHS = (0.01, 0.02, 0.05, 0.1)
_SUBSET = 0.8
_CLIP = 1e-6


@dataclass(frozen=True)
class Refutation:
    """One refuter's draws.

    Attributes:
        name: what was done to the data.
        expectation: of the estimate then: "zero", "unmoved", or nothing in particular ("informative").
        mean, spread: of the draws; the spread is the standard deviation of a single one.
        verdict: "as expected" within :data:`TOLERANCE` spreads of the expected value (for the random common cause, or
            within :data:`IDLE` of the bootstrap's spread).
    """

    name: str
    expectation: Expectation
    mean: float
    spread: float
    verdict: Verdict


@dataclass(frozen=True)
class Refutations:
    """What :func:`refute_contrast` found.

    Attributes:
        estimand: of the binary contrast, in words.
        estimate: of the risk difference, on the rows as they are.
        rows: used; strata without one of the two arms are left out.
        results: one per refuter.
    """

    estimand: str
    estimate: float
    rows: int
    results: tuple[Refutation, ...]

    def to_dict(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = plain(asdict(self))
        return cleaned


def refute_contrast(
    cells: AnswerCells,
    arm: int,
    answer: int,
    *,
    other: int | None = None,
    rng: np.random.Generator,
    simulations: int = SIMULATIONS,
    each: Callable[[str], None] = lambda name: None,
) -> Refutations:
    """Placebo treatment, dummy answer, random common cause, subset, bootstrap, and a simulated unmeasured common cause.

    Args:
        cells: rows; strata are what is adjusted for, all together.
        arm, answer: the effect of this arm on the probability of this answer, ...
        other: ... against this arm, or against all others together where none is named.
        simulations: draws per refuter, at least 5.
        each: called with a refuter's name before it is run.

    Draws are of rows, not of patients: they judge the estimator, and are no intervals.

    Raises TableError where no stratum has both arms, only one answer occurs, or for too few simulations.
    """
    if simulations < 5:
        raise TableError(f"a spread needs at least 5 simulations, not {simulations}")
    if arm == other:
        raise TableError(f"arm {arm} cannot be compared with itself")
    frame = _binary(cells, arm, answer, other)
    seeds = rng.spawn(6)
    with _calm():
        dowhy = _DoWhy.of(frame)
        each("bootstrap")
        bootstrap = dowhy.drawn(_bootstrap, simulations, seeds[4])
        spread = float(bootstrap.std(ddof=1))
        results = []
        for name, refuter, expectation, seed in (
            ("placebo treatment", _placebo, "zero", seeds[0]),
            ("dummy answer", _dummy, "zero", seeds[1]),
            ("random common cause", _random_cause, "unmoved", seeds[2]),
            (f"{_SUBSET:.0%} of the rows", _subset, "unmoved", seeds[3]),
        ):
            each(name)
            drawn = dowhy.drawn(refuter, simulations, seed)
            allowed = TOLERANCE * float(drawn.std(ddof=1))
            if refuter is _random_cause:
                allowed = max(allowed, IDLE * spread)
            results.append(_judged(name, expectation, drawn, dowhy.value, allowed))  # type: ignore[arg-type]
        results.append(_judged("bootstrap", "unmoved", bootstrap, dowhy.value, TOLERANCE * spread))
        for strength, seed in zip(STRENGTHS, seeds[5].spawn(len(STRENGTHS)), strict=True):
            name = f"unmeasured common cause, turning {strength:.0%} of rows around"
            each(name)
            drawn = dowhy.drawn(_unmeasured(strength), simulations, seed)
            results.append(_judged(name, "informative", drawn, dowhy.value, 0.0))
    against = "all other arms together" if other is None else f"arm {other}"
    population = "all rows" if other is None else "the rows that have either of the two arms"
    return Refutations(
        estimand=f"P(answer {answer} | do(arm {arm})) - P(answer {answer} | do({against})), averaged over {population} "
        "of strata in which both occur",
        estimate=dowhy.value,
        rows=len(frame),
        results=tuple(results),
    )


def _judged(name: str, expectation: Expectation, drawn: np.ndarray, value: float, allowed: float) -> Refutation:
    mean, spread = float(drawn.mean()), float(drawn.std(ddof=1))
    if expectation == "informative":
        return Refutation(name, expectation, mean, spread, "informative")
    wanted = 0.0 if expectation == "zero" else value
    return Refutation(
        name, expectation, mean, spread, "as expected" if abs(mean - wanted) <= allowed else "not as expected"
    )


def _binary(cells: AnswerCells, arm: int, answer: int, other: int | None) -> pd.DataFrame:
    """d (0 or 1), y (0 or 1) and s (text, so that DoWhy takes levels for levels), where both arms occur."""
    import pandas as pd

    kept = np.ones(len(cells.arm), dtype=bool) if other is None else np.isin(cells.arm, (arm, other))
    d = (cells.arm == arm).astype(np.int64)
    size = int(cells.stratum.max()) + 1
    treated, rows = (np.bincount(cells.stratum[kept], part, minlength=size) for part in (d[kept], None))
    kept &= ((treated > 0) & (treated < rows))[cells.stratum]
    frame = pd.DataFrame(
        {
            "d": d[kept],
            "y": (cells.answer[kept] == answer).astype(np.float64),
            "s": np.char.add("s", cells.stratum[kept].astype(str)).astype(object),
        }
    )
    if frame.empty or frame["y"].nunique() < 2:
        raise TableError("no stratum has both arms, or none of those two answers; there is nothing to refute")
    return frame


@dataclass(frozen=True)
class _DoWhy:
    """An estimand and its estimate, of a frame that DoWhy never gets to see itself."""

    frame: pd.DataFrame
    estimand: Any
    estimate: Any

    @classmethod
    def of(cls, frame: pd.DataFrame) -> _DoWhy:
        import networkx as nx
        from dowhy.causal_estimators.propensity_score_weighting_estimator import PropensityScoreWeightingEstimator
        from dowhy.causal_identifier import EstimandType, identify_effect_auto
        from sklearn.linear_model import LogisticRegression

        graph = nx.DiGraph([("s", "d"), ("s", "y"), ("d", "y")])
        estimand = identify_effect_auto(graph, ["d"], ["y"], ["s", "d", "y"], EstimandType.NONPARAMETRIC_ATE)
        estimand.set_identifier_method("backdoor")
        estimator = PropensityScoreWeightingEstimator(
            estimand,
            propensity_score_model=LogisticRegression(C=1e10, solver="newton-cholesky", tol=1e-8, max_iter=200),
            min_ps_score=_CLIP,
            max_ps_score=1 - _CLIP,
        )
        fitted = estimator.fit(frame.copy(), effect_modifier_names=[])
        estimate = fitted.estimate_effect(frame.copy(), treatment_value=1, control_value=0, target_units="ate")
        return cls(frame, estimand, estimate)

    @property
    def value(self) -> float:
        return float(self.estimate.value)

    def drawn(self, refuter: _Refuter, simulations: int, rng: np.random.Generator) -> np.ndarray:
        """(simulations,)"""
        return np.array(
            [refuter(self, np.random.RandomState(int(rng.integers(2**32)))) for _ in range(simulations)],
            dtype=np.float64,
        )


_Refuter = Callable[[_DoWhy, np.random.RandomState], float]


def _placebo(of: _DoWhy, state: np.random.RandomState) -> float:
    from dowhy.causal_refuters.placebo_treatment_refuter import PlaceboType, refute_placebo_treatment

    found = refute_placebo_treatment(
        of.frame.copy(),
        of.estimand,
        of.estimate,
        treatment_names=["d"],
        num_simulations=1,
        placebo_type=PlaceboType.PERMUTE,
        random_state=state,
    )
    return float(found.new_effect)


def _dummy(of: _DoWhy, state: np.random.RandomState) -> float:
    from dowhy.causal_refuters.dummy_outcome_refuter import refute_dummy_outcome

    with _global_state(state):
        found = refute_dummy_outcome(
            of.frame.copy(),
            of.estimand,
            of.estimate,
            treatment_name=["d"],
            outcome_name="y",
            required_variables=True,
            num_simulations=1,
        )
    return float(found[0].new_effect)


def _random_cause(of: _DoWhy, state: np.random.RandomState) -> float:
    from dowhy.causal_refuters.random_common_cause import refute_random_common_cause

    found = refute_random_common_cause(of.frame.copy(), of.estimand, of.estimate, num_simulations=1, random_state=state)
    return float(found.new_effect)


def _subset(of: _DoWhy, state: np.random.RandomState) -> float:
    from dowhy.causal_refuters.data_subset_refuter import refute_data_subset

    found = refute_data_subset(
        of.frame.copy(), of.estimand, of.estimate, subset_fraction=_SUBSET, num_simulations=1, random_state=state
    )
    return float(found.new_effect)


def _bootstrap(of: _DoWhy, state: np.random.RandomState) -> float:
    from dowhy.causal_refuters.bootstrap_refuter import refute_bootstrap

    # Without required variables no noise is put on the strata, which are levels.
    found = refute_bootstrap(
        of.frame.copy(), of.estimand, of.estimate, num_simulations=1, random_state=state, required_variables=False
    )
    return float(found.new_effect)


def _unmeasured(strength: float) -> _Refuter:
    def refuter(of: _DoWhy, state: np.random.RandomState) -> float:
        from dowhy.causal_refuters.add_unobserved_common_cause import sensitivity_simulation

        with _global_state(state):
            found = sensitivity_simulation(
                of.frame.copy(),
                of.estimand,
                of.estimate,
                treatment_name=["d"],
                outcome_name=["y"],
                kappa_t=strength,
                kappa_y=strength,
                confounders_effect_on_treatment="binary_flip",
                confounders_effect_on_outcome="binary_flip",
            )
        return float(found.new_effect)

    return refuter


@contextmanager
def _global_state(state: np.random.RandomState) -> Iterator[None]:
    """Two refuters draw from numpy's global state and take no other; it is put back afterwards."""
    before = np.random.get_state()
    np.random.set_state(state.get_state())
    try:
        yield
    finally:
        np.random.set_state(before)


@contextmanager
def _calm() -> Iterator[None]:
    """DoWhy logs ordinary events as warnings, and tests one simulation for significance, which divides by zero."""
    with quiet("dowhy"), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
