"""How much would it take to change what a cohort says about its questions' wording? Every analysis on one contrast."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from causalecg.cohort.contrast_rows import ContrastRows, contrast_rows
from causalecg.errors import InputError
from structural_models.json_values import plain

if TYPE_CHECKING:
    from causalecg.cohort.schema import Cohort
    from structural_models.patient_bootstrap import PatientBootstrap
    from structural_models.residual_association import RiskRatio
    from structural_models.sensitivity.answer_counts import AnswerCells
    from structural_models.sensitivity.linear_fit import LinearFit
    from structural_models.sensitivity.misclassification import Errors, MisclassificationCurve
    from structural_models.sensitivity.refuters import Refutations
    from structural_models.sensitivity.robustness import BenchmarkBound

REPLICATES = 300
#: The curve over Λ runs at least and at most so far, and past where the bounds hold zero.
LAMBDA_LEAST, LAMBDA_MOST = 3.0, 50.0
GAMMAS = np.array([1.0, 1.25, 1.5, 2.0, 3.0])
MULTIPLES = (0.1, 0.5, 1.0, 2.0)
#: The rates run to this share of the largest that can be inverted.
_REACH = 0.6
_POINTS = 25
STRAIN = 0.01
#: In the level of a pair of severities.
_PAIR = " then "
#: DoWhy gets no more rows than these; it fits a model for every draw.
REFUTED_ROWS = 4000
#: Codes of the leading contrast: all other arms, the arm; other answers, the answer.
_OTHER, _ARM, _ANSWER = 0, 1, 1


@dataclass(frozen=True)
class Linear:
    """Cinelli and Hazlett's analysis: answer on arm beside a constant in every stratum."""

    fit: LinearFit
    partial_r2: float
    robustness_value: float
    robustness_value_alpha: float
    bounds: tuple[BenchmarkBound, ...]


@dataclass(frozen=True)
class Marginal:
    """The marginal sensitivity model: over ``lambdas``, sharp bounds of the contrast, limits for them over patients;
    ``critical`` and ``critical_limit``: the least Λ at which bounds, and limits, hold zero (None: beyond the last)."""

    lambdas: np.ndarray
    low: np.ndarray
    high: np.ndarray
    limit_low: np.ndarray
    limit_high: np.ndarray
    critical: float
    critical_limit: float | None


@dataclass(frozen=True)
class Pairs:
    """Matched pairs: every patient at most once; ``favourable`` of the discordant ones are as the contrast says."""

    pairs: int
    discordant: int
    favourable: int
    gammas: np.ndarray
    p_low: np.ndarray
    p_high: np.ndarray
    sensitivity_value: float


@dataclass(frozen=True)
class Misclassified:
    """The tipping-point curve: contrast and bias over rates of severity recorded wrongly, limits over patients.

    ``tipping``: the least rate at which the contrast is zero; ``possible``: least and largest of the rates looked at
    whose limits hold zero; None where there is none.
    """

    errors: str
    rates: np.ndarray
    contrast: np.ndarray
    contrast_low: np.ndarray
    contrast_high: np.ndarray
    bias: np.ndarray
    moved: np.ndarray
    left_out: np.ndarray
    tipping: float | None
    bias_tipping: float | None
    possible: tuple[float, float] | None

    @property
    def strained(self) -> np.ndarray:
        """(rates,) bool: do over 1 % of rows contradict the rate, or lie in strata that lose an arm by it?"""
        return np.asarray((self.moved > STRAIN) | (self.left_out > STRAIN))


@dataclass(frozen=True)
class Sensitivity:
    """What :func:`cohort_sensitivity` found.

    Attributes:
        scale, split, treatment, within: as analysed.
        items, patients, without_severity: how many; items without a severity are left out.
        arms: how many.
        kept: share of the items in strata in which the leading contrast's arm and others both occur.
        ratios: standardised risk ratios and E-values of all contrasts, the strongest first; it is the leading one.
        linear, marginal, pairs, misclassified, refutations: of the leading contrast; ``pairs`` is None where items have
            several patients, ``refutations`` where none were asked for.
        notes: sentences on what could not be done.
    """

    scale: str
    split: str
    treatment: str
    within: tuple[str, ...]
    items: int
    patients: int
    without_severity: int
    arms: int
    kept: float
    ratios: tuple[RiskRatio, ...]
    linear: Linear | None
    marginal: Marginal
    pairs: Pairs | None
    misclassified: Misclassified | None
    refutations: Refutations | None
    notes: tuple[str, ...]

    @property
    def leading(self) -> str:
        return contrast_name(self.ratios[0], self.arms)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; what is not known is None."""
        from dataclasses import asdict

        record = asdict(self)
        record["ratios"] = [ratio.to_dict() for ratio in self.ratios]
        cleaned: dict[str, Any] = plain({"leading": self.leading, **record})
        return cleaned


def contrast_name(ratio: RiskRatio, arms: int) -> str:
    """E.g. "urgent against the other: yes"."""
    return f"{ratio.arm} against {'the other' if arms == 2 else 'all others'}: {ratio.level}"


def cohort_sensitivity(
    cohort: Cohort,
    scale: str,
    *,
    treatment: str = "style",
    split: str = "train",
    errors: Errors = "uniform",
    simulations: int,
    seed: int = 0,
    step: Callable[[str], None] = lambda what: None,
) -> Sensitivity:
    """Every analysis of sensitivity on a split.

    Args:
        scale: of severity; it is what is adjusted for, within what :func:`contrast_rows` holds fixed.
        errors: how severity is presumed to be recorded wrongly.
        simulations: draws of each of DoWhy's refuters; 0 = none of them.
        step: called with what is done next.

    Raises InputError where there is nothing to compare, or levels have no neighbours for adjacent errors.
    """
    from structural_models.patient_bootstrap import PatientBootstrap
    from structural_models.residual_association import risk_ratios
    from structural_models.treatment_cells import TreatmentCells

    step("standardised risks")
    rows = contrast_rows(cohort, split, cohort.severity_column(scale), treatment)
    if errors == "adjacent" and any(_PAIR in level for level in rows.severities):
        raise InputError(
            f"items of {cohort.path} have pairs of severities, which have no neighbours; use uniform errors"
        )
    rngs = np.random.default_rng(seed).spawn(4)
    cells = TreatmentCells(f=rows.arm, a=rows.answer, s=_numbered(rows.stratum), t=rows.held)
    every = PatientBootstrap.of(rows.patients, len(rows), REPLICATES, rng=rngs[0])
    ratios = risk_ratios(cells, np.array(rows.arms), np.array(rows.answers), every)
    if not ratios:
        raise InputError(
            f"in split {split} of {cohort.path} no two values of '{rows.treatment}' occur at one severity with an "
            "answer frequent enough to compare; take a larger split"
        )
    leading = _Leading.of(rows, ratios[0])
    bootstrap = PatientBootstrap.of(leading.patients, len(leading.arm), REPLICATES, rng=rngs[1])
    step("robustness of a linear fit")
    linear, notes = _linear(leading)
    step("hidden choice of the question")
    marginal = _marginal(leading.cells, bootstrap)
    pairs = None
    if rows.patients.shape[1] == 1:
        pairs = _pairs(leading, rngs[2])
    else:
        notes.append("items have several patients, so that no two pairs of them are independent: no matched pairs")
    step("severity recorded wrongly")
    misclassified = _misclassified(leading, errors, bootstrap) if len(rows.severities) > 1 else None
    return Sensitivity(
        scale=scale,
        split=split,
        treatment=rows.treatment,
        within=rows.within,
        items=len(rows),
        patients=int(rows.patients.max(initial=-1)) + 1,
        without_severity=rows.without_severity,
        arms=len(rows.arms),
        kept=len(leading.arm) / len(rows),
        ratios=ratios,
        linear=linear,
        marginal=marginal,
        pairs=pairs,
        misclassified=misclassified,
        refutations=_refutations(leading.cells, simulations, rngs[3], step) if simulations else None,
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class _Leading:
    """One arm against the others and one answer against the others, in the strata in which both arms occur."""

    held: np.ndarray
    severity: np.ndarray
    arm: np.ndarray
    answer: np.ndarray
    patients: np.ndarray
    shape: tuple[int, int, int, int]

    @classmethod
    def of(cls, rows: ContrastRows, ratio: RiskRatio) -> _Leading:
        arm = (rows.arm == rows.arms.index(str(ratio.arm))).astype(np.int64)
        answer = (rows.answer == rows.answers.index(str(ratio.level))).astype(np.int64)
        own, all_rows = np.bincount(rows.stratum, arm), np.bincount(rows.stratum)
        kept = ((own > 0) & (own < all_rows))[rows.stratum]
        held = _numbered(rows.held[kept])
        shape = (int(held.max()) + 1, len(rows.severities), 2, 2)
        return cls(held, rows.severity[kept], arm[kept], answer[kept], rows.patients[kept], shape)

    @property
    def stratum(self) -> np.ndarray:
        return np.asarray(self.held * self.shape[1] + self.severity)

    @property
    def cells(self) -> AnswerCells:
        from structural_models.sensitivity.answer_counts import AnswerCells

        return AnswerCells(self.stratum, self.arm, self.answer, self.shape)


def _linear(leading: _Leading) -> tuple[Linear | None, list[str]]:
    from structural_models.errors import TableError
    from structural_models.sensitivity.linear_fit import fit_linear
    from structural_models.sensitivity.robustness import benchmark_bound, partial_r2, robustness_value

    answer, arm = (leading.answer == _ANSWER).astype(np.float64), (leading.arm == _ARM).astype(np.float64)
    groups = leading.patients if leading.patients.shape[1] == 1 else None
    notes = [] if groups is not None else ["items have several patients: the linear fit's error treats items as alone"]
    try:
        fit = fit_linear(answer, arm, strata=leading.stratum, groups=groups)
        without = fit_linear(answer, arm, strata=leading.held, groups=groups)
    except TableError as error:
        return None, [*notes, f"no linear fit: {error}"]
    bounds = []
    for k in MULTIPLES:
        try:
            bounds.append(benchmark_bound(fit, without, "severity", k_treatment=k))
        except TableError as error:
            notes.append(str(error))
            break
    linear = Linear(fit, partial_r2(fit), robustness_value(fit), robustness_value(fit, alpha=0.05), tuple(bounds))
    return linear, notes


def _marginal(cells: AnswerCells, bootstrap: PatientBootstrap) -> Marginal:
    from structural_models.sensitivity.marginal_sensitivity import contrast_interval, critical_lambda, marginal_bounds

    counts = cells.counts().reshape(-1, 2, 2)
    occurring = counts[counts.any((1, 2))]
    critical = critical_lambda(occurring, _ARM, _OTHER, _ANSWER)
    lambdas = np.geomspace(1.0, float(np.clip(1.5 * critical, LAMBDA_LEAST, LAMBDA_MOST)), _POINTS)
    low, high = marginal_bounds(occurring, lambdas).contrast(_ARM, _OTHER, _ANSWER)
    limit_low, limit_high = contrast_interval(cells, lambdas, bootstrap, _ARM, _OTHER, _ANSWER)
    holds = np.flatnonzero((limit_low <= 0) & (limit_high >= 0))
    reached = None
    if len(holds):
        at = int(holds[0])
        limit = limit_low if low[0] > 0 else limit_high
        # Between two of the Λ the limit is a straight line, near enough.
        reached = float(np.interp(0, *_rising(limit[at - 1 : at + 1], lambdas[at - 1 : at + 1]))) if at else 1.0
    return Marginal(lambdas, low, high, limit_low, limit_high, critical, reached)


def _rising(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (x, y) if x[0] < x[1] else (x[::-1], y[::-1])


def _pairs(leading: _Leading, rng: np.random.Generator) -> Pairs:
    import pandas as pd

    from structural_models.resampling import matched_pairs
    from structural_models.sensitivity.matched_pairs import rosenbaum_bounds, sensitivity_value

    # One item of every patient, so that pairs are independent.
    order = rng.permutation(len(leading.arm))
    patient = leading.patients[order, 0]
    first = np.zeros(len(order), dtype=bool)
    first[np.unique(patient, return_index=True)[1]] = True
    chosen = order[first | (patient < 0)]
    table = pd.DataFrame({"arm": leading.arm[chosen], "stratum": leading.stratum[chosen]})
    found = chosen[matched_pairs(table, "arm", ["stratum"], rng=rng)]
    treated_first = leading.arm[found[:, 0]] == _ARM
    treated, control = (np.where(treated_first, found[:, i], found[:, 1 - i]) for i in (0, 1))
    given = leading.answer[treated] == _ANSWER, leading.answer[control] == _ANSWER
    discordant = int((given[0] != given[1]).sum())
    more = int((given[0] & ~given[1]).sum())
    favourable = max(more, discordant - more)
    low, high = rosenbaum_bounds(discordant, favourable, GAMMAS)
    return Pairs(len(found), discordant, favourable, GAMMAS, low, high, sensitivity_value(discordant, favourable))


def _misclassified(leading: _Leading, errors: Errors, bootstrap: PatientBootstrap) -> Misclassified:
    from structural_models.sensitivity.misclassification import (
        misclassification_curve,
        misclassification_matrix,
        tipping_rate,
    )

    levels = leading.shape[1]
    most = _REACH * (1 - 1 / levels if errors == "uniform" else 0.5)
    rates = np.linspace(0.0, most, _POINTS)

    def family(rate: float) -> np.ndarray:
        return misclassification_matrix(levels, rate, errors)

    def curve_of(counts: np.ndarray) -> MisclassificationCurve:
        return misclassification_curve(counts, rates, family)

    counts = leading.cells.counts()
    curve = curve_of(counts)
    drawn = leading.cells.over_patients(lambda n: curve_of(n).contrast(_ARM, _OTHER, _ANSWER), bootstrap)
    low, high = np.nanquantile(drawn, (0.025, 0.975), axis=0)
    holds = rates[(low <= 0) & (high >= 0)]
    return Misclassified(
        errors=errors,
        rates=rates,
        contrast=curve.contrast(_ARM, _OTHER, _ANSWER),
        contrast_low=low,
        contrast_high=high,
        bias=curve.bias(_ARM, _ANSWER),
        moved=curve.moved,
        left_out=curve.left_out,
        tipping=tipping_rate(counts, family, _ARM, _ANSWER, other=_OTHER, most=most),
        bias_tipping=tipping_rate(counts, family, _ARM, _ANSWER, most=most),
        possible=(float(holds[0]), float(holds[-1])) if len(holds) else None,
    )


def _refutations(
    cells: AnswerCells, simulations: int, rng: np.random.Generator, step: Callable[[str], None]
) -> Refutations:
    from structural_models.sensitivity.answer_counts import AnswerCells
    from structural_models.sensitivity.refuters import refute_contrast

    some = rng.permutation(len(cells.arm))[:REFUTED_ROWS]
    drawn = AnswerCells(cells.stratum[some], cells.arm[some], cells.answer[some], cells.shape)
    return refute_contrast(
        drawn,
        _ARM,
        _ANSWER,
        other=_OTHER,
        rng=rng,
        simulations=simulations,
        each=lambda name: step(f"refuting: {name}"),
    )


def _numbered(codes: np.ndarray) -> np.ndarray:
    """Codes without gaps."""
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)
