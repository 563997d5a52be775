"""Back-door adjustment where the recorded severity S~ may be wrong: the true severity S is summed out in training too.

What is maximised is the likelihood of answer, recorded severity and wording given the ECG,

    sum_s  P(s | E, T)  P(S~ | s)  P(F | s, T)  P(A | E, Q, s),

a latent class model. S~, F and (E, A) are three views of S that are independent given S, so that the share of wrong
severities is estimated together with everything else and need not be known (Allman, Matias & Rhodes 2009: three
views identify a latent class model; Kuroki & Pearl 2014: two proxies of a confounder identify an effect). A row whose
wording and recorded severity disagree counts for both severities, as far as its answer and ECG leave it open. With
``misclassification=0`` and ``exchange=0`` it is :mod:`adjusters.severity_based.backdoor`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from adjusters.contract import (
    Batch,
    Card,
    ContractError,
    LossTerms,
    NewScorer,
    Scorer,
    Stage,
    negative_log_likelihood,
    weighted_mean,
)
from adjusters.exchanged_wordings import ExchangedWordings, wordings_of
from adjusters.severity_based.backdoor import Backdoor, BackdoorObjective, Prior, SeverityFrom, check_severity_options

if TYPE_CHECKING:
    import pandas as pd

    from structural_models.estimand import Estimand

#: Columns of the codes of each row's style and topic.
STYLE_CODE, TOPIC_CODE = "style_code", "topic_code"
#: Share of wrong severities that estimation starts from.
START = 0.05
#: The tables' logits move in steps so many times those of a weight: they are few, and must not lag behind a network.
_PACE = 10.0


class Hybrid(Backdoor):
    """Back-door adjustment by a severity that is measured with error.

    Args:
        misclassification: the recorded level given the true one. ``None`` = estimated; a number in [0, 1) = this share
            of every level is recorded as another one, all others being as likely; a matrix (K, K) whose row s holds
            P(S~ | S = s), or its K * K numbers row by row.
        exchange: share of the items, in [0, 1], that are asked in other words of the same canonical question. It is a
            prior that the style has no effect of its own: at zero the data alone decide, and where wording and true
            severity hardly ever disagree they say little; at one it is presumed to have none. Of an effect that the
            style does have, the share 1 - exchange is left where nothing is confounded, and less the more wording and
            severity coincide, however many the data.
        words, severity_from, exclusion: as of :class:`Backdoor`.
        answer_shares: as of :class:`Backdoor`, by the recorded severity; what it blurs, the scorer has to make up for.

    The table must also have the columns ``question`` and ``question_id`` where ``exchange`` is positive. Learned: as of
    :class:`Backdoor`; ``styles_`` and ``style_shares_`` (topics + 1, K, styles), the shares that P(F | s, T) starts
    from; ``wordings_``: per canonical question its training texts and how often each was asked.

    Source: Allman, Matias & Rhodes 2009; Kuroki & Pearl 2014; the combination is this package's own.
    """

    card = Card(
        summary="Hybrid: back-door adjustment by the true severity; the recorded one and the wording are its proxies.",
        needs=("severity", "treatment"),
        uses=("objective", "predict"),
        estimands=("P(A | E, do(Q))",),
        extra_passes=("K - 1", "K - 1"),
        consistent_when=(
            "given the true severity (and topic), recorded severity, wording and ECG are independent, the record errs "
            "independently of the answer, the wording goes with severity, and the style has no effect of its own, "
            "unless exchange=0; where it has none, exchange alone suffices and severity adds nothing"
        ),
        fails_when=(
            "the record errs with the wording or the answer; the style itself causes the answer (R9), without errors "
            "and without confounding too: the share 1 - exchange of its effect is left, and less the more wording and "
            "severity coincide"
        ),
        source="Allman, Matias & Rhodes 2009; Kuroki & Pearl 2014",
        placebo={"exchange": 0.0, "answer_shares": False},
    )

    called: ClassVar[str] = "hybrid"
    prior: Prior = "conditional"
    severity_weight: float = 1.0
    styles_: list[str]
    style_shares_: np.ndarray
    wordings_: dict[str, dict[str, int]]

    def __init__(
        self,
        misclassification: float | Sequence[float] | Sequence[Sequence[float]] | None = None,
        exchange: float = 0.1,
        words: Sequence[str] | None = None,
        severity_from: SeverityFrom = "auto",
        exclusion: bool = False,
        answer_shares: bool = True,
    ) -> None:
        check_severity_options(self.called, words, severity_from)
        if not 0 <= exchange <= 1:
            raise ContractError(f"hybrid's exchange must be a share between 0 and 1, not {exchange}")
        if isinstance(misclassification, int | float) and not 0 <= misclassification < 1:
            raise ContractError(f"hybrid's misclassification must be a share in [0, 1), not {misclassification}")
        self.misclassification = misclassification
        self.exchange = exchange
        self.words = words
        self.severity_from = severity_from
        self.exclusion = exclusion
        self.answer_shares = answer_shares

    def fit(self, table: pd.DataFrame, estimand: Estimand | None = None, *, rng: np.random.Generator) -> Self:
        super().fit(table, estimand, rng=rng)
        assert estimand is not None
        self.misclassification_table()
        treatment = table[self._treatment].astype(str).to_numpy()
        self.styles_ = sorted(set(treatment))
        level = np.searchsorted(self.levels_, table[self.batch_columns[0]].to_numpy())
        code = np.searchsorted(self.styles_, treatment)
        shape = (len(self.levels_), len(self.styles_))
        cells = [np.flatnonzero(table[estimand.roles["topic"]].astype(str) == name) for name in self.topics_]
        counts = [
            np.bincount(level[at] * shape[1] + code[at], minlength=shape[0] * shape[1]).reshape(shape) + 0.5
            for at in [*cells, np.arange(len(table))]
        ]
        self.style_shares_ = np.stack([c / c.sum(1, keepdims=True) for c in counts])
        self.wordings_ = wordings_of(self.called, table, self._treatment, "question") if self.exchange else {}
        return self

    def columns(self, table: pd.DataFrame) -> Mapping[str, np.ndarray]:
        """Severity, and codes of style (-1 for one that training rows lacked) and topic (the last where untold)."""
        assert self.estimand_ is not None
        topic = np.full(len(table), len(self.topics_))
        if self.topics_:
            topic = _codes(table[self.estimand_.roles["topic"]], self.topics_, len(self.topics_))
        style = _codes(table[self._treatment], self.styles_, -1)
        return {**super().columns(table), STYLE_CODE: style, TOPIC_CODE: topic}

    def misclassification_table(self) -> np.ndarray:
        """(K, K) float64, row s is P(S~ | S = s): as given, or where estimation starts. ContractError: not so large."""
        k = len(self.levels_)
        given = START if self.misclassification is None else self.misclassification
        if isinstance(given, int | float):
            return np.full((k, k), given / max(k - 1, 1)) + np.eye(k) * (1 - given - given / max(k - 1, 1))
        try:
            matrix = np.asarray(given, dtype=np.float64)
        except (ValueError, TypeError):  # rows of different lengths, or no numbers
            matrix = np.zeros(0)
        if matrix.shape == (k * k,):
            matrix = matrix.reshape(k, k)
        if matrix.shape != (k, k) or (matrix < 0).any() or not np.allclose(matrix.sum(1), 1, atol=1e-6):
            raise ContractError(
                f"hybrid's misclassification must be a {k} x {k} table (severity has {k} levels), or its {k * k} "
                "numbers row by row, whose rows are probabilities that sum to one"
            )
        return matrix

    def attach(self, scorer: Scorer, *, new_scorer: NewScorer, rng: np.random.Generator) -> HybridObjective:
        plain = super().attach(scorer, new_scorer=new_scorer, rng=rng)
        return HybridObjective(self, plain)

    @property
    def _treatment(self) -> str:
        assert self.estimand_ is not None
        return self.estimand_.roles["treatment"]


class HybridObjective(BackdoorObjective):
    """See :class:`Hybrid`. Built on what back-door adjustment would train."""

    record_start: Tensor
    style_start: Tensor

    def __init__(self, options: Hybrid, plain: BackdoorObjective) -> None:
        levels, words = options.levels_, options.level_words()
        super().__init__(
            plain.scorer, plain.column, levels, words, plain.prior, plain.severity, 1.0, plain.answer_shares
        )
        self.exchange = options.exchange
        self.wordings = ExchangedWordings(options.wordings_)
        tiny = np.finfo(np.float64).tiny
        for name, table in (("record", options.misclassification_table()), ("style", options.style_shares_)):
            start = torch.as_tensor(np.log(np.maximum(table, tiny)), dtype=torch.float32)
            self.register_buffer(f"{name}_start", start)
        self.record_moved = nn.Parameter(torch.zeros_like(self.record_start), options.misclassification is None)
        self.style_moved = nn.Parameter(torch.zeros_like(self.style_start))

    def misclassification(self) -> Tensor:
        """(K, K), row s is P(S~ | S = s): as given, or as estimated so far."""
        return torch.softmax(self.record_start + _PACE * self.record_moved, dim=1)

    def log_evidence(self, recorded: Tensor, style: Tensor, topic: Tensor) -> Tensor:
        """(batch, K) log P(S~, F | s, T) of (batch,) codes of recorded level, style (-1 = unknown) and topic."""
        record = torch.log_softmax(self.record_start + _PACE * self.record_moved, dim=1)[:, recorded].T
        styles = torch.log_softmax(self.style_start + _PACE * self.style_moved, dim=2)
        of_style = styles[topic, :, style.clamp(min=0)]
        return record + of_style.masked_fill((style < 0).unsqueeze(1), 0.0)

    def loss(self, batch: Batch, part: str, *, progress: float) -> LossTerms:
        asked = batch
        if self.exchange:
            chosen = (torch.rand(len(batch)) < self.exchange).tolist()
            pairs = zip(self.wordings.drawn(batch).question, batch.question, chosen, strict=True)
            asked = batch.replace(question=tuple(new if other else own for new, own, other in pairs))
        per_item = self._per_item(batch, asked)
        return LossTerms(weighted_mean(per_item, batch), per_item.detach())

    def validation_loss(self, batch: Batch) -> Tensor:
        """(batch,) the same likelihood, of the items as they were asked."""
        return self._per_item(batch, batch)

    def begin(
        self,
        stage: Stage,
        predictions: Tensor | None,
        features: Mapping[str, Tensor],
        columns: Mapping[str, Tensor],
    ) -> None:
        """Calibrates P(s | E) on validation rows, by the likelihood of recorded severity and style."""
        if stage.name != "calibrate" or self.severity is None:
            return
        device = self.levels.device
        recorded = self._position(columns[self.column].to(device))
        codes = (columns[name].to(device).long() for name in (STYLE_CODE, TOPIC_CODE))
        evidence = self.log_evidence(recorded, *codes)
        record = self.misclassification()
        self.severity.calibrate_latent(features["severity"], evidence, recorded, record, columns.get("patient"))

    def _per_item(self, batch: Batch, asked: Batch) -> Tensor:
        """(batch,) -log sum_s P(s | E, T) P(S~, F | s, T) P(A | E, Q as asked, s)."""
        assert self.severity is not None
        each, features = self.scores_by_level(asked, leave_out=True)
        answer = torch.stack([-negative_log_likelihood(s, batch) for s in each], dim=1)
        levels = self.severity.scores(self.scorer, batch, features)
        # At least single precision: a sum of exponentials in half precision is too coarse to learn from.
        single = torch.promote_types(levels.dtype, torch.float32)
        prior = torch.log_softmax(levels.to(single), dim=1)
        recorded = self._position(batch.columns[self.column])
        evidence = self.log_evidence(recorded, *(batch.columns[name].long() for name in (STYLE_CODE, TOPIC_CODE)))
        return -torch.logsumexp(prior + evidence + answer.to(single), dim=1)


def _codes(values: pd.Series[str], known: Sequence[str], otherwise: int) -> np.ndarray:
    """(rows,) int64 position of each value among the known ones."""
    found = values.astype(str).map({name: code for code, name in enumerate(known)})
    return np.asarray(found.fillna(otherwise).to_numpy(), dtype=np.int64)
