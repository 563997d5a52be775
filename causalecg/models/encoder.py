"""ECG encoders: (n, leads, samples) in mV to (n, tokens, dim).

None of them normalises a record: ST level and voltage, in mV, are findings. Results never depend on batch mates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from causalecg.errors import InputError
from causalecg.models.codec_encoder import CodecEncoder


class ResidualBlock(nn.Module):
    """Two 1-D convolutions, the first strided, beside a pooled shortcut; the branch starts at zero."""

    def __init__(self, width_in: int, width_out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(width_in, width_out, kernel, stride, kernel // 2)
        self.second = nn.Conv1d(width_out, width_out, kernel, 1, kernel // 2)
        self.shortcut = nn.Conv1d(width_in, width_out, 1)
        self.pool = nn.AvgPool1d(stride, stride, ceil_mode=True)
        # Residual branches that start at zero train without normalisation (Zhang et al., Fixup, ICLR 2019).
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        branch = self.second(torch.relu(self.first(x)))
        return torch.relu(branch + self.shortcut(self.pool(x))[..., : branch.shape[-1]])


class ResidualEncoder(nn.Module):
    """1-D residual convolutional network with mean and maximum pooling over ``tokens`` equal stretches of time.

    Args:
        leads: number of input leads.
        dim: width of an output token.
        tokens: output tokens per ECG.
        widths: channels of the stem and of each residual block (each halves the rate).
        kernel: kernel of the blocks; the stem spans 16 samples with stride 4.
    """

    def __init__(
        self, leads: int, *, dim: int = 96, tokens: int = 1, widths: tuple[int, ...] = (32, 48, 64), kernel: int = 5
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, not {kernel}")
        self.dim, self.tokens = dim, tokens
        self.stem = nn.Conv1d(leads, widths[0], 16, 4, 6)
        self.blocks = nn.Sequential(*(ResidualBlock(a, b, kernel, 2) for a, b in pairwise(widths)))
        self.mean, self.maximum = nn.AdaptiveAvgPool1d(tokens), nn.AdaptiveMaxPool1d(tokens)
        self.out = nn.Linear(2 * widths[-1], dim)

    def forward(self, ecg: Tensor) -> Tensor:
        if ecg.shape[-1] < self.stem.stride[0]:
            raise InputError(f"an ECG of {ecg.shape[-1]} samples is shorter than the {self.stem.stride[0]} of one step")
        hidden = self.blocks(torch.relu(self.stem(ecg)))
        pooled = torch.cat([self.mean(hidden), self.maximum(hidden)], dim=1)
        return self.out(pooled.transpose(1, 2))


class PatchTransformerEncoder(nn.Module):
    """Transformer over patches of time, all leads of a patch together; sinusoidal positions, so any length is read.

    Args:
        leads: number of input leads.
        dim: width of an output token.
        tokens: output tokens per ECG (average-pooled patches).
        patch: samples per patch; a last partial patch is dropped.
        layers, heads: of the transformer.
    """

    def __init__(
        self, leads: int, *, dim: int = 96, tokens: int = 1, patch: int = 25, layers: int = 2, heads: int = 4
    ) -> None:
        super().__init__()
        self.dim, self.tokens, self.patch = dim, tokens, patch
        self.embed = nn.Conv1d(leads, dim, patch, patch)
        layer = nn.TransformerEncoderLayer(dim, heads, 2 * dim, dropout=0.0, batch_first=True, norm_first=True)
        self.transformer = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.pool = nn.AdaptiveAvgPool1d(tokens)

    def forward(self, ecg: Tensor) -> Tensor:
        if ecg.shape[-1] < self.patch:
            raise InputError(f"an ECG of {ecg.shape[-1]} samples is shorter than one patch of {self.patch}")
        patches = self.embed(ecg).transpose(1, 2)
        hidden = self.transformer(patches + sinusoids(patches.shape[1], self.dim).to(patches))
        return self.pool(hidden.transpose(1, 2)).transpose(1, 2)


def sinusoids(length: int, dim: int) -> Tensor:
    """(length, dim) sinusoidal position codes (Vaswani et al. 2017, section 3.5)."""
    place = torch.arange(length, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, dim, 2, dtype=torch.float32) * (-9.210340371976184 / dim))
    codes = torch.zeros(length, dim)
    codes[:, 0::2] = torch.sin(place * rate)
    codes[:, 1::2] = torch.cos(place * rate)[:, : dim // 2]
    return codes


@runtime_checkable
class FetchedEncoder(Protocol):
    """An encoder that starts from weights of ``causalecg fetch``."""

    def load_fetched(self) -> None: ...


ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "resnet": ResidualEncoder,
    "patch_transformer": PatchTransformerEncoder,
    "openecg": CodecEncoder,
}


def require_signals(name: str, options: Mapping[str, Any], *, rate_hz: float, samples: int) -> None:
    """InputError where an encoder with these options is none for ECGs of this rate and length."""
    if (check := getattr(ENCODERS.get(name), "require_signals", None)) is not None:
        check(options, rate_hz=rate_hz, samples=samples)


def describe() -> dict[str, str]:
    """name -> one line."""
    return {name: str(build.__doc__).splitlines()[0] for name, build in ENCODERS.items()}
