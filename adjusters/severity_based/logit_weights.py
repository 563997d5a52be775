"""Weights by a multinomial logit of the treatment: main effects of the strata and of the group.

Where cells are few in rows, or what is adjusted for is a quantity, cell shares are no propensities. The logit borrows
strength across groups, and balances what its main effects name, not every combination.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from adjusters.contract import ContractError
from adjusters.severity_based.cells import Columns, Scheme, cap_of, capped, level_keys
from structural_models.design import Design
from structural_models.errors import PositivityError
from structural_models.multinomial import Multinomial
from structural_models.propensity import ArmProbabilities
from structural_models.tabulation import Levels, coded, distinct_rows, is_quantity
from structural_models.weights import inverse_probability_weights, overlap_weights


def learn_logit_weights(table: pd.DataFrame, columns: Columns, scheme: Scheme, clip: float | None) -> dict[str, Any]:
    """Learn P(F | S, T) by logit, P(F | T) by shares, and what makes weights of mean one.

    Args:
        scheme: all but "entropy"; ``clip`` as for :func:`.cells.cell_weights`.

    Returns:
        JSON-able, for :func:`logit_weights`.

    Raises ContractError where some arm is (almost) determined by the covariates.
    """
    covariates = [*columns.strata, *columns.groups]
    arm, arms = coded(table, columns.treatment)
    first, row = distinct_rows(table, covariates)
    counts = np.bincount(row * len(arms) + arm, minlength=len(first) * len(arms)).reshape(len(first), len(arms))
    points = table.iloc[first][covariates]
    try:
        design = Design.of(points, counts.sum(axis=1))
        fitted = Multinomial.fit(design.matrix(points), counts, f"propensity of '{columns.treatment}'")
    except PositivityError as error:
        raise ContractError(str(error)) from error
    at, group = distinct_rows(table, columns.groups)
    share = np.bincount(group * len(arms) + arm, minlength=len(at) * len(arms)).reshape(len(at), len(arms))
    learned: dict[str, Any] = {
        "strata": list(columns.strata),
        "groups": list(columns.groups),
        "treatment": columns.treatment,
        "scheme": scheme,
        "arms": arms.values.tolist(),
        "design": design.to_dict(),
        "logit": fitted.to_dict(),
        "group_keys": level_keys(table.iloc[at], columns.groups).tolist(),
        "shares": (share / share.sum(axis=1, keepdims=True)).tolist(),
        "scale": [1.0] * len(at),
    }
    raw = _raw(learned, table)
    if scheme != "stabilised":
        learned["scale"] = (np.bincount(group, raw) / np.bincount(group)).tolist()
        raw = _raw(learned, table)
    learned["cap"] = cap_of(raw, clip)
    learned["mean"] = float(capped(raw, learned["cap"]).mean())
    return learned


def logit_weights(learned: dict[str, Any], table: pd.DataFrame) -> np.ndarray:
    """(rows,) weights of mean one over the rows they were learned from; zero for a level, group or arm not among them.

    Raises ContractError where a quantity is unknown.
    """
    return capped(_raw(learned, table), learned["cap"]) / learned["mean"]


def _raw(learned: dict[str, Any], table: pd.DataFrame) -> np.ndarray:
    """Before clipping, of mean one within each group unless stabilised; zero for what was not learned from."""
    design = Design.from_dict(learned["design"])
    arms = Levels(learned["treatment"], np.asarray(learned["arms"]))
    known = np.ones(len(table), dtype=bool)
    for levels in (*design.levels, arms):
        known &= table[levels.column].isin(list(levels.values)).to_numpy()
    for name, _, _ in design.quantities:
        if not is_quantity(table, name):
            raise ContractError(f"column '{name}' was a quantity in training and holds {table[name].dtype} here")
    group = pd.Index(learned["group_keys"]).get_indexer(pd.Index(level_keys(table, learned["groups"])))
    shares = np.asarray(learned["shares"])
    known &= group >= 0
    known[known] = shares[group[known], arms.codes(table[known])] > 0
    out = np.zeros(len(table))
    if not known.any():
        return out
    part, group = table[known], group[known]
    first, row = distinct_rows(part, [*learned["strata"], *learned["groups"]])
    logit = Multinomial.from_dict(learned["logit"])
    given = ArmProbabilities(logit.probabilities(design.matrix(part.iloc[first])), row)
    code, scheme = arms.codes(part), learned["scheme"]
    if scheme == "overlap":
        weights = overlap_weights(code, given, normalise=False)
    elif scheme == "stabilised":
        numerator = ArmProbabilities(shares, group)
        weights = inverse_probability_weights(code, given, numerator=numerator, normalise=False)
    else:
        weights = inverse_probability_weights(code, given, stabilised=False, normalise=False)
    out[known] = weights / np.asarray(learned["scale"])[group]
    return out
