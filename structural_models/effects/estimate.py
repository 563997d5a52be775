"""The effect of a treatment with any number of arms on an outcome, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
import pandas as pd

from structural_models.cross_fitting import assign_folds
from structural_models.effects.arm_means import ArmMeans
from structural_models.effects.association import Association
from structural_models.effects.bayesian import BayesianGFormula
from structural_models.effects.cells import Part, Tabulated, tabulate
from structural_models.effects.clusters import Clusters
from structural_models.effects.g_formula import GFormula
from structural_models.effects.method import Method
from structural_models.effects.positivity import lacking, positivity_failures
from structural_models.effects.result import Effects, IntervalKind, effects_table
from structural_models.errors import TableError
from structural_models.patient_bootstrap import PatientBootstrap
from structural_models.stratified_independence import checked_groups, connected

REPLICATES = 1000
#: Of P(arm | stratum), see :func:`structural_models.effects.positivity.lacking`.
THRESHOLD = 0.01
#: Intervals over fewer clusters than this are too narrow.
_FEW_PATIENTS = 20


def estimate_effects(
    table: pd.DataFrame,
    treatment: str,
    outcome: str,
    adjustment: Sequence[str],
    *,
    within: Sequence[str] = (),
    method: Method | BayesianGFormula | None = None,
    groups: np.ndarray | None = None,
    interval: IntervalKind | None = None,
    level: float = 0.95,
    threshold: float = THRESHOLD,
    replicates: int = REPLICATES,
    rng: np.random.Generator | None = None,
) -> Effects:
    """P(outcome | do(treatment)), what is merely seen, and the confounding bias between them.

    Args:
        table: one row per item, no gaps in the columns used.
        outcome: levels, each of which has a mean of its own (its probability); a float column is a number.
        adjustment: columns that close every back-door path (see :func:`structural_models.identification.identify`).
        within: columns held fixed: effects are conditional on them, P(outcome | do(treatment), within).
        method: an estimator of this package; by default the saturated g-formula.
        groups: (rows,) integer patient of each row, or (rows, some) where a row has several; negative = none. Without
            it every row is a patient of its own.
        interval: "influence" (normal, patients as clusters; by default), "bootstrap" (percentiles over patients) or,
            for the Bayesian g-formula and by default there, "posterior".
        threshold: an arm with P(arm | stratum) below it in some stratum (rarer arms: below 2 P(arm) times it) is not
            adjusted, but listed in ``failures``; only where the estimator needs every arm in every stratum.
        replicates: of the bootstrap, or draws of the posterior.
        rng: needed for cross-fitting, bootstrap and posterior.

    Raises:
        TableError: no rows, a column missing or with gaps, groups that do not fit, an option out of range.
        PositivityError: a model that cannot be fitted.
    """
    chosen: Method | BayesianGFormula = GFormula() if method is None else method
    kind = _interval_kind(chosen, interval)
    if not 0 < level < 1 or not 0 <= threshold < 1:
        raise TableError(f"level and threshold must lie between 0 and 1, not at {level} and {threshold}")
    columns = [treatment, outcome, *adjustment, *within]
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise TableError(f"column '{twice}' has two parts to play; treatment, outcome and the others must differ")
    if rng is None:
        if chosen.folds > 1 or kind != "influence":
            raise TableError("cross-fitting, bootstrap and posterior draw at random: give a generator as rng")
        rng = np.random.default_rng(0)  # draws nothing
    members = None if groups is None else checked_groups(groups, len(table))
    fold = None if chosen.folds == 1 else _folds(members, len(table), chosen.folds, rng)
    counted = tabulate(table, treatment, outcome, adjustment, within, fold=fold)
    found = _estimate(counted, chosen, kind, members, replicates, threshold, rng)
    patients = 0 if members is None else int(members.max(initial=-1)) + 1
    saturated = counted.parts if chosen.saturated else ()
    return Effects(
        treatment=treatment,
        outcome=outcome,
        adjustment=tuple(adjustment),
        within=tuple(within),
        method=chosen.name,
        population=chosen.population,
        interval=kind,
        level=level,
        rows=len(table),
        patients=patients,
        table=effects_table(found, within, level),
        failures=positivity_failures(saturated, within, threshold) if saturated else pd.DataFrame(),
        warnings=_warnings(found, kind, patients, chosen),
        _parts=tuple(found),
    )


def _interval_kind(method: Method | BayesianGFormula, interval: IntervalKind | None) -> IntervalKind:
    bayesian = isinstance(method, BayesianGFormula)
    kind: IntervalKind = interval or ("posterior" if bayesian else "influence")
    if kind not in get_args(IntervalKind):
        raise TableError(f"the interval is {', '.join(get_args(IntervalKind))}, not '{kind}'")
    if bayesian != (kind == "posterior"):
        raise TableError("posterior intervals belong to the Bayesian g-formula, which has no others")
    return kind


def _folds(members: np.ndarray | None, rows: int, folds: int, rng: np.random.Generator) -> np.ndarray:
    """(rows,) fold of each row; rows that patients connect, directly or through other rows, share one."""
    units = np.arange(rows) if members is None else np.unique(connected(members), return_inverse=True)[1]
    return assign_folds(units, folds, rng)


def _estimate(
    counted: Tabulated,
    method: Method | BayesianGFormula,
    kind: IntervalKind,
    members: np.ndarray | None,
    replicates: int,
    threshold: float,
    rng: np.random.Generator,
) -> list[ArmMeans]:
    clusters = Clusters.of(counted.cell_of_row, counted.cells, members) if kind == "influence" else None
    bootstrapped = None
    if kind == "bootstrap" and not isinstance(method, BayesianGFormula):
        bootstrapped = _bootstrap(counted, method, members, replicates, rng)
    found = []
    for number, part in enumerate(counted.parts):
        seen, done = Association().means(part.cells), method.means(part.cells)
        if method.saturated:
            done[lacking(part.cells, threshold).any(axis=0)] = np.nan
        covariance = draws = None
        if isinstance(method, BayesianGFormula):
            draws = method.draws(part.cells, replicates, rng)
        elif clusters is not None:
            covariance = _covariance(part, method, seen, done, clusters)
        elif bootstrapped is not None:
            draws = bootstrapped[number]
            draws[:, 1, np.isnan(done)] = np.nan
        found.append(ArmMeans(part, seen, done, covariance, draws))
    return found


def _covariance(part: Part, method: Method, seen: np.ndarray, done: np.ndarray, clusters: Clusters) -> np.ndarray:
    """(outcomes, 2 arms, 2 arms)."""
    out = []
    for outcome in range(seen.shape[1]):
        of_done = method.influence(part.cells, done, outcome)
        of_done[:, np.isnan(done[:, outcome])] = 0.0
        both = np.hstack([Association().influence(part.cells, seen, outcome), of_done])
        out.append(clusters.covariance(both, part.at, part.cells.rows))
    return np.stack(out)


def _bootstrap(
    counted: Tabulated, method: Method, members: np.ndarray | None, replicates: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Per part (replicates, 2, arms, outcomes)."""
    out: list[list[np.ndarray]] = [[] for _ in counted.parts]
    for weights in PatientBootstrap.of(members, len(counted.cell_of_row), replicates, rng=rng):
        counts = np.bincount(counted.cell_of_row, weights, minlength=counted.cells)
        for part, kept in zip(counted.parts, out, strict=True):
            cells = part.cells.with_counts(counts[part.at])
            kept.append(np.stack([Association().means(cells), method.means(cells)]))
    return [np.stack(kept) for kept in out]


def _warnings(
    found: Sequence[ArmMeans], kind: IntervalKind, patients: int, method: Method | BayesianGFormula
) -> tuple[str, ...]:
    lines = []
    if kind == "influence" and not isinstance(method, BayesianGFormula) and method.caution:
        lines.append(method.caution)
    unsaid = sum(int(np.isnan(one.done).all(axis=1).sum()) for one in found)
    if unsaid:
        arms = sum(len(one.done) for one in found)
        lines.append(f"{unsaid} of {arms} arms are not adjusted: some stratum (almost) lacks them, see the failures")
    if 0 < patients < _FEW_PATIENTS:
        lines.append(f"only {patients} patients: intervals over so few clusters are too narrow")
    if kind == "bootstrap":
        drawn = [one.draws[:, 1] for one in found if one.draws is not None]
        lost = max(float(np.isnan(d).all(axis=2)[:, ~np.isnan(d).all(axis=(0, 2))].mean()) for d in drawn if d.size)
        if lost > 0.01:
            lines.append(f"up to {lost:.0%} of the bootstrap's means lacked an arm in some stratum and were left out")
    return tuple(lines)
