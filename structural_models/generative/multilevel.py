"""P(A | do(Q)) of many question templates by a multilevel logistic answer model, with the whole posterior.

    answers in cell (s, q) ~ Binomial(rows, expit(θ_sq)),   θ_sq ~ Normal(α + β_s + γ_q, σ)
    β_s ~ Normal(0, σ_stratum),  γ_q ~ Normal(0, σ_arm),  α ~ Normal(0, 2.5),  each σ ~ Gamma(2, 2)

Templates with few rows borrow from the others; with many rows a cell speaks for itself. The rows enter as one count
per cell, so the time does not depend on how many there are. The shares of the strata have the posterior of the Bayesian
bootstrap (Rubin 1981), Dirichlet(rows of each stratum), independent of the θ.

The prior of the σ is zero at zero, so that a few strata or templates are not declared all alike.

Source: Gelman & Hill 2007, "Data Analysis Using Regression and Multilevel/Hierarchical Models", chapters 14-15; the
prior: Chung et al. 2013, "A nondegenerate penalized likelihood estimator for variance parameters in multilevel models".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
from scipy.special import expit

from structural_models.errors import TableError
from structural_models.generative.levels import plain_levels
from structural_models.json_values import plain
from structural_models.tabulation import coded, column_values, distinct_rows, require_rows

if TYPE_CHECKING:
    from torch import Tensor

Inference = Literal["svi", "nuts"]
_INFERENCES: tuple[str, ...] = get_args(Inference)


@dataclass(frozen=True)
class MultilevelPosterior:
    """Posterior draws of P(outcome = success | do(treatment)).

    Attributes:
        arms: (arms,) values of the treatment, sorted.
        draws: (draws, arms) float64.
        inference: "svi" (mean-field: may be too narrow where cells have few rows) or "nuts".
        r_hat: largest split R-hat over the arms, NaN for "svi"; above 1.01 the chain should run longer.
        effective_draws: smallest number of independent draws that an arm's draws are worth.
        extrapolated: (stratum, arm) cells without a row: what is said of them is the model's alone.
    """

    arms: tuple[Any, ...]
    draws: np.ndarray
    inference: Inference
    r_hat: float
    effective_draws: float
    extrapolated: int

    @property
    def mean(self) -> np.ndarray:
        """(arms,) float64."""
        return np.asarray(self.draws.mean(axis=0))

    def interval(self, coverage: float = 0.95) -> np.ndarray:
        """(arms, 2) central posterior interval."""
        tail = (1 - coverage) / 2
        return np.asarray(np.quantile(self.draws, [tail, 1 - tail], axis=0).T)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, without the draws."""
        laws = {
            arm: {"mean": mean, "low": low, "high": high}
            for arm, mean, (low, high) in zip(self.arms, self.mean, self.interval(), strict=True)
        }
        return plain(
            {
                "inference": self.inference,
                "arms": laws,
                "draws": len(self.draws),
                "r_hat": self.r_hat,
                "effective_draws": self.effective_draws,
                "extrapolated": self.extrapolated,
            }
        )


def multilevel_posterior(
    table: pd.DataFrame,
    treatment: str,
    outcome: str,
    adjustment: Sequence[str],
    *,
    success: Any,
    rng: np.random.Generator,
    inference: Inference = "svi",
    draws: int = 1000,
    warmup: int = 2000,
) -> MultilevelPosterior:
    """P(outcome = success | do(treatment)), standardised over the strata of ``adjustment``.

    Args:
        table: one row per item, columns of levels, without gaps. Rows are taken to be independent; where a patient has
            several, the intervals are too narrow.
        adjustment: a set that closes the back-door paths, such as :func:`structural_models.identify` gives.
        success: the answer; all others count as its absence.
        inference: "svi", mean-field variational inference, or "nuts", the no-U-turn sampler (one chain).
        draws: kept.
        warmup: steps of the optimiser, or of the sampler before its draws are kept.

    Raises TableError for no rows, a missing column or one with gaps, an answer that never occurs, or options that are
    out of range.
    """
    require_rows(table)
    if inference not in _INFERENCES:
        raise TableError(f"no inference is called '{inference}'; use {' or '.join(_INFERENCES)}")
    if draws < 100 or warmup < 100:
        raise TableError(f"at least 100 draws and 100 steps of warm-up are needed, not {draws} and {warmup}")
    hit = (column_values(table, outcome) == success).to_numpy()
    if not hit.any():
        raise TableError(f"column '{outcome}' never holds '{success}'; name an answer that occurs")
    arm, levels = coded(table, treatment)
    first, stratum = distinct_rows(table, adjustment)
    shape = (len(first), len(levels))
    cell = np.ravel_multi_index((stratum, arm), shape)
    rows = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
    hits = np.bincount(cell, hit, minlength=rows.size).reshape(shape)
    for_shares, for_answers = rng.spawn(2)
    run = _by_svi if inference == "svi" else _by_nuts
    risks = run(rows, hits, draws, warmup, for_answers)
    shares = for_shares.dirichlet(rows.sum(axis=1), size=draws)
    found = np.einsum("ds,dsq->dq", shares, risks)
    # The shares are drawn independently, which would hide a chain that does not move.
    chain = np.einsum("s,dsq->dq", rows.sum(axis=1) / len(table), risks)
    r_hat, effective = (float("nan"), float(draws)) if inference == "svi" else _diagnostics(chain)
    return MultilevelPosterior(plain_levels(levels.values), found, inference, r_hat, effective, int((rows == 0).sum()))


def _scale(rows: np.ndarray, hits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(strata, arms) log-odds of each cell's own rows, and their standard errors; one half added to either count."""
    yes, no = hits + 0.5, rows - hits + 0.5
    return np.log(yes / no), np.sqrt(1 / yes + 1 / no)


def _cells(
    rows: np.ndarray, hits: np.ndarray, sigma: Mapping[str, Tensor], effects: Tensor, cells: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """α, β and γ, (..., 1 + strata + arms), each in units of its prior's spread; θ, (..., strata, arms); and (...) the
    logarithm of their prior density over that of the standard normals they are made of.

    Args:
        sigma: (...) by the names stratum, arm and cell.
        effects, cells: (..., 1 + strata + arms) and (..., strata, arms) standard normals.

    Were the log-odds of a cell's own rows normal, with their standard error, then given the σ so would be the posterior
    of everything else, and its mean and spread are known. That posterior makes α, β, γ and θ of standard normals, which
    a sampler that knows no scales can follow; the density that is returned takes back what is wrong with it.
    """
    import torch

    centre, unit = (torch.as_tensor(array) for array in _scale(rows, hits))
    strata, arms = rows.shape
    design = torch.cat(
        [
            torch.ones(rows.size, 1, dtype=torch.float64),
            torch.eye(strata, dtype=torch.float64).repeat_interleave(arms, dim=0),
            torch.eye(arms, dtype=torch.float64).repeat(strata, 1),
        ],
        dim=1,
    )
    stratum, arm, cell = (sigma[name][..., None] for name in ("stratum", "arm", "cell"))
    size = torch.cat(
        [2.5 * torch.ones_like(cell), stratum.expand(*stratum.shape[:-1], strata), arm.expand(*arm.shape[:-1], arms)],
        -1,
    )
    # α, β and γ in units of their prior: a ridge regression of the cells' log-odds.
    scaled = design * size[..., None, :]
    weighted = scaled.mT / (cell**2 + unit.flatten() ** 2)[..., None, :]
    factor = torch.linalg.cholesky(weighted @ scaled + torch.eye(design.shape[1], dtype=torch.float64))
    centred = torch.cholesky_solve(weighted @ centre.flatten()[:, None], factor)
    spread = torch.linalg.solve_triangular(factor.mT, effects[..., None], upper=True)
    found = (centred + spread)[..., 0]
    of_effects = (effects**2 - found**2).sum(-1) / 2 - factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    loc = ((scaled @ found[..., None])[..., 0].unflatten(-1, rows.shape) - centre) / unit
    tau = cell[..., None] / unit
    theta = centre + unit * (loc / (1 + tau**2) + tau / (1 + tau**2).sqrt() * cells)
    own = cells / (1 + tau**2).sqrt() - loc * tau / (1 + tau**2)  # (θ - α - β - γ) / σ
    return found, theta, of_effects + ((cells**2 - own**2 - torch.log1p(tau**2)) / 2).sum((-2, -1))


def _program(rows: np.ndarray, hits: np.ndarray) -> Any:
    """The Pyro model, of the σ and of the standard normals that :func:`_cells` makes everything else of."""
    import pyro
    import pyro.distributions as dist
    import torch

    total, answered = (torch.as_tensor(array, dtype=torch.float64) for array in (rows, hits))
    zero, two = torch.zeros((), dtype=torch.float64), 2 * torch.ones((), dtype=torch.float64)

    def program() -> None:
        sigma = {name: pyro.sample(f"sigma_{name}", dist.Gamma(two, two)) for name in ("stratum", "arm", "cell")}
        normal = dist.Normal(zero, two / 2)
        effects = pyro.sample("effects", normal.expand([1 + sum(rows.shape)]).to_event(1))
        cells = pyro.sample("cells", normal.expand(rows.shape).to_event(2))
        _, theta, density = _cells(rows, hits, sigma, effects, cells)
        pyro.factor("density", density)
        pyro.sample("answers", dist.Binomial(total, logits=theta).to_event(2), obs=answered)

    return program


def _by_svi(rows: np.ndarray, hits: np.ndarray, draws: int, steps: int, rng: np.random.Generator) -> np.ndarray:
    """(draws, strata, arms) risks."""
    import pyro
    import torch
    from pyro.infer import SVI, JitTrace_ELBO, Predictive
    from pyro.infer.autoguide import AutoDiagonalNormal, init_to_mean

    from structural_models.generative.program import seeded

    program = _program(rows, hits)
    with seeded(rng):
        guide = AutoDiagonalNormal(program, init_loc_fn=init_to_mean, init_scale=0.5)
        # The step shrinks a hundredfold, so that its noise is small beside the posterior's spread at the end.
        optimiser = pyro.optim.ClippedAdam({"lr": 0.03, "lrd": 0.01 ** (1 / steps)})
        svi = SVI(program, guide, optimiser, JitTrace_ELBO(ignore_jit_warnings=True))
        for _ in range(steps):
            svi.step()
        with torch.no_grad():
            return _risks(Predictive(guide, num_samples=draws, parallel=True)(), rows, hits)


def _by_nuts(rows: np.ndarray, hits: np.ndarray, draws: int, warmup: int, rng: np.random.Generator) -> np.ndarray:
    """(draws, strata, arms) risks."""
    from pyro.infer import MCMC, NUTS
    from pyro.infer.autoguide import init_to_mean

    from structural_models.generative.program import seeded

    with seeded(rng):
        program = _program(rows, hits)
        kernel = NUTS(program, init_strategy=init_to_mean, jit_compile=True, ignore_jit_warnings=True, max_tree_depth=7)
        chain = MCMC(kernel, num_samples=draws, warmup_steps=warmup, disable_progbar=True)
        chain.run()
        return _risks(chain.get_samples(), rows, hits)


def _risks(draws: Mapping[str, Tensor], rows: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """(draws, strata, arms), of draws of the program's sites."""
    count = len(draws["cells"])
    sigma = {name: draws[f"sigma_{name}"].reshape(count) for name in ("stratum", "arm", "cell")}
    effects, cells = draws["effects"].reshape(count, -1), draws["cells"].reshape(count, *rows.shape)
    return np.asarray(expit(_cells(rows, hits, sigma, effects, cells)[1].numpy()))


def _diagnostics(draws: np.ndarray) -> tuple[float, float]:
    """Largest split R-hat and smallest effective sample size over the arms."""
    import torch
    from pyro.ops.stats import effective_sample_size, split_gelman_rubin

    chain = torch.as_tensor(draws)[None]
    return float(split_gelman_rubin(chain).max()), float(effective_sample_size(chain).min())
