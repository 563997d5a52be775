"""Items as a scorer sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from adjusters.errors import ContractError

Kind = Literal["one", "set"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Batch:
    """Items as a scorer sees them.

    Attributes:
        rows: (batch,) int64, row positions in the table the batch was drawn from: while training, the stage's
            (rewritten) table, so that row-aligned state can be indexed with it.
        ecg: (batch, 2, leads, samples) float32 in mV; an absent ECG is all zero.
        ecg_present: (batch, 2) bool.
        question: the question as asked, ``None`` where the question is withheld.
        candidates: the answers to be scored, per item.
        candidate_ids: (batch, candidates) int64 into the cohort's answer vocabulary, -1 at padding.
        answer: (batch, candidates) bool, the true answer(s); all false where unknown.
        kind: "one" = exactly one candidate is true, "set" = any number of them.
        topic: what each question asks about, however it is worded; empty where that is not known.
        metadata: what ``question`` begins with before it asks, e.g. "Age 63, female.", per item ("" = nothing); empty
            where no item has any.
        columns: further per-item tensors, first dimension = batch. Reserved names: ``weight`` (float32, loss
            weight), ``ecg_row`` ((batch, 2) int64, row in the signal store, -1 = absent or not as stored;
            lets a scorer cache its encoding of an ECG) and ``partner`` (int64 row number of a paired item).
    """

    rows: Tensor
    ecg: Tensor
    ecg_present: Tensor
    question: tuple[str | None, ...]
    candidates: tuple[tuple[str, ...], ...]
    candidate_ids: Tensor
    answer: Tensor
    kind: Kind
    columns: Mapping[str, Tensor] = field(default_factory=dict)
    topic: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.question)

    @property
    def padding(self) -> Tensor:
        """(batch, candidates) bool, true where there is no candidate."""
        return self.candidate_ids < 0

    def replace(self, **changes: Any) -> Batch:
        """The same items with some fields changed. Signals given without ``columns`` are no longer those of
        ``ecg_row``, which becomes -1."""
        if "ecg" in changes and "columns" not in changes and "ecg_row" in self.columns:
            changes["columns"] = {**self.columns, "ecg_row": torch.full_like(self.columns["ecg_row"], -1)}
        return replace(self, **changes)

    def with_context(self, text: str | Sequence[str]) -> Batch:
        """The same items with a sentence (one for all, or one each) put before every question.

        A withheld question stays withheld: the context is then all the text there is.
        """
        texts = [text] * len(self) if isinstance(text, str) else list(text)
        if len(texts) != len(self):
            raise ContractError(f"with_context got {len(texts)} texts for {len(self)} items; give one text or one each")
        asked = tuple(t if q is None else f"{t} {q}" for t, q in zip(texts, self.question, strict=True))
        return self.replace(question=asked)

    @property
    def bare_question(self) -> tuple[str | None, ...]:
        """(batch,) the questions without the metadata before them."""
        before = self.metadata or ("",) * len(self)
        return tuple(
            q if q is None or not text else q.removeprefix(f"{text} ")
            for q, text in zip(self.question, before, strict=True)
        )

    def in_words(self, texts: Sequence[str | None]) -> Batch:
        """The same items with these (batch,) texts asked in place of their questions; metadata before them stays."""
        before = self.metadata or ("",) * len(self)
        asked = (q if q is None or not text else f"{text} {q}" for q, text in zip(texts, before, strict=True))
        return self.replace(question=tuple(asked))

    def without_ecg(self) -> Batch:
        columns = dict(self.columns)
        if "ecg_row" in columns:
            columns["ecg_row"] = torch.full_like(columns["ecg_row"], -1)
        return self.replace(
            ecg=torch.zeros_like(self.ecg), ecg_present=torch.zeros_like(self.ecg_present), columns=columns
        )

    def without_question(self) -> Batch:
        return self.replace(question=(None,) * len(self), metadata=())

    def asking(self, text: str | Sequence[str], candidates: Sequence[str]) -> Batch:
        """The same ECGs asked another question (one for all, or one each), with candidates outside the answer
        vocabulary (ids 0, 1, ...)."""
        n, k = len(self), len(candidates)
        ids = torch.arange(k, device=self.rows.device).expand(n, k)
        none = torch.zeros(n, k, dtype=torch.bool, device=self.rows.device)
        return self.replace(
            question=(text,) * n if isinstance(text, str) else tuple(text),
            candidates=(tuple(candidates),) * n,
            candidate_ids=ids,
            answer=none,
            kind="one",
            metadata=(),
        )

    def select(self, index: Tensor | Sequence[int]) -> Batch:
        """The items at ``index`` (int64 positions), in that order."""
        at = torch.as_tensor(index, dtype=torch.long, device=self.rows.device)
        positions = at.tolist()
        return Batch(
            rows=self.rows[at],
            ecg=self.ecg[at],
            ecg_present=self.ecg_present[at],
            question=tuple(self.question[i] for i in positions),
            candidates=tuple(self.candidates[i] for i in positions),
            candidate_ids=self.candidate_ids[at],
            answer=self.answer[at],
            kind=self.kind,
            columns={name: values[at] for name, values in self.columns.items()},
            topic=tuple(self.topic[i] for i in positions) if self.topic else (),
            metadata=tuple(self.metadata[i] for i in positions) if self.metadata else (),
        )

    def to(self, device: torch.device | str) -> Batch:
        return self.replace(
            rows=self.rows.to(device),
            ecg=self.ecg.to(device),
            ecg_present=self.ecg_present.to(device),
            candidate_ids=self.candidate_ids.to(device),
            answer=self.answer.to(device),
            columns={name: values.to(device) for name, values in self.columns.items()},
        )
