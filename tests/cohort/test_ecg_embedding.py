from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cohort.ecg_embedding import FEATURES, ecg_embedding, signal_features
from causalecg.cohort.schema import Cohort
from causalecg.errors import InputError


def feature(values: np.ndarray, name: str) -> np.ndarray:
    return values[:, FEATURES.index(name)]


def beats(rate: float, hertz: float = 100.0, seconds: float = 10.0) -> np.ndarray:
    """(12, samples): narrow spikes of 1 mV at an even rate, smaller from lead to lead."""
    times = np.arange(round(hertz * seconds)) / hertz
    since = (times + 0.3) % (60 / rate)
    spikes = np.exp(-0.5 * ((since - 0.2) / 0.02) ** 2)
    return np.linspace(1, 0.3, 12)[:, None] * spikes


@pytest.mark.parametrize("hertz", [100.0, 250.0])
@pytest.mark.parametrize("rate", [40.0, 72.0, 110.0, 150.0])
def test_the_rate_of_even_beats(rate: float, hertz: float) -> None:
    found = signal_features(beats(rate, hertz)[None], hertz)
    # A lag is a whole number of samples.
    assert feature(found, "rate")[0] == pytest.approx(rate, abs=rate**2 / (60 * hertz))
    assert feature(found, "regularity")[0] > 0.8


def test_uneven_beats_are_less_regular() -> None:
    rng = np.random.default_rng(0)
    times = np.arange(1000) / 100
    at = np.cumsum(rng.uniform(0.4, 1.4, 12))
    uneven = np.exp(-0.5 * ((times[:, None] - at) / 0.02) ** 2).sum(axis=1) * np.ones((12, 1))
    both = signal_features(np.stack([beats(72), uneven]), 100)
    even, other = feature(both, "regularity")
    assert other < 0.5 < even


def test_a_sine_has_its_amplitude_slope_and_band() -> None:
    times = np.arange(1000) / 100
    wave = np.zeros((1, 12, 1000))
    wave[0, 3] = 0.5 * np.sin(2 * np.pi * 12 * times)
    found = signal_features(wave, 100)
    assert feature(found, "sd:aVR")[0] == pytest.approx(0.5 / np.sqrt(2), rel=1e-6)
    assert feature(found, "max:aVR")[0] == pytest.approx(0.5, rel=0.02)
    assert feature(found, "min:aVR")[0] == pytest.approx(-0.5, rel=0.02)
    # Mean |slope| of a sine is 4 x amplitude x frequency.
    assert feature(found, "slope:aVR")[0] == pytest.approx(4 * 0.5 * 12, rel=0.05)
    powers = [feature(found, f"power_{band}:aVR")[0] for band in ("0.5_3", "3_8", "8_20", "20_45")]
    assert np.argmax(powers) == 2
    # One-sided spectrum: half of the mean square, 0.25 x 0.5².
    assert np.exp(powers[2]) == pytest.approx(0.25 * 0.25, rel=1e-4)


def test_a_flat_record_is_finite_and_without_a_rate() -> None:
    found = signal_features(np.zeros((2, 12, 500)), 100)
    assert np.isfinite(found).all() and found.shape == (2, len(FEATURES))
    assert (feature(found, "rate") == 0).all() and (feature(found, "regularity") == 0).all()


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    folder = tmp_path_factory.mktemp("embedded") / "c"
    simulate_cohort(folder, items=300, test_items=8, rho=0.9, seed=2, rate_hz=50, seconds=2, progress=False)
    return Cohort.open(folder)


def test_rows_are_in_the_order_asked_for(cohort: Cohort) -> None:
    ids = list(cohort.ecgs["ecg_id"])[:250]
    found = ecg_embedding(cohort, ids)
    assert found.shape == (250, len(FEATURES)) and found.dtype == np.float64
    np.testing.assert_array_equal(ecg_embedding(cohort, ids[::-1]), found[::-1])
    one = signal_features(cohort.signals.read([cohort.ecg_rows[ids[7]]]), cohort.signals.rate_hz)
    np.testing.assert_allclose(found[7], one[0], rtol=1e-12)


def test_embeddings_from_files(cohort: Cohort, tmp_path: Path) -> None:
    ids = list(cohort.ecgs["ecg_id"])
    values = np.random.default_rng(0).standard_normal((len(ids), 3))
    np.save(tmp_path / "a.npy", values)
    shuffled = np.random.default_rng(1).permutation(len(ids))
    keyed = pd.DataFrame(values, columns=["x", "y", "z"]).assign(ecg_id=ids).iloc[shuffled]
    keyed.to_parquet(tmp_path / "b.parquet")
    pd.DataFrame({"ecg_id": ids, "embedding": list(values)}).iloc[shuffled].to_parquet(tmp_path / "c.parquet")
    for name in ("a.npy", "b.parquet", "c.parquet"):
        np.testing.assert_array_equal(ecg_embedding(cohort, ids[5:2:-1], tmp_path / name), values[5:2:-1])


def test_files_that_hold_no_embedding_are_refused(cohort: Cohort, tmp_path: Path) -> None:
    ids = list(cohort.ecgs["ecg_id"])
    np.save(tmp_path / "short.npy", np.zeros((3, 2)))
    np.save(tmp_path / "gaps.npy", np.full((len(ids), 2), np.nan))
    (tmp_path / "broken.npy").write_text("no array")
    (tmp_path / "broken.parquet").write_text("no table")
    (tmp_path / "text.csv").write_text("x")
    table = pd.DataFrame({"ecg_id": ids, "x": 1.0})
    table[1:].to_parquet(tmp_path / "lacks.parquet")
    pd.concat([table, table[:1]]).to_parquet(tmp_path / "twice.parquet")
    table[["x"]].to_parquet(tmp_path / "unkeyed.parquet")
    table.assign(x="a").to_parquet(tmp_path / "words.parquet")
    for name, says in (
        ("short.npy", "one row for each of the cohort's"),
        ("gaps.npy", "not finite numbers"),
        ("broken.npy", "cannot be read as embeddings"),
        ("broken.parquet", "cannot be read as embeddings"),
        ("text.csv", "neither .npy nor .parquet"),
        ("nowhere.npy", "is not a file"),
        ("lacks.parquet", f"lacks 1 of the ECGs that are asked about, e.g. '{ids[0]}'"),
        ("twice.parquet", f"has ECG '{ids[0]}' twice"),
        ("unkeyed.parquet", "needs a column ecg_id"),
        ("words.parquet", "cannot be read as embeddings"),
    ):
        with pytest.raises(InputError, match=says):
            ecg_embedding(cohort, ids, tmp_path / name)
