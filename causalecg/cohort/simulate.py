"""A seeded 12-lead ECG generator: a moving 3-D dipole seen through a lead matrix.

Every wave of a beat is a Gaussian in time times a vector in space (x to the left, y to the feet, z to the back, in mV
of the corresponding orthogonal lead). Independent leads I, II and V1-V6 are the dipole times the lead matrix of Dower,
Machado and Osborne (On deriving the electrocardiogram from vectorcardiographic leads, Clin Cardiol 1980;3:87-95); III,
aVR, aVL and aVF follow from I and II, so Einthoven's and Goldberger's equations hold exactly (to 1 uV once stored).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from causalecg.cohort.signals import LEADS

#: Rows I, II, V1..V6; columns x, y, z.
LEAD_MATRIX = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)
_INDEPENDENT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")

#: Findings the generator can draw, with one line on what they do to the record.
FINDINGS: dict[str, str] = {
    "atrial fibrillation": "no P wave, irregular RR intervals, fibrillatory waves at 5-8 Hz",
    "left bundle branch block": "QRS 130-170 ms, deep S in V1, broad notched R in I and V6, discordant T",
    "right bundle branch block": "QRS 125-155 ms, rSR' in V1, broad S in I and V6",
    "inferior ST elevation": "ST elevation in II, III and aVF with reciprocal depression in aVL",
    "anterior ST elevation": "ST elevation in V1-V4",
    "left ventricular hypertrophy": "S in V1 + R in V5 or V6 above 3.5 mV (Sokolow-Lyon)",
    "first-degree AV block": "PR interval 220-320 ms",
    "premature ventricular beats": "early, broad beats without P wave, with a compensatory pause",
    "left axis deviation": "frontal QRS axis -60 to -35 degrees",
    "right axis deviation": "frontal QRS axis 105 to 150 degrees",
    "low voltage": "QRS below 0.5 mV in every limb lead and below 1 mV in every chest lead",
    "baseline wander": "respiratory drift of 0.2-0.5 mV",
}


@dataclass
class Parameters:
    """Ground truth of n records (first dimension of each array). Times in seconds, voltages in mV, angles in degree."""

    heart_rate: np.ndarray  # beats per minute
    variability: np.ndarray  # SD of RR over mean RR
    pr: np.ndarray  # P onset to QRS onset
    qrs: np.ndarray  # QRS duration
    qt: np.ndarray  # QRS onset to T end
    axis: np.ndarray  # frontal QRS axis
    voltage: np.ndarray  # scale of all waves
    st: np.ndarray  # (n, 3) ST dipole
    af: np.ndarray  # bool
    lbbb: np.ndarray  # bool
    rbbb: np.ndarray  # bool
    lvh: np.ndarray  # bool
    pvc: np.ndarray  # share of beats that are premature
    wander: np.ndarray  # amplitude of baseline wander
    noise: np.ndarray  # SD of muscle and electrode noise

    def __len__(self) -> int:
        return len(self.heart_rate)

    def rows(self, at: slice) -> Parameters:
        return Parameters(**{f.name: getattr(self, f.name)[at] for f in fields(self)})


#: ST dipole per mV of elevation in lead II (inferior) or V2-V3 (anterior).
INFERIOR_ST = np.array([-0.15, 0.90, 0.0])
ANTERIOR_ST = np.array([0.10, -0.05, -0.72])


def draw_parameters(rng: np.random.Generator, n: int, findings: Mapping[str, np.ndarray] | None = None) -> Parameters:
    """Parameters of ``n`` records.

    Args:
        rng: source of all randomness.
        n: number of records.
        findings: name in :data:`FINDINGS` -> (n,) bool; absent findings are absent from every record.

    Raises:
        KeyError: an unknown finding.
    """
    given = dict(findings or {})
    unknown = set(given) - set(FINDINGS)
    if unknown:
        raise KeyError(f"unknown finding {sorted(unknown)[0]!r}; known are {', '.join(FINDINGS)}")

    def has(name: str) -> np.ndarray:
        return np.asarray(given.get(name, np.zeros(n, dtype=bool)), dtype=bool)

    def uniform(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, n)

    af, lbbb, rbbb = has("atrial fibrillation"), has("left bundle branch block"), has("right bundle branch block")
    rbbb &= ~lbbb
    rate = np.where(af, uniform(70, 130), np.clip(rng.normal(72, 11, n), 50, 105))
    qrs = np.where(lbbb, uniform(0.132, 0.168), np.where(rbbb, uniform(0.126, 0.152), uniform(0.080, 0.104)))
    # Bazett's formula with a corrected QT of 390-430 ms, and the QRS excess on top.
    qt = uniform(0.385, 0.430) * np.sqrt(60 / rate) + np.where(lbbb | rbbb, qrs - 0.092, 0.0) * 0.6
    axis = np.clip(rng.normal(32, 15, n), -15, 62)
    axis = np.where(has("left axis deviation"), uniform(-60, -35), axis)
    axis = np.where(has("right axis deviation"), uniform(105, 150), axis)
    voltage = np.clip(rng.normal(1.0, 0.12, n), 0.72, 1.3)
    voltage = np.where(has("low voltage"), uniform(0.22, 0.31), voltage)
    inferior = np.where(has("inferior ST elevation"), uniform(0.15, 0.35), 0.0)
    anterior = np.where(has("anterior ST elevation"), uniform(0.20, 0.45), 0.0)
    drawn = Parameters(
        heart_rate=rate,
        variability=np.where(af, uniform(0.14, 0.24), uniform(0.015, 0.05)),
        pr=np.where(has("first-degree AV block"), uniform(0.225, 0.310), uniform(0.130, 0.185)),
        qrs=qrs,
        qt=qt,
        axis=axis,
        voltage=voltage,
        st=inferior[:, None] * INFERIOR_ST + anterior[:, None] * ANTERIOR_ST,
        af=af,
        lbbb=lbbb,
        rbbb=rbbb,
        lvh=has("left ventricular hypertrophy") & ~has("low voltage"),
        pvc=np.where(has("premature ventricular beats"), uniform(0.12, 0.25), 0.0),
        wander=np.where(has("baseline wander"), uniform(0.20, 0.50), uniform(0.0, 0.04)),
        noise=uniform(0.004, 0.012),
    )
    if drawn.lvh.any():
        # A hypertrophied left ventricle points to the left; drawn last, so that other records stay as they are.
        drawn.axis = np.where(drawn.lvh & ~has("right axis deviation"), np.minimum(axis, uniform(-25, 40)), axis)
    return drawn


def render(
    parameters: Parameters,
    rng: np.random.Generator,
    *,
    rate_hz: float = 100.0,
    seconds: float = 10.0,
    clean: bool = False,
) -> np.ndarray:
    """(n, 12, samples) float32 in mV, leads in the order of the signal store.

    Args:
        parameters: ground truth.
        rng: beat times, premature beats, fibrillatory waves and noise.
        rate_hz, seconds: of the record.
        clean: leave out noise and wander (beats are drawn the same).
    """
    n, samples = len(parameters), round(rate_hz * seconds)
    times, premature = beat_times(parameters, rng, seconds)
    dipole = np.zeros((n, 3, samples), dtype=np.float32)
    _add_beats(dipole, _normal_waves(parameters), times, ~premature & np.isfinite(times), rate_hz)
    if premature.any():
        _add_beats(dipole, _premature_waves(parameters), times, premature, rate_hz)
    _add_fibrillation(dipole, parameters, rng, rate_hz)
    independent = np.einsum("lk,nkt->nlt", LEAD_MATRIX.astype(np.float32), dipole)
    if not clean:
        _add_noise(independent, parameters, rng, rate_hz)
    return twelve_leads(independent)


def twelve_leads(independent: np.ndarray) -> np.ndarray:
    """(n, 8, t) leads I, II, V1..V6 -> (n, 12, t) in store order, by Einthoven's and Goldberger's equations."""
    one, two = independent[:, 0], independent[:, 1]
    by_name = dict(zip(_INDEPENDENT, np.moveaxis(independent, 1, 0), strict=True))
    by_name |= {"III": two - one, "aVR": -(one + two) / 2, "aVL": one - two / 2, "aVF": two - one / 2}
    return np.stack([by_name[lead] for lead in LEADS], axis=1)


def beat_times(parameters: Parameters, rng: np.random.Generator, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """(n, beats) times of R, NaN beyond the record, and which beats are premature."""
    n = len(parameters)
    mean = 60 / parameters.heart_rate
    count = int(np.ceil(seconds / mean.min() * 1.35)) + 4
    z = rng.standard_normal((n, count))
    # Sinus rhythm varies with breathing; in fibrillation intervals are independent and skewed.
    breathing = np.sin(2 * np.pi * (rng.uniform(0, 1, (n, 1)) + np.arange(count) * mean[:, None] / 4.0))
    sinus = 1 + parameters.variability[:, None] * (0.5 * z + 1.2 * breathing)
    fibrillation = np.exp(parameters.variability[:, None] * z)
    rr = mean[:, None] * np.where(parameters.af[:, None], fibrillation, sinus)
    rr = np.maximum(rr, 0.34)
    premature = rng.uniform(size=(n, count)) < parameters.pvc[:, None]
    premature[:, 0] = False
    premature[:, 1:] &= ~premature[:, :-1]
    has = parameters.pvc > 0
    premature[has & ~premature[:, 1:8].any(1), 4] = True
    premature[:, 1:] &= ~premature[:, :-1]
    early = np.where(premature, 0.62, 1.0)
    pause = np.ones_like(early)
    pause[:, 1:] = np.where(premature[:, :-1], 1.38, 1.0)
    times = np.cumsum(rr * early * pause, axis=1) + rng.uniform(-0.6, -0.1, (n, 1))
    inside = times < seconds + 0.5
    return np.where(inside, times, np.nan), premature & inside


@dataclass
class _Wave:
    """A Gaussian: centre and width in seconds after R, (n,); dipole vector (n, 3)."""

    centre: np.ndarray
    width: np.ndarray
    vector: np.ndarray


def _frontal(vector: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Rotate (n, 3) vectors in the frontal plane, clockwise as the axis is counted."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.stack([c * vector[:, 0] - s * vector[:, 1], s * vector[:, 0] + c * vector[:, 1], vector[:, 2]], axis=1)


def _normal_waves(p: Parameters) -> list[_Wave]:
    n = len(p)
    one = np.ones(n)

    def vector(x: float, y: float, z: float) -> np.ndarray:
        return np.tile([x, y, z], (n, 1)) * p.voltage[:, None]

    def wave(centre: np.ndarray, width: np.ndarray, v: np.ndarray) -> _Wave:
        return _Wave(centre, width, v)

    onset = -0.42 * p.qrs
    end = onset + p.qrs
    block = p.lbbb | p.rbbb
    w = p.qrs / 0.092
    turn = p.axis - 45.0
    lvh = np.where(p.lvh, 1.0, 0.0)[:, None]

    waves = [wave(onset - p.pr + 0.055, 0.020 * one, np.where(p.af[:, None], 0.0, vector(0.05, 0.125, -0.020)))]
    septal = np.where(p.lbbb[:, None], 0.0, vector(-0.13, -0.06, -0.30))
    main = _frontal(vector(0.95, 0.95, 0.0), turn) + vector(0, 0, 0.34)
    main = main * (1 + lvh * np.array([1.2, 0.5, 2.5]))
    waves += [
        wave(-0.024 * w, 0.0105 * w, septal),
        wave(0.0 * one, np.where(p.lbbb, 0.026, 0.0125), main),
        wave(
            np.where(p.lbbb, 0.036, 0.023) * np.where(block, w * 0.85, w),
            np.where(p.lbbb, 0.019, 0.012) * one,
            np.where(p.lbbb[:, None], _frontal(vector(0.62, 0.40, 0.0), turn) + vector(0, 0, 0.75), 0.0)
            + np.where(block[:, None], 0.0, vector(-0.10, -0.13, 0.42)),
        ),
    ]
    late = np.where(p.rbbb[:, None], vector(-0.48, 0.02, -0.62), 0.0)
    waves += [
        wave(0.018 * one, 0.011 * one, np.where(p.rbbb[:, None], vector(-0.05, -0.08, 0.45), 0.0)),
        wave(end - 0.030, 0.016 * one, late),
    ]

    t_end = onset + p.qt
    t_width = 0.12 * p.qt + 0.002
    t_centre = t_end - 2.0 * t_width
    normal_t = vector(0.27, 0.26, -0.16)
    discordant = np.where(p.lbbb[:, None], vector(-0.30, -0.20, -0.38), vector(0.32, 0.22, 0.02))
    strain = normal_t + lvh * vector(-0.36, -0.20, 0.02)
    t_vector = np.where(block[:, None], discordant, strain)
    waves += [
        wave(t_centre - 0.5 * t_width, t_width * 1.15, 0.45 * t_vector),
        wave(t_centre + 0.1 * t_width, t_width * 0.80, 0.60 * t_vector),
    ]
    # The ST segment is a plateau: three overlapping Gaussians between the end of QRS and the T wave.
    for share in (0.0, 0.5, 1.0):
        centre = end + 0.035 + share * np.maximum(t_centre - end - 0.05, 0.02)
        spread = np.maximum(t_centre - end, 0.06) * 0.33
        waves.append(wave(centre, spread, p.st * 0.62))
    return waves


def _premature_waves(p: Parameters) -> list[_Wave]:
    n = len(p)
    one = np.ones(n)
    v = p.voltage[:, None]
    return [
        _Wave(-0.030 * one, 0.022 * one, np.tile([0.20, 1.60, 0.30], (n, 1)) * v),
        _Wave(0.040 * one, 0.030 * one, np.tile([-0.20, -1.60, 0.90], (n, 1)) * v),
        _Wave(0.290 * one, 0.060 * one, np.tile([0.10, 0.90, -0.50], (n, 1)) * v),
    ]


def _add_beats(dipole: np.ndarray, waves: list[_Wave], times: np.ndarray, real: np.ndarray, rate_hz: float) -> None:
    """Add every wave of every real beat, each evaluated on a window around its beat only."""
    n, _, samples = dipole.shape
    before, after = 0.48, 0.72
    offsets = np.arange(-int(before * rate_hz), int(after * rate_hz) + 1)
    span = len(offsets)
    padded = np.zeros((n, 3, samples + 2 * span), dtype=np.float32)
    for beat in range(times.shape[1]):
        rows = np.flatnonzero(real[:, beat])
        if not len(rows):
            continue
        at = times[rows, beat]
        nearest = np.rint(at * rate_hz).astype(np.int64)
        seconds = ((offsets[None, :] + nearest[:, None]) / rate_hz - at[:, None]).astype(np.float32)
        shape = np.zeros((len(rows), 3, span), dtype=np.float32)
        for wave in waves:
            vector = wave.vector[rows].astype(np.float32)
            if not vector.any():
                continue
            z = (seconds - wave.centre[rows, None].astype(np.float32)) / wave.width[rows, None].astype(np.float32)
            shape += vector[:, :, None] * np.exp(-0.5 * z * z)[:, None, :]
        place = nearest[:, None] + offsets[None, :] + span
        keep = (place >= 0) & (place < padded.shape[2])
        place = np.clip(place, 0, padded.shape[2] - 1)
        shape *= keep[:, None, :]
        for axis in range(3):
            padded[rows[:, None], axis, place] += shape[:, axis]
    dipole += padded[:, :, span : span + samples]


def _add_fibrillation(dipole: np.ndarray, parameters: Parameters, rng: np.random.Generator, rate_hz: float) -> None:
    rows = np.flatnonzero(parameters.af)
    if not len(rows):
        return
    t = np.arange(dipole.shape[2]) / rate_hz
    direction = np.array([0.02, 0.05, -0.055])
    for _ in range(3):
        rate = rng.uniform(4.5, 8.0, (len(rows), 1))
        phase = rng.uniform(0, 2 * np.pi, (len(rows), 1))
        drift = rng.uniform(0.1, 0.5, (len(rows), 1))
        waves = np.sin(2 * np.pi * rate * t + phase + 1.5 * np.sin(2 * np.pi * drift * t + phase))
        dipole[rows] += (direction[:, None] * waves[:, None, :] * 0.6).astype(np.float32)


def _add_noise(independent: np.ndarray, parameters: Parameters, rng: np.random.Generator, rate_hz: float) -> None:
    """Electrode noise per lead and a slow drift of two sines, different in each lead."""
    n, leads, samples = independent.shape
    t = np.arange(samples, dtype=np.float32) / np.float32(rate_hz)
    independent += rng.standard_normal(independent.shape, dtype=np.float32) * parameters.noise[:, None, None].astype(
        np.float32
    )
    for low, high, share in ((0.15, 0.35, 0.7), (0.03, 0.12, 0.3)):
        rate = rng.uniform(low, high, (n, 1, 1)).astype(np.float32)
        phase = rng.uniform(0, 2 * np.pi, (n, leads, 1)).astype(np.float32)
        gain = (share * parameters.wander[:, None, None] * rng.uniform(0.5, 1.0, (n, leads, 1))).astype(np.float32)
        independent += gain * np.sin(2 * np.float32(np.pi) * rate * t + phase)
