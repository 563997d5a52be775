"""A scorer whose ECG is the law's evidence: a spline of each channel, by topic, style and told severity.

The log-odds of "yes" are

    sum over products c of question codes   weight_c . basis(evidence)

where the codes are +-1 for topic and each style (0 where the question is withheld) and 0 or 1 for each level of
severity that the text tells. The basis of a channel is a line and the cubic B-splines on fixed knots, constant beyond
them; channels add up. That holds every law of :mod:`causalecg.benchmark.law` whose evidence has one channel, and those
with two in which the answer is the finding. Weights are in units of their prior standard deviation, so that one small
ridge on all of them (:mod:`.training`) shrinks what several codes do together more than what one does.
"""

from __future__ import annotations

import weakref
import zlib
from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import Literal

import torch
from torch import Tensor, nn

from adjusters.contract import Batch, View
from causalecg.benchmark.t0.wording import read
from causalecg.errors import InputError

Fit = Literal["spline", "linear"]
YES, NO = "yes", "no"
CHANNELS = 2
#: Knots: from -REACH to REACH in units of the evidence's noise.
REACH, INTERVALS = 4.5, 6
#: Prior standard deviation of a weight: of what all questions share, and how much less for every code.
PRIOR, LESS = 10.0, 10**-0.5
#: Other candidates than yes and no share so many places.
_PLACES = 61


class EvidenceBasis(nn.Module):
    """(batch, 2, 2, 1) evidence -> (batch, dim) basis, constant first; all else is zero where there is no ECG."""

    def __init__(self, fit: Fit) -> None:
        super().__init__()
        self.fit = fit
        self._last: tuple[weakref.ref[Tensor], weakref.ref[Tensor], tuple[int, int], Tensor] | None = None
        self.dim = 1 + CHANNELS * (1 + (INTERVALS + 3 if fit == "spline" else 0))

    def forward(self, ecg: Tensor, present: Tensor) -> Tensor:
        # Nothing here is learned, and the same ECGs come at every evaluation of a loss: the last answer is kept.
        version = (ecg._version, present._version)
        if (
            self._last is not None
            and self._last[0]() is ecg
            and self._last[1]() is present
            and self._last[2] == version
        ):
            return self._last[3]
        basis = self._of(ecg, present)
        if not ecg.requires_grad:
            self._last = (weakref.ref(ecg), weakref.ref(present), version, basis)
        return basis

    def _of(self, ecg: Tensor, present: Tensor) -> Tensor:
        x = ecg[:, 0, :, 0].double()
        there = present[:, :1].double()
        parts = [torch.ones_like(there), 0.5 * x * there]
        if self.fit == "spline":
            parts.append(cubic_splines(x).flatten(1) * there)
        return torch.cat(parts, dim=1)


def cubic_splines(x: Tensor) -> Tensor:
    """(...,) -> (..., INTERVALS + 3) uniform cubic B-splines on [-REACH, REACH]; beyond it those of its end."""
    u = (x.clamp(-REACH, REACH) + REACH) * (INTERVALS / (2 * REACH))
    t = u.unsqueeze(-1) - torch.arange(-3, INTERVALS, dtype=u.dtype)
    return sum(
        (sign * (t - k).clamp(min=0) ** 3 for k, sign in enumerate((1, -4, 6, -4, 1))), start=torch.zeros_like(t)
    ) / 6  # fmt: skip


class AnswerHead(nn.Module):
    """``weight``: (codes, basis) of yes against no. ``other``: (places, basis) of any other candidate, by its text."""

    scale: Tensor

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.weight = nn.Parameter(torch.zeros_like(scale))
        self.other = nn.Parameter(torch.zeros(_PLACES, scale.shape[1], dtype=scale.dtype))


class EvidenceScorer(nn.Module):
    """See above. It has features and their sizes, and the parts "encoder" (the basis) and "answer_head".

    Args:
        shortcuts: how many styles a question has.
        severity_words: what the levels are called in the text, "Severity: WORD.".
        fit: "spline", or "linear": no splines and no products, which is misspecified wherever topic or severity acts
            otherwise than by adding to the log-odds.

    Starts at zero, where all candidates are equally likely: the loss of the plain model is convex, so the start does
    not matter.
    """

    def __init__(self, shortcuts: int, severity_words: Sequence[str], fit: Fit = "spline") -> None:
        super().__init__()
        self.shortcuts, self.words = shortcuts, tuple(severity_words)
        self.basis = EvidenceBasis(fit)
        order = _products(shortcuts).sum(1)[:, None] + torch.tensor([0] + [1] * len(self.words))
        scale = PRIOR * LESS ** order.flatten().double()[:, None] * torch.ones(self.basis.dim, dtype=torch.float64)
        if fit == "linear":
            scale[order.flatten() > 0, 1:] = 0.0
            scale[order.flatten() > 1] = 0.0
        self.head = AnswerHead(scale)

    def forward(self, batch: Batch) -> Tensor:
        basis = self.basis(batch.ecg, batch.ecg_present)
        at, codes = self._codes(batch.question)
        log_odds = (basis * (codes @ (self.head.scale * self.head.weight))[at]).sum(1)
        if all(names == (YES, NO) for names in set(batch.candidates)):
            return torch.stack([log_odds / 2, -log_odds / 2], dim=1)
        return self._any_candidates(batch, basis, log_odds)

    def features(self, batch: Batch, view: View) -> Tensor:
        """(batch, dim) basis of the evidence, codes of the question, or their products: float64."""
        at, codes = self._codes(batch.question)
        if view == "question":
            return codes[at]
        basis = self.basis(batch.ecg, batch.ecg_present)
        if view == "ecg":
            return PRIOR * LESS * basis
        return (codes[at].unsqueeze(2) * (self.head.scale * basis.unsqueeze(1))).flatten(1)

    def feature_dim(self, view: View) -> int:
        codes, basis = self.head.scale.shape
        return {"ecg": basis, "question": codes, "fused": codes * basis}[view]

    def part(self, name: str) -> nn.Module:
        return {"encoder": self.basis, "answer_head": self.head}[name]

    def _codes(self, questions: tuple[str | None, ...]) -> tuple[Tensor, Tensor]:
        """(batch,) row of each question, and (rows, codes) what each distinct one says."""
        return _codes(questions, self.shortcuts, self.words)

    def _any_candidates(self, batch: Batch, basis: Tensor, log_odds: Tensor) -> Tensor:
        of_text = 3.0 * basis @ self.head.other.T
        width = batch.candidate_ids.shape[1]
        place = torch.tensor(
            [[_place(name) for name in names] + [0] * (width - len(names)) for names in batch.candidates]
        )
        sign = torch.tensor(
            [[_SIGN.get(name, 0.0) for name in names] + [0.0] * (width - len(names)) for names in batch.candidates]
        ).double()
        scores = torch.where(sign == 0, of_text.gather(1, place), sign * log_odds.unsqueeze(1))
        return scores.masked_fill(batch.padding, float("-inf"))


def _products(shortcuts: int) -> Tensor:
    """(products, 1 + shortcuts) 0 or 1: which of topic and styles take part."""
    return torch.tensor(list(product((0, 1), repeat=1 + shortcuts)))


@lru_cache(maxsize=32)
def _codes(questions: tuple[str | None, ...], shortcuts: int, words: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    place: dict[str | None, int] = {}
    at = torch.tensor([place.setdefault(text, len(place)) for text in questions])
    said = torch.zeros(len(place), 1 + shortcuts, dtype=torch.float64)
    severity = torch.zeros(len(place), 1 + len(words), dtype=torch.float64)
    severity[:, 0] = 1.0
    for text, row in place.items():
        found = read(text)
        if found.topic is not None:
            if len(found.styles) != shortcuts:
                raise InputError(f"'{text}' has {len(found.styles)} styles, this scorer reads {shortcuts}")
            said[row] = 2.0 * torch.tensor((found.topic, *found.styles)) - 1.0
        if found.severity is not None:
            if found.severity not in words:
                raise InputError(
                    f"'{text}' tells the severity '{found.severity}'; this scorer knows {', '.join(words)}"
                )
            severity[row, 1 + words.index(found.severity)] = 1.0
    # The product over the codes that take part; those that do not count as one.
    asked = torch.where(_products(shortcuts).bool(), said.unsqueeze(1), 1.0).prod(2)
    return at, (asked.unsqueeze(2) * severity.unsqueeze(1)).flatten(1)


_SIGN = {YES: 0.5, NO: -0.5}


def _place(text: str) -> int:
    return zlib.crc32(text.encode()) % _PLACES
