"""The arm that stands for each adjuster on a leaderboard: one set of options, and what it was chosen by."""

from __future__ import annotations

from causalecg.benchmark.leaderboard.record import Tuning

#: adjuster -> its arm, chosen by ``benchmarks/tuning.py`` on validation patients of its own, without the severity.
TUNED: dict[str, str] = {
    "backdoor": "backdoor",
    "ecg_swap": "ecg_swap?answer=any",
    "effect_subtraction": "effect_subtraction",
    "group_dro": "group_dro?adjustment=1&rate=0.1",
    "group_weights": "group_weights",
    "hybrid": "hybrid?exchange=0.5",
    "inverse_answer": "inverse_answer",
    "ipw": "ipw",
    "irm": "irm?environment=severity",
    "jtt": "jtt?bias_view=question&upweight=100",
    "learned_mixin": "learned_mixin?entropy=0",
    "lff": "lff?bias_view=question&q=0.3",
    "matched": "matched",
    "modality_dropout": "modality_dropout",
    "product_of_experts": "product_of_experts?bias_view=question",
    "vrex": "vrex?environment=severity&strength=1000",
}


#: adjuster -> its option whose default was set after a look at test patients: ``hybrid``'s exchange at seeds 0 to 2,
#: ``rebias``'s strength at seed 0.
SEEN_ON_TEST: dict[str, str] = {"hybrid": "exchange", "rebias": "strength"}


def arm_of(adjuster: str) -> str:
    """The arm that stands for an adjuster."""
    return TUNED.get(adjuster, adjuster)


def every_arm() -> tuple[str, ...]:
    """The unadjusted model and its controls, then each adjuster that is known, beside its placebo."""
    from adjusters.registry import available

    arms = ["none", "oracle", "question_only"]
    for name in available():
        if name != "none":
            arms += [arm_of(name), f"placebo:{arm_of(name)}"]
    return tuple(arms)


def tuning_of(arm: str) -> Tuning:
    """What the options of an arm, as it is written, were chosen by; a default too was chosen by something."""
    bare = arm.removeprefix("placebo:")
    if bare in TUNED.values():
        return "no S"
    name, _, options = bare.partition("?")
    named = {pair.partition("=")[0] for pair in options.split("&")}
    return "oracle" if name in SEEN_ON_TEST and SEEN_ON_TEST[name] not in named else "no tuning"
