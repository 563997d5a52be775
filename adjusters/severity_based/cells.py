"""Weights that make the treatment independent of what is adjusted for, one weight per cell of the table.

A cell is a combination of (stratum, group, arm): e.g. severity, topic and style. Weights are learned on training rows
and looked up for any others, so that validation rows are judged by the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from adjusters.contract import ContractError
from adjusters.table_columns import require_columns
from structural_models.balance import balance_table, overlap_summary
from structural_models.entropy_weights import entropy_weights
from structural_models.errors import PositivityError
from structural_models.propensity import fit_propensity
from structural_models.tabulation import coded, distinct_rows, is_quantity
from structural_models.weights import effective_sample_size, inverse_probability_weights, overlap_weights

if TYPE_CHECKING:
    from structural_models.estimand import Estimand

Scheme = Literal["stabilised", "unstabilised", "overlap", "entropy"]

#: Strata of a single arm are refused when they hold more than this share of the rows; below it they are listed. Within
#: groups some small strata have one arm by chance.
TOLERATED_SHARE, TOLERATED_WITHIN = 0.01, 0.05
#: A cell with a smaller share of its stratum is listed as thin.
THIN = 0.01


@dataclass(frozen=True)
class Columns:
    """Which columns of the table play which part."""

    strata: tuple[str, ...]
    treatment: str
    within: str | None

    @classmethod
    def of(
        cls,
        name: str,
        table: pd.DataFrame,
        estimand: Estimand,
        treatment: str | None,
        by: str | None,
        *,
        quantities: bool = False,
    ) -> Columns:
        """By an estimand's roles.

        Args:
            treatment, by: a role or column.
            quantities: whether what is adjusted for may be a quantity.

        Raises ContractError where a column is missing, or weights for this treatment are not what the estimand's graph
        asks for.
        """
        within = None if by is None else estimand.roles.get(by, by)
        require_adjustment(name, estimand)
        further = set(estimand.treatment_given) - set(estimand.adjustment)
        loose = sorted(role for role in further if estimand.roles.get(role, role) != within)
        if loose:
            raise ContractError(
                f"{name} weights by P({estimand.treatment} | what is adjusted for), but in this graph the "
                f"{estimand.treatment} also depends on {', '.join(loose)}, which the estimand holds fixed; use backdoor"
            )
        strata = tuple(column for column in estimand.adjustment_columns if column != within)
        treated = estimand.roles["treatment"] if treatment is None else estimand.roles.get(treatment, treatment)
        found = cls(strata, treated, within)
        for column in found.all:
            if column not in table.columns:
                hint = "; use by=none to weight across all items" if column == within else ""
                raise ContractError(f"{name} needs the column '{column}', which the table lacks{hint}")
            if table[column].isna().any():
                raise ContractError(f"{name}: column '{column}' is empty in {int(table[column].isna().sum())} rows")
            if is_quantity(table, column) and not (quantities and column in strata):
                raise ContractError(
                    f"{name} needs levels, but column '{column}' is a quantity; cut it into levels first"
                )
        if treatment is not None:
            require_licence(name, table, estimand, found)
        return found

    def of_levels(self, table: pd.DataFrame) -> Columns:
        """The same without the strata that are quantities."""
        return replace(self, strata=tuple(column for column in self.strata if not is_quantity(table, column)))

    @property
    def groups(self) -> tuple[str, ...]:
        return () if self.within is None else (self.within,)

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.strata, *self.groups, self.treatment)


def require_adjustment(name: str, estimand: Estimand) -> None:
    """ContractError where the estimand does not adjust for the severity: doing so all the same can make a bias."""
    if "severity" not in estimand.adjustment:
        does = ", ".join(estimand.adjustment) or "nothing"
        raise ContractError(
            f"{name} adjusts for severity, but this estimand adjusts for {does}; use 'none', or another graph"
        )


def require_licence(name: str, table: pd.DataFrame, estimand: Estimand, columns: Columns) -> None:
    """ContractError unless weights for this treatment are weights for the estimand's, or for the topic where the
    estimand lets it vary."""
    own, treated = estimand.roles["treatment"], columns.treatment
    if treated == own:
        return
    if treated == estimand.roles.get("topic", "topic"):
        _require_topic(name, table, estimand, columns)
        return
    finer = [treated, *columns.groups]
    if own not in table.columns or len(distinct_rows(table, [*finer, own])[0]) > len(distinct_rows(table, finer)[0]):
        raise ContractError(
            f"{name} cannot weigh by '{treated}': it is neither the treatment of the estimand ('{own}') nor a finer "
            "division of it, so the graph says nothing of what it depends on; leave the option treatment out"
        )


def _require_topic(name: str, table: pd.DataFrame, estimand: Estimand, columns: Columns) -> None:
    topic = columns.treatment
    if "topic" in (*estimand.conditioning, *estimand.adjustment):
        raise ContractError(
            f"{name} cannot weigh by '{topic}': this estimand holds the topic fixed, and changes the "
            f"{estimand.treatment} alone; use a graph whose treatment is the whole question"
        )
    if columns.within == topic:
        raise ContractError(f"{name} cannot make '{topic}' independent of severity within '{topic}'; use by=none")
    ecg = estimand.roles.get("ecg", "ecg_ids")
    if ecg in table.columns:
        ids = pd.Series(["\x1f".join(map(str, np.atleast_1d(each))) for each in table[ecg]])
        levels = pd.Series(distinct_rows(table, columns.strata)[1])
        if bool((levels.groupby(ids).nunique() > 1).any()):
            raise ContractError(
                f"{name} cannot weigh by '{topic}': what is adjusted for differs between questions about one ECG, as a "
                "severity that leaves the topic out does, and so says nothing across topics; weigh by the wording"
            )


def require_overlap(name: str, table: pd.DataFrame, columns: Columns) -> None:
    """ContractError where the treatment has one arm, or strata of a single arm hold more than 1 % of the rows (5 % when
    strata are looked at within groups)."""
    arm, arms = coded(table, columns.treatment)
    if len(arms) == 1:
        raise ContractError(
            f"{name}: column '{columns.treatment}' has the single value '{arms.values[0]}', so there is nothing to "
            "balance; choose another treatment column"
        )
    for within, tolerated in (((), TOLERATED_SHARE), (columns.groups, TOLERATED_WITHIN)):
        names = (*columns.strata, *within)
        first, stratum = distinct_rows(table, names)
        shape = (len(first), len(arms))
        counts = np.bincount(stratum * shape[1] + arm, minlength=shape[0] * shape[1]).reshape(shape)
        single = (counts > 0).sum(1) == 1
        if counts[single].sum() > tolerated * len(table):
            worst = int(np.argmax(np.where(single, counts.sum(1), -1)))
            levels = ", ".join(f"{column} = {table[column].iloc[first[worst]]}" for column in names)
            raise ContractError(
                f"{name}: all {counts[worst].sum()} rows with {levels} have {columns.treatment} = "
                f"'{arms.values[int(counts[worst].argmax())]}', so no adjustment can part the two; merge levels, or "
                "choose a strategy that needs no overlap"
            )


def cell_weights(table: pd.DataFrame, columns: Columns, scheme: Scheme, clip: float | None) -> dict[str, Any]:
    """Learn one weight per cell, mean one over the rows, within each group as well before clipping.

    Args:
        scheme: "stabilised" P(F | T) / P(F | S, T), "unstabilised" 1 / P(F | S, T), "overlap" (Li & Li 2019), or
            "entropy" (Hainmueller 2012): the most even weights that give every arm the group's share of every level of
            every stratum column. With one such column these are the stabilised ones.
        clip: weights above it are set to it; below one it is the quantile (over rows) to clip at.

    Returns:
        JSON-able: ``columns``; per cell ``keys`` (levels as text), ``rows`` and ``weights``.
    """
    weights = np.empty(len(table))
    _, group = distinct_rows(table, columns.groups)
    for g in range(int(group.max()) + 1):
        at = np.flatnonzero(group == g)
        part = table.iloc[at][list(columns.all)]
        if scheme == "entropy":
            weights[at] = _entropy(part, columns)
            continue
        fitted = fit_propensity(part, columns.treatment, columns.strata)
        arm, given = fitted.codes(part), fitted.cells(part)
        if len(fitted.levels) == 1:
            weights[at] = 1.0
        elif scheme == "overlap":
            own = overlap_weights(arm, given, normalise=False)
            weights[at] = own / own.mean()
        else:
            weights[at] = inverse_probability_weights(arm, given, stabilised=scheme == "stabilised")
    weights = capped(weights, cap_of(weights, clip))
    weights /= weights.mean()
    first, cell = distinct_rows(table, columns.all)
    return {
        "columns": list(columns.all),
        "keys": level_keys(table.iloc[first], columns.all).tolist(),
        "rows": np.bincount(cell).tolist(),
        "weights": weights[first].tolist(),
    }


def _entropy(part: pd.DataFrame, columns: Columns) -> np.ndarray:
    """(rows,) of one group."""
    arm, arms = coded(part, columns.treatment)
    first, stratum = distinct_rows(part, columns.strata)
    shape = (len(first), len(arms))
    by_arm = np.bincount(stratum * shape[1] + arm, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)
    try:
        return np.asarray(entropy_weights(part.iloc[first][list(columns.strata)], by_arm, arms)[stratum, arm])
    except PositivityError as error:
        within = "" if columns.within is None else f" within {columns.within} = {part[columns.within].iloc[0]}"
        raise ContractError(f"entropy balancing{within}: {error}") from error


def cap_of(weights: np.ndarray, clip: float | None) -> float | None:
    """The largest weight that ``clip`` allows; below one it is the quantile of these weights to clip at."""
    return None if clip is None else float(clip if clip >= 1 else np.quantile(weights, clip))


def capped(weights: np.ndarray, cap: float | None) -> np.ndarray:
    return weights if cap is None else np.minimum(weights, cap)


def look_up(cells: dict[str, Any], table: pd.DataFrame, name: str) -> np.ndarray:
    """(rows,) float64 weights of any rows, mean one. A cell that training lacked has no basis for a weight: zero.

    Raises ContractError when a column is missing, or when no row is in a known cell.
    """
    require_columns(name, table, cells["columns"])
    weights = cell_values(cells, table)
    if not weights.any():
        raise ContractError(
            f"{name}: none of these {len(table)} rows is in a cell of {cells['columns']} seen in training"
        )
    return np.asarray(weights / weights.mean(), dtype=np.float64)


def cell_values(cells: dict[str, Any], table: pd.DataFrame) -> np.ndarray:
    """(rows,) weights as learned, zero in a cell that training lacked."""
    first, cell = distinct_rows(table, cells["columns"])
    at = pd.Index(cells["keys"]).get_indexer(pd.Index(level_keys(table.iloc[first], cells["columns"])))
    return np.asarray(np.where(at >= 0, np.asarray(cells["weights"], dtype=np.float64)[at], 0.0)[cell])


def overlap_report(table: pd.DataFrame, columns: Columns, weights: np.ndarray) -> dict[str, Any]:
    """JSON-able: effective sample size (Kish) and its share, smallest propensity, and the thin cells."""
    found = overlap_summary(table, columns.treatment, (*columns.strata, *columns.groups), threshold=THIN)
    ess = effective_sample_size(weights)
    thin = found.thin.astype(dict.fromkeys((*columns.strata, *columns.groups, "arm"), str))
    return {
        "ess": ess,
        "ess_share": ess / len(table),
        "largest_weight": float(weights.max()),
        "min_propensity": found.min_propensity,
        "share_below": found.share_below,
        "threshold": found.threshold,
        "thin_cells": thin.to_dict("records"),
    }


def pooled_balance(table: pd.DataFrame, columns: Columns, weights: np.ndarray, *, overlap: bool) -> pd.DataFrame:
    """Balance of the strata between arms, within each group, averaged over groups by their rows.

    Columns: covariate, level, smd_before, smd_after, pairwise_smd_before, pairwise_smd_after (as
    :func:`structural_models.balance.balance_table`), and ``worst_group``, where smd_after is largest. Groups with one
    arm have nothing to compare and are left out.
    """
    first, group = distinct_rows(table, columns.groups)
    measures = ["smd_before", "smd_after", "pairwise_smd_before", "pairwise_smd_after"]
    parts = []
    for g in range(len(first)):
        at = np.flatnonzero(group == g)
        part = table.iloc[at]
        if part[columns.treatment].nunique() == 1:
            continue
        found = balance_table(
            part, columns.treatment, columns.strata, weights[at], target="weighted" if overlap else "sample"
        )
        name = "" if columns.within is None else str(part[columns.within].iloc[0])
        parts.append(found[["covariate", "level", *measures]].assign(group=name, rows=len(at)))
    long = pd.concat(parts, ignore_index=True)
    records = []
    for (covariate, level), each in long.groupby(["covariate", "level"], sort=True):
        means = {m: float(np.average(each[m], weights=each["rows"])) for m in measures}
        worst = str(each["group"].iloc[int(each["smd_after"].to_numpy().argmax())])
        records.append({"covariate": covariate, "level": level, **means, "worst_group": worst})
    return pd.DataFrame(records)


def level_keys(table: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """(rows,) text of the levels of several columns together; one and the same where there is no column."""
    if not columns:
        return np.full(len(table), "", dtype=object)
    text = [table[column].astype(str).to_numpy(dtype=object) for column in columns]
    return np.array(["\x1f".join(values) for values in zip(*text, strict=True)], dtype=object)
