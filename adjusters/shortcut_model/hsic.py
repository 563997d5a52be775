"""How much two sets of features of the same rows depend on each other: the Hilbert-Schmidt independence criterion.

The estimator is the unbiased one, HSIC_1 (Song, Smola, Gretton, Bedo & Borgwardt 2012). It is signed: for
independent features it is zero on average, so about half of the time below.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from adjusters.errors import ContractError

Measure = Literal["hsic", "cka"]
#: Rows that the estimator needs.
FEWEST = 4
_TINY = 1e-12


def unbiased_hsic(k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
    """HSIC_1 of two kernel matrices of the same rows: () signed. The diagonals do not count.

    Args:
        k, l: (rows, rows) symmetric, at least four rows.

    It is the mean over all ordered quadruples of distinct rows of k_ij (l_ij + l_qr - 2 l_iq), found in
    O(rows^2). Raises ContractError for fewer than four rows.
    """
    m = len(k)
    if m < FEWEST:
        raise ContractError(f"the unbiased dependence needs at least {FEWEST} rows, not {m}; use larger batches")
    k, l = without_diagonal(k), without_diagonal(l)  # noqa: E741
    of_k, of_l = k.sum(1), l.sum(1)
    pairs = (k * l).sum() + of_k.sum() * of_l.sum() / ((m - 1) * (m - 2)) - 2 * (of_k @ of_l) / (m - 2)
    return pairs / (m * (m - 3))


def unbiased_cka(k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
    """HSIC_1(k, l) / sqrt(HSIC_1(k, k) HSIC_1(l, l)): () about -1 to 1; zero where either does not vary.

    Centred kernel alignment (Cortes, Mohri & Rostamizadeh 2012; Kornblith et al. 2019) by unbiased estimates.
    """
    own = unbiased_hsic(k, k).clamp(min=0) * unbiased_hsic(l, l).clamp(min=0)
    varies = own > _TINY**2
    return torch.where(varies, unbiased_hsic(k, l) / torch.where(varies, own, 1.0).sqrt(), 0.0)


def dependence(x: Tensor, y: Tensor, classes: Tensor, measure: Measure) -> Tensor:
    """() dependence of features within classes, averaged over rows; classes of fewer than four rows do not count.

    Args:
        x: (rows, dim) features; y: (rows, other dim) features.
        classes: (rows,) int64; all the same for plain dependence.
        measure: "hsic" or "cka".

    Features are scaled and their bandwidth is found within each class. Zero where no class has four rows.
    """
    found, rows = x.new_zeros(()), 0
    for members in (torch.nonzero(classes == c)[:, 0] for c in classes.unique()):
        if len(members) < FEWEST:
            continue
        k, l = gaussian_kernel(scaled(x[members])), gaussian_kernel(scaled(y[members]))  # noqa: E741
        value = unbiased_hsic(k, l) if measure == "hsic" else unbiased_cka(k, l)
        found, rows = found + len(members) * value.to(found.dtype), rows + len(members)
    return found / max(rows, 1)


def scaled(features: Tensor) -> Tensor:
    """(rows, dim) with mean zero and mean squared length one: neither shift nor scale changes what is made of them, and
    no gradient points along either, so that a dependence cannot be escaped by larger features."""
    centred = features - features.mean(0)
    return centred * torch.rsqrt(centred.square().sum(1).mean() + _TINY)


def gaussian_kernel(features: Tensor) -> Tensor:
    """(rows, rows) exp(-|x_i - x_j|^2 / (2 s^2)), s^2 the median of the squared distances that are not zero, without
    gradient; one where all are."""
    distances = squared_distances(features)
    positive = distances.detach()[distances.detach() > _TINY]
    bandwidth = positive.median() if len(positive) else distances.new_ones(())
    return torch.exp(-distances / (2 * bandwidth))


def squared_distances(features: Tensor) -> Tensor:
    """(rows, rows) at least zero."""
    gram = features @ features.T
    own = gram.diagonal()
    return (own[:, None] + own[None, :] - 2 * gram).clamp(min=0)


def without_diagonal(kernel: Tensor) -> Tensor:
    """The matrix with zeros on its diagonal."""
    return kernel - torch.diag_embed(kernel.diagonal())
