from __future__ import annotations

import numpy as np
import pytest

from causalecg.cohort.signals import LEADS
from causalecg.cohort.simulate import FINDINGS, beat_times, draw_parameters, render

AT = {lead: row for row, lead in enumerate(LEADS)}
RATE = 500.0


def drawn(finding: str | None, n: int = 40, seed: int = 0):
    given = {} if finding is None else {finding: np.ones(n, dtype=bool)}
    return draw_parameters(np.random.default_rng(seed), n, given)


def averaged(finding: str | None, n: int = 40) -> tuple[np.ndarray, np.ndarray, object]:
    """(n, 12, samples) mean sinus beat of clean records relative to the PR segment, its time axis (s after R), truth."""
    truth = drawn(finding, n)
    signal = render(truth, np.random.default_rng(1), rate_hz=RATE, clean=True).astype(np.float64)
    times, premature = beat_times(truth, np.random.default_rng(1), 10.0)
    span = np.arange(-200, 300)
    beats = np.empty((n, 12, len(span)))
    for i in range(n):
        kept = times[i][np.isfinite(times[i]) & ~premature[i]]
        kept = kept[(kept > 0.6) & (kept < 9.2)]
        beats[i] = np.mean([signal[i][:, round(float(b) * RATE) + span] for b in kept], axis=0)
        level = (span / RATE > -0.42 * truth.qrs[i] - 0.035) & (span / RATE < -0.42 * truth.qrs[i] - 0.02)
        beats[i] -= beats[i][:, level].mean(1, keepdims=True)
    return beats, span / RATE, truth


def st_level(finding: str | None, lead: str) -> np.ndarray:
    """mV at J + 60 ms."""
    beats, time, truth = averaged(finding)
    at = np.argmin(np.abs(time[None] - (0.58 * truth.qrs + 0.06)[:, None]), axis=1)
    return beats[np.arange(len(beats)), AT[lead], at]


def test_einthoven_and_goldberger_hold_exactly() -> None:
    signal = render(drawn("baseline wander"), np.random.default_rng(0)).astype(np.float64)
    one, two, three, avr, avl, avf = (signal[:, AT[lead]] for lead in LEADS[:6])
    # float32 of millivolts: rounding only.
    for left, right in ((one + three, two), (avr, -(one + two) / 2), (avl, one - two / 2), (avf, two - one / 2)):
        assert np.abs(left - right).max() < 5e-7


def test_same_seed_same_bytes_and_another_seed_another_record() -> None:
    first, second, other = (
        render(drawn(None), np.random.default_rng(seed), rate_hz=100).tobytes() for seed in (3, 3, 4)
    )
    assert first == second != other


@pytest.mark.parametrize("rate_hz", [100.0, 500.0])
def test_shape_type_and_size(rate_hz: float) -> None:
    signal = render(drawn(None, 5), np.random.default_rng(0), rate_hz=rate_hz, seconds=4)
    assert signal.shape == (5, 12, 4 * rate_hz) and signal.dtype == np.float32
    assert 0.5 < np.abs(signal).max() < 5.0  # mV


def test_heart_rate_is_read_back_by_another_detector() -> None:
    """wfdb's XQRS on lead II: the mean interval within 3 % of the truth of that very record."""
    from wfdb.processing import XQRS

    truth = drawn(None, 6)
    signal = render(truth, np.random.default_rng(1), rate_hz=RATE)
    times, _ = beat_times(truth, np.random.default_rng(1), 10.0)
    for i in range(6):
        detector = XQRS(sig=signal[i, AT["II"]].astype(np.float64), fs=RATE)
        detector.detect(verbose=False)
        beats = times[i][np.isfinite(times[i])]
        assert np.diff(detector.qrs_inds).mean() / RATE == pytest.approx(np.diff(beats).mean(), rel=0.03)


def test_fibrillation_is_irregular_and_without_p_waves() -> None:
    def irregularity(finding: str | None) -> np.ndarray:
        times, _ = beat_times(drawn(finding), np.random.default_rng(1), 10.0)
        gaps = [np.diff(row[np.isfinite(row)]) for row in times]
        return np.array([g.std() / g.mean() for g in gaps])

    def p_wave(finding: str | None) -> np.ndarray:
        beats, time, truth = averaged(finding)
        before = [
            (time > -0.42 * q - p + 0.02) & (time < -0.42 * q - 0.05) for q, p in zip(truth.qrs, truth.pr, strict=True)
        ]
        return np.array([beats[i, AT["II"], rows].max() for i, rows in enumerate(before)])

    assert np.median(irregularity("atrial fibrillation")) > 3 * np.median(irregularity(None))
    assert np.median(p_wave("atrial fibrillation")) < 0.5 * np.median(p_wave(None))


@pytest.mark.parametrize(
    ("finding", "lead", "low", "high"),
    [
        ("inferior ST elevation", "II", 0.10, 0.60), ("inferior ST elevation", "aVL", -0.50, -0.05),
        ("anterior ST elevation", "V3", 0.15, 0.80), (None, "II", -0.05, 0.10),
    ],
)  # fmt: skip
def test_st_levels(finding: str | None, lead: str, low: float, high: float) -> None:
    level = st_level(finding, lead)
    assert low < level.min() and level.max() < high


def test_bundle_branch_blocks_are_broad_and_in_the_right_leads() -> None:
    left, time, truth = averaged("left bundle branch block")
    right, _, other = averaged("right bundle branch block")
    assert truth.qrs.min() > 0.12 and other.qrs.min() > 0.12
    late = (time > 0.03) & (time < 0.08)
    assert (left[:, AT["V1"]].min(1) < -0.4).all()  # deep S
    assert (left[:, AT["V6"], :][:, late].max(1) > 0.3).all()  # broad R
    assert (right[:, AT["V1"], :][:, late].max(1) > 0.2).all()  # R'
    assert (right[:, AT["I"], :][:, late].min(1) < -0.1).all()  # broad S
    normal, _, _ = averaged(None)
    assert (normal[:, AT["V1"], :][:, late].max(1) < 0.2).all()


def test_voltages_and_axes() -> None:
    def qrs(finding: str | None) -> np.ndarray:
        beats, time, _ = averaged(finding)
        return beats[:, :, (time > -0.06) & (time < 0.08)]

    def axis(beats: np.ndarray) -> np.ndarray:
        net = beats.max(2) + beats.min(2)
        return np.degrees(np.arctan2(net[:, AT["aVF"]] * 2 / np.sqrt(3), net[:, AT["I"]]))

    def sokolow(beats: np.ndarray) -> np.ndarray:
        return -beats[:, AT["V1"]].min(1) + beats[:, [AT["V5"], AT["V6"]]].max((1, 2))

    assert (sokolow(qrs("left ventricular hypertrophy")) > 3.5).mean() > 0.9
    assert (sokolow(qrs(None)) < 3.5).all()
    low = qrs("low voltage")
    assert np.ptp(low[:, :6], axis=2).max() < 0.5 and np.ptp(low[:, 6:], axis=2).max() < 1.0
    assert (axis(qrs("left axis deviation")) < -30).all()
    assert (axis(qrs("right axis deviation")) > 90).all()


def test_intervals_and_premature_beats() -> None:
    assert drawn("first-degree AV block").pr.min() > 0.2 > drawn(None).pr.max()
    truth = drawn("premature ventricular beats")
    times, premature = beat_times(truth, np.random.default_rng(1), 10.0)
    assert premature.any(1).all() and not (premature[:, 1:] & premature[:, :-1]).any()
    for row, early in zip(times, premature, strict=True):
        at = np.flatnonzero(early & (np.arange(len(row)) > 1) & np.isfinite(row))
        for beat in at[at < np.isfinite(row).sum() - 1]:
            assert row[beat] - row[beat - 1] < 0.85 * (row[beat + 1] - row[beat])  # early, then a pause


def test_wander_is_slow_and_large() -> None:
    def drift(finding: str | None) -> float:
        signal = render(drawn(finding), np.random.default_rng(1), rate_hz=100)
        power = np.abs(np.fft.rfft(signal[:, AT["V2"]] - signal[:, AT["V2"]].mean(1, keepdims=True))) ** 2
        frequency = np.fft.rfftfreq(signal.shape[2], 0.01)
        return float(np.sqrt(power[:, (frequency > 0) & (frequency < 0.5)].sum(1)).mean())

    assert drift("baseline wander") > 3 * drift(None)


def test_every_finding_changes_the_record_and_unknown_ones_are_refused() -> None:
    plain = render(drawn(None), np.random.default_rng(1))
    for finding in FINDINGS:
        assert not np.array_equal(render(drawn(finding), np.random.default_rng(1)), plain), finding
    with pytest.raises(KeyError, match="unknown finding 'flu'"):
        draw_parameters(np.random.default_rng(0), 2, {"flu": np.ones(2, dtype=bool)})
