"""Before anything is trained: can the association of treatment and outcome be adjusted for by severity?

F is the treatment (style or wording), A the outcome (answer), S the severity, T what the comparison is held within
(topic, canonical question). The certificate looks at

* positivity: P(f | s, t) of every f that occurs in t; a cell below the threshold is listed and never adjusted;
* what is lost: the (Kish) share of rows left by the stabilised weights P(f | t) / P(f | s, t), which is
  1 / sum P(t) P(s | t) P(f | t)^2 / P(f | s, t) where every cell is occupied;
* sufficiency, F ⟂ A | S, T, by two routes. Both presume that F does not cause A. (1) A permutation test. (2) Data
  processing: one over that share is one plus a divergence between P(f) P(s) and P(f, s) given T, so if F ⟂ A | S, T
  the weights P(f | t) / P(f | a, t) leave at least as large a share; severity does not suffice where they leave less,
  beyond the interval of a bootstrap over patients;
* balance of severity before and after weighting, and the E-value of the risk ratio that is left after adjusting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from structural_models.balance import balance_table
from structural_models.errors import TableError
from structural_models.json_values import plain
from structural_models.patient_bootstrap import PatientBootstrap
from structural_models.residual_association import RiskRatio, strongest_risk_ratio
from structural_models.stratified_independence import PERMUTATIONS, IndependenceTest, checked_groups, independence_test
from structural_models.tabulation import coded, distinct_rows, require_rows
from structural_models.treatment_cells import MINIMUM_EXPECTED, TreatmentCells
from structural_models.weights import effective_sample_size

Decision = Literal["adjustable", "not adjustable", "not testable", "nothing to adjust"]
THRESHOLD = 0.01
REPLICATES = 500
_CELL_COLUMNS = ("arm", "rows", "stratum_rows", "propensity", "expected")
_STRATUM = "stratum of severity"
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Positivity:
    """Does every treatment occur in every stratum?

    Attributes:
        minimum: smallest P(f | s, t) of an f that occurs in t.
        quantiles: share -> quantile over rows of the smallest P(f | s, t) of their stratum.
        failures: cells below the threshold in which at least :data:`MINIMUM_EXPECTED` rows were to be expected, were F
            independent of S: strata columns, arm, rows, stratum_rows, propensity, expected; emptiest first.
        thin: cells below the threshold in strata too small to tell; the same columns.
        never_seen: cells without a single row, in either table.
        failing_rows, thin_rows: share of rows in strata with a failure, and with a thin cell.
        strata: how many there are.
        threshold: as asked for.
    """

    minimum: float
    quantiles: dict[float, float]
    failures: pd.DataFrame
    thin: pd.DataFrame
    never_seen: int
    failing_rows: float
    thin_rows: float
    strata: int
    threshold: float


@dataclass(frozen=True)
class WeightShares:
    """What weighting by severity leaves of the rows, beside what weighting by the outcome would.

    Attributes:
        severity: share of all rows left (Kish) by the weights P(f | t) / P(f | s, t).
        compared_severity, compared_outcome: the same, and that of P(f | t) / P(f | a, t), over the rows that can be
            compared: those of t where every (f, s) cell has :data:`MINIMUM_EXPECTED` rows. Outcomes too rare for so
            many rows to be expected with every f are taken together, which only makes ``compared_outcome`` larger.
        compared_rows: how many rows that are; 0 = no comparison, and NaN shares.
        log_ratio, low, high: of compared_severity / compared_outcome, and its basic 95 % bootstrap interval over
            patients.
    """

    severity: float
    compared_severity: float
    compared_outcome: float
    compared_rows: int
    log_ratio: float
    low: float
    high: float

    @property
    def refutes_sufficiency(self) -> bool:
        return self.low > _ROUNDING


@dataclass(frozen=True)
class Certificate:
    """What :func:`certify` found.

    Attributes:
        treatment, outcome, severity, within: columns.
        rows, patients: how many; patients 0 where none were named.
        treatment_causes_outcome: what was declared.
        positivity, shares: see there.
        dependence: of treatment on severity, given ``within``.
        sufficiency: of treatment on outcome, given severity and ``within``.
        p_dependence, p_sufficiency: as used for the decision: the tests' own, or adjusted for several tests.
        residual: the strongest risk ratio that is left after adjusting; None where no two arms can be compared.
        balance: severity levels between arms within ``within``, before and after weighting, averaged over ``within``
            by rows: covariate, level, smd_before, smd_after.
        alpha: level of the decision.
    """

    treatment: str
    outcome: str
    severity: tuple[str, ...]
    within: tuple[str, ...]
    rows: int
    patients: int
    treatment_causes_outcome: bool
    positivity: Positivity
    shares: WeightShares
    dependence: IndependenceTest
    sufficiency: IndependenceTest
    p_dependence: float
    p_sufficiency: float
    residual: RiskRatio | None
    balance: pd.DataFrame
    alpha: float

    @property
    def decision(self) -> Decision:
        return self._decided(self.treatment_causes_outcome)[0]

    @property
    def decision_without_effect(self) -> Decision:
        """What the decision is if the treatment does not cause the outcome."""
        return self._decided(False)[0]

    @property
    def verdict(self) -> str:
        """The decision and its reason, one line."""
        decision, reason = self._decided(self.treatment_causes_outcome)
        return f"{decision}: {reason}"

    def _decided(self, causes: bool) -> tuple[Decision, str]:
        f, s, a = self.treatment, " and ".join(self.severity), self.outcome
        p = f"p {self.p_sufficiency:.2g}"
        rejected = self.p_sufficiency < self.alpha
        if not self.dependence.made or self.p_dependence >= self.alpha:
            free = f"{f} was not found to depend on {s}" + (
                f" (p {self.p_dependence:.2g})" if self.dependence.made else " (nothing could be compared)"
            )
            if not rejected:
                return "nothing to adjust", f"{free}, so adjusting for it should be nearly without effect"
            if causes:
                return "not testable", f"{free}, and {f} may cause {a}, with which it goes ({p})"
            return "not adjustable", f"{free}, yet goes with {a} ({p}): {s} is not what ties them"
        against = []
        if rejected and not causes:
            against.append(f"{s} does not suffice: within it {f} still goes with {a} ({p})")
        elif self.shares.refutes_sufficiency and not causes:
            against.append(f"{s} does not suffice: weights by it leave more rows than weights by {a}")
        if len(self.positivity.failures):
            strata = self.positivity.failures.drop(columns=list(_CELL_COLUMNS)).drop_duplicates()
            against.append(
                f"positivity fails in {len(strata)} of {self.positivity.strata} strata "
                f"({self.positivity.failing_rows:.0%} of rows), which must be left out"
            )
        if against:
            return "not adjustable", "; ".join(against)
        if causes:
            return "not testable", (
                f"the declared graph lets {f} cause {a}, so that F ⟂ A | S says nothing about whether {s} suffices"
            )
        if not self.sufficiency.made:
            return "not testable", f"no stratum of {s} has several values of both {f} and {a} that can be exchanged"
        return "adjustable", f"every {f} occurs at every {s}, and within it {f} was not found to go with {a} ({p})"

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence each."""
        found = []
        shares, positivity = self.shares, self.positivity
        if shares.refutes_sufficiency:
            because = " or the treatment causes the outcome" if self.treatment_causes_outcome else ""
            found.append(
                f"severity does not suffice{because}: weights by it leave {shares.compared_severity:.0%} of rows, by "
                f"{self.outcome} {shares.compared_outcome:.0%} (log ratio {shares.log_ratio:.2f}, 95 % interval "
                f"{shares.low:.2f} to {shares.high:.2f}), which cannot be where F ⟂ A | S"
            )
        if len(positivity.failures):
            found.append(
                f"{len(positivity.failures)} cell(s) with P({self.treatment} | severity) below "
                f"{positivity.threshold:g} ({positivity.failing_rows:.1%} of rows are in their strata): never adjusted"
            )
        if len(positivity.thin):
            found.append(
                f"{len(positivity.thin)} cell(s) below {positivity.threshold:g} in strata too small to tell "
                f"({positivity.thin_rows:.1%} of rows)"
            )
        for test, what in ((self.dependence, "severity"), (self.sufficiency, self.outcome)):
            if test.exchanged == "patients" and not test.made:
                found.append(
                    f"{self.treatment} is alike within patients and no two patients can be exchanged: its dependence "
                    f"on {what} was not tested"
                )
        return tuple(found)

    def with_adjusted_p(self, p_dependence: float, p_sufficiency: float) -> Certificate:
        """The same, decided by p-values that allow for several tests."""
        return replace(self, p_dependence=p_dependence, p_sufficiency=p_sufficiency)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; what is not known is None."""
        from dataclasses import asdict

        record = {k: v for k, v in asdict(self).items() if k not in ("positivity", "balance", "residual")}
        positivity = asdict(self.positivity)
        for name in ("failures", "thin"):
            positivity[name] = positivity[name].to_dict("records")
        positivity["quantiles"] = {f"{share:g}": value for share, value in positivity["quantiles"].items()}
        record |= {
            "positivity": positivity,
            "balance": self.balance.to_dict("records"),
            "residual": None if self.residual is None else self.residual.to_dict(),
            "decision": self.decision,
            "decision_without_effect": self.decision_without_effect,
            "verdict": self.verdict,
            "warnings": list(self.warnings),
        }
        cleaned: dict[str, Any] = plain(record)
        return cleaned


def certify(
    table: pd.DataFrame,
    treatment: str,
    outcome: str,
    severity: str | Sequence[str],
    *,
    within: Sequence[str] = (),
    groups: np.ndarray | None = None,
    treatment_causes_outcome: bool,
    rng: np.random.Generator,
    threshold: float = THRESHOLD,
    alpha: float = 0.05,
    permutations: int = PERMUTATIONS,
    replicates: int = REPLICATES,
) -> Certificate:
    """The adjustability certificate of a table.

    Args:
        table: one row per item, no gaps in the columns used; all of them hold levels.
        severity: one column, or several that make up the stratum together (two ECGs have a pair).
        within: columns held fixed: the topic, or the canonical question.
        groups: (rows,) integer patient of each row, or (rows, some) where a row has several; negative = none. Without
            it every row is a patient of its own.
        treatment_causes_outcome: whether the declared graph has a way from treatment to outcome. Then sufficiency
            cannot be tested, and no table is called adjustable.
        threshold: P(f | s, t) below it is a positivity failure.
        permutations, replicates: of the tests, and of the bootstrap over patients.

    Raises:
        TableError: no rows, a column missing or with gaps, one treatment or no severity throughout, groups that do not
            fit, or an option out of range.
    """
    require_rows(table)
    strata = [severity] if isinstance(severity, str) else list(severity)
    held = list(within)
    if not strata:
        raise TableError("name at least one severity column")
    if not 0 < threshold < 1 or not 0 < alpha < 1:
        raise TableError(f"threshold and alpha must lie between 0 and 1, not at {threshold} and {alpha}")
    f, arms = coded(table, treatment)
    if len(arms) < 2:
        raise TableError(f"column '{treatment}' has the one value '{arms.values[0]}'; there is nothing to compare")
    members = None if groups is None else checked_groups(groups, len(table))
    a, outcomes = coded(table, outcome)
    t = distinct_rows(table, held)[1]
    first, s = distinct_rows(table, [*held, *strata])
    for_dependence, for_sufficiency, for_bootstrap = rng.spawn(3)
    with_stratum = table.assign(**{_STRATUM: s})
    how: dict[str, Any] = {"groups": members, "permutations": permutations}
    dependence = independence_test(with_stratum, treatment, _STRATUM, held, rng=for_dependence, **how)
    sufficiency = independence_test(table, treatment, outcome, [*held, *strata], rng=for_sufficiency, **how)
    bootstrap = PatientBootstrap.of(members, len(table), replicates, rng=for_bootstrap)
    cells = TreatmentCells(f=f, a=a, s=s, t=t)
    weights = _stabilised(cells)
    return Certificate(
        treatment=treatment,
        outcome=outcome,
        severity=tuple(strata),
        within=tuple(held),
        rows=len(table),
        patients=0 if members is None else int(members.max(initial=-1)) + 1,
        treatment_causes_outcome=treatment_causes_outcome,
        positivity=_positivity(table, [*held, *strata], cells, first, arms.values, threshold),
        shares=_weight_shares(cells, weights, bootstrap),
        dependence=dependence,
        sufficiency=sufficiency,
        p_dependence=dependence.p_value,
        p_sufficiency=sufficiency.p_value,
        residual=strongest_risk_ratio(cells, arms.values, outcomes.values, bootstrap, alpha=alpha),
        balance=_balance(table, treatment, strata, t, weights),
        alpha=alpha,
    )


def _stabilised(cells: TreatmentCells) -> np.ndarray:
    """(rows,) P(f | t) / P(f | s, t)."""
    observed = cells.by_s[cells.s, cells.f]
    return np.asarray(cells.expected_by_s[cells.s, cells.f] / observed)


def _positivity(
    table: pd.DataFrame,
    columns: Sequence[str],
    cells: TreatmentCells,
    first: np.ndarray,
    arms: np.ndarray,
    threshold: float,
) -> Positivity:
    occurs = (cells.by_t > 0)[cells.t_of_s]
    size = cells.by_s.sum(1)
    share = np.where(occurs, cells.by_s / size[:, None], np.nan)
    at, arm = np.nonzero(occurs & (share < threshold))
    low = table.iloc[first[at]][list(columns)].reset_index(drop=True)
    low = low.assign(
        arm=arms[arm],
        rows=cells.by_s[at, arm].astype(np.int64),
        stratum_rows=size[at].astype(np.int64),
        propensity=share[at, arm],
        expected=cells.expected_by_s[at, arm],
    ).sort_values(["propensity", *columns, "arm"], ignore_index=True)
    told = (share < threshold) & occurs & (cells.expected_by_s >= MINIMUM_EXPECTED)
    untold = (share < threshold) & occurs & ~told
    smallest = np.nanmin(share, axis=1)
    levels = (0.0, 0.05, 0.25, 0.5, 0.75, 1.0)
    quantiles = np.quantile(smallest[cells.s], levels, method="inverted_cdf")
    failing = low["expected"] >= MINIMUM_EXPECTED
    return Positivity(
        minimum=float(smallest.min()),
        quantiles=dict(zip(levels, map(float, quantiles), strict=True)),
        failures=low[failing].reset_index(drop=True),
        thin=low[~failing].reset_index(drop=True),
        never_seen=int((low["rows"] == 0).sum()),
        failing_rows=float(size[told.any(1)].sum() / size.sum()),
        thin_rows=float(size[untold.any(1)].sum() / size.sum()),
        strata=len(size),
        threshold=threshold,
    )


def _weight_shares(cells: TreatmentCells, weights: np.ndarray, bootstrap: PatientBootstrap) -> WeightShares:
    whole = effective_sample_size(weights) / len(weights)
    enough = (cells.by_s >= MINIMUM_EXPECTED) | (cells.by_t == 0)[cells.t_of_s]
    compared = np.ones(len(cells.by_t), dtype=bool)
    compared[cells.t_of_s[~enough.all(1)]] = False
    compared &= (cells.by_t > 0).sum(1) > 1
    rows = np.flatnonzero(compared[cells.t])
    if not len(rows):
        nan = float("nan")
        return WeightShares(whole, nan, nan, 0, nan, nan, nan)
    part = TreatmentCells(cells.f[rows], cells.pooled_outcome[rows], cells.s[rows], cells.t[rows])
    by_severity, by_outcome = (_share_left(part, codes) for codes in (part.s, part.a))
    severity, outcome = (share(np.ones(len(rows))) for share in (by_severity, by_outcome))
    centre = float(np.log(severity / outcome))
    drawn = np.array([by_severity(w[rows]) / by_outcome(w[rows]) for w in bootstrap])
    upper, lower = np.quantile(np.log(drawn[np.isfinite(drawn)]), [0.975, 0.025])
    # The basic interval: plug-in shares are too small by what is noise in them, and a replicate's are so twice over.
    low, high = float(2 * centre - upper), float(2 * centre - lower)
    return WeightShares(whole, severity, outcome, len(rows), centre, low, high)


def _share_left(cells: TreatmentCells, codes: np.ndarray) -> Callable[[np.ndarray], float]:
    """From (rows,) row weights to the Kish share of the stabilised weights P(f | t) / P(f | code, t)."""
    known, level = np.unique(codes, return_inverse=True)
    t_of = np.empty(len(known), dtype=np.int64)
    t_of[level] = cells.t

    def share(weights: np.ndarray) -> float:
        by_level = cells.counts(level, len(known), weights)
        by_t = cells.counts(cells.t, len(cells.by_t), weights)
        with np.errstate(divide="ignore", invalid="ignore"):
            stabilised = by_level.sum(1, keepdims=True) * by_t[t_of] / by_t.sum(1)[t_of][:, None] / by_level
        there = by_level > 0
        n, w = by_level[there], stabilised[there]
        return float((n * w).sum() ** 2 / ((n * w**2).sum() * n.sum()))

    return share


def _balance(
    table: pd.DataFrame, treatment: str, strata: Sequence[str], t: np.ndarray, weights: np.ndarray
) -> pd.DataFrame:
    measures = ["smd_before", "smd_after"]
    parts = []
    for at in np.split(np.argsort(t, kind="stable"), np.cumsum(np.bincount(t))[:-1]):
        part = table.iloc[at]
        if part[treatment].nunique() > 1:
            found = balance_table(part, treatment, strata, weights[at])
            parts.append(found[["covariate", "level", *measures]].assign(rows=len(at)))
    if not parts:
        return pd.DataFrame(columns=["covariate", "level", *measures])
    long = pd.concat(parts, ignore_index=True)
    weighted = (
        long[measures]
        .mul(long["rows"], axis=0)
        .assign(covariate=long["covariate"], level=long["level"], rows=long["rows"])
    )
    total = weighted.groupby(["covariate", "level"], sort=True)[[*measures, "rows"]].sum()
    return total[measures].div(total["rows"], axis=0).reset_index()
