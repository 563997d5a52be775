"""Checkpoints: tensors as safetensors, the rest as JSON; complete or not there; nothing is unpickled."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from causalecg.training.sharding import share_of

KEEP = 2


def save(folder: Path, step: int, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write checkpoint number ``step`` under ``folder``; the newest :data:`KEEP` are kept."""
    from safetensors.torch import save_file

    target = folder / f"step-{step:08d}"
    partial = folder / f".step-{step:08d}.partial"
    for stale in (partial, target):
        shutil.rmtree(stale, ignore_errors=True)
    partial.mkdir(parents=True)
    # Tied weights share memory, which safetensors refuses: each name gets its own copy.
    save_file({name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}, partial / "t")
    (partial / "about.json").write_text(json.dumps(about, sort_keys=True) + "\n")
    partial.rename(target)
    for old in sorted(folder.glob("step-*"))[:-KEEP]:
        shutil.rmtree(old)


def load_latest(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest checkpoint that can be read, or ``None``."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    for target in sorted(folder.glob("step-*"), reverse=True):
        try:
            return load_file(target / "t"), json.loads((target / "about.json").read_text())
        except (OSError, ValueError, SafetensorError):
            continue
    return None


def flatten_optimizer(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """Moments and step counts as named tensors."""
    state = optimizer.state_dict()["state"]
    return {f"{prefix}{index}.{name}": torch.as_tensor(v) for index, s in state.items() for name, v in s.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, prefix: str, tensors: dict[str, Tensor]) -> None:
    """Put back what :func:`flatten_optimizer` took, whole or of shares."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(prefix):
            index, name = key.removeprefix(prefix).split(".")
            of = parameters[int(index)]
            # A count of steps is whole; moments are shared out like their parameter.
            state.setdefault(int(index), {})[name] = share_of(value, of) if value.shape == of.shape else value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
