"""One set of options per adjuster, chosen without the severity and without the test.

    python benchmarks/tuning.py --regimes R1,R2,R3,R4,R6 --seeds 2

Every candidate of :data:`GRID` is trained at tier T0 on patients of its own (seeds from 1000 on; no leaderboard uses
them), in every regime, and judged on validation patients asked in words dealt out at random within the topic: the share
of right answers, mean over regimes and seeds. That needs no severity (tier "no S"), only that words can be exchanged,
and it presumes that they have no effect of their own. Of the candidates within one standard error of the best, the
first of the list is taken; the lists begin with the mildest. What learns from validation patients
(``last_layer_refit``) cannot be judged so, and keeps its defaults. Prints one Markdown row per candidate.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context

import numpy as np

from causalecg.benchmark.leaderboard.evidence import declared_estimand
from causalecg.benchmark.regimes import REGIMES
from causalecg.benchmark.t0.arms import EvidenceArm
from causalecg.benchmark.t0.evaluation import reader_of
from causalecg.benchmark.t0.training import train, training_world

ITEMS, VALID, FIRST_SEED = 4000, 4000, 1000
#: From the mildest to the strongest.
GRID: dict[str, tuple[str, ...]] = {
    "backdoor": ("backdoor", "backdoor?prior=marginal"),
    "hybrid": ("hybrid?exchange=0.0", "hybrid?exchange=0.02", "hybrid?exchange=0.05", "hybrid", "hybrid?exchange=0.5"),
    "ipw": ("ipw?clip=20", "ipw?clip=0.99", "ipw"),
    "matched": ("matched", "matched?replace=false"),
    "inverse_answer": ("inverse_answer?clip=20", "inverse_answer"),
    "product_of_experts": ("product_of_experts", "product_of_experts?bias_view=question"),
    "learned_mixin": ("learned_mixin?entropy=0", "learned_mixin", "learned_mixin?entropy=1"),
    "rubi": ("rubi", "rubi?question_weight=3"),
    "effect_subtraction": (
        "effect_subtraction?weight=0.5", "effect_subtraction", "effect_subtraction?reference=blank&weight=0.5",
        "effect_subtraction?reference=blank",
    ),
    "lff": ("lff", "lff?bias_view=question", "lff?bias_view=question&q=0.3"),
    "rebias": ("rebias?strength=10", "rebias", "rebias?strength=1000"),
    "group_dro": ("group_dro", "group_dro?rate=0.1", "group_dro?rate=0.1&adjustment=1"),
    "group_weights": ("group_weights?clip=20", "group_weights", "group_weights?scheme=independent"),
    "jtt": ("jtt", "jtt?upweight=20", "jtt?bias_view=question", "jtt?bias_view=question&upweight=100"),
    "irm": ("irm?environment=severity", "irm?environment=severity&strength=10000"),
    "vrex": ("vrex?environment=severity", "vrex?environment=severity&strength=1000"),
    "ecg_swap": ("ecg_swap", "ecg_swap?answer=any"),
    "modality_dropout": ("modality_dropout?share=0.2", "modality_dropout"),
}  # fmt: skip


def judged(arm: str, regime: str, seed: int) -> float:
    """Share of right answers on validation patients whose words are dealt out at random within the topic."""
    import torch

    from adjusters.contract import ContractError

    torch.set_num_threads(1)
    law = REGIMES[regime].law()
    try:
        trained = train(law, EvidenceArm.parse(arm), seed=seed, estimand=declared_estimand(), items=ITEMS, valid=VALID)
    except ContractError:
        return float("nan")
    world = training_world(law, ITEMS, VALID, seed)
    rows, rng = np.arange(ITEMS, ITEMS + VALID), np.random.default_rng([seed, 4])
    styles = world.styles[rows].copy()
    for topic in np.unique(world.topic[rows]):
        at = np.flatnonzero(world.topic[rows] == topic)
        styles[at] = styles[rng.permutation(at)]
    yes = reader_of(trained.yes)(world.evidence[rows], world.topic[rows], styles)
    return float(((yes > 0.5) == world.answer[rows]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regimes", default="R1,R2,R3,R4,R6")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--adjusters", default=",".join(GRID))
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    regimes, seeds = options.regimes.split(","), range(FIRST_SEED, FIRST_SEED + options.seeds)
    print(f"| adjuster | candidate | {' | '.join(regimes)} | mean (standard error) | |")
    print("|---" * (len(regimes) + 4) + "|")
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        for name in options.adjusters.split(","):
            cells = list(product(GRID[name], regimes, seeds))
            values = np.array(list(pool.map(judged, *zip(*cells, strict=True))))
            table = values.reshape(len(GRID[name]), len(regimes), len(seeds))
            means = table.mean((1, 2))
            best = int(np.nanargmax(means))
            # Of the difference to the best over the same patients, so that easy and hard seeds do not count.
            apart = (table[best] - table).reshape(len(table), -1)
            error = apart.std(1, ddof=1) / apart.shape[1] ** 0.5
            chosen = next(i for i in range(len(means)) if means[best] - means[i] <= error[i])
            for i, arm in enumerate(GRID[name]):
                each = " | ".join(f"{100 * value:.1f}" for value in table[i].mean(1))
                mark = "chosen" if i == chosen else ""
                mean = f"{100 * means[i]:.2f} ({100 * error[i]:.2f})"
                print(f"| {name} | `{arm}` | {each} | {mean} | {mark} |", flush=True)


if __name__ == "__main__":
    main()
