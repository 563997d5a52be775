"""The encoder-projector-LLM: question first, ECG tokens after it, then the answer cue and the candidates.

    <bos> question | first ECG | second ECG | " Answer:" | candidate

The question's keys and values are computed once per distinct question of a batch, and, under :meth:`caching`, once per
distinct question altogether; swapping an ECG then costs its own few tokens. Everything before the answer is computed
once per item. An absent ECG takes as many places as a present one, so no item sees its batch mates.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from adjusters.contract import Batch, ContractError, View
from causalecg.models.answers import AnswerHead, candidate_log_likelihood
from causalecg.models.config import ModelConfig
from causalecg.models.language_model import Layers, run, token_ids

PARTS = ("encoder", "projector", "language_model", "answer_head")


class EncoderProjectorLLM(nn.Module):
    """Scores candidate answers to a question about one or two ECGs.

    Args:
        encoder: (n, leads, samples) mV -> (n, tokens, dim), with attribute ``dim`` and, where the number is fixed,
            ``tokens``.
        projector: (n, tokens, dim) -> (n, tokens', hidden), with attribute ``tokens`` (``None`` = as many as it gets).
            Where these do not say how many tokens an ECG becomes, a blank ECG is encoded to find out.
        language_model: a transformers causal language model.
        tokenizer: the language model's own tokenizer.
        config: answer cue, length normalisation and which parts are trained.

    A frozen part's parameters have ``requires_grad = False``. It is a :class:`~adjusters.contract.Scorer` with
    features and parts.
    """

    def __init__(
        self, encoder: nn.Module, projector: nn.Module, language_model: nn.Module, tokenizer: Any, config: ModelConfig
    ) -> None:
        super().__init__()
        self.encoder, self.projector, self.language_model = encoder, projector, language_model
        self.tokenizer, self.config = tokenizer, config
        hidden = int(self._embedding.embedding_dim)
        scale = float(self._embedding.weight.detach().float().std())
        self.segment = nn.Parameter(torch.randn(2, hidden) * scale)
        self.no_ecg = nn.Parameter(torch.randn(hidden) * scale)
        self.answer_head = AnswerHead(hidden)
        self.encoder.requires_grad_(config.train_encoder)
        self.language_model.requires_grad_(config.language_model_is_trained)
        self._cue = token_ids(tokenizer, [config.answer_cue])[0]
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if start is None or not self._cue:
            raise ContractError("the language model's tokenizer needs a bos or eos token and a non-empty answer cue")
        self._start = int(start)
        self._end = int(tokenizer.eos_token_id if tokenizer.eos_token_id is not None else start)
        self._candidate_ids: dict[str, list[int]] = {}
        self._counted: dict[tuple[int, int], int] = {}
        self._cache: _Cache | None = None

    @property
    def _embedding(self) -> nn.Embedding:
        return self.language_model.get_input_embeddings()  # type: ignore[operator]

    # ------------------------------------------------------------------ the contract

    def forward(self, batch: Batch) -> Tensor:
        """(batch, candidates): "one" candidate log-likelihoods, "set" log-odds; -inf at padding."""
        return self._scores(batch, self._ecg(batch)[0])

    def scores_and_features(self, batch: Batch, view: View) -> tuple[Tensor, Tensor]:
        """What ``self(batch)`` and ``self.features(batch, view)`` would give; "ecg" costs no second encoding, "fused"
        no second pass."""
        if view == "question":
            return self(batch), self.features(batch, view)
        tokens, pooled = self._ecg(batch)
        scores, hidden = self._scored(batch, tokens)
        return scores, pooled if view == "ecg" else hidden

    def feature_dim(self, view: View) -> int:
        """Width of ``features(batch, view)``."""
        return 2 * int(self.encoder.dim) if view == "ecg" else int(self._embedding.embedding_dim)  # type: ignore[arg-type]

    def _scores(self, batch: Batch, ecg: Tensor) -> Tensor:
        return self._scored(batch, ecg)[0]

    def _scored(self, batch: Batch, ecg: Tensor) -> tuple[Tensor, Tensor]:
        """Scores, and the last hidden state of question, ECGs and answer cue."""
        logits, hidden, layers, mask, positions = self._prefix(batch, ecg, logits=batch.kind == "one")
        tokens = [[self._tokens_of(name) for name in names] for names in batch.candidates]
        if batch.kind == "set":
            return self._set_scores(hidden, tokens, batch), hidden
        assert logits is not None
        scores = candidate_log_likelihood(
            tokens,
            first=torch.log_softmax(logits.float(), dim=-1),
            width=batch.candidate_ids.shape[1],
            end=self._end,
            go_on=lambda ids, at: self._continue(ids, at, layers, mask, positions),
            mean=self.config.length_normalisation == "mean",
        )
        return scores.masked_fill(batch.padding, float("-inf")), hidden

    def features(self, batch: Batch, view: View) -> Tensor:
        """ "ecg": (batch, 2 dim) pooled encoder tokens, zero where absent; "question" and "fused": (batch, hidden)
        last hidden state after the question alone, or after question, ECGs and answer cue."""
        if view == "ecg":
            return self._ecg(batch)[1]
        if view == "question":
            index, distinct = _distinct(batch.question)
            _, hidden, _ = self._questions(distinct)
            return hidden[torch.as_tensor(index, device=hidden.device)]
        if view == "fused":
            return self._prefix(batch, self._ecg(batch)[0], logits=False)[1]
        raise ContractError(f"unknown view '{view}'; views are ecg, question and fused")

    def part(self, name: str) -> nn.Module:
        if name not in PARTS:
            raise KeyError(name)
        module: nn.Module = getattr(self, name)
        return module

    @contextmanager
    def caching(self) -> Iterator[EncoderProjectorLLM]:
        """Scoring without gradients, in evaluation mode: each ECG whose ``ecg_row`` is known, and each question, is
        computed once."""
        before, self._cache = self._cache, _Cache()
        try:
            with torch.no_grad(), _in_evaluation(self):
                yield self
        finally:
            self._cache = before

    # ------------------------------------------------------------------ the ECG

    def _encode(self, batch: Batch, present: Tensor) -> tuple[Tensor, Tensor]:
        """Projected tokens (n, tokens, hidden) and mean encoder tokens (n, dim) of the present ECGs, by flat index.

        Where the row in the store is not known (-1), the signal is computed anew.
        """
        rows = batch.columns.get("ecg_row")
        if self._cache is None or rows is None:
            return self._encode_signals(batch.ecg.flatten(0, 1)[present])
        wanted = [row if row >= 0 else -1 - i for i, row in enumerate(rows.flatten()[present].tolist())]
        new = [i for i, row in enumerate(wanted) if row not in self._cache.ecgs]
        first = list({wanted[i]: i for i in reversed(new)}.values())
        if first:
            at = present[torch.as_tensor(first, device=present.device)]
            tokens, pooled = self._encode_signals(batch.ecg.flatten(0, 1)[at])
            for place, i in enumerate(first):
                self._cache.ecgs[wanted[i]] = (tokens[place], pooled[place])
        kept = [self._cache.ecgs[row] if row >= 0 else self._cache.ecgs.pop(row) for row in wanted]
        return torch.stack([tokens for tokens, _ in kept]), torch.stack([pooled for _, pooled in kept])

    def _encode_signals(self, signals: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.encoder(signals)
        return self.projector(tokens), tokens.mean(1)

    def _ecg(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(batch, 2 x tokens, hidden) embeddings, an absent ECG being the learned "no ECG" vector in every place, and
        (batch, 2 dim) mean encoder tokens, zero where absent."""
        present = batch.ecg_present.flatten().nonzero().squeeze(1)
        empty = self.no_ecg.expand(len(batch) * 2, self._tokens_per_ecg(batch.ecg), -1)
        flat = torch.zeros(len(batch) * 2, int(self.encoder.dim), device=empty.device)  # type: ignore[arg-type]
        if len(present):
            tokens, pooled = self._encode(batch, present)
            flat = flat.index_copy(0, present, pooled.to(flat.dtype))
            if tokens.shape[1] != empty.shape[1]:
                raise ContractError(
                    f"an ECG became {tokens.shape[1]} tokens, but the encoder or projector says {empty.shape[1]}; "
                    "correct its attribute 'tokens', or leave it out"
                )
            filled = empty.to(tokens.dtype).index_copy(0, present, tokens)
        else:
            filled = empty
        placed = filled.view(len(batch), 2, filled.shape[1], -1) + self.segment[None, :, None, :]
        return placed.flatten(1, 2), flat.view(len(batch), -1)

    def _tokens_per_ecg(self, signals: Tensor) -> int:
        """Places an ECG of this many leads and samples takes, whether it is there or not."""
        given = getattr(self.projector, "tokens", "unknown")
        if given is None:
            given = getattr(self.encoder, "tokens", "unknown")
        if isinstance(given, int):
            return given
        leads, samples = signals.shape[-2:]
        if (leads, samples) not in self._counted:
            self._counted[leads, samples] = self._count(signals.new_zeros(1, leads, samples))
        return self._counted[leads, samples]

    def _count(self, blank: Tensor) -> int:
        """Tokens of a blank ECG. Leaves modes, running statistics and random numbers as they were."""
        generators = torch.random.fork_rng([blank.device] if blank.is_cuda else [])
        with torch.no_grad(), generators, _in_evaluation(self.encoder), _in_evaluation(self.projector):
            return int(self._encode_signals(blank)[0].shape[1])

    # ------------------------------------------------------------------ the text

    def _tokens_of(self, candidate: str) -> list[int]:
        if candidate not in self._candidate_ids:
            self._candidate_ids[candidate] = token_ids(self.tokenizer, [f" {candidate}"])[0]
        return self._candidate_ids[candidate]

    def _questions(self, distinct: list[str | None]) -> tuple[Tensor, Tensor, Layers]:
        """Lengths (q,), last hidden state (q, hidden) and left-padded keys and values of distinct questions."""
        cache = self._cache
        new = [text for text in distinct if cache is None or text not in cache.questions]
        if cache is None:
            return self._run_questions(new)
        if new:
            lengths, hidden, layers = self._run_questions(new)
            for i, text in enumerate(new):
                n = int(lengths[i])
                cache.questions[text] = (n, hidden[i], [(k[i, :, -n:], v[i, :, -n:]) for k, v in layers])
        kept = [cache.questions[text] for text in distinct]
        longest = max(n for n, _, _ in kept)
        stacked = [
            (
                torch.stack([_left_padded(layers[depth][0], longest) for _, _, layers in kept]),
                torch.stack([_left_padded(layers[depth][1], longest) for _, _, layers in kept]),
            )
            for depth in range(len(kept[0][2]))
        ]
        device = kept[0][1].device
        return torch.tensor([n for n, _, _ in kept], device=device), torch.stack([h for _, h, _ in kept]), stacked

    def _run_questions(self, distinct: list[str | None]) -> tuple[Tensor, Tensor, Layers]:
        ids = [[self._start, *token_ids(self.tokenizer, [text or ""])[0]] for text in distinct]
        longest = max(map(len, ids))
        device = self.segment.device
        padded = torch.tensor([[self._start] * (longest - len(row)) + row for row in ids], device=device)
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in ids], device=device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        _, hidden, layers = run(
            self.language_model, self._embedding(padded), mask=mask, positions=positions, logits=False
        )
        return mask.sum(1), hidden[:, -1], layers

    def _prefix(
        self, batch: Batch, ecg: Tensor, *, logits: bool
    ) -> tuple[Tensor | None, Tensor, Layers, Tensor, Tensor]:
        """Everything before the answer: last logits, last hidden state, keys and values, mask, next positions."""
        index, distinct = _distinct(batch.question)
        lengths, _, layers = self._questions(distinct)
        device = self.segment.device
        at = torch.as_tensor(index, device=device)
        past = [(k[at], v[at]) for k, v in layers]
        longest = past[0][0].shape[2]
        n = lengths[at]
        cue = self._embedding(torch.tensor(self._cue, device=device)).expand(len(batch), -1, -1)
        embeddings = torch.cat([ecg.to(cue.dtype), cue], dim=1)
        more = embeddings.shape[1]
        places = torch.arange(longest, device=device)
        mask = torch.cat(
            [(places[None, :] >= longest - n[:, None]).long(), torch.ones(len(batch), more, device=device).long()], 1
        )
        positions = n[:, None] + torch.arange(more, device=device)[None, :]
        out, hidden, layers = run(
            self.language_model, embeddings, mask=mask, positions=positions, past=past, logits=logits
        )
        return None if out is None else out[:, -1], hidden[:, -1], layers, mask, n + more

    def _continue(self, ids: Tensor, at: Tensor, layers: Layers, mask: Tensor, positions: Tensor) -> Tensor:
        """Log-probabilities (n, length, vocabulary) after feeding ``ids`` (n, length) behind the prefixes ``at``."""
        past = [(k[at], v[at]) for k, v in layers]
        full = torch.cat([mask[at], torch.ones_like(ids)], 1)
        place = positions[at][:, None] + torch.arange(ids.shape[1], device=ids.device)
        logits, _, _ = run(self.language_model, self._embedding(ids), mask=full, positions=place, past=past)
        assert logits is not None
        return torch.log_softmax(logits.float(), dim=-1)

    def _set_scores(self, fused: Tensor, tokens: list[list[list[int]]], batch: Batch) -> Tensor:
        distinct = {tuple(ids): None for row in tokens for ids in row}
        place = {ids: i for i, ids in enumerate(distinct)}
        device = fused.device
        names = torch.stack([self._embedding(torch.tensor(ids, device=device)).mean(0) for ids in distinct])
        index = torch.zeros(batch.candidate_ids.shape, dtype=torch.long)
        for i, row in enumerate(tokens):
            index[i, : len(row)] = torch.tensor([place[tuple(ids)] for ids in row])
        scores = self.answer_head(fused, names).gather(1, index.to(device))
        return scores.masked_fill(batch.padding, float("-inf"))


class _Cache:
    """What :meth:`EncoderProjectorLLM.caching` keeps: ECGs by store row, questions by text."""

    def __init__(self) -> None:
        self.ecgs: dict[int, tuple[Tensor, Tensor]] = {}
        self.questions: dict[str | None, tuple[int, Tensor, Layers]] = {}


@contextmanager
def _in_evaluation(part: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in part.modules()]
    part.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _distinct(texts: tuple[str | None, ...]) -> tuple[list[int], list[str | None]]:
    place = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    return [place[text] for text in texts], list(place)


def _left_padded(values: Tensor, length: int) -> Tensor:
    """(heads, n, dim) -> (heads, length, dim) with zeros in front."""
    return nn.functional.pad(values, (0, 0, length - values.shape[1], 0))
