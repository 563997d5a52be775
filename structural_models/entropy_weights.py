"""Weights, as near to equal as can be, under which every arm has the covariate means of the whole sample."""

from __future__ import annotations

import numpy as np
import pandas as pd

from structural_models.design import Design
from structural_models.errors import PositivityError
from structural_models.tabulation import Levels

#: Largest gap between an arm's weighted covariate means (standardised) and the sample's.
_BALANCED = 1e-8
_STEPS = 100
#: Newton's method is quadratic at the optimum: so many more steps reach the precision of the numbers.
_POLISHING = 3


def entropy_weights(strata: pd.DataFrame, by_arm: np.ndarray, arms: Levels) -> np.ndarray:
    """Entropy balancing: in every arm exp(b . c(x)), b such that the weighted mean of c is that of all rows.

    Args:
        strata: distinct rows of the covariates. Float columns enter as they are, of the others an indicator of every
            level; main effects.
        by_arm: (strata, arms) how many rows there are of each.
        arms: the arms, for the error.

    Returns:
        (strata, arms) float64, of mean one over the rows of each arm, zero where there is no row.

    Raises PositivityError where no weights balance an arm: its rows do not reach around the mean of all.

    Source: Hainmueller 2012, eq. 3 to 8.
    """
    centred = centred_covariates(strata, by_arm.sum(axis=1))
    out = np.zeros(by_arm.shape)
    for arm in range(by_arm.shape[1]):
        there = np.flatnonzero(by_arm[:, arm] > 0)
        if not len(there):
            continue
        weight = _balanced(centred[there], by_arm[there, arm])
        if weight is None:
            raise PositivityError(
                f"no weights give {arms.column} = {arms.values[arm]} the covariates of the whole sample; "
                "merge levels, or leave that arm out"
            )
        out[there, arm] = weight
    return out


def centred_covariates(strata: pd.DataFrame, size: np.ndarray) -> np.ndarray:
    """(strata, features) covariates less their mean over all rows, of which each stratum holds ``size``."""
    there = size > 0
    c = np.zeros((len(strata), 0))
    if strata.shape[1]:
        c = Design.of(strata, size).matrix(strata)
    return np.asarray(c - (size[there] @ c[there]) / size.sum())


def _balanced(c: np.ndarray, size: np.ndarray) -> np.ndarray | None:
    """(strata,) weights by Newton's method on the convex dual log sum n exp(c . b); None where it has no minimum."""
    b = np.zeros(c.shape[1])
    share = size / size.sum()

    def dual(at: np.ndarray) -> tuple[float, np.ndarray]:
        score = c @ at
        top = float(score.max())
        mass = share * np.exp(score - top)
        return top + float(np.log(mass.sum())), mass / mass.sum()

    def newton(mass: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        left = c - gradient
        return np.asarray(np.linalg.lstsq((left * mass[:, None]).T @ left, gradient, rcond=None)[0])

    value, mass = dual(b)
    for _ in range(_STEPS):
        gradient = mass @ c
        if np.abs(gradient).max(initial=0.0) < _BALANCED:
            break
        step = newton(mass, gradient)
        length, slope = 1.0, float(gradient @ step)
        # Armijo: shorten until the dual falls.
        while length > 1e-10:
            tried, mass_tried = dual(b - length * step)
            if tried <= value - 1e-4 * length * slope:
                break
            length /= 2
        else:
            return None
        b, value, mass = b - length * step, tried, mass_tried
    else:
        return None
    for _ in range(_POLISHING):
        # Here the dual is flat to its last digit, so that the gradient says which of two points is the better.
        b_tried = b - newton(mass, mass @ c)
        tried_mass = dual(b_tried)[1]
        if np.abs(tried_mass @ c).max(initial=0.0) >= np.abs(mass @ c).max(initial=0.0):
            break
        b, mass = b_tried, tried_mass
    return np.asarray(mass / share)
