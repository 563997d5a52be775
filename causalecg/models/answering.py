"""Asking a model about ECGs that are in no cohort, and letting it write instead of choose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from adjusters.contract import Batch, HasAbstention, Scorer, decide, log_probabilities
from causalecg.cohort.ecg_format import ECGFormat
from causalecg.errors import InputError

#: Of the array that stands for an absent ECG, where nothing is known of the model: that of a cohort by default.
_USUAL = (12, 1000)
#: Above any voltage of an ECG in mV, and below its QRS complexes in microvolts.
LARGEST_MV = 100.0


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
        given: the candidates it chooses; empty where it wrote freely, or abstained.
        probabilities: of each candidate: of one answer they sum to one, in a set each is that of being in it.
        abstained: it would rather give none of the candidates, as an arm may that was trained to; the probabilities
            are what it would say otherwise.
    """

    text: str
    given: tuple[str, ...]
    probabilities: dict[str, float]
    abstained: bool = False


def answer(
    model: Scorer,
    ecgs: np.ndarray | Tensor | None,
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
        several: each candidate is judged for itself, and any number of them may be given: by a head that questions
            with sets of answers (kind "set") train, and nothing else does.
        max_new_tokens: of a free text.

    Raises InputError for ECGs of another shape than those that the model learned from, with gaps or not in mV,
    candidates that are none or repeated, a model that cannot write, and ``several`` of a run that learned from no set.
    """
    known = getattr(model, "ecg_format", None)
    known = known if isinstance(known, ECGFormat) else ECGFormat()
    shown = _shown(ecgs, known)
    names = _names(candidates)
    if candidates is None and max_new_tokens < 1:
        raise InputError(f"max_new_tokens is the length of a text, 1 or more, not {max_new_tokens}")
    learned = getattr(model, "kinds", None)
    if several and learned is not None and "set" not in learned:
        raise InputError(
            "the run learned from no question with a set of answers (kind 'set'), so what judges several candidates is "
            "as it was drawn; leave several out, or train on such questions"
        )
    present = torch.tensor([[i < len(shown) for i in range(2)]])
    ecg = torch.zeros(1, 2, *shown.shape[1:])
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
        abstained = isinstance(model, HasAbstention) and bool(model.abstains(batch)[0])
    batch = batch.to("cpu")
    given = () if abstained else tuple(decide(scores, batch)[0])
    chances = log_probabilities(scores, batch)[0].exp().tolist()
    return Answer(", ".join(given), given, dict(zip(names, chances, strict=True)), abstained)


def _names(candidates: Sequence[str] | None) -> tuple[str, ...]:
    if candidates is None:
        return ()
    if isinstance(candidates, str):
        raise InputError(f"candidates are a list of answers, e.g. ['yes', 'no'], not the text '{candidates}'")
    names = tuple(candidates)
    if not names or len(set(names)) < len(names) or not all(isinstance(name, str) and name.strip() for name in names):
        raise InputError(f"an answer is chosen among distinct candidates, not {', '.join(map(repr, names)) or 'none'}")
    return names


def _shown(ecgs: np.ndarray | Tensor | None, known: ECGFormat) -> np.ndarray:
    """(0 to 2, leads, samples) float32; of the form that the model learned from, as far as it is known."""
    leads = known.leads
    if ecgs is None:
        return np.zeros((0, leads or _USUAL[0], known.samples or _USUAL[1]), dtype=np.float32)
    try:
        array = np.asarray(ecgs.detach().cpu() if isinstance(ecgs, Tensor) else ecgs, dtype=np.float32)
    except (ValueError, TypeError) as error:
        raise InputError(
            "ecgs are one array of numbers in mV; two ECGs in it have the same leads and number of samples"
        ) from error
    given = array.shape
    array = array[None] if array.ndim == 2 else array
    of_leads = "leads" if leads is None else str(leads)
    if array.ndim != 3 or not 1 <= len(array) <= 2 or not array.size or leads not in (None, array.shape[1]):
        raise InputError(f"ecgs have the shape ({of_leads}, samples), or (2, {of_leads}, samples) for two, not {given}")
    if not np.isfinite(array).all():
        raise InputError("ecgs hold samples that are no numbers; fill their gaps, or leave the record out")
    if known.samples not in (None, array.shape[2]):
        raise InputError(
            f"ecgs have {array.shape[2]} samples, and the model learned from ECGs of {known}; resample or cut yours "
            "to that"
        )
    if (largest := float(np.abs(array).max())) > LARGEST_MV:
        raise InputError(
            f"ecgs reach {largest:g}, which is no ECG's voltage in mV; divide microvolts by 1000, and raw integers by "
            "what the record says"
        )
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
        if max_new_tokens < 1:
            raise InputError(f"max_new_tokens is the length of a text, 1 or more, not {max_new_tokens}")
        self.model, self.max_new_tokens = writing(model), max_new_tokens
        self.ecg_format = getattr(model, "ecg_format", None)

    def forward(self, batch: Batch) -> list[str]:
        return self.model.generate(batch, max_new_tokens=self.max_new_tokens)

    @contextmanager
    def caching(self) -> Iterator[None]:
        cache = getattr(self.model, "caching", nullcontext)
        with cache():
            yield
