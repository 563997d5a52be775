"""PTB-XL: the official tables and its WFDB records.

Source: Wagner et al., PTB-XL, a large publicly available electrocardiography dataset, Sci Data 2020 (v1.0.3).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from causalecg.cohort.severity import Statements
from causalecg.cohort.signals import LEADS, clean_record, to_microvolts
from causalecg.cohort.tables import read_rows
from causalecg.errors import InputError

NEEDED = ("ecg_id", "patient_id", "age", "sex", "scp_codes", "strat_fold", "filename_lr", "filename_hr")
#: PTB-XL writes 300 for an age above 89, which is read as 90; a few rows have their true age of 90 to 95 instead.
TOP_CODED_AGE, OLDEST = 300.0, 90.0
_SEX = {0: "male", 1: "female"}
_CHUNK = 250
#: What a cell that is not what it should be can raise, on its way through a literal and a number.
_MALFORMED = (ValueError, SyntaxError, TypeError, OverflowError, RecursionError, MemoryError)


@dataclass(frozen=True)
class PtbXL:
    """``ecgs``: columns of the cohort schema, with fold, low and high (record paths); ``statements``; ``skipped``.

    ``with_likelihoods``: ecg_ids of the original rows; of the others only the set of SCP codes is known, every
    likelihood being 0 and every column that is not needed empty.
    """

    folder: Path
    ecgs: pd.DataFrame
    statements: Statements
    skipped: pd.DataFrame
    with_likelihoods: frozenset[str]


def read_ptbxl(folder: str | Path) -> PtbXL:
    """Read ``ptbxl_database.csv`` and ``scp_statements.csv``.

    Malformed rows and repeated ids are skipped, with a reason. Raises InputError where a file or column is missing, or
    no row of a file is left.
    """
    folder = Path(folder)
    for name in ("ptbxl_database.csv", "scp_statements.csv"):
        if not (folder / name).is_file():
            raise InputError(f"{folder} holds no {name}; give the folder of PTB-XL v1.0.3")
    table = read_rows(folder / "ptbxl_database.csv", NEEDED)
    rows, seen, original = [], set(), set()
    skipped = [("ecg", f"line {line}", f"malformed row {line}: {reason}") for line, reason in table.bad]
    for line, record in table.good:
        name = record["ecg_id"].strip() or f"line {line}"
        try:
            row, has_likelihoods = _ecg(record)
            if row["ecg_id"] in seen:
                raise ValueError("ecg_id occurs twice")
        except _MALFORMED as error:
            skipped.append(("ecg", name, f"malformed row {line}: {error}"))
            continue
        seen.add(row["ecg_id"])
        rows.append(row)
        if has_likelihoods:
            original.add(str(row["ecg_id"]))
    if not rows:
        raise InputError(f"{folder / 'ptbxl_database.csv'} has no usable row: {skipped[0][2] if skipped else 'empty'}")
    statements = _statements(folder / "scp_statements.csv", skipped)
    return PtbXL(
        folder,
        pd.DataFrame(rows),
        statements,
        pd.DataFrame(skipped, columns=["kind", "id", "reason"]),
        frozenset(original),
    )


def _statements(path: Path, skipped: list[tuple[str, str, str]]) -> Statements:
    table = read_rows(path, ("", "description", "rhythm"))
    skipped += [("statement", f"{path.name} line {line}", f"malformed: {reason}") for line, reason in table.bad]
    found = pd.DataFrame([row for _, row in table.good if row[""].strip()])
    if found.empty:
        raise InputError(f"{path} has no usable row; put the original file in its place")
    found = found.set_index("").replace("", None)
    return Statements.of(found.assign(rhythm=pd.to_numeric(found["rhythm"], errors="coerce")))


def _ecg(record: dict[str, str]) -> tuple[dict[str, object], bool]:
    """A row of the cohort's ECG table, and whether it is an original one, with likelihoods or other columns."""
    codes = ast.literal_eval(record["scp_codes"])
    if not isinstance(codes, dict):
        raise ValueError("scp_codes is not a dictionary")
    original = any(float(value) > 0 for value in codes.values()) or any(
        text.strip() for name, text in record.items() if name not in NEEDED
    )
    age = float(record["age"]) if record["age"] else float("nan")
    if np.isinf(age) or age < 0:
        raise ValueError(f"age is {age}")
    sex = _SEX.get(int(float(record["sex"])), "unknown") if record["sex"] else "unknown"
    row = {
        "ecg_id": str(int(float(record["ecg_id"]))),
        "patient_id": str(int(float(record["patient_id"]))),
        "age": OLDEST if age == TOP_CODED_AGE else age,
        "sex": sex,
        "labels": sorted(map(str, codes)),
        "source": "PTB-XL",
        "fold": int(float(record["strat_fold"])),
        "low": record["filename_lr"],
        "high": record["filename_hr"],
    }
    return row, original


@dataclass(frozen=True)
class Waveforms:
    """``signals``: (ecgs, 12, samples) int16 microvolts, ``quality``: flags per ECG; ``skipped``: unreadable ECGs."""

    ecgs: pd.DataFrame
    signals: np.ndarray
    skipped: pd.DataFrame


@contextmanager
def waveforms(
    source: PtbXL, ecgs: pd.DataFrame, *, scratch: Path, rate_hz: float, seconds: float, processes: int, progress: bool
) -> Iterator[Waveforms]:
    """Read the records of some ECGs into a scratch file, removed at the end.

    At 100 Hz the low-rate record is read, otherwise the high-rate one, resampled; where one is missing, the other.
    A missing or unreadable record is skipped, with a reason.
    """
    from tempfile import TemporaryDirectory

    samples = round(rate_hz * seconds)
    scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=scratch, prefix=".waveforms-") as folder:
        store = np.lib.format.open_memmap(
            Path(folder) / "all.npy", mode="w+", dtype=np.int16, shape=(max(len(ecgs), 1), len(LEADS), samples)
        )
        order = ("low", "high") if rate_hz <= 100 else ("high", "low")
        paths = [tuple(str(source.folder / getattr(row, name)) for name in order) for row in ecgs.itertuples()]
        jobs = [(paths[a : a + _CHUNK], rate_hz, samples) for a in range(0, len(paths), _CHUNK)]
        quality: list[list[str]] = []
        kept: list[int] = []
        skipped = []
        for start, (signals, flags) in zip(
            range(0, len(paths), _CHUNK), _read_all(jobs, processes, progress), strict=True
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


_Job = tuple[list[tuple[str, ...]], float, int]


def _read_all(
    jobs: Sequence[_Job], processes: int, progress: bool
) -> Iterator[tuple[np.ndarray, list[list[str] | str]]]:
    from rich.progress import track

    if processes == 1:
        yield from track(map(_read_chunk, jobs), "reading ECGs", total=len(jobs), disable=not progress)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from track(pool.map(_read_chunk, jobs), "reading ECGs", total=len(jobs), disable=not progress)


def _read_chunk(job: _Job) -> tuple[np.ndarray, list[list[str] | str]]:
    paths, rate_hz, samples = job
    signals = np.zeros((len(paths), len(LEADS), samples), dtype=np.int16)
    flags: list[list[str] | str] = []
    for i, choices in enumerate(paths):
        try:
            record, found = read_record(choices, rate_hz=rate_hz, samples=samples)
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
