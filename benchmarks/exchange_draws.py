"""How much of the style effect that exchanged wordings leave is the luck of one exchange.

    python benchmarks/exchange_draws.py --seeds 3

Tier T0 minimises a loss whose wordings are drawn once; a trainer with minibatches draws them anew every epoch. Here the
loss is averaged over 1, 2, 4 and 8 draws. Regime R3, whose law has a style effect of 0: mean over seeds.
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
from causalecg.benchmark.t0.evaluation import measured, patients_to_test, reader_of
from causalecg.benchmark.t0.training import train

ARMS, DRAWS = ("hybrid", "hybrid?exchange=0.5", "question_randomised"), (1, 2, 4, 8)
ONCE = ("oracle", "canonical_text")
TEST = 20_000


def run(arm: str, draws: int, seed: int) -> tuple[float, float]:
    """Unbiased accuracy and style effect."""
    import torch

    torch.set_num_threads(1)
    law = REGIMES["R3"].law(None)
    trained = train(law, EvidenceArm.parse(arm), seed=seed, estimand=declared_estimand(), draws=draws)
    found = measured(reader_of(trained.yes), patients_to_test(law, TEST))
    return float(found["correct_unbiased"].mean()), float(found["style_effect"].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    rows = [*((arm, 1) for arm in ONCE), *product(ARMS, DRAWS)]
    cells = [(arm, draws, seed) for arm, draws in rows for seed in range(options.seeds)]
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        values = np.array(list(pool.map(run, *zip(*cells, strict=True)))).reshape(len(rows), options.seeds, 2)
    print("| arm | draws | unbiased accuracy | style effect | by seed |")
    print("|---" * 5 + "|")
    for (arm, draws), found in zip(rows, values, strict=True):
        accuracy, style = found.mean(0)
        by_seed = ", ".join(f"{value:.3f}" for value in found[:, 1])
        print(f"| `{arm}` | {draws} | {accuracy:.3f} | {style:.3f} | {by_seed} |")


if __name__ == "__main__":
    main()
