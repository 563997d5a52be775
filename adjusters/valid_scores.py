"""One score per candidate, which the weights learn by: what has another shape would be broadcast, and train to the end
without learning."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from adjusters.batch import Batch
from adjusters.errors import ContractError


def require_scores(scores: object, batch: Batch, scorer: str = "the scorer") -> None:
    """ContractError for what is not a tensor of (batch, candidates) real numbers."""
    wanted = tuple(batch.candidate_ids.shape)
    if not isinstance(scores, Tensor):
        found = f"a {type(scores).__name__}"
    elif tuple(scores.shape) != wanted:
        found = f"scores of shape {tuple(scores.shape)}"
    elif not scores.is_floating_point():
        found = f"scores of type {str(scores.dtype).removeprefix('torch.')}"
    else:
        return
    raise ContractError(
        f"{scorer} gave {found}, for {wanted[0]} items with up to {wanted[1]} candidates; let it give a torch tensor "
        f"of real numbers of shape {wanted}, -inf at padding"
    )


def require_gradient(scores: object, scorer: nn.Module) -> None:
    """ContractError for scores, computed where gradients are, that lead back to none of the scorer's weights."""
    learns = torch.is_grad_enabled() and any(p.requires_grad for p in scorer.parameters())
    if learns and isinstance(scores, Tensor) and not scores.requires_grad:
        raise ContractError(
            f"{type(scorer).__name__} gave scores that lead back to none of its weights, so that nothing can be "
            "learned; leave out detach(), numpy() and torch.no_grad() on the way to them"
        )


def check_first_scores(scorer: object) -> None:
    """Let the first batch that a module scores be checked, before anything is done with its scores."""
    if isinstance(scorer, nn.Module):
        check = _FirstScores()
        check.handle = scorer.register_forward_hook(check)


class _FirstScores:
    """A hook that goes away when it has been called. No closure, so that the module can be copied and pickled."""

    handle: RemovableHandle

    def __call__(self, module: nn.Module, given: tuple[Any, ...], scores: object) -> None:
        self.handle.remove()
        if given and isinstance(given[0], Batch):
            require_scores(scores, given[0], type(module).__name__)
            require_gradient(scores, module)
