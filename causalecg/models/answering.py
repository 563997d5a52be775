"""Asking a model about ECGs that are in no cohort, and letting it write instead of choose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import nn

from adjusters.contract import Batch, Scorer, decide, log_probabilities
from causalecg.errors import InputError


@runtime_checkable
class Writes(Protocol):
    """A model that can write."""

    def generate(self, batch: Batch, *, max_new_tokens: int = 32) -> list[str]:
        """One text per item."""


@dataclass(frozen=True)
class Answer:
    """What a model says.

    Attributes:
        text: written by it, or its answers joined by commas.
        given: the candidates it chooses; empty where it wrote freely.
        probabilities: of each candidate: of one answer they sum to one, in a set each is that of being in it.
    """

    text: str
    given: tuple[str, ...]
    probabilities: dict[str, float]


def answer(
    model: Scorer,
    ecgs: np.ndarray | None,
    question: str,
    *,
    candidates: Sequence[str] | None = None,
    several: bool = False,
    max_new_tokens: int = 32,
) -> Answer:
    """Ask one question.

    Args:
        model: a scorer of the contract, e.g. ``Run.open(folder).scorer()``; without candidates one that writes.
        ecgs: (leads, samples) mV of one ECG, or (2, leads, samples) of two, in the lead order and at the rate the model
            was trained with; ``None`` = no ECG is shown.
        question: as it is put.
        candidates: what it may answer: decoding is confined to them, exactly, by the likelihood of each. ``None`` = it
            writes freely, the likeliest token at a time.
        several: each candidate is judged for itself, and any number of them may be given ("set" questions).
        max_new_tokens: of a free text.

    Raises InputError for ECGs of another shape or with gaps, repeated candidates, or a model that cannot write.
    """
    shown = _shown(ecgs)
    names = tuple(candidates or ())
    if candidates is not None and (not names or len(set(names)) < len(names)):
        raise InputError(f"an answer is chosen among distinct candidates, not {', '.join(names) or 'none'}")
    present = torch.tensor([[i < len(shown) for i in range(2)]])
    ecg = torch.zeros(1, 2, *(shown.shape[1:] if len(shown) else (1, 1)))
    ecg[0, : len(shown)] = torch.from_numpy(shown)
    batch = Batch(
        rows=torch.zeros(1, dtype=torch.long),
        ecg=ecg,
        ecg_present=present,
        question=(question,),
        candidates=(names,),
        candidate_ids=torch.arange(len(names))[None],
        answer=torch.zeros(1, len(names), dtype=torch.bool),
        kind="set" if several else "one",
        columns={},
    )
    if isinstance(model, nn.Module):
        model.eval()
        parameter = next(model.parameters(), None)
        batch = batch if parameter is None else batch.to(parameter.device)
    if candidates is None:
        (text,) = writing(model).generate(batch, max_new_tokens=max_new_tokens)
        return Answer(text, (), {})
    with torch.no_grad():
        scores = model(batch).float().cpu()
    batch = batch.to("cpu")
    given = tuple(decide(scores, batch)[0])
    chances = log_probabilities(scores, batch)[0].exp().tolist()
    return Answer(", ".join(given), given, dict(zip(names, chances, strict=True)))


def _shown(ecgs: np.ndarray | None) -> np.ndarray:
    """(0 to 2, leads, samples) float32."""
    if ecgs is None:
        return np.zeros((0, 1, 1), dtype=np.float32)
    array = np.asarray(ecgs, dtype=np.float32)
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or not 1 <= len(array) <= 2 or not array.size:
        raise InputError(
            f"ecgs have the shape (leads, samples), or (2, leads, samples) for two, not {np.asarray(ecgs).shape}"
        )
    if not np.isfinite(array).all():
        raise InputError("ecgs hold samples that are no numbers; fill their gaps, or leave the record out")
    return array


def writing(model: Scorer) -> Writes:
    """The model as one that writes. InputError where it cannot."""
    if isinstance(model, Writes):
        return model
    raise InputError(f"{type(model).__name__} scores candidates and cannot write; name candidates")


class FreeText(nn.Module):
    """An answerer for :func:`causalecg.audits.scoring.score` that writes instead of choosing.

    Args:
        model: writes.
        max_new_tokens: of a text.
    """

    def __init__(self, model: Scorer, max_new_tokens: int) -> None:
        super().__init__()
        self.model, self.max_new_tokens = writing(model), max_new_tokens

    def forward(self, batch: Batch) -> list[str]:
        return self.model.generate(batch, max_new_tokens=self.max_new_tokens)

    @contextmanager
    def caching(self) -> Iterator[None]:
        cache = getattr(self.model, "caching", nullcontext)
        with cache():
            yield
