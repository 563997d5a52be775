"""For every audit a model with the defect it looks for, which must fail, beside a sound one, which must not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causalecg.audits.score_set import ScoreSet
from causalecg.audits.suite import AUDITS, run_suite

from .conftest import goes_by_style, logistic, reads


def turned(seen):
    return 1 - reads(seen)


def flips_when_reworded(seen):
    p = reads(seen)
    if seen.what.startswith("wording[rules]"):
        return np.where(seen.rng.random(len(p)) < 0.25, 1 - p, p)
    return p


def first_listed(seen):
    p = reads(seen)
    unsure = seen.rng.random(len(p)) < 0.3
    return np.where(unsure, np.where(seen.first == 0, 0.9, 0.1), p)


def told_the_answer(seen):
    known = np.isfinite(seen.told) & np.isnan(seen.x)
    return np.where(known, 0.05 + 0.9 * np.nan_to_num(seen.told), reads(seen))


def by_topic(seen):
    z = 2.56 * np.nan_to_num(seen.x) + 2.0 * (2 * seen.topic - 1)
    return logistic(z)


def compares(seen):
    return logistic(2 * (np.nan_to_num(seen.x) + np.nan_to_num(seen.x2)))


#: audit -> (a model it must fail, a model it must pass or at least not fail, the oracle).
DEFECTS = {
    "accuracy": (turned, reads, None),
    "follow_rate": (goes_by_style, reads, None),
    "same_severity": (goes_by_style, reads, None),
    "random_ecg": (goes_by_style, reads, reads),
    "no_ecg": (goes_by_style, reads, None),
    "ecg_ladder": (goes_by_style, reads, reads),
    "adversarial_wording": (goes_by_style, reads, None),
    "quadrants": (goes_by_style, reads, reads),
    "twins": (goes_by_style, reads, reads),
    "severity_groups": ("severe wrong", reads, None),
    "over_correction": (goes_by_style, reads, None),
    "zero_shot": (turned, reads, None),
    "mirage": (goes_by_style, reads, None),
    "confidence": (goes_by_style, reads, None),
    "dependence": (goes_by_style, reads, None),
    "answers": ("silent", reads, None),
    "style_effect": (goes_by_style, reads, None),
    "topic_effect": (reads, by_topic, by_topic),
    "consensus": (flips_when_reworded, reads, None),
    "mediation": (goes_by_style, reads, reads),
    "shapley": (goes_by_style, reads, reads),
    "perceptual_score": (goes_by_style, reads, reads),
    "option_order": (first_listed, reads, None),
    "prompt_leak": (told_the_answer, reads, None),
    "both_ecgs": (reads, compares, None),
}
#: Described, not passed, when nothing is wrong.
NEVER_PASSED = {"no_ecg"}
#: Items that a pass takes, where they are more than 1,500.
ITEMS = {"dependence": 6000}


def one(world, name: str, model, oracle):
    models = {"m": ("audited", reads if isinstance(model, str) else model)}
    if oracle is not None:
        models["best"] = ("oracle", oracle)
    scores = world(ITEMS.get(name, 1500), models)
    if name == "zero_shot":
        scores.runs["m"]["held_out_topics"] = ["topic1"]
    table = scores.scores
    if model == "severe wrong":
        severe = set(scores.items.loc[scores.items["severity_known"] == 2, "item_id"])
        wrong = table["item_id"].isin(severe)
        flip = {"yes": ["no"], "no": ["yes"]}
        table["answer_given"] = [flip[g[0]] if w else g for g, w in zip(table["answer_given"], wrong, strict=True)]
    if model == "silent":
        table["status"] = np.where(np.random.default_rng(0).random(len(table)) < 0.2, "unparsed", table["status"])
    return run_suite(scores, name, run_id="m", replicates=400)[0]


def test_there_is_a_defect_for_every_audit() -> None:
    assert set(DEFECTS) == set(AUDITS)


@pytest.mark.parametrize("name", list(DEFECTS))
def test_the_defect_fails_and_the_sound_model_does_not(world, name: str) -> None:
    defect, sound, oracle = DEFECTS[name]
    bad, good = one(world, name, defect, oracle), one(world, name, sound, oracle)
    assert bad.verdict == "fail", (bad.estimate, bad.interval, bad.note)
    assert good.verdict == ("not assessed" if name in NEVER_PASSED else "pass"), (
        good.estimate,
        good.interval,
        good.note,
    )
    assert good.interval is not None and good.interval[0] <= good.estimate <= good.interval[1]


def test_who_learned_the_shortcut_does_not_pass_zero_shot(world) -> None:
    """Right about new topics too, as long as the style tells the answer; the unbiased test is where it does not."""
    models = {"m": ("audited", goes_by_style), "sound": ("audited", reads)}
    biased, unbiased = world(1000, models, rho=0.95), world(1000, models, rho=0.5, seed=1)
    items = unbiased.items.assign(split="test_unbiased", item_id="u" + unbiased.items["item_id"])
    answers = unbiased.scores.assign(item_id="u" + unbiased.scores["item_id"])
    runs = {name: {**run, "held_out_topics": ["topic1"]} for name, run in biased.runs.items()}
    both = ScoreSet(
        pd.concat([biased.items, items], ignore_index=True),
        pd.concat([biased.scores, answers], ignore_index=True),
        runs,
    )
    found = {name: run_suite(both, "zero_shot", run_id=name, replicates=400)[0] for name in runs}
    assert all(result.measure.endswith("on test_unbiased") for result in found.values())
    assert found["m"].verdict != "pass" and found["sound"].verdict == "pass", found
