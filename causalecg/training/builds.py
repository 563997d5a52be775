"""The user's own function from a seed to a fresh scorer."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from causalecg.errors import InputError

if TYPE_CHECKING:
    from causalecg.training.config import RunConfig

#: Builds a fresh scorer from a seed.
Build = Callable[[int], nn.Module]


def require_build(build: object) -> None:
    """InputError for what is no such function: a module, or a class that would take the seed for something else."""
    if isinstance(build, nn.Module):
        name = type(build).__name__
        raise InputError(
            f"scorer is a {name}, whose weights are drawn already, and a run draws its own from its seed; write "
            f"lambda seed: {name}() in its place"
        )
    if isinstance(build, type) and not _begins_with_seed(build):
        name = build.__name__
        raise InputError(
            f"scorer is the class {name}, whose first argument is no seed and would be given one; write "
            f"lambda seed: {name}() in its place"
        )
    if not callable(build):
        raise InputError(f"scorer is a {type(build).__name__}, and not a function from a seed to a module")


def _begins_with_seed(kind: type) -> bool:
    try:
        first = next(iter(inspect.signature(kind).parameters), None)
    except ValueError:  # a class without a signature, e.g. one written in C
        return False
    return first == "seed"


def fresh(build: Build, seed: int) -> nn.Module:
    """What ``build`` builds from ``seed``. Torch's global generator is seeded for it, so that a function which draws
    from that and pays its seed no heed gives the same weights again, and is put back. InputError for what is no module.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        found: Any = build(seed)
    if not isinstance(found, nn.Module):
        raise InputError(f"the function given as scorer returned a {type(found).__name__}, and not a torch module")
    return found


def require_no_model(config: RunConfig) -> None:
    """InputError where a configuration describes the composite, beside a function that builds another scorer."""
    from causalecg.models.config import ModelConfig

    default = ModelConfig()
    said = [key for key in ModelConfig.model_fields if getattr(config.model, key) != getattr(default, key)]
    if said:
        keys = ", ".join(f"model.{key}" for key in said)
        raise InputError(
            f"the configuration's table [model] is of the composite, and a scorer of your own heeds none of it; leave "
            f"out {keys}, or the scorer"
        )


def imported(text: str) -> Any:
    """What ``package.module:name`` names. InputError where it cannot be imported, or called."""
    module, _, name = text.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"'{text}' cannot be imported: {error}") from error
    finally:
        sys.path.pop(0)
    if not callable(found):
        raise InputError(f"'{text}' is a {type(found).__name__}, which cannot be called")
    return found
