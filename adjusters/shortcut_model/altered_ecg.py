"""ECGs that say little or nothing of the finding, to be subtracted from."""

from __future__ import annotations

import torch
from torch import Tensor

from adjusters.contract import Batch


def with_noise(batch: Batch, share: float, seed: int) -> Batch:
    """sqrt(1 - share) E + sqrt(share) rms(E) noise, the same standard normal noise for every item.

    Args:
        share: of the variance, in (0, 1].
        seed: of the noise.
    """
    draw = torch.Generator().manual_seed(seed)
    noise = torch.randn(batch.ecg.shape[1:], generator=draw, dtype=torch.float32).to(batch.ecg)
    size = batch.ecg.square().mean(dim=(2, 3), keepdim=True).sqrt()
    return _showing((1 - share) ** 0.5 * batch.ecg + share**0.5 * size * noise, batch)


def with_mean(batch: Batch, mean: Tensor) -> Batch:
    """(leads, samples) ``mean`` for every ECG that there is."""
    return _showing(mean.to(batch.ecg).expand_as(batch.ecg), batch)


def sum_of_ecgs(batch: Batch) -> tuple[Tensor, Tensor]:
    """(leads, samples) sum over the ECGs that there are, float64, and how many there are."""
    there = batch.ecg_present[:, :, None, None]
    return (batch.ecg * there).double().sum(dim=(0, 1)), batch.ecg_present.sum()


def _showing(ecg: Tensor, batch: Batch) -> Batch:
    return batch.replace(ecg=ecg * batch.ecg_present[:, :, None, None])
