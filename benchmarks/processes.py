"""How far two processes agree with one: losses and trained weights, by arm.

    python benchmarks/processes.py

Every arm is trained for two epochs on 300 simulated items, by one process, by two with the whole model each (gloo), and
by two with their shares of it (FSDP), started by ``accelerate launch`` with the files in examples/configs/accelerate.
Prints one Markdown row per arm: the largest difference of a loss over the epochs, relative to it, and of a weight.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors.torch import load_file

ARMS = (
    "none", "backdoor", "learned_mixin", "lff", "jtt", "group_dro", "rebias",
    "hybrid", "stratified", "last_layer_refit",
)  # fmt: skip
CONFIGURATIONS = Path(__file__).parents[1] / "examples" / "configs" / "accelerate"
LAUNCHES = {"two": "two_processes_cpu.yaml", "fsdp": "fsdp.yaml"}


def train_all(cohort: str, out: str, clip_norm: str, arms: list[str]) -> None:
    """What each of the started processes does."""
    from causalecg.cohort.schema import Cohort
    from causalecg.models.config import EmbeddedLanguageModel, ModelConfig
    from causalecg.training.config import RunConfig
    from causalecg.training.run import train

    size = EmbeddedLanguageModel(hidden=16, layers=1, heads=2, vocabulary=260)
    model = ModelConfig(encoder_options={"widths": [8, 16]}, embedded=size)
    config = RunConfig(epochs=2, batch_size=50, clip_norm=float(clip_norm), model=model)
    for arm in arms:
        train(Cohort.open(cohort), arm, config, seed=3, out=f"{out}/{arm}", progress=False)


def losses(run: Path) -> list[float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [value for row in rows for name, value in sorted(row.items()) if "loss" in name]


def apart(one: Path, other: Path) -> tuple[float, float]:
    """Largest relative difference of a loss, and largest difference of a weight."""
    pairs = zip(losses(one), losses(other), strict=True)
    of_losses = max(abs(a - b) / max(abs(a), 1e-12) for a, b in pairs)
    of_weights = 0.0
    for file in sorted(path.relative_to(one) for path in one.rglob("*.safetensors")):
        mine, theirs = load_file(one / file), load_file(other / file)
        for name, value in mine.items():
            if value.numel():
                of_weights = max(of_weights, float((value.double() - theirs[name].double()).abs().max()))
    return of_losses, of_weights


def main() -> None:
    from causalecg.benchmark.cohort import simulate_cohort

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--clip-norm", type=float, default=100.0)
    options = parser.parse_args()
    arms = options.arms.split(",")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with tempfile.TemporaryDirectory() as folder:
        cohort = simulate_cohort(Path(folder) / "c", items=300, test_items=40, rho=0.9, seed=1, rate_hz=50, seconds=2)
        for name in ("one", *LAUNCHES):
            before = [sys.executable]
            if name in LAUNCHES:
                before += ["-m", "accelerate.commands.launch", "--main_process_port", "0"]
                before += ["--config_file", str(CONFIGURATIONS / LAUNCHES[name])]
            given = [__file__, "train", str(cohort), f"{folder}/{name}", str(options.clip_norm), *arms]
            subprocess.run([*before, *given], check=True, env=environment, capture_output=True)
        print("| arm | losses, gloo | weights, gloo | losses, FSDP | weights, FSDP |\n|---|---|---|---|---|")
        for arm in arms:
            found = [value for name in LAUNCHES for value in apart(Path(folder, "one", arm), Path(folder, name, arm))]
            print(f"| `{arm}` | {' | '.join(f'{value:.0e}' for value in found)} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["train"]:
        train_all(*sys.argv[2:5], sys.argv[5:])
    else:
        main()
