"""What form of ECGs a model has learned from: nothing in an array tells its sampling rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from causalecg.errors import InputError


class Signals(Protocol):
    """ECGs of one form, as a cohort has them."""

    @property
    def rate_hz(self) -> float: ...
    @property
    def samples(self) -> int: ...
    @property
    def leads(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class ECGFormat:
    """Leads, samples per lead and sampling rate (Hz) of an ECG; ``None`` is what is not known."""

    leads: int | None = None
    samples: int | None = None
    rate_hz: float | None = None

    @classmethod
    def of(cls, signals: Signals) -> ECGFormat:
        return cls(len(signals.leads), int(signals.samples), float(signals.rate_hz))

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> ECGFormat:
        """From what a saved model or a run says; earlier versions said less."""
        return cls(*(record.get(key) for key in ("leads", "samples", "rate_hz")))

    def record(self) -> dict[str, Any]:
        """What is known, for JSON."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    def require(self, given: ECGFormat, who: str, whose: str) -> None:
        """InputError where ECGs given to a model differ from those that it learned from, as far as both are known."""
        if any(given.record().get(key, value) != value for key, value in self.record().items()):
            raise InputError(
                f"{who} learned from ECGs of {self}, and those of {whose} have {given}; make a cohort of the same rate "
                "and length, or name another model"
            )

    def __str__(self) -> str:
        parts = [f"{n} {what}" for n, what in ((self.leads, "leads"), (self.samples, "samples")) if n is not None]
        rate = "" if self.rate_hz is None else f" at {self.rate_hz:g} Hz"
        return " and ".join(parts) + rate


def require_known_format(model: object, signals: Signals, whose: str) -> None:
    """InputError where a model says that it learned from ECGs of another form (its ``ecg_format``)."""
    known = getattr(model, "ecg_format", None)
    if isinstance(known, ECGFormat):
        known.require(ECGFormat.of(signals), "the model", whose)
