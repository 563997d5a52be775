"""Mean losses of groups of a batch's rows."""

from __future__ import annotations

import torch
from torch import Tensor


def members_of(code: Tensor, groups: int, dtype: torch.dtype) -> Tensor:
    """(batch, groups) 1 where a row is of a group; a row of code -1 is of none."""
    return (code[:, None] == torch.arange(groups, device=code.device)).to(dtype)


def risks_of(values: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
    """(groups,) mean of (batch,) values in each group, 0 where it has no row, and whether it has one."""
    count = members.sum(0)
    return members.T @ values / count.clamp(min=1), count > 0


def equal_measure(rows: Tensor) -> Tensor:
    """(groups,) weight of a row under which groups of so many rows count the same; mean one over the rows."""
    return rows.sum() / (len(rows) * rows)
