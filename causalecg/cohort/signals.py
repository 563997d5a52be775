"""The signal store: 12-lead ECGs in one memory-mapped file, in millivolts, in a fixed lead order.

``signals.npy`` holds (ecgs, 12, samples) int16 in microvolts (1 unit = 1 uV, range +-32.767 mV; lossless for PTB-XL);
``signals.json`` says rate, leads and unit. What the policy had to do to a record is flagged in ``ecgs.quality``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import gcd
from pathlib import Path

import numpy as np

from causalecg.errors import InputError

#: The order of leads everywhere in this package.
LEADS: tuple[str, ...] = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
MICROVOLTS_PER_MILLIVOLT = 1000.0
#: A lead whose range stays below this for a whole record is flat.
FLAT_MILLIVOLT = 0.002
#: Samples that are not numbers are interpolated over so many seconds; a lead with a longer gap is missing.
LONGEST_GAP_SECONDS = 0.2
#: A record of fewer samples per second holds no ECG.
LOWEST_RATE_HZ = 10.0
#: A record with a larger share of its samples (those that are not 0) beyond the range of the store is not in mV. A
#: quarter or more of them are where a record in microvolts is taken for one in mV (600 records of PTB-XL); one lead
#: of twelve that is off throughout is 0.083.
MOST_CLIPPED = 0.1
#: Each limb lead as (coefficient of I, coefficient of II).
_LIMB = {
    "I": (1.0, 0.0),
    "II": (0.0, 1.0),
    "III": (-1.0, 1.0),
    "aVR": (-0.5, -0.5),
    "aVL": (1.0, -0.5),
    "aVF": (-0.5, 1.0),
}
_LIMIT = np.iinfo(np.int16).max
_UNITS = {"mv": 1.0, "uv": 1e-3, "v": 1e3, "nv": 1e-6}
#: Two characters look like the prefix: the micro sign and the Greek letter.
_MICRO = str.maketrans({"\N{MICRO SIGN}": "u", "\N{GREEK SMALL LETTER MU}": "u"})


@dataclass(frozen=True)
class SignalStore:
    """An opened store. ``read`` copies; nothing else touches the file."""

    path: Path
    rate_hz: float
    leads: tuple[str, ...]

    @classmethod
    def open(cls, folder: str | Path) -> SignalStore:
        """Open the store in ``folder``. Raises InputError where it is absent, unreadable, or not as it must be: the
        leads of :data:`LEADS`, int16, and as many samples as ``signals.json`` says."""
        folder = Path(folder)
        try:
            about = json.loads((folder / "signals.json").read_text())
            store = cls(folder / "signals.npy", float(about["rate_hz"]), tuple(about["leads"]))
            shape, dtype = store._map.shape, store._map.dtype
            expected = (int(about.get("samples", shape[-1])), str(about.get("dtype", "int16")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise InputError(f"{folder} holds no readable signal store ({error}); build the cohort again") from error
        if store.leads != LEADS:
            raise InputError(
                f"{folder / 'signals.json'} names the leads {', '.join(map(str, store.leads))}; a store has "
                f"{', '.join(LEADS)}; build the cohort again"
            )
        if dtype != np.int16 or expected[1] != "int16":
            raise InputError(
                f"{store.path} holds {dtype}, and signals.json says {expected[1]}; a store holds int16 microvolts, as "
                "SignalWriter writes them from mV"
            )
        if len(shape) != 3 or shape[1:] != (len(LEADS), expected[0]):
            raise InputError(
                f"{store.path} has the shape {shape}; by signals.json it is (ECGs, {len(LEADS)}, {expected[0]}); build "
                "the cohort again"
            )
        return store

    @cached_property
    def _map(self) -> np.ndarray:
        return np.load(self.path, mmap_mode="r", allow_pickle=False)

    def __len__(self) -> int:
        return int(self._map.shape[0])

    @property
    def samples(self) -> int:
        return int(self._map.shape[2])

    def read(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """(n, 12, samples) float32 in mV, for store rows ``rows`` (int, each >= 0)."""
        return self._map[np.asarray(rows, dtype=np.int64)].astype(np.float32) / np.float32(MICROVOLTS_PER_MILLIVOLT)


class SignalWriter:
    """Fills ``signals.npy`` of a folder row by row, or slice by slice; a context manager.

    Args:
        folder: where to write; must exist.
        count: number of ECGs.
        samples: per lead.
        rate_hz: sampling rate.
    """

    def __init__(self, folder: Path, count: int, samples: int, rate_hz: float) -> None:
        self.folder = folder
        self.map = np.lib.format.open_memmap(
            folder / "signals.npy", mode="w+", dtype=np.int16, shape=(count, len(LEADS), samples)
        )
        about = {"rate_hz": rate_hz, "leads": list(LEADS), "unit": "uV", "dtype": "int16", "samples": samples}
        (folder / "signals.json").write_text(json.dumps(about, indent=2, sort_keys=True) + "\n")

    def __enter__(self) -> SignalWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.map.flush()
        del self.map

    def write(self, rows: int | slice | np.ndarray, millivolts: np.ndarray) -> None:
        """Store (…, 12, samples) in mV; values beyond +-32.767 mV are clipped, NaN becomes 0.

        Raises InputError for another shape, and as :func:`require_millivolts`.
        """
        if np.shape(millivolts)[-2:] != self.map.shape[1:]:
            raise InputError(
                f"ECGs of shape {np.shape(millivolts)} do not fit a store of (leads, samples) = {self.map.shape[1:]}"
            )
        require_millivolts(millivolts)
        self.map[rows] = to_microvolts(millivolts)


def require_millivolts(records: np.ndarray) -> None:
    """InputError where a record of (…, leads, samples) has no number in it, or cannot be in mV: more than
    :data:`MOST_CLIPPED` of its samples that are not 0 lie beyond the range of the store."""
    records = np.asarray(records)
    finite = np.isfinite(records)
    beyond = (np.abs(np.where(finite, records, 0.0)) > _LIMIT / MICROVOLTS_PER_MILLIVOLT).sum((-2, -1))
    shares = beyond / np.maximum((finite & (records != 0)).sum((-2, -1)), 1)
    for place, (share, numbers) in enumerate(zip(np.ravel(shares), np.ravel(finite.any((-2, -1))), strict=True)):
        which = f"record {place} of those given" if shares.ndim else "the record"
        if not numbers:
            raise InputError(f"{which} has no sample that is a number; leave it out")
        if share > MOST_CLIPPED:
            raise InputError(
                f"{which} is not in mV: {share:.0%} of its samples lie beyond +-32.767 mV; are they microvolts?"
            )


def to_microvolts(millivolts: np.ndarray) -> np.ndarray:
    """int16 microvolts; clipped at the ends of the range, NaN to 0."""
    scaled = np.nan_to_num(np.asarray(millivolts, dtype=np.float64) * MICROVOLTS_PER_MILLIVOLT, nan=0.0)
    return np.clip(np.rint(scaled), -_LIMIT, _LIMIT).astype(np.int16)


def resample(signal: np.ndarray, rate_hz: float, to_hz: float) -> np.ndarray:
    """(leads, samples) at another rate, by polyphase filtering; rates are taken to 0.01 Hz."""
    if rate_hz == to_hz:
        return signal
    from scipy.signal import resample_poly

    up, down = round(to_hz * 100), round(rate_hz * 100)
    common = gcd(up, down)
    return np.asarray(resample_poly(signal, up // common, down // common, axis=-1, padtype="line"))


def clean_record(
    signal: np.ndarray,
    names: Sequence[str],
    *,
    rate_hz: float,
    to_hz: float,
    samples: int,
    units: Sequence[str] | None = None,
) -> tuple[np.ndarray, list[str]]:
    """One record by the house's policy: fixed order, length, rate and unit, and what had to be done about it.

    Leads are found by name (any case) and re-ordered; a missing limb lead is derived from two others by Einthoven's
    and Goldberger's equations, any other missing lead is zero. Gaps (NaN or infinite samples) up to
    :data:`LONGEST_GAP_SECONDS` are interpolated; a lead with a longer one counts as missing from the start, so that
    nothing is derived from it. A record too long is cropped at its end, too short is zero-padded there. Flat and
    clipped are said of a lead's own samples: neither padded nor interpolated.

    Args:
        signal: (leads, n) in ``units``.
        names: lead names, one per row.
        rate_hz, to_hz: the record's and the store's sampling rate.
        samples: the store's length per lead.
        units: per lead "mV", "uV", "V" or "nV"; ``None`` = mV.

    Returns:
        (12, samples) float64 in mV and the quality flags, e.g. ``reordered``, ``nan:V2``, ``flat:II``, ``missing:V6``,
        ``derived:III``, ``resampled``, ``cropped``, ``padded``, ``clipped:V1``. A lead given up for its gaps has
        ``nan:`` beside its ``missing:`` or ``derived:``.

    Raises:
        InputError: no known lead, an unknown unit, no samples, a sampling rate no ECG has, or gaps in every lead.
    """
    if not LOWEST_RATE_HZ <= rate_hz < np.inf:
        raise InputError(
            f"a sampling rate of {rate_hz:g} Hz is not an ECG's; give records of {LOWEST_RATE_HZ:g} or more"
        )
    signal = np.array(signal, dtype=np.float64)
    if signal.ndim != 2 or signal.shape[0] != len(names) or signal.shape[1] == 0:
        raise InputError(f"record of shape {signal.shape} does not hold {len(names)} leads with samples")
    if units is not None:
        plain = [str(unit).strip().lower().translate(_MICRO) for unit in units]
        unknown = sorted({str(unit) for unit, name in zip(units, plain, strict=True) if name not in _UNITS})
        if unknown:
            raise InputError(f"unknown voltage unit {', '.join(unknown)}; known are mV, uV, V and nV")
        signal *= np.array([_UNITS[name] for name in plain])[:, None]

    flags: list[str] = []
    at = {name.strip().lower(): row for row, name in enumerate(names)}
    found = [lead for lead in LEADS if lead.lower() in at]
    if not found:
        raise InputError(f"none of the leads {', '.join(names)} is one of {', '.join(LEADS)}")
    if [name.strip().lower() for name in names] != [lead.lower() for lead in LEADS]:
        flags.append("reordered")
    leads: dict[str, np.ndarray] = {}
    window = min(signal.shape[1], int(np.ceil(samples * rate_hz / to_hz)))
    longest = LONGEST_GAP_SECONDS * rate_hz
    own: dict[str, np.ndarray] = {}
    for lead in found:
        values = signal[at[lead.lower()]]
        good = np.isfinite(values)
        if not good.all():
            flags.append(f"nan:{lead}")
        if _longest_run(~good) <= longest and good.any():
            place = np.arange(len(values))
            leads[lead] = np.interp(place, place[good], values[good])
            own[lead] = values[:window][good[:window]]
    if not leads:
        raise InputError(f"every lead has gaps longer than {LONGEST_GAP_SECONDS} s")
    _derive_limb_leads(leads, flags)
    length = signal.shape[1]
    for lead in LEADS:
        if lead not in leads:
            flags.append(f"missing:{lead}")
            leads[lead] = np.zeros(length)
        elif lead not in own:
            own[lead] = leads[lead][:window]
    record = np.stack([leads[lead] for lead in LEADS])
    if rate_hz != to_hz:
        record = resample(record, rate_hz, to_hz)
        flags.append("resampled")
    stored = record[:, :samples]
    if record.shape[1] > samples:
        record = stored
        flags.append("cropped")
    elif record.shape[1] < samples:
        record = np.pad(record, ((0, 0), (0, samples - record.shape[1])))
        flags.append("padded")
    for row, lead in enumerate(LEADS):
        if lead not in own:
            continue
        if own[lead].size and np.ptp(own[lead]) < FLAT_MILLIVOLT:
            flags.append(f"flat:{lead}")
        if np.abs(stored[row]).max() > _LIMIT / MICROVOLTS_PER_MILLIVOLT:
            flags.append(f"clipped:{lead}")
    return record, flags


def _longest_run(bad: np.ndarray) -> int:
    """Length of the longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], bad, [False]]).astype(np.int8)))
    return int(np.max(edges[1::2] - edges[::2], initial=0))


def _derive_limb_leads(leads: dict[str, np.ndarray], flags: list[str]) -> None:
    """Fill missing limb leads from any two others: all six are linear in I and II (Einthoven, Goldberger)."""
    have = [lead for lead in _LIMB if lead in leads]
    if not 2 <= len(have) < len(_LIMB):
        return
    one_two = np.linalg.pinv(np.array([_LIMB[lead] for lead in have])) @ np.stack([leads[lead] for lead in have])
    for lead, form in _LIMB.items():
        if lead not in leads:
            leads[lead] = np.array(form) @ one_two
            flags.append(f"derived:{lead}")
