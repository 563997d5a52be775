"""WFDB records of an ECG source, or arrays, read into 12 leads of one rate and length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from causalecg.cohort.signals import LEADS, clean_record, require_millivolts, to_microvolts
from causalecg.errors import InputError
from causalecg.ordered import in_order

_CHUNK = 250
#: What ends the path of a record that is an array and not in WFDB's format.
ARRAY = ".npy"


@dataclass(frozen=True)
class Waveforms:
    """``signals``: (ecgs, 12, samples) int16 microvolts, ``quality``: flags per ECG; ``skipped``: unreadable ECGs."""

    ecgs: pd.DataFrame
    signals: np.ndarray
    skipped: pd.DataFrame


@contextmanager
def waveforms(
    folder: Path,
    ecgs: pd.DataFrame,
    *,
    scratch: Path,
    rate_hz: float,
    seconds: float,
    processes: int,
    progress: bool,
) -> Iterator[Waveforms]:
    """Read the records of some ECGs into a scratch file, removed at the end.

    At 100 Hz the low-rate record is read, otherwise the high-rate one, resampled; where one is missing, the other.
    A missing or unreadable record is skipped, with a reason, and so is one that cannot be in mV.

    Args:
        folder: what record paths start from.
        ecgs: with ``low`` and ``high``, paths of WFDB records without an ending, or of arrays (:func:`read_array`) that
            need also ``rate_hz`` and ``leads`` (list, by row of the array).
    """
    from tempfile import TemporaryDirectory

    samples = round(rate_hz * seconds)
    scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=scratch, prefix=".waveforms-") as drafts:
        store = np.lib.format.open_memmap(
            Path(drafts) / "all.npy", mode="w+", dtype=np.int16, shape=(max(len(ecgs), 1), len(LEADS), samples)
        )
        order = ("low", "high") if rate_hz <= 100 else ("high", "low")
        records = [
            _Record(
                tuple(str(folder / getattr(row, name)) for name in order),
                float(getattr(row, "rate_hz", np.nan)),
                tuple(getattr(row, "leads", LEADS)),
            )
            for row in ecgs.itertuples()
        ]
        jobs = [(records[a : a + _CHUNK], rate_hz, samples) for a in range(0, len(records), _CHUNK)]
        quality: list[list[str]] = []
        kept: list[int] = []
        skipped = []
        for start, (signals, flags) in zip(
            range(0, len(records), _CHUNK), _read_all(jobs, processes, progress), strict=True
        ):
            for i, found in enumerate(flags):
                if isinstance(found, str):
                    skipped.append(("ecg", ecgs["ecg_id"].iloc[start + i], found))
                    continue
                store[len(kept)] = signals[i]
                kept.append(start + i)
                quality.append(found)
        table = ecgs.iloc[kept].reset_index(drop=True)
        table["quality"] = pd.Series(quality, index=table.index, dtype=object)
        yield Waveforms(table, store[: len(kept)], pd.DataFrame(skipped, columns=["kind", "id", "reason"]))
        del store


class _Record(NamedTuple):
    """``paths``: of one record at several rates; ``rate_hz``, ``leads``: of an array, which does not say."""

    paths: tuple[str, ...]
    rate_hz: float
    leads: tuple[str, ...]


_Job = tuple[list[_Record], float, int]


def _read_all(
    jobs: Sequence[_Job], processes: int, progress: bool
) -> Iterator[tuple[np.ndarray, list[list[str] | str]]]:
    from rich.progress import track

    chunks = in_order(_read_chunk, jobs, processes)
    yield from track(chunks, "reading ECGs", total=len(jobs), disable=not progress)


def _read_chunk(job: _Job) -> tuple[np.ndarray, list[list[str] | str]]:
    records, rate_hz, samples = job
    signals = np.zeros((len(records), len(LEADS), samples), dtype=np.int16)
    flags: list[list[str] | str] = []
    for i, (choices, own_rate, leads) in enumerate(records):
        try:
            if choices[0].endswith(ARRAY):
                record, found = read_array(choices[0], leads, own_rate, rate_hz=rate_hz, samples=samples)
            else:
                record, found = read_record(choices, rate_hz=rate_hz, samples=samples)
            require_millivolts(record)
            signals[i] = to_microvolts(record)
            flags.append(found)
        except InputError as error:
            flags.append(str(error))
    return signals, flags


def read_record(choices: Sequence[str], *, rate_hz: float, samples: int) -> tuple[np.ndarray, list[str]]:
    """(12, samples) mV of the first of some WFDB records that exists, and its quality flags.

    Raises InputError when none exists or it cannot be read.
    """
    import wfdb

    there = [path for path in choices if Path(f"{path}.hea").is_file()]
    if not there:
        raise InputError("missing waveform")
    try:
        record = wfdb.rdrecord(there[0])
        if record.p_signal is None or record.sig_name is None or record.fs is None:
            raise InputError("unreadable waveform: its header has no signals or no sampling rate")
        return clean_record(
            record.p_signal.T,
            record.sig_name,
            rate_hz=float(record.fs),
            to_hz=rate_hz,
            samples=samples,
            units=record.units,
        )
    except InputError:
        raise
    except Exception as error:  # whatever wfdb's parser, or an array of an odd header, stumbles over
        first = (str(error).splitlines() or [""])[0][:80]
        raise InputError(f"unreadable waveform: {type(error).__name__}{first and f': {first}'}") from error


def read_array(
    path: str, leads: Sequence[str], own_rate_hz: float, *, rate_hz: float, samples: int
) -> tuple[np.ndarray, list[str]]:
    """(12, samples) mV of a ``.npy`` file of (leads, n) floating-point mV at ``own_rate_hz``, and its quality flags.

    Raises InputError where it is absent, no such array, or cannot be read.
    """
    if not Path(path).is_file():
        raise InputError("missing waveform")
    try:
        signal = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"unreadable waveform: {str(error).splitlines()[0][:80]}") from error
    if not isinstance(signal, np.ndarray) or signal.ndim != 2 or signal.shape[0] != len(leads):
        shape = signal.shape if isinstance(signal, np.ndarray) else "of an archive"
        raise InputError(
            f"an array of shape {shape} is not ({len(leads)} leads, samples); transpose it, or name its leads"
        )
    if signal.dtype.kind != "f":
        raise InputError(f"an array of {signal.dtype} holds no voltages in mV; divide by the gain")
    return clean_record(signal, leads, rate_hz=own_rate_hz, to_hz=rate_hz, samples=samples)
