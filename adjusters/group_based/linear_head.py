"""A linear head over an answer vocabulary, fitted to frozen features by penalised maximum likelihood."""

from __future__ import annotations

import torch
from torch import Tensor


def fit_linear_head(
    features: Tensor, candidates: Tensor, true: Tensor, several: Tensor, weights: Tensor, penalty: float
) -> Tensor:
    """Coefficients that minimise  sum_i w_i loss_i + penalty / 2 * (sum of squares of all coefficients).

    The loss of a row is that of a softmax over its candidates, or, where several answers may be true, the summed
    Bernoulli loss over them. The intercept is penalised like the rest. Convex; by L-BFGS, float64.

    Args:
        features: (rows, dim), standardised.
        candidates, true: (rows, answers) bool.
        several: (rows,) bool, whether any number of answers may be true.
        weights: (rows,) >= 0.
        penalty: > 0.

    Returns (answers, dim + 1), the intercept last, float64.

    Source: Kirichenko et al. 2023, section 5 (with an L1 penalty there).
    """
    x = torch.cat([features.double(), torch.ones(len(features), 1, dtype=torch.float64)], 1)
    w, y = weights.double(), true.double()
    coefficient = torch.zeros(candidates.shape[1], x.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [coefficient],
        max_iter=500,
        history_size=20,
        tolerance_grad=1e-7,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )
    one = ~several
    floor = torch.finfo(torch.float64).min

    def closure() -> Tensor:
        optimizer.zero_grad()
        scores = x @ coefficient.T
        total = 0.5 * penalty * coefficient.square().sum()
        if one.any():
            log_p = torch.log_softmax(scores[one].masked_fill(~candidates[one], floor), 1)
            chosen = torch.logsumexp(log_p.masked_fill(~true[one], floor), 1)
            total = total - (w[one] * chosen).sum()
        if several.any():
            each = torch.nn.functional.binary_cross_entropy_with_logits(scores[several], y[several], reduction="none")
            total = total + (w[several] * each.masked_fill(~candidates[several], 0.0).sum(1)).sum()
        total.backward()
        return total

    with torch.enable_grad():
        optimizer.step(closure)
    return coefficient.detach()


def standardisation(features: Tensor) -> tuple[Tensor, Tensor]:
    """(dim,) mean and standard deviation over the rows, float64; the latter is 1 where a feature does not vary."""
    x = features.double()
    scale = x.std(0, correction=0)
    varies = scale > 1e-8 * x.abs().amax(0).clamp(min=1e-30)
    return x.mean(0), torch.where(varies, scale, 1.0)


def for_raw_features(coefficient: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Coefficients of standardised features as coefficients of the features themselves."""
    slopes = coefficient[:, :-1] / scale
    return torch.cat([slopes, (coefficient[:, -1] - slopes @ mean)[:, None]], 1)
