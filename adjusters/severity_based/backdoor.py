"""Back-door adjustment inside the model: the severity enters as text, and is summed out at prediction.

P(A | E, do(Q)) = sum_s P(A | E, Q, s) P(s | E)        prior="conditional"
                  sum_s P(A | E, Q, s) P(s)            prior="marginal", equal to it only where E is independent of S

Where the estimand holds the topic fixed as well, the weights are P(s | E, T), or P(s | T).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Self, get_args

import numpy as np
import torch
from torch import Tensor, nn

from adjusters.batch import KINDS
from adjusters.candidates import added, count_candidates
from adjusters.checksum_folds import checksum_folds
from adjusters.contract import (
    Adjuster,
    Batch,
    Card,
    ContractError,
    HasFeatureDim,
    HasFeatures,
    HasJointFeatures,
    LossTerms,
    NewScorer,
    Objective,
    Scorer,
    Stage,
    log_probabilities,
    negative_log_likelihood,
    weighted_mean,
)
from adjusters.severity_based.answer_shares import AnswerShares, answer_scores
from adjusters.severity_based.cells import Columns, require_adjustment, require_overlap
from adjusters.severity_based.severity_model import SeverityModel, SeverityPrior
from adjusters.table_columns import require_columns

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from structural_models.identification import Estimand

Prior = Literal["conditional", "marginal"]
SeverityFrom = Literal["auto", "features", "question"]
#: Of patients: the counts of answers are those of the other folds.
FOLDS = 10
FOLD_CODE = "answer_fold"
_COUNTED = ("kind", "candidates", "answer", "patient_ids")


class Backdoor(Adjuster):
    """Conditions on the severity in training and sums it out, exactly, at prediction.

    Training puts ``"Severity: WORD."`` before each question, and adds to the scores what the severity says of the
    answer by itself, log P(answer | severity, topic) by counts of other patients: one scorer pass. With
    ``prior="conditional"`` the loss adds ``severity_weight`` times the negative log-likelihood of the severity given
    the ECG. That term also reaches the encoder, on purpose: with the severity told, a strongly confounded answer
    teaches it next to nothing. A second stage, ``begin`` only, calibrates P(s | E) on the validation split, whose
    patients were not trained on.

    Args:
        prior: what the severity is averaged over, P(s | E) or P(s).
        words: a word per severity level 0, 1, ...; by default ``"level 0"``, ``"level 1"``, ...
        severity_weight: weight of the severity's loss, > 0; unused with the marginal prior.
        severity_from: a head on the scorer's ECG features, the severity asked as a question, or "auto": features
            where the scorer has them (with ``feature_dim``).
        exclusion: declares that the question's style does not cause the answer; without it, wordings that never occur
            at a severity are refused, since nothing in the data tells what they would do there.
        answer_shares: begin with what the severity says of the answer by counts; otherwise it is told in words alone,
            and a language model that is not trained may learn the wording in its place.

    The table must have the columns kind, candidates, answer and patient_ids where ``answer_shares`` is on. Learned:
    ``levels_`` (K,) int64 sorted severity levels; ``topics_``, those told apart (none where the estimand does
    not hold the topic fixed, or there is one); ``shares_`` (topics + 1, K) shares of the levels among training rows;
    ``answers_`` and ``answer_counts_``: counts by kind, topic, level and fold.
    """

    card = Card(
        summary="Back-door adjustment: severity told in training, summed out by P(s | E) (or P(s)) at prediction.",
        needs=("severity", "treatment"),
        uses=("objective", "predict"),
        estimands=("P(A | E, do(Q))",),
        extra_passes=(0, "K - 1"),
        consistent_when="severity is measured without error and blocks every back-door path given ECG and topic, and "
        "every style occurs at every severity",
        fails_when="severity recorded with error (R4); no overlap (R5, refused unless exclusion is declared); causes "
        "besides severity (R9); with prior=marginal, severity visible in the ECG (R2), and even no confounding (R8)",
        source="Pearl 2009, section 3.3",
        # The counts are of the true severities, whatever a row is told afterwards.
        placebo={"answer_shares": False},
    )

    called: ClassVar[str] = "backdoor"
    levels_: np.ndarray
    topics_: list[str]
    shares_: np.ndarray
    answers_: list[str]
    answer_counts_: np.ndarray

    def __init__(
        self,
        prior: Prior = "conditional",
        words: Sequence[str] | None = None,
        severity_weight: float = 1.0,
        severity_from: SeverityFrom = "auto",
        exclusion: bool = False,
        answer_shares: bool = True,
    ) -> None:
        if prior not in get_args(Prior):
            raise ContractError(f"backdoor's prior is conditional or marginal, not '{prior}'")
        check_severity_options("backdoor", words, severity_from)
        if not severity_weight > 0:
            raise ContractError(f"backdoor's severity_weight must be positive, not {severity_weight}")
        self.prior = prior
        self.words = words
        self.severity_weight = severity_weight
        self.severity_from = severity_from
        self.exclusion = exclusion
        self.answer_shares = answer_shares

    def fit(self, table: pd.DataFrame, estimand: Estimand | None = None, *, rng: np.random.Generator) -> Self:
        super().fit(table, estimand, rng=rng)
        assert estimand is not None
        require_adjustment(self.called, estimand)
        others = [role for role in estimand.adjustment if role != "severity"]
        if others:
            raise ContractError(
                f"{self.called} sums out severity only, but the estimand also adjusts for {', '.join(others)}; "
                "use ipw, or a graph in which severity suffices"
            )
        column = estimand.roles["severity"]
        values = table[column].to_numpy()
        if not np.issubdtype(values.dtype, np.integer):
            raise ContractError(f"{self.called} needs integer severity levels; column '{column}' holds {values.dtype}")
        levels, counts = np.unique(values, return_counts=True)
        if self.words is not None and (levels[0] < 0 or levels[-1] >= len(self.words)):
            raise ContractError(
                f"{self.called} was given {len(self.words)} words but column '{column}' holds levels "
                f"{levels[0]} to {levels[-1]}; give one word per level, starting at 0"
            )
        topic = estimand.roles.get("topic", "") if "topic" in estimand.conditioning else ""
        if not self.exclusion:
            within = topic if topic in table.columns else None
            require_overlap(self.called, table, Columns((column,), estimand.roles["treatment"], within))
        self.levels_ = levels.astype(np.int64)
        names = sorted(map(str, table[topic].unique())) if topic in table.columns else []
        self.topics_ = names if len(names) > 1 else []
        at = np.searchsorted(levels, values)
        code = table[topic].astype(str).to_numpy() if self.topics_ else None
        rows = [np.bincount(at[code == name], minlength=len(levels)) for name in self.topics_]
        # A level that a topic lacks keeps half a row: a share of zero would rule it out for good.
        self.shares_ = np.array([(row + 0.5) / (row + 0.5).sum() for row in rows] + [counts / counts.sum()])
        self.batch_columns = (column,)
        if self.answer_shares:
            require_columns(f"{self.called} with answer_shares=true", table, _COUNTED)
            of_topic = np.zeros(len(table), dtype=np.int64) if code is None else np.searchsorted(names, code)
            self.answers_ = sorted({answer for answers in table["candidates"] for answer in answers})
            kind = table["kind"].map(KINDS.index).to_numpy()
            cell = np.stack([kind, of_topic, at, checksum_folds(table, FOLDS)], axis=1)
            self.answer_counts_ = count_candidates(table, cell, self.answers_)
        return self

    def columns(self, table: pd.DataFrame) -> Mapping[str, np.ndarray]:
        fold = {FOLD_CODE: checksum_folds(table, FOLDS)} if self.answer_shares else {}
        return {**super().columns(table), **fold}

    def level_words(self) -> tuple[str, ...]:
        """The word of each of ``levels_``."""
        return tuple(f"level {level}" if self.words is None else self.words[level] for level in self.levels_)

    def stages(self) -> tuple[Stage, ...]:
        main = Stage("main")
        if self.prior == "marginal":
            return (main,)
        return (main, Stage("calibrate", trains=(), split="validation", epochs=0, wants=("features:severity",)))

    def attach(self, scorer: Scorer, *, new_scorer: NewScorer, rng: np.random.Generator) -> BackdoorObjective:
        able = isinstance(scorer, HasFeatures) and isinstance(scorer, HasFeatureDim)
        if self.severity_from == "features" and not able:
            raise ContractError(
                f"{self.called} with severity_from='features' needs a scorer with features and feature_dim, which "
                f"{type(scorer).__name__} lacks; use severity_from='question'"
            )
        words, prior = self.level_words(), SeverityPrior(self.topics_, self.shares_)
        severity = None
        if self.prior == "conditional":
            from_features = able and self.severity_from != "question"
            severity = SeverityModel(scorer, words, prior, from_features=from_features)
        column, told = self.batch_columns[0], self.answers_told()
        return BackdoorObjective(scorer, column, self.levels_, words, prior, severity, self.severity_weight, told)

    def answers_told(self) -> AnswerShares | None:
        """What is added where a severity is told; ``None`` where it is told in words alone."""
        if not self.answer_shares:
            return None
        sizes = len(self.topics_), len(self.levels_), FOLDS, len(self.answers_)
        return AnswerShares(answer_scores(self.answer_counts_, *sizes), self.answers_)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """As saved; one saved before there were answers' shares told the severity in words alone."""
        found = super().load(folder)
        found.answer_shares = found.answer_shares and hasattr(found, "answer_counts_")
        return found


def check_severity_options(name: str, words: Sequence[str] | None, severity_from: SeverityFrom) -> None:
    """Raises ContractError."""
    if severity_from not in get_args(SeverityFrom):
        raise ContractError(f"{name}'s severity_from is auto, features or question, not '{severity_from}'")
    if isinstance(words, str):
        raise ContractError(f"{name}'s words are a list, one word per level, not the text '{words}'")


class BackdoorObjective(Objective):
    """See :class:`Backdoor`. ``severity`` is ``None`` for the marginal prior, ``answer_shares`` where words alone are
    told."""

    levels: Tensor

    def __init__(
        self,
        scorer: Scorer,
        column: str,
        levels: np.ndarray,
        words: Sequence[str],
        prior: SeverityPrior,
        severity: SeverityModel | None,
        severity_weight: float,
        answer_shares: AnswerShares | None,
    ) -> None:
        super().__init__(scorer)
        self.column = column
        self.contexts = tuple(f"Severity: {word}." for word in words)
        self.severity = severity
        self.severity_weight = severity_weight
        self.prior = prior
        self.answer_shares = answer_shares
        self.register_buffer("levels", torch.as_tensor(levels, dtype=torch.int64))
        # One a level; and one for a severity that is asked as a question.
        self.passes = len(levels) + (severity is not None and severity.head is None)

    def forward(self, batch: Batch) -> Tensor:
        """(batch, candidates) sum over strata: log P(candidate | E, do(Q)) ("one"), or its log-odds ("set")."""
        scores, features = self.scores_by_level(batch)
        return mix(torch.stack(scores), self.log_severity(batch, features), batch)

    def log_severity(self, batch: Batch, features: Tensor | None = None) -> Tensor:
        """(batch, levels) log-weights the strata are mixed with."""
        if self.severity is None:
            return self.prior(batch)
        return self.severity.log_probabilities(self.scorer, batch, features)

    def loss(self, batch: Batch, part: str, *, progress: float) -> LossTerms:
        answer, severity = self._losses(batch)
        total = weighted_mean(answer, batch)
        if severity is not None:
            total = total + self.severity_weight * severity.mean()
        return LossTerms(total, answer.detach())

    def validation_loss(self, batch: Batch) -> Tensor:
        """The training loss per item: the answer's, with the observed severity told, plus the weighted severity's.

        Not that of the prediction under do(Q), which validation rows, confounded like the training rows, would
        rightly find too unsure: stopping by it would choose the epoch nearest to the shortcut.
        """
        answer, severity = self._losses(batch)
        return answer if severity is None else answer + self.severity_weight * severity

    def wanted(self, batch: Batch, name: str) -> Tensor:
        """Also "features:severity": (batch, levels) uncalibrated scores of the severity."""
        if name == "features:severity" and self.severity is not None:
            return self.severity.scores(self.scorer, batch)
        return super().wanted(batch, name)

    def begin(
        self,
        stage: Stage,
        predictions: Tensor | None,
        features: Mapping[str, Tensor],
        columns: Mapping[str, Tensor],
    ) -> None:
        if stage.name == "calibrate" and self.severity is not None:
            position = self._position(columns[self.column].to(self.levels.device))
            self.severity.calibrate(features["severity"], position, columns.get("patient"))

    def _losses(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        position = self._position(batch.columns[self.column])
        scores, features = self._told(batch, position, leave_out=True)
        answer = negative_log_likelihood(scores, batch)
        if self.severity is None:
            return answer, None
        levels = self.severity.scores(self.scorer, batch, features)
        # At least single precision: a sum of exponentials in half precision is too coarse to learn from.
        levels = levels.to(torch.promote_types(levels.dtype, torch.float32))
        return answer, nn.functional.cross_entropy(levels, position, reduction="none")

    def scores_by_level(self, batch: Batch, *, leave_out: bool = False) -> tuple[list[Tensor], Tensor | None]:
        """Per level, the (batch, candidates) scores with it told; and the ECG features, where a head wants them and the
        scorer gives both at once. ``leave_out``: without the answers of the row's own patients, as in the loss."""
        first = torch.zeros(len(batch), dtype=torch.int64, device=self.levels.device)
        scores, features = self._told(batch, first, leave_out=leave_out)
        others = range(1, len(self.levels))
        return [scores, *(self._told(batch, first + k, features, leave_out=leave_out)[0] for k in others)], features

    def _told(
        self, batch: Batch, position: Tensor, features: Tensor | None = None, *, leave_out: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Scores with the levels at (batch,) positions told; and features, the given ones if there are any."""
        told = batch.with_context([self.contexts[k] for k in position.tolist()])
        joint = features is None and self.severity is not None and self.severity.head is not None
        if joint and isinstance(self.scorer, HasJointFeatures):
            scores, features = self.scorer.scores_and_features(told, "ecg")
        else:
            scores = self.scorer(told)
        if self.answer_shares is not None:
            fold = batch.columns[FOLD_CODE].long() if leave_out else None
            offset = self.answer_shares(batch, self.prior.index(batch), position, fold)
            scores = added(scores, offset, batch)
        return scores, features

    def _position(self, values: Tensor) -> Tensor:
        """Position of each value among the training levels; a level that was not trained on counts as the nearest."""
        distance = (values.long().unsqueeze(1) - self.levels).abs()
        return distance.argmin(1)


def mix(scores: Tensor, log_weights: Tensor, batch: Batch) -> Tensor:
    """Mixture over strata of normalised candidate probabilities.

    Args:
        scores: (strata, batch, candidates) as a scorer gives them.
        log_weights: (batch, strata), normalised.
        batch: for its kind and padding.

    Returns:
        (batch, candidates) log-probability ("one") or log-odds ("set"); -inf at padding.
    """
    weights = log_weights.T.unsqueeze(-1).to(scores.dtype)
    padding = batch.padding
    if batch.kind == "one":
        each = torch.stack([log_probabilities(s, batch) for s in scores])
        mixed = torch.logsumexp(each.masked_fill(padding, 0.0) + weights, dim=0)
    else:
        filled = scores.masked_fill(padding, 0.0)
        yes = torch.logsumexp(nn.functional.logsigmoid(filled) + weights, dim=0)
        no = torch.logsumexp(nn.functional.logsigmoid(-filled) + weights, dim=0)
        mixed = yes - no
    return mixed.masked_fill(padding, float("-inf"))
