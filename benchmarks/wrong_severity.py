"""Severity recorded wrong, and wordings that truly act: what back-door adjustment and the hybrid make of them.

    python benchmarks/wrong_severity.py --seeds 3

Tier T0, 4,000 patients to learn from. Per law and arm, means over seeds: unbiased accuracy, style effect beside the
law's own, mean distance to P(A | E, do(Q)), and the share of wrong severities as the hybrid estimates it.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context

import numpy as np

from causalecg.benchmark import exact
from causalecg.benchmark.law import Law
from causalecg.benchmark.leaderboard.evidence import declared_estimand
from causalecg.benchmark.regimes import REGIMES
from causalecg.benchmark.t0.arms import EvidenceArm
from causalecg.benchmark.t0.evaluation import measured, patients_to_test, reader_of
from causalecg.benchmark.t0.training import train

LAWS: dict[str, tuple[str, float, dict[str, float | int]]] = {
    "R1, none wrong": ("R1", 0.99, {}),
    "R4, 10 % wrong": ("R4", 0.99, {}),
    "R4, 25 % wrong": ("R4", 0.99, {"severity_error": 0.25}),
    "R4, a coin for the record": ("R4", 0.99, {"severity_error": 0.5}),
    "four levels, 10 % wrong": ("R1", 0.9, {"levels": 4, "severity_error": 0.1}),
    "wording settles 20 %, rho .99": ("R1", 0.99, {"style_effect": 0.2}),
    "wording settles 20 %, rho .9": ("R1", 0.9, {"style_effect": 0.2}),
    "the same, 10 % wrong": ("R4", 0.9, {"style_effect": 0.2}),
}
ARMS = (
    "none", "oracle", "backdoor", "hybrid?exchange=0&misclassification=0", "hybrid?exchange=0", "hybrid?exchange=0.02",
    "hybrid", "hybrid?exchange=0.5", "hybrid?misclassification=0", "question_randomised",
)  # fmt: skip
TEST = 10_000


def law_of(name: str) -> Law:
    regime, rho, dials = LAWS[name]
    return REGIMES[regime].law(rho, **dials)


def run(name: str, arm: str, seed: int) -> tuple[float, float, float, float]:
    """Unbiased accuracy, style effect, target error, estimated share of wrong severities (NaN: not estimated)."""
    import torch

    torch.set_num_threads(1)
    law = law_of(name)
    trained = train(law, EvidenceArm.parse(arm), seed=seed, estimand=declared_estimand())
    found = measured(reader_of(trained.yes), patients_to_test(law, TEST))
    record = getattr(trained.objective, "misclassification", None)
    wrong = float("nan") if record is None else 1 - float(record().detach().diagonal().mean())
    return (
        float(found["correct_unbiased"].mean()),
        float(found["style_effect"].mean()),
        float(found["target_error"].mean()),
        wrong,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--laws", default="", help="those whose name has this in it")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    laws = [name for name in LAWS if options.laws in name]
    cells = list(product(laws, ARMS, range(options.seeds)))
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        values = np.array(list(pool.map(run, *zip(*cells, strict=True))))
    table = values.reshape(len(laws), len(ARMS), options.seeds, 4).mean(2)
    for i, name in enumerate(laws):
        law = law_of(name)
        about = f"style effect {exact.style_effect(law):.3f}, wrong {law.severity_error:.3f}, {options.seeds} seeds"
        print(f"\n{name}: {about}\n")
        print("| arm | unbiased accuracy | style effect | distance to P(A given E, do(Q)) | wrong, estimated |")
        print("|---" * 5 + "|")
        for j, arm in enumerate(ARMS):
            accuracy, style, error, wrong = table[i, j]
            told = "–" if np.isnan(wrong) else f"{wrong:.3f}"
            print(f"| `{arm}` | {accuracy:.3f} | {style:.3f} | {error:.3f} | {told} |")


if __name__ == "__main__":
    main()
