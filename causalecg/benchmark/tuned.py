"""The arm that stands for each adjuster on a leaderboard: one set of options, and what it was chosen by."""

from __future__ import annotations

from causalecg.benchmark.leaderboard.record import Tuning

#: adjuster -> its arm, chosen by ``benchmarks/tuning.py`` on validation patients of its own, without the severity.
TUNED: dict[str, str] = {
    "backdoor": "backdoor",
    "effect_subtraction": "effect_subtraction",
    "ecg_swap": "ecg_swap?answer=any",
    "group_dro": "group_dro?adjustment=1&rate=0.1",
    "group_weights": "group_weights",
    "inverse_answer": "inverse_answer",
    "ipw": "ipw",
    "product_of_experts": "product_of_experts?bias_view=question",
}
#: Options without which an adjuster refuses the benchmark's cohorts, which have one site.
NEEDED: dict[str, str] = {"irm": "irm?environment=severity", "vrex": "vrex?environment=severity"}


def arm_of(adjuster: str) -> str:
    """The arm that stands for an adjuster."""
    return TUNED.get(adjuster) or NEEDED.get(adjuster) or adjuster


def every_arm() -> tuple[str, ...]:
    """The unadjusted model and its controls, then each adjuster that is known, beside its placebo."""
    from adjusters.registry import available

    arms = ["none", "oracle", "question_only"]
    for name in available():
        if name != "none":
            arms += [arm_of(name), f"placebo:{arm_of(name)}"]
    return tuple(arms)


def tuning_of(arm: str) -> Tuning:
    """What the options of an arm, as it is written, were chosen by."""
    return "no S" if arm.removeprefix("placebo:") in TUNED.values() else "no tuning"
