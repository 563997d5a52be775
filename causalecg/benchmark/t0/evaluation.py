"""What a trained arm does on test patients of known truth: one row per patient, one column per measure.

All tests are the same patients with the same noise: biased as the law has it, with the style re-drawn, with the style
set, with the topic set, with the finding changed (twins), with another patient's ECG. So whatever is compared is
compared on the same ECGs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from causalecg.benchmark import exact
from causalecg.benchmark.law import Law, World
from causalecg.benchmark.t0.tables import asked

#: (n, 2) evidence, (n,) topic, (n, shortcuts) styles -> (n,) P(yes).
Reader = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
_CHUNK = 5000


def reader_of(yes: Callable[[Any], np.ndarray]) -> Reader:
    """A reader of evidence from a function of batches."""

    def read(evidence: np.ndarray, topic: np.ndarray, styles: np.ndarray) -> np.ndarray:
        parts = [slice(start, start + _CHUNK) for start in range(0, len(evidence), _CHUNK)]
        return np.concatenate([yes(asked(evidence[at], topic[at], styles[at])) for at in parts])

    return read


def patients_to_test(law: Law, items: int) -> World:
    """Test patients: the same for every arm and seed, and the same noise for every law of as many levels."""
    return law.draw(items, np.random.default_rng([items, 20_000]))


def measured(read: Reader, world: World) -> pd.DataFrame:
    """The measures, float64, NaN where a patient does not count.

    Columns: patient; correct_biased, correct_unbiased, correct_anti; style_effect |p(F=1) - p(F=0)|, style_signed, and
    style_decision (does the decision change), F all styles together; topic_effect, topic_signed, topic_decision
    likewise of the topic, style random; random_drop, the correctness lost with a random patient's ECG, style random;
    follow, whether the answer is that of a donor of the other answer to the same question, style as it is; twin_right,
    right about both of two twins whose findings and answers differ, style random; target_error
    |p - P(A=1 | E, do(F, T))|, style random.
    """
    law, n = world.law, len(world)
    rng = np.random.default_rng([n, 30_000])
    redrawn = world.unbiased()
    evidence, topic, styles = world.evidence, world.topic, redrawn.styles
    p = read(evidence, topic, styles)
    right = _right(p, redrawn.answer)
    found: dict[str, np.ndarray] = {"patient": np.arange(n)}
    biased = read(evidence, topic, world.styles)
    found["correct_biased"], found["correct_unbiased"] = _right(biased, world.answer), right
    found["correct_anti"] = np.full(n, np.nan)
    if not law.style_effect:
        anti = world.anti()
        found["correct_anti"] = _right(read(evidence, topic, anti.styles), anti.answer)
    for name, one, zero in (
        ("style", (topic, np.ones_like(styles)), (topic, np.zeros_like(styles))),
        ("topic", (np.ones_like(topic), styles), (np.zeros_like(topic), styles)),
    ):
        high, low = read(evidence, *one), read(evidence, *zero)
        found[f"{name}_effect"], found[f"{name}_signed"] = np.abs(high - low), high - low
        found[f"{name}_decision"] = np.abs(_decided(high) - _decided(low))
    donor = _donors(topic, np.zeros(n, dtype=np.int64), rng, opposite=False)
    found["random_drop"] = right - _right(read(evidence[donor], topic, styles), redrawn.answer)
    donor = _donors(topic, world.answer, rng, opposite=True)
    there = donor >= 0
    follows = _right(read(evidence[donor], topic, world.styles), world.answer[donor])
    found["follow"] = np.where(there, follows, np.nan)
    twin = redrawn.do(finding=1 - redrawn.finding)
    both = right * _right(read(twin.evidence, twin.topic, twin.styles), twin.answer)
    found["twin_right"] = np.where(twin.answer != redrawn.answer, both, np.nan)
    found["target_error"] = np.abs(p - exact.interventional(law, evidence, redrawn.style_code, topic))
    return pd.DataFrame(found)


def truths(law: Law) -> dict[str, float]:
    """What is exactly true of a law, to hold the measures against."""
    return {
        "oracle_accuracy": exact.accuracy(law, "oracle", "unbiased"),
        "shortcut_accuracy": exact.accuracy(law, "shortcut", "unbiased"),
        "style_effect": exact.style_effect(law),
        "topic_effect": exact.topic_effect(law),
        "topic_decision": exact.topic_decision_effect(law),
        "oracle_follow_rate": exact.follow_rate(law, "oracle"),
        "shortcut_follow_rate": exact.follow_rate(law, "shortcut"),
        "finding_agreement": exact.finding_agreement(law),
        "answer_agreement": exact.answer_agreement(law),
        "weighting_share": exact.weighting_share(law, severity="recorded"),
    }


def _decided(p: np.ndarray) -> np.ndarray:
    """1, 0, or a half where p is exactly one half."""
    return 0.5 * (1 + np.sign(p - 0.5))


def _right(p: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """(n,) correctness of the decision; a tie is right half of the time."""
    return np.abs(_decided(p) - (1 - answer))


def _donors(topic: np.ndarray, answer: np.ndarray, rng: np.random.Generator, *, opposite: bool) -> np.ndarray:
    """(n,) another patient of the same topic and the same (or the other) answer, each rarely; -1 = none."""
    donor = np.full(len(topic), -1)
    for t in np.unique(topic):
        for a in np.unique(answer[topic == t]):
            mine = rng.permutation(np.flatnonzero((topic == t) & (answer == a)))
            theirs = np.flatnonzero((topic == t) & (answer != a)) if opposite else np.roll(mine, 1)
            if len(theirs) and (opposite or len(mine) > 1):
                donor[mine] = np.resize(rng.permutation(theirs) if opposite else theirs, len(mine))
    return donor
