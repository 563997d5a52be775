"""Ways to spoil an ECG: signals (records, leads, samples) float32 in mV, never modified in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def zeros(signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """No voltage at all."""
    return np.zeros_like(signal)


def flat(signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every lead constant at its own median."""
    return np.repeat(np.median(signal, axis=1, keepdims=True), signal.shape[1], axis=1)


def gaussian(signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """White noise with each lead's mean and standard deviation."""
    return signal.mean(1, keepdims=True) + signal.std(1, keepdims=True) * rng.standard_normal(signal.shape)


def phase_scrambled(signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random phases under the same amplitude spectrum.

    All leads get the same phase increments, so that cross-spectra, and with them II = I + III, survive; the mean and,
    for an even number of samples, the Nyquist component stay as they are.

    Source: Theiler et al. 1992; Prichard & Theiler 1994 for several channels.
    """
    samples = signal.shape[1]
    spectrum = np.fft.rfft(signal.astype(np.float64), axis=1)
    turned = np.exp(2j * np.pi * rng.random(spectrum.shape[1]))
    turned[0] = 1.0
    if samples % 2 == 0:
        turned[-1] = 1.0
    return np.asarray(np.fft.irfft(spectrum * turned, n=samples, axis=1))


def lead_shuffled(signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Leads in a random order in which none stays in its place; a single lead stays."""
    leads = len(signal)
    if leads < 2:
        return signal.copy()
    while True:
        # By rejection: uniform among derangements; e tries on average.
        order = rng.permutation(leads)
        if (order != np.arange(leads)).all():
            return np.asarray(signal[order])


def time_reversed(signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Backwards in time."""
    return np.asarray(signal[:, ::-1])


#: name -> what it does to one record (leads, samples), and one line about it.
SIGNAL_CHANGES: dict[str, tuple[Change, str]] = {
    "zeros": (zeros, "zero voltage in every lead"),
    "flat": (flat, "every lead flat at its own median"),
    "gaussian": (gaussian, "white noise with each lead's mean and standard deviation"),
    "phase_scrambled": (phase_scrambled, "phases scrambled, the same spectrum in every lead"),
    "lead_shuffled": (lead_shuffled, "leads exchanged, none in its place"),
    "time_reversed": (time_reversed, "backwards in time"),
}


def changed_signals(name: str, signals: np.ndarray, seeds: Sequence[Sequence[int]]) -> np.ndarray:
    """(n, leads, samples) float32: every record changed with a generator of its own seed, whatever its neighbours.

    Args:
        name: of :data:`SIGNAL_CHANGES`.
        signals: (n, leads, samples) mV.
        seeds: one sequence of integers per record.
    """
    change, _ = SIGNAL_CHANGES[name]
    made = [change(signal, np.random.default_rng(seed)) for signal, seed in zip(signals, seeds, strict=True)]
    return np.stack(made).astype(np.float32) if made else signals.copy()
