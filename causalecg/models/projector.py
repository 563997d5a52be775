"""Projectors: encoder tokens (n, tokens, dim) to language-model embeddings (n, tokens', hidden).

``tokens`` is the number of tokens a projector gives, ``None`` = as many as it gets.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class LinearProjector(nn.Module):
    """One linear map per token."""

    tokens: int | None = None

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.map = nn.Linear(dim, hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.map(tokens)


class MLPProjector(nn.Module):
    """Two linear maps with a GELU between, per token.

    Args:
        dim, hidden: widths in and out.
        expansion: inner width as a multiple of ``hidden``.
    """

    tokens: int | None = None

    def __init__(self, dim: int, hidden: int, *, expansion: int = 2) -> None:
        super().__init__()
        self.map = nn.Sequential(nn.Linear(dim, expansion * hidden), nn.GELU(), nn.Linear(expansion * hidden, hidden))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.map(tokens)


class QueryResampler(nn.Module):
    """A fixed number of learned queries that attend to the encoder's tokens (Perceiver resampler, Alayrac et al. 2022).

    Args:
        dim, hidden: widths in and out.
        queries: number of output tokens.
        heads: attention heads.
    """

    def __init__(self, dim: int, hidden: int, *, queries: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.tokens = queries
        self.queries = nn.Parameter(torch.randn(queries, hidden) * hidden**-0.5)
        self.embed = nn.Linear(dim, hidden)
        self.attention = nn.MultiheadAttention(hidden, heads, batch_first=True)
        self.out = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, 2 * hidden), nn.GELU())
        self.last = nn.Linear(2 * hidden, hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        memory = self.embed(tokens)
        queries = self.queries.expand(len(tokens), -1, -1)
        attended, _ = self.attention(queries, memory, memory, need_weights=False)
        mixed = queries + attended
        return mixed + self.last(self.out(mixed))


PROJECTORS: dict[str, Callable[..., nn.Module]] = {
    "linear": LinearProjector,
    "mlp": MLPProjector,
    "query_resampler": QueryResampler,
}


def describe() -> dict[str, str]:
    """name -> one line."""
    return {name: str(build.__doc__).splitlines()[0] for name, build in PROJECTORS.items()}
