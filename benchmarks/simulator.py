"""The 12-lead simulator: speed, ranges beside textbook ranges, and read-back by a model trained on real ECGs.

Run: python benchmarks/simulator.py    (read-back needs ``pip install openecg==0.11.0``)
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np

from causalecg.cohort.signals import LEADS
from causalecg.cohort.simulate import FINDINGS, Parameters, beat_times, draw_parameters, render

RATE = 500.0
AT = {lead: row for row, lead in enumerate(LEADS)}
#: What is measured -> (lower, upper, source), for records without findings. S: Surawicz & Knilans, Chou's
#: Electrocardiography in Clinical Practice; R: Rijnbeek et al., J Electrocardiol 2014;47:914 (normal limits).
NORMAL = {
    "heart rate, /min": (50, 100, "S"),
    "PR, ms": (120, 200, "S"),
    "QRS, ms": (70, 110, "S"),
    "QT by Bazett, ms": (350, 460, "S"),
    "QRS axis, degrees": (-30, 90, "S"),
    "R in V5, mV": (0.6, 2.6, "S"),
    "S in V1, mV": (0.2, 2.1, "R"),
    "Sokolow-Lyon, mV": (1.0, 3.5, "S"),
    "largest limb QRS, mV": (0.5, 2.0, "S"),
    "P in II, mV": (0.05, 0.25, "S"),
    "T in II, mV": (0.1, 0.7, "R"),
    "ST in II at J + 60 ms, mV": (-0.05, 0.1, "S"),
}
#: Finding -> (what is measured, lower, upper, source).
FOUND = {
    "left bundle branch block": [("QRS, ms", 120, 200, "S"), ("S in V1, mV", 0.3, 5.0, "S")],
    "right bundle branch block": [("QRS, ms", 120, 200, "S"), ("late R in V1, mV", 0.1, 2.0, "S")],
    "inferior ST elevation": [
        ("ST in II at J + 60 ms, mV", 0.1, 0.6, "S"),
        ("ST in aVL at J + 60 ms, mV", -0.4, 0.0, "S"),
    ],
    "anterior ST elevation": [("ST in V3 at J + 60 ms, mV", 0.15, 0.8, "S")],
    "left ventricular hypertrophy": [("Sokolow-Lyon, mV", 3.5, 7.0, "S")],
    "first-degree AV block": [("PR, ms", 200, 400, "S")],
    "left axis deviation": [("QRS axis, degrees", -90, -30, "S")],
    "right axis deviation": [("QRS axis, degrees", 90, 180, "S")],
    "low voltage": [("largest limb QRS, mV", 0.0, 0.5, "S"), ("largest chest QRS, mV", 0.0, 1.0, "S")],
    "atrial fibrillation": [("RR SD over mean", 0.1, 0.35, "S")],
}


def measured(parameters: Parameters, seed: int) -> dict[str, np.ndarray]:
    """(n,) measurements per name, on the clean signal, averaged over beats at the generator's own beat times."""
    signal = render(parameters, np.random.default_rng(seed), rate_hz=RATE, clean=True).astype(np.float64)
    times, premature = beat_times(parameters, np.random.default_rng(seed), 10.0)
    onset, duration = -0.42 * parameters.qrs, parameters.qrs
    rows: dict[str, list[float]] = {}
    for i in range(len(parameters)):
        beats = times[i][np.isfinite(times[i]) & ~premature[i]]
        beats = beats[(beats > 0.6) & (beats < 9.2)]
        span = np.arange(-int(0.45 * RATE), int(0.6 * RATE))
        beat = np.mean([signal[i][:, round(float(b) * RATE) + span] for b in beats], axis=0)
        level = beat[:, (span / RATE > onset[i] - 0.035) & (span / RATE < onset[i] - 0.02)].mean(1, keepdims=True)
        beat = beat - level
        qrs = beat[:, (span / RATE >= onset[i] - 0.01) & (span / RATE <= onset[i] + duration[i] + 0.01)]
        late = beat[:, (span / RATE >= onset[i] + 0.6 * duration[i]) & (span / RATE <= onset[i] + duration[i] + 0.01)]
        st = beat[:, np.argmin(np.abs(span / RATE - (onset[i] + duration[i] + 0.06)))]
        p_wave = beat[:, (span / RATE > onset[i] - parameters.pr[i]) & (span / RATE < onset[i] - 0.04)]
        t_wave = beat[:, (span / RATE > onset[i] + duration[i] + 0.1) & (span / RATE < onset[i] + parameters.qt[i])]
        net = qrs.max(1) + qrs.min(1)
        rr = np.diff(times[i][np.isfinite(times[i])])
        found = {
            "heart rate, /min": 60 / rr.mean(),
            "RR SD over mean": rr.std() / rr.mean(),
            "PR, ms": 1000 * parameters.pr[i],
            "QRS, ms": 1000 * duration[i],
            "QT by Bazett, ms": 1000 * parameters.qt[i] / np.sqrt(rr.mean()),
            "QRS axis, degrees": float(np.degrees(np.arctan2(net[AT["aVF"]] * 2 / np.sqrt(3), net[AT["I"]]))),
            "R in V5, mV": qrs[AT["V5"]].max(),
            "S in V1, mV": -qrs[AT["V1"]].min(),
            "Sokolow-Lyon, mV": -qrs[AT["V1"]].min() + max(qrs[AT["V5"]].max(), qrs[AT["V6"]].max()),
            "largest limb QRS, mV": max(np.ptp(qrs[row]) for row in range(6)),
            "largest chest QRS, mV": max(np.ptp(qrs[row]) for row in range(6, 12)),
            "late R in V1, mV": late[AT["V1"]].max(),
            "P in II, mV": p_wave[AT["II"]].max() if p_wave.size else 0.0,
            "T in II, mV": t_wave[AT["II"]].max(),
            **{f"ST in {lead} at J + 60 ms, mV": st[AT[lead]] for lead in ("II", "aVL", "V3")},
        }  # fmt: skip
        for name, value in found.items():
            rows.setdefault(name, []).append(float(value))
    return {name: np.array(values) for name, values in rows.items()}


def ranges(n: int = 300) -> None:
    print(f"| records | measured | simulated, 2.5 to 97.5 % of {n} | textbook | within |\n|---|---|---|---|---|")

    def row(label: str, name: str, values: np.ndarray, low: float, high: float, source: str) -> None:
        a, b = np.quantile(values, [0.025, 0.975])
        share = np.mean((values >= low) & (values <= high))
        print(f"| {label} | {name} | {a:.3g} to {b:.3g} | {low:g} to {high:g} ({source}) | {share:.0%} |")

    plain = measured(draw_parameters(np.random.default_rng(0), n), 1)
    for name, (low, high, source) in NORMAL.items():
        row("no finding", name, plain[name], low, high, source)
    for finding, checks in FOUND.items():
        found = measured(draw_parameters(np.random.default_rng(0), n, {finding: np.ones(n, dtype=bool)}), 1)
        for name, low, high, source in checks:
            row(finding, name, found[name], low, high, source)


#: Finding -> the lead it is read from (right bundle branch block does not show in lead II), and the codec's class.
READ = {
    "none": ("II", "sinus"),
    "atrial fibrillation": ("II", "AF"),
    "left bundle branch block": ("II", "BBB"),
    "right bundle branch block": ("V6", "BBB"),
    "first-degree AV block": ("II", "AV block"),
    "premature ventricular beats": ("II", "a ventricular beat"),
}
#: Records, where 100 are too few to tell the share read as it should be from nine in ten.
MANY = {"first-degree AV block": 300}
#: Findings whose PR and QRS are set beside what is read back. A frame of the codec lasts 20 ms, and conduction without
#: findings spans two of them: it can only be resolved together with the slow ones.
CONDUCTION = ("none", "left bundle branch block", "right bundle branch block", "first-degree AV block")
_CLASSES = ("sinus", "AV block", "paced", "AF", "BBB", "ventricular")


def read_back(few: int = 100) -> None:
    """openecg's codec, one lead at 500 Hz: its rhythm, its ventricular beats, and its own intervals."""
    import openecg

    codec = openecg.load_codec()
    print("\n| simulated | lead | records | read as it should be | sinus | AV block | AF | BBB | a ventricular beat |")
    print("|---|---|---|---|---|---|---|---|---|")
    pairs: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for finding, (lead, wanted) in READ.items():
        n = MANY.get(finding, few)
        given = {} if finding == "none" else {finding: np.ones(n, dtype=bool)}
        drawn = draw_parameters(np.random.default_rng(2), n, given)
        signal = render(drawn, np.random.default_rng(3), rate_hz=RATE)[:, AT[lead]]
        set_to = _set(drawn, 3)
        share = dict.fromkeys((*_CLASSES, "a ventricular beat"), 0.0)
        for i in range(n):
            read = openecg.encode(signal[i], fs=int(RATE), model=codec)
            share[_CLASSES[int(np.bincount(read.rhythm, minlength=6).argmax())]] += 1 / n
            share["a ventricular beat"] += bool((read.beat == 2).any()) / n
            for name, value in _intervals(read).items():
                if finding in CONDUCTION and i < few:
                    pairs.setdefault((finding, name), []).append((set_to[name][i], value))
        cells = [share[wanted], *(share[name] for name in ("sinus", "AV block", "AF", "BBB", "a ventricular beat"))]
        print(f"| {finding} | {lead} | {n} | " + " | ".join(f"{value:.0%}" for value in cells) + " |")
    print("\n| set against read back | records | read | correlation | read minus set, mean and SD |")
    print("|---|---|---|---|---|")
    for label, findings in (
        ("no finding", CONDUCTION[:1]),
        ("no finding, both blocks, first-degree AV block", CONDUCTION),
    ):
        for name in ("heart rate", "QT", "PR", "QRS") if len(findings) == 1 else ("PR", "QRS"):
            found = np.array([pair for finding in findings for pair in pairs.get((finding, name), [])])
            scale, unit = (1, "/min") if name == "heart rate" else (1000, "ms")
            off = scale * (found[:, 1] - found[:, 0])
            cells = [name, label, str(len(found)), f"{np.corrcoef(found.T)[0, 1]:.3f}"]
            print("| " + " | ".join([*cells, f"{off.mean():+.1f} and {off.std():.1f} {unit}"]) + " |")


def _set(drawn: Parameters, seed: int) -> dict[str, np.ndarray]:
    """What was set, per record; the rate is that of the record's own beats, which vary around the one set."""
    times, _ = beat_times(drawn, np.random.default_rng(seed), 10.0)
    inside = np.where((times >= 0) & (times < 10.0), times, np.nan)
    rate = 60 / np.nanmean(np.diff(inside, axis=1), axis=1)
    return {"heart rate": rate, "PR": drawn.pr, "QRS": drawn.qrs, "QT": drawn.qt}


def _intervals(read: object) -> dict[str, float]:
    """The codec's rate and intervals, in seconds; empty where it saw too few waves.

    The rate is of the median interval: the codec sometimes sees a complex more at an end of the record.
    """
    waves = [(s, e, int(c)) for s, e, c in read.events("frame", drop_class=0)]  # type: ignore[attr-defined]
    qrs = [(s, e) for s, e, c in waves if c == 2]
    p_to_q = [q[0] - s for s, e, c in waves if c == 1 for q in qrs if 0 < q[0] - s < 0.4 * RATE and q[0] >= e]
    q_to_t = [e - q[0] for s, e, c in waves if c == 3 for q in qrs if 0 < e - q[0] < 0.6 * RATE and s > q[1]]
    if len(qrs) < 4 or not p_to_q or not q_to_t:
        return {}
    return {
        "heart rate": float(60 * RATE / np.median(np.diff([s for s, _ in qrs]))),
        "PR": float(np.median(p_to_q) / RATE),
        "QRS": float(np.median([e - s for s, e in qrs]) / RATE),
        "QT": float(np.median(q_to_t) / RATE),
    }


def _chunk(seed: int) -> int:
    rng = np.random.default_rng(seed)
    return len(render(draw_parameters(rng, 500), rng, rate_hz=100.0))


def speed() -> None:
    start = time.perf_counter()
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        done = sum(pool.map(_chunk, range(20)))
    print(f"\n{done:,} ECGs of 10 s at 100 Hz, 2 processes: {time.perf_counter() - start:.1f} s")


def main() -> None:
    assert set(FOUND) < set(FINDINGS)
    ranges()
    try:
        read_back()
    except ImportError:
        print("\nopenecg is not installed: no read-back")
    speed()


if __name__ == "__main__":
    main()
