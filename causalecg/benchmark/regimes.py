"""Regimes R0-R9: what is true of a benchmark cohort, apart from how strongly it is confounded."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from causalecg.benchmark import dial
from causalecg.benchmark.law import Law
from causalecg.errors import InputError

#: Where a regime is defined for any rho and none is named.
DEFAULT_RHO = 0.99


@dataclass(frozen=True)
class Regime:
    """A family of laws, one for every rho.

    Attributes:
        name: as on the command line.
        summary: one line.
        dials: (rho, levels) -> p, q and what else the regime sets.
        rho: the only value of rho the regime is defined for, or ``None`` for any in [0.5, 1).
    """

    name: str
    summary: str
    dials: Callable[[float, int], dict[str, Any]]
    rho: float | None = None

    def law(self, rho: float | None = None, **dials: Any) -> Law:
        """The law at this rho (by default the regime's own, else :data:`DEFAULT_RHO`), with dials of
        :class:`Law` set by hand on top.

        Raises InputError for a rho it is not defined for, an unknown dial, or one out of its range.
        """
        rho = self.require_rho(rho)
        known = [f.name for f in fields(Law)]
        for name in dials:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
                raise InputError(f"a law has no dial '{name}'; the nearest is '{near[0]}'")
        levels = dials.get("levels", 2)
        if levels < 2:
            raise InputError(f"severity needs at least 2 levels, not {levels}")
        try:
            own = self.dials(rho, levels)
        except ValueError as error:
            raise InputError(f"regime {self.name}: {error}") from error
        return Law(**{**own, **dials})

    def require_rho(self, rho: float | None) -> float:
        """The rho meant. Raises InputError for one the regime is not defined for."""
        if self.rho is not None:
            if rho not in (None, self.rho):
                raise InputError(f"regime {self.name} is defined for rho = {self.rho} only, not {rho}")
            return self.rho
        if rho is None:
            return DEFAULT_RHO
        if not 0.5 <= rho < 1:
            raise InputError(f"rho must be at least 0.5 and below 1, not {rho}")
        return rho


def _base(rho: float, levels: int) -> dict[str, Any]:
    both = dial.symmetric(rho, levels)
    return {"p": both, "q": both}


def _no_path_through_the_finding(rho: float, levels: int) -> dict[str, Any]:
    return {"p": 0.5, "q": dial.symmetric(rho, levels), "direct": 0.5}


def _three_shortcuts(rho: float, levels: int) -> dict[str, Any]:
    """As much of the sample is left by weights for all three as in R1 by weights for the one."""
    p = dial.symmetric(rho, levels)
    yes = dial.probability_at(p, dial.level_scores(levels))
    share = dial.effective_share(np.stack([1 - yes, yes], axis=1) / levels)
    return {"p": p, "q": dial.jointly_effective(share, 3, levels), "shortcuts": 3}


def _unconfounded(rho: float, levels: int) -> dict[str, Any]:
    return {"p": dial.symmetric(min(DEFAULT_RHO, 0.99 * dial.largest_agreement(levels)), levels), "q": 0.5}


def _with(**more: Any) -> Callable[[float, int], dict[str, Any]]:
    return lambda rho, levels: {**_base(rho, levels), **more}


REGIMES: dict[str, Regime] = {
    regime.name: regime
    for regime in (
        Regime(
            "R0",
            "severity settles half of the answers by itself and does not show in the ECG; wording follows it as in R1",
            _no_path_through_the_finding,
        ),
        Regime(
            "R1", "base: severity drives finding and wording; the ECG shows severity only through the finding", _base
        ),
        Regime("R2", "severity shows in the ECG by itself, with d' = 2", _with(d_prime_severity=2.0)),
        Regime("R3", "the topic truly settles 40 % of the answers", _with(tau=0.4)),
        Regime("R4", "10 % of the severities are recorded wrong", _with(severity_error=0.1)),
        Regime(
            "R5",
            "no overlap: the wording is the severity; not identified unless wording is known not to cause the answer",
            _base,
            rho=1.0,
        ),
        Regime("R6", "three shortcuts, which together leave as much of the sample as R1's one", _three_shortcuts),
        Regime(
            "R7",
            "the wording's style is nuisance and content in one; the content truly settles 40 % of the answers",
            _with(tau=0.4, kappa=0.5),
        ),
        Regime(
            "R8", "no confounding: wording is independent of severity; an adjuster must do no harm", _unconfounded, 0.5
        ),
        Regime(
            "R9",
            "wording settles 20 % of the answers, and for 20 % of the patients severity is not what drives finding and "
            "wording: adjusting for it must be refused",
            _with(style_effect=0.2, hidden=0.2),
        ),
    )
}


def regime(name: str) -> Regime:
    """The regime of this name. Raises InputError for an unknown one."""
    if name not in REGIMES:
        raise InputError(f"unknown regime '{name}'; known are {', '.join(REGIMES)}")
    return REGIMES[name]


def describe() -> dict[str, str]:
    """name -> one line."""
    return {name: found.summary for name, found in REGIMES.items()}
