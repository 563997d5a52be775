"""Regimes: what is true of a simulated cohort, apart from how strongly it is confounded."""

from __future__ import annotations

from dataclasses import dataclass

from causalecg.errors import InputError


@dataclass(frozen=True)
class Regime:
    """A law of (S, D, F, A).

    Attributes:
        name: as on the command line.
        summary: one line.
        rho: the only value of rho the regime is defined for, or ``None`` for any in [0.5, 1).
    """

    name: str
    summary: str
    rho: float | None = None


REGIMES: dict[str, Regime] = {
    regime.name: regime
    for regime in (
        Regime("R1", "base: severity drives finding and wording; the ECG shows severity only through the finding"),
        Regime("R8", "no confounding: wording is independent of severity; an adjuster must do no harm", rho=0.5),
    )
}


def regime(name: str, rho: float) -> Regime:
    """The regime of this name. Raises InputError for an unknown one, or a rho it is not defined for."""
    if name not in REGIMES:
        raise InputError(f"unknown regime '{name}'; known are {', '.join(REGIMES)}")
    found = REGIMES[name]
    if found.rho is not None and rho != found.rho:
        raise InputError(f"regime {name} is defined for rho = {found.rho} only, not {rho}")
    if not 0.5 <= rho < 1:
        raise InputError(f"rho must be at least 0.5 and below 1, not {rho}")
    return found


def describe() -> dict[str, str]:
    """name -> one line."""
    return {name: found.summary for name, found in REGIMES.items()}
