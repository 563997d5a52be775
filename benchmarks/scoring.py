"""What caching saves when a model is audited. Run: python benchmarks/scoring.py"""

from __future__ import annotations

import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import torch

from causalecg import Cohort, ModelConfig, build_model
from causalecg.audits.interventions import DEFAULT_SUITE, intervene
from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cohort.batches import TableBatches


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        cohort = Cohort.open(simulate_cohort(Path(name) / "c", items=100, test_items=1000, rho=0.9, progress=False))
        table = cohort.split("test")
        model = build_model(ModelConfig(), texts=list(table["question"].unique()), leads=12, seed=0).eval()
        changed = [
            TableBatches(cohort, intervene(what, table, cohort, severity="severity_simulated", seed=0).table)
            for what in DEFAULT_SUITE
        ]
        items = sum(len(batches) for batches in changed)
        taken = {}
        for label, cache in (("each ECG and question once", model.caching), ("everything every time", nullcontext)):
            start = time.perf_counter()
            with torch.no_grad(), cache():
                for batches in changed:
                    for positions in batches.in_order(256):
                        model(batches(positions))
            taken[label] = time.perf_counter() - start
    slow = taken["everything every time"]
    print(f"default suite, {items} (item, intervention) pairs, one thread\n")
    print("| scoring | ms per pair | ratio |\n|---|---|---|")
    for label, seconds in taken.items():
        print(f"| {label} | {1000 * seconds / items:.3f} | {seconds / slow:.3f} |")


if __name__ == "__main__":
    main()
