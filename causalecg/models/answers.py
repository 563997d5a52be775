"""Scores of candidate answers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn


def candidate_log_likelihood(
    tokens: list[list[list[int]]],
    *,
    first: Tensor,
    width: int,
    end: int,
    go_on: Callable[[Tensor, Tensor], Tensor],
    mean: bool,
) -> Tensor:
    """(items, width) log-likelihood of each candidate's tokens, summed or averaged over them; -inf at padding.

    Where one candidate of an item begins with all tokens of another ("block" and "block, complete"), every candidate
    of that item is followed by the end token: otherwise the shorter one would also collect the longer one's
    probability. A candidate of one token costs no pass beyond the prefix.

    Args:
        tokens: per item, per candidate, its token ids.
        first: (items, vocabulary) log-probabilities of the token after the prefix.
        width: number of columns.
        end: id of the end token.
        go_on: (ids (n, length), item indices (n,)) -> (n, length, vocabulary) log-probabilities after each of ``ids``.
        mean: average instead of sum.
    """
    plan: list[tuple[int, int, list[int]]] = []
    for item, names in enumerate(tokens):
        ambiguous = _one_begins_another(names)
        plan.extend((item, place, [*ids, end] if ambiguous else ids) for place, ids in enumerate(names))
    device = first.device
    items = torch.tensor([item for item, _, _ in plan], device=device)
    total = first[items, torch.tensor([ids[0] for _, _, ids in plan], device=device)]
    longer = [i for i, (_, _, ids) in enumerate(plan) if len(ids) > 1]
    if longer:
        # Right padding is harmless: attention is causal and padded targets are masked out.
        length = max(len(plan[i][2]) for i in longer) - 1
        fed = torch.zeros(len(longer), length, dtype=torch.long)
        target = torch.zeros(len(longer), length, dtype=torch.long)
        real = torch.zeros(len(longer), length)
        for row, i in enumerate(longer):
            ids = plan[i][2]
            fed[row, : len(ids) - 1] = torch.tensor(ids[:-1])
            target[row, : len(ids) - 1] = torch.tensor(ids[1:])
            real[row, : len(ids) - 1] = 1.0
        at = torch.tensor(longer, device=device)
        log_p = go_on(fed.to(device), items[at])
        rest = (log_p.gather(2, target.to(device)[..., None]).squeeze(2) * real.to(device)).sum(1)
        total = total.index_add(0, at, rest)
    if mean:
        total = total / torch.tensor([len(ids) for _, _, ids in plan], device=device)
    scores = torch.full((len(tokens), width), float("-inf"), device=device)
    return scores.index_put((items, torch.tensor([place for _, place, _ in plan], device=device)), total)


def _one_begins_another(names: list[list[int]]) -> bool:
    ordered = sorted(map(tuple, names))
    return any(longer[: len(shorter)] == shorter for shorter, longer in pairwise(ordered))


class AnswerHead(nn.Module):
    """Log-odds of each candidate of a set question: a bilinear form of the fused state and the candidate's name.

    The name is the mean of the language model's own input embeddings of its tokens, so an answer space may be of any
    size and may differ from question to question.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.state = nn.Linear(hidden, hidden)
        self.name = nn.Linear(hidden, hidden)
        self.bias = nn.Linear(hidden, 1)

    def forward(self, fused: Tensor, names: Tensor) -> Tensor:
        """(n, hidden), (candidates, hidden) -> (n, candidates)."""
        scaled = nn.functional.layer_norm(names, names.shape[-1:])
        state = nn.functional.layer_norm(fused, fused.shape[-1:])
        return self.state(state) @ self.name(scaled).T * names.shape[-1] ** -0.5 + self.bias(scaled).squeeze(-1)
