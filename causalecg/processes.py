"""The processes that ``accelerate launch`` or ``torchrun`` started."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accelerate import PartialState


def on_processors() -> bool:
    """Whether to compute on processors: there is nothing else, or it is asked for (``accelerate launch --cpu``)."""
    import torch
    from accelerate.utils import parse_flag_from_env

    return parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()


def processes() -> PartialState:
    """Who takes part. On processors they talk by gloo; unless it is told so, accelerate lets each think it is alone."""
    from accelerate import PartialState

    return PartialState(cpu=on_processors())
