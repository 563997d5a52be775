"""The openecg codec as an encoder, with the amplitudes that it does not see beside it.

The codec reads one lead, 10 s at 500 Hz, in ranks: whatever a voltage or an ST level is in mV is lost to it. Each lead
that it reads becomes one token, the mean and maximum of its states over time; a last token holds quantiles of every
lead in mV. Each token has places of its own in the width, so that one linear projector can treat them differently, and
the mean over tokens loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from causalecg.errors import InputError

RATE_HZ, SECONDS = 500, 10
#: Sampling rate of the ECGs, unless another is given.
USUAL_RATE_HZ = 100
WIDTH, HEADS, INNER, LAYERS = 128, 4, 256, 4
#: Samples that become one state, and how many states positions are known of.
PATCH, PLACES = 10, 512
#: Of each lead's samples less their median.
QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.75, 0.95, 0.99, 1.0)


class Codec(nn.Module):
    """(n, samples) one lead in ranks from -1 to 1 -> (n, samples / 10, 128) states.

    A strided convolution makes a state of every 20 ms; four residual convolutions and four transformer layers (norms
    first) follow. The heads of the codec, which name waves, beats and rhythms, are not part of it.
    """

    positions: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv1d(1, WIDTH, 2 * PATCH, PATCH, PATCH // 2)
        self.register_buffer("positions", torch.zeros(1, PLACES, WIDTH))
        self.convolutions = nn.ModuleList(nn.Conv1d(WIDTH, WIDTH, 7, 1, 3) for _ in range(4))
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(4))
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, INNER, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)

    def forward(self, ranks: Tensor) -> Tensor:
        hidden = self.embed(ranks.unsqueeze(1)).transpose(1, 2)
        hidden = hidden + self.positions[:, : hidden.shape[1]]
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            moved = nn.functional.gelu(convolution(hidden.transpose(1, 2)).transpose(1, 2))
            hidden = norm(moved + hidden)
        return self.transformer(hidden)


class CodecEncoder(nn.Module):
    """Codec of openecg on some leads, and quantiles of all leads in mV. Start with 'causalecg fetch openecg'.

    Args:
        leads: number of input leads.
        rate_hz: sampling rate of the ECGs, which last 10 s.
        read: positions of the leads that the codec reads, the first being 1: II, V1 and V6 of the standard order.
    """

    def __init__(self, leads: int, *, rate_hz: int = USUAL_RATE_HZ, read: tuple[int, ...] = (2, 7, 12)) -> None:
        super().__init__()
        read = tuple(read)
        if len(set(read)) < len(read) or max(read) > leads:
            raise ValueError(f"read must name different leads of {leads}")
        self.rate_hz, self.read = rate_hz, read
        self.dim = len(read) * 2 * WIDTH + leads * len(QUANTILES)
        self.tokens = len(read) + 1
        self.codec = Codec()

    @staticmethod
    def require_signals(options: Mapping[str, Any], *, rate_hz: float, samples: int) -> None:
        """InputError where an encoder with these options is none for ECGs of this rate and length."""
        own = options.get("rate_hz", USUAL_RATE_HZ)
        if own != rate_hz:
            raise InputError(
                f"encoder openecg reads ECGs at rate_hz = {own}, and the cohort's are sampled at {rate_hz:g} Hz; write "
                f"encoder_options.rate_hz = {rate_hz:g} in the table [model]"
            )
        if samples != SECONDS * rate_hz:
            raise InputError(
                f"encoder openecg reads {SECONDS} s, and the cohort's ECGs last {samples / rate_hz:g} s; make a cohort "
                f"of ECGs of {SECONDS} s, or name another encoder"
            )

    def load_fetched(self) -> None:
        """Take the weights that were fetched. InputError where they were not."""
        from safetensors.torch import load_file

        from causalecg.models.weights.fetch import fetched

        self.codec.load_state_dict(load_file(fetched("openecg") / "codec.safetensors"))

    def forward(self, ecg: Tensor) -> Tensor:
        """(n, leads, samples) mV -> (n, leads read + 1, dim). InputError: not 10 s at the rate given."""
        samples = SECONDS * self.rate_hz
        if ecg.shape[-1] != samples:
            raise InputError(
                f"encoder openecg reads {SECONDS} s, and {ecg.shape[-1]} samples at rate_hz = {self.rate_hz} are "
                f"{ecg.shape[-1] / self.rate_hz:g} s; give ECGs of {samples} samples, or their rate in "
                "encoder_options.rate_hz"
            )
        n, chosen = len(ecg), [place - 1 for place in self.read]
        # To the microvolt, as records are stored: a flat stretch is one rank, and not the order of rounding errors.
        resampled = at_rate(ecg[:, chosen].flatten(0, 1), self.rate_hz, RATE_HZ).mul(1000).round()
        states = self.codec(ranks(resampled))
        pooled = torch.cat([states.mean(1), states.amax(1)], dim=1).view(n, len(chosen), 2 * WIDTH)
        blocks = [*pooled.unbind(1), amplitudes(ecg).flatten(1)]
        out = ecg.new_zeros(n, self.tokens, self.dim)
        start = 0
        for token, block in enumerate(blocks):
            out[:, token, start : start + block.shape[1]] = block
            start += block.shape[1]
        return out


def amplitudes(ecg: Tensor) -> Tensor:
    """(n, leads, samples) mV -> (n, leads, quantiles) mV, each lead less its median."""
    centred = ecg - ecg.quantile(0.5, dim=-1, keepdim=True)
    return centred.quantile(ecg.new_tensor(QUANTILES), dim=-1).permute(1, 2, 0)


def ranks(x: Tensor) -> Tensor:
    """(..., n) ranks along the last dimension, from -1 to 1; ties have their mean rank."""
    x = x.contiguous()
    ordered = x.sort(dim=-1).values
    below = torch.searchsorted(ordered, x, right=False)
    up_to = torch.searchsorted(ordered, x, right=True)
    return ((below + up_to - 1).to(x.dtype) / (x.shape[-1] - 1)) - 1.0


def at_rate(x: Tensor, have_hz: int, want_hz: int) -> Tensor:
    """(..., n) resampled without a change of its spectrum below both limits; ends are mirrored, so that they do not
    ring.

    Frequencies above half the lower rate are dropped. The length is that of the same stretch of time.
    """
    if have_hz == want_hz:
        return x
    n = x.shape[-1]
    # The mirrored record, end to end, is periodic.
    mirrored = torch.cat([x, x.flip(-1)], dim=-1)
    wanted = 2 * n * want_hz // have_hz
    spectrum = torch.fft.rfft(mirrored)
    kept = min(spectrum.shape[-1], wanted // 2 + 1)
    out = torch.fft.irfft(spectrum[..., :kept], n=wanted) * (wanted / (2 * n))
    return out[..., : wanted // 2]
