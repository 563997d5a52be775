from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from causalecg.audits.signal_changes import SIGNAL_CHANGES, changed_signals, lead_shuffled


@pytest.fixture
def signals() -> np.ndarray:
    rng = np.random.default_rng(0)
    made = np.cumsum(rng.standard_normal((4, 12, 501)), axis=2).astype(np.float32) / 20
    made[:, 2] = made[:, 1] - made[:, 0]  # III = II - I
    return made


def seeds(n: int) -> list[list[int]]:
    return [[7, i, 0] for i in range(n)]


@pytest.mark.parametrize("name", list(SIGNAL_CHANGES))
def test_what_an_ecg_becomes_depends_on_its_own_seed_alone(signals, name: str) -> None:
    before = signals.copy()
    together = changed_signals(name, signals, seeds(4))
    alone = changed_signals(name, signals[2:3], seeds(4)[2:3])
    assert together.dtype == np.float32 and together.shape == signals.shape
    assert np.isfinite(together).all()
    assert (together[2] == alone[0]).all()
    assert (signals == before).all()
    assert not np.allclose(together, signals, atol=1e-3)


@pytest.mark.parametrize("samples", [500, 501])
def test_scrambled_phases_keep_every_spectrum_and_einthovens_law(signals, samples: int) -> None:
    x = signals[..., :samples].astype(np.float64)
    y = changed_signals("phase_scrambled", x.astype(np.float32), seeds(4)).astype(np.float64)
    one, other = np.fft.rfft(x, axis=2), np.fft.rfft(y, axis=2)
    assert np.abs(np.abs(one) - np.abs(other)).max() < 1e-5 * np.abs(one).max()
    cross = [f[:, 0] * np.conj(f[:, 5]) for f in (one, other)]
    assert np.abs(cross[0] - cross[1]).max() < 1e-5 * np.abs(cross[0]).max()
    assert np.abs(y[:, 2] - (y[:, 1] - y[:, 0])).max() < 1e-4


def test_noise_has_each_leads_mean_and_spread(signals) -> None:
    y = changed_signals("gaussian", signals, seeds(4))
    error = signals.std(2) / np.sqrt(signals.shape[2])
    assert (np.abs(y.mean(2) - signals.mean(2)) < 4.5 * error).all()
    assert (np.abs(y.std(2) / signals.std(2) - 1) < 4.5 / np.sqrt(2 * signals.shape[2])).all()


def test_flat_zero_and_reversed(signals) -> None:
    assert (changed_signals("zeros", signals, seeds(4)) == 0).all()
    flat = changed_signals("flat", signals, seeds(4))
    assert np.allclose(flat, np.median(signals, axis=2, keepdims=True))
    assert (changed_signals("time_reversed", signals, seeds(4)) == signals[..., ::-1]).all()


def test_derangements_are_uniform() -> None:
    x = np.arange(4)[:, None].astype(np.float32)
    rng = np.random.default_rng(0)
    counts: dict[tuple[float, ...], int] = {}
    for _ in range(4500):
        order = tuple(lead_shuffled(x, rng)[:, 0])
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 9  # derangements of four
    assert all(order[i] != i for order in counts for i in range(4))
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3
