"""What each process holds after three steps, with the whole of everything (DDP) or a share of it (FSDP).

    for how in two_processes_cpu fsdp; do
      accelerate launch --config_file examples/configs/accelerate/$how.yaml benchmarks/shares.py
    done

The embedded language model with 768 dimensions and 6 layers: 48 million parameters, all trained.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from memory import MEGABYTE, anonymous
from torch import Tensor

from causalecg import Cohort, ModelConfig, RunConfig, train
from causalecg.benchmark.cohort import simulate_cohort
from causalecg.models.config import EmbeddedLanguageModel
from causalecg.processes import processes
from causalecg.training.loop import Loop

STEPS, BATCH = 3, 8


def held(tensor: Tensor) -> int:
    """Bytes of a tensor in this process."""
    local = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return int(local.numel() * local.element_size())


def said(loop: Loop) -> str:
    moments = sum(held(value) for own in loop.optimizers["main"].state.values() for value in own.values())
    weights = sum(held(parameter) for parameter in loop.objective.parameters())
    sizes = {"weights": weights, "moments": moments, "anonymous memory": anonymous()}
    told = ", ".join(f"{name} {size / MEGABYTE:.0f} MB" for name, size in sizes.items())
    how = "FSDP" if loop.shares is not None else "DDP"
    return f"{how}, process {loop.accelerator.process_index} of {loop.accelerator.num_processes}: {told}"


def main() -> None:
    torch.set_num_threads(1)
    step, steps = Loop._step, []

    def counted(self: Loop, *given: object) -> None:
        step(self, *given)  # type: ignore[arg-type]
        steps.append(1)
        if len(steps) == STEPS:
            print(said(self), flush=True)

    Loop._step = counted  # type: ignore[method-assign]
    size = EmbeddedLanguageModel(hidden=768, layers=6, heads=8, vocabulary=260)
    config = RunConfig(model=ModelConfig(embedded=size), epochs=1, batch_size=BATCH)
    with tempfile.TemporaryDirectory() as own:
        # Each process has the cohort, the same by its seed; the run's folder is the first one's.
        folders = [own]
        if processes().num_processes > 1:
            torch.distributed.broadcast_object_list(folders)
        simulate_cohort(Path(own) / "c", items=STEPS * BATCH, test_items=8, rate_hz=50, seconds=2, progress=False)
        train(Cohort.open(Path(own) / "c"), "none", config, seed=0, out=f"{folders[0]}/run", progress=False)
        processes().wait_for_everyone()


if __name__ == "__main__":
    main()
