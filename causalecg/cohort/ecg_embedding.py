"""An ECG as a vector of summaries, without a trained model: what independence tests see of it.

Per lead: standard deviation, maximum and minimum (mV, about the lead's median), mean absolute slope (mV/s), and the
logarithm of the power in four bands (:data:`BANDS_HZ`). Per ECG: heart rate (beats per minute) and how regular it is,
from the autocorrelation of the slopes' size, which peaks at the beats, summed over leads. The features see rate,
rhythm's regularity, voltages, widths and baseline; they do not see intervals such as PR or QT, nor a single beat.
An independence that these features contradict is contradicted; one that they do not is not thereby shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from causalecg.cohort.schema import Cohort
from causalecg.cohort.signals import LEADS
from causalecg.errors import InputError
from causalecg.parquet import read_parquet

#: Baseline and T wave; P and T wave; QRS; fast parts of the QRS and muscle.
BANDS_HZ = ((0.5, 3.0), (3.0, 8.0), (8.0, 20.0), (20.0, 45.0))
#: Rates that are looked for, beats per minute.
RATES = (30.0, 200.0)
_PER_LEAD = ("sd", "max", "min", "slope", *(f"power_{low:g}_{high:g}" for low, high in BANDS_HZ))
FEATURES: tuple[str, ...] = (*(f"{name}:{lead}" for name in _PER_LEAD for lead in LEADS), "rate", "regularity")
#: mV squared: added to powers, so that a flat lead has a logarithm.
_FLOOR = 1e-8
_AT_ONCE = 200


def signal_features(signals: np.ndarray, rate_hz: float) -> np.ndarray:
    """(ecgs, features) float64, in the order of :data:`FEATURES`, of (ecgs, 12, samples) in mV."""
    x = np.asarray(signals, dtype=np.float64)
    x = x - np.median(x, axis=-1, keepdims=True)
    slope = np.abs(np.diff(x, axis=-1)) * rate_hz
    power = np.abs(np.fft.rfft(x, axis=-1)) ** 2 / x.shape[-1] ** 2
    hertz = np.fft.rfftfreq(x.shape[-1], 1 / rate_hz)
    bands = [np.log(power[..., (hertz >= low) & (hertz < high)].sum(axis=-1) + _FLOOR) for low, high in BANDS_HZ]
    per_lead = [x.std(axis=-1), x.max(axis=-1), x.min(axis=-1), slope.mean(axis=-1), *bands]
    return np.hstack([*per_lead, _rate_and_regularity(slope.sum(axis=1), rate_hz)])


def _rate_and_regularity(size: np.ndarray, rate_hz: float) -> np.ndarray:
    """(ecgs, 2): the rate whose period the series repeats best, and the autocorrelation there; 0 for a flat record."""
    centred = size - size.mean(axis=-1, keepdims=True)
    samples = size.shape[-1]
    spectrum = np.abs(np.fft.rfft(centred, 2 * samples, axis=-1)) ** 2
    # Divided by the number of pairs at each lag, so that long periods are not held back.
    correlation = np.fft.irfft(spectrum, axis=-1)[:, :samples] / np.arange(samples, 0, -1)
    slowest, fastest = (60 * rate_hz / rate for rate in RATES)
    shortest, longest = max(1, round(fastest)), min(round(slowest), samples - 1)
    if longest < shortest:
        return np.zeros((len(size), 2))
    lags = np.arange(shortest, longest + 1)
    found = correlation[:, lags]
    # A multiple of the period repeats as well: the shortest lag that is nearly as good as the best, and better than
    # its neighbours, is the beat.
    padded = np.pad(found, ((0, 0), (1, 1)), constant_values=-np.inf)
    peak = (found >= padded[:, :-2]) & (found >= padded[:, 2:])
    lag = (peak & (found >= 0.9 * found.max(axis=1, keepdims=True))).argmax(axis=1)
    variance = correlation[:, 0]
    flat = variance <= 0
    at = found[np.arange(len(found)), lag]
    regularity = np.divide(at, variance, out=np.zeros_like(at), where=~flat)
    return np.stack([np.where(flat, 0.0, 60 * rate_hz / lags[lag]), regularity], axis=1)


def ecg_embedding(
    cohort: Cohort, ecg_ids: Sequence[str], file: str | Path | None = None, *, progress: bool = False
) -> np.ndarray:
    """(ecgs, dim) float64, a row per id in the order given.

    Args:
        file: of embeddings, instead of :data:`FEATURES`: .npy (ecgs of the cohort, dim), rows in the order of
            ecgs.parquet; or .parquet with a column ``ecg_id`` and numeric columns, or a column of lists of numbers.

    Raises InputError for a file that is missing, of another kind or shape, or without one of the ECGs.
    """
    rows = np.array([cohort.ecg_rows[ecg_id] for ecg_id in ecg_ids], dtype=np.int64)
    if file is not None:
        return _checked(Path(file), _from_file(Path(file), cohort, ecg_ids, rows))
    from rich.console import Console
    from rich.progress import track

    parts = np.split(rows, range(_AT_ONCE, len(rows), _AT_ONCE))
    shown = track(parts, "summarising ECGs", console=Console(stderr=True), disable=not progress, transient=True)
    return np.vstack([signal_features(cohort.signals.read(part), cohort.signals.rate_hz) for part in shown])


def _from_file(file: Path, cohort: Cohort, ecg_ids: Sequence[str], rows: np.ndarray) -> np.ndarray:
    if not file.is_file():
        raise InputError(f"{file} is not a file; give embeddings as .npy or .parquet")
    try:
        if file.suffix == ".npy":
            values = np.load(file, allow_pickle=False)
            if values.ndim != 2 or len(values) != len(cohort.ecgs):
                raise InputError(
                    f"{file} has shape {values.shape}; it must have one row for each of the cohort's "
                    f"{len(cohort.ecgs)} ECGs, in their order"
                )
            return np.asarray(values[rows])
        if file.suffix != ".parquet":
            raise InputError(f"{file} is neither .npy nor .parquet; save the embeddings as one of these")
        return _from_table(file, read_parquet(file), ecg_ids)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read as embeddings: {str(error).splitlines()[0]}") from error


def _from_table(file: Path, table: pd.DataFrame, ecg_ids: Sequence[str]) -> np.ndarray:
    if "ecg_id" not in table.columns or table.shape[1] < 2:
        raise InputError(f"{file} needs a column ecg_id and the embedding beside it")
    table = table.assign(ecg_id=table["ecg_id"].astype(str)).set_index("ecg_id")
    if table.index.has_duplicates:
        raise InputError(f"{file} has ECG '{table.index[table.index.duplicated()][0]}' twice; keep one row of it")
    missing = [ecg_id for ecg_id in ecg_ids if ecg_id not in table.index]
    if missing:
        raise InputError(f"{file} lacks {len(missing)} of the ECGs that are asked about, e.g. '{missing[0]}'")
    found = table.loc[list(ecg_ids)]
    if found.shape[1] == 1 and pd.api.types.is_object_dtype(found.iloc[:, 0]):
        return np.stack([np.asarray(values, dtype=np.float64) for values in found.iloc[:, 0]])
    return found.to_numpy(dtype=np.float64)


def _checked(file: Path, values: np.ndarray) -> np.ndarray:
    if not np.issubdtype(values.dtype, np.number) or not np.isfinite(values).all():
        raise InputError(f"{file} holds embeddings that are not finite numbers; repair or drop these ECGs")
    return np.asarray(values, dtype=np.float64)
