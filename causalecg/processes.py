"""The processes that ``accelerate launch`` or ``torchrun`` started."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accelerate import PartialState


def on_processors() -> bool:
    """Whether to compute on processors: there is nothing else, or it is asked for (``accelerate launch --cpu``)."""
    import torch

    asked = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes", "y", "on")
    return asked or not torch.accelerator.is_available()


def processes() -> PartialState:
    """Who takes part. On processors they talk by gloo; unless it is told so, accelerate lets each think it is alone."""
    from accelerate import PartialState

    return PartialState(cpu=on_processors())
