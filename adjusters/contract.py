"""The contract between a model, an adjuster and a trainer.

A *scorer* is any callable that maps a :class:`Batch` to one score per candidate answer. An *adjuster* changes
what such a scorer learns from (weights, batches, rewritten rows), what it minimises (its :class:`Objective`)
or how it predicts (the objective is itself a scorer). Nothing here knows about ECG encoders or language models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, cast, get_args, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from adjusters.batch import Batch as Batch
from adjusters.batch import Kind as Kind
from adjusters.errors import ContractError as ContractError
from adjusters.table_columns import require_columns
from adjusters.valid_scores import require_scores

if TYPE_CHECKING:
    import pandas as pd

    from structural_models.identification import Estimand

View = Literal["ecg", "question", "fused"]
Variant = Literal["same", "question_only", "ecg_only", "frozen_copy"]
NewScorer = Callable[[Variant], "Scorer"]


@runtime_checkable
class Scorer(Protocol):
    """Maps a batch to (batch, candidates) scores: "one" log-likelihood, "set" log-odds; -inf at padding.

    Scores of kind "one" need not be normalised over the candidates; see :func:`log_probabilities`.
    """

    def __call__(self, batch: Batch) -> Tensor: ...


@runtime_checkable
class HasFeatures(Protocol):
    def features(self, batch: Batch, view: View) -> Tensor:
        """(batch, dim) representation of one view of the input."""


@runtime_checkable
class HasFeatureDim(Protocol):
    """Sizes of the features before any batch is seen, so that a head can be built on them."""

    def feature_dim(self, view: View) -> int:
        """``dim`` of ``self.features(batch, view)``."""


@runtime_checkable
class HasJointFeatures(Protocol):
    """A scorer that gives scores and features of one forward pass, so that the ECG is not encoded twice."""

    def scores_and_features(self, batch: Batch, view: View) -> tuple[Tensor, Tensor]:
        """What ``self(batch)`` and ``self.features(batch, view)`` would give."""


def scores_and_features(scorer: Scorer, batch: Batch, view: View) -> tuple[Tensor, Tensor]:
    """Both of a scorer that has features, in one forward pass where it can."""
    if isinstance(scorer, HasJointFeatures):
        return scorer.scores_and_features(batch, view)
    return scorer(batch), cast(HasFeatures, scorer).features(batch, view)


@runtime_checkable
class HasParts(Protocol):
    def part(self, name: str) -> nn.Module:
        """One of "encoder", "projector", "language_model", "answer_head"; KeyError for a part it lacks."""


@runtime_checkable
class HasAbstention(Protocol):
    """A scorer, or objective, that may decline to answer. What it would answer otherwise is in its scores."""

    def abstains(self, batch: Batch) -> Tensor:
        """(batch,) bool: the item is answered by none of its candidates."""


def log_probabilities(scores: Tensor, batch: Batch) -> Tensor:
    """(batch, candidates) log P(candidate): log-softmax over the candidates ("one") or log-sigmoid ("set").

    Padding stays at -inf.
    """
    if batch.kind == "one":
        return torch.log_softmax(scores.masked_fill(batch.padding, float("-inf")), dim=-1)
    return nn.functional.logsigmoid(scores).masked_fill(batch.padding, float("-inf"))


def negative_log_likelihood(scores: Tensor, batch: Batch) -> Tensor:
    """(batch,) negative log-likelihood of the true answer(s).

    "one": -log softmax at the true candidate. "set": summed Bernoulli loss over the item's candidates. ContractError
    for scores of another shape than (batch, candidates).
    """
    require_scores(scores, batch)
    if batch.kind == "one":
        log_p = log_probabilities(scores, batch).masked_fill(~batch.answer, float("-inf"))
        return -torch.logsumexp(log_p, dim=-1)
    loss = nn.functional.binary_cross_entropy_with_logits(
        scores.masked_fill(batch.padding, 0.0), batch.answer.to(scores.dtype), reduction="none"
    )
    return loss.masked_fill(batch.padding, 0.0).sum(-1)


def decide(scores: Tensor, batch: Batch) -> list[list[str]]:
    """The answer given per item: the arg-max ("one"), or every candidate with positive log-odds ("set").

    In a set, "none" is exclusive and is the fallback when nothing else is chosen and it is a candidate.
    """
    given: list[list[str]] = []
    values = scores.detach().masked_fill(batch.padding, float("-inf")).cpu()
    for row, names in zip(values, batch.candidates, strict=True):
        if batch.kind == "one":
            given.append([names[int(row.argmax())]])
            continue
        chosen = [name for name, score in zip(names, row.tolist(), strict=False) if score > 0 and name != "none"]
        given.append(chosen or (["none"] if "none" in names else []))
    return given


@dataclass(frozen=True)
class LossTerms:
    """``total``: scalar that is differentiated; ``per_item``: (batch,) unweighted loss, for logs and group updates."""

    total: Tensor
    per_item: Tensor


@dataclass(frozen=True)
class Stage:
    """One pass of training.

    Attributes:
        name: unique within an adjuster's stages.
        trains: names of the objective's parts that are updated; empty = the stage is :meth:`Objective.begin` alone.
        split: which rows are learned from. A stage on "validation" is not stopped early: nothing is left to judge it.
        epochs: number of epochs, ``None`` = what the run configuration says, 0 = :meth:`Objective.begin` alone.
        init: "restart" puts the objective (scorer and all further state) back to its state after ``attach``, before
            :meth:`Objective.begin` is called; what ``begin`` was to be given is computed before that.
        reset_optimizer: start with fresh optimiser state.
        wants: what :meth:`Objective.begin` is given before the stage: "predictions" and/or "features:NAME", computed
            with :meth:`Objective.wanted` in evaluation mode, without gradients, in row order, on the stage's split
            with the model as the stage before left it (its best epoch, where that was stopped early).
        keep_best: end with the state of the lowest validation loss, whether or not the run stops early. The state the
            stage began with is given up only for one that is :func:`adjusters.kept_state.clearly_lower`: a few heavy
            rows decide a weighted loss, and must not undo by chance what an earlier stage has learned.
        weighted: whether the rows' weights, if there are any, count in the stage's loss. Its validation loss is
            weighted exactly where they do.
    """

    name: str
    trains: tuple[str, ...] = ("main",)
    split: Literal["train", "validation"] = "train"
    epochs: int | None = None
    init: Literal["continue", "restart"] = "continue"
    reset_optimizer: bool = False
    wants: tuple[str, ...] = ()
    keep_best: bool = False
    weighted: bool = True


@dataclass(frozen=True)
class Card:
    """What an adjuster is, for people, documentation and the dispatcher.

    Attributes:
        summary: one sentence.
        needs: roles of the estimand whose columns the table must hold (e.g. "severity", "treatment").
        uses: the parts of the contract it changes: "weights", "batches", "rewrite", "objective", "predict".
        estimands: names served ("P(A | E, do(Q))", ...); empty = serves none and accepts ``estimand=None``.
        bias_view: what its bias model may see, if it has one.
        extra_passes: forward passes of a scorer per item beyond the unadjusted model's one, of a training step (in
            which every added row is one, and so is a pass of a further scorer) and of a prediction; "K - 1" with K
            severity levels. By default options; what is done once, between stages, is not counted.
        consistent_when: the assumption under which it is right.
        fails_when: where it is known to go wrong, e.g. a regime of the benchmark.
        source: paper, equation.
        further_splits: splits whose rows the trainer puts behind the training rows that this adjuster is given, and no
            other arm's; a split that the data lack is left out, and :meth:`Adjuster.fit` says what is missing.
        placebo: options that take from it what it goes by, where that is not in its columns or weights; those are dealt
            to the wrong rows in any case. A placebo shows what the machinery gains without the knowledge.
    """

    summary: str
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    estimands: tuple[str, ...] = ()
    bias_view: str | None = None
    extra_passes: tuple[int | str, int | str] = (0, 0)
    consistent_when: str = ""
    fails_when: str = ""
    source: str = ""
    further_splits: tuple[str, ...] = ()
    placebo: Mapping[str, Any] = field(default_factory=dict)


class Objective(nn.Module):
    """What is minimised, and what predicts.

    Every moving state must be a parameter or a buffer, so that one ``state_dict`` resumes a run exactly. Calling
    the objective *is* prediction; it therefore satisfies :class:`Scorer`. ``scorer`` is registered as a submodule
    when it is one, so that its parameters are trained.

    ``per_item`` says that the loss is a (weighted) mean over items, so that a batch may be dealt out over several
    processes. Where it is not, as in the worst group's loss or a dependence measured within the batch, set it to
    ``False``: every process then computes the whole batch.

    ``passes`` is how many forward passes of a scorer an answer costs, whether to abstain included.
    """

    parts: tuple[str, ...] = ("main",)
    per_item: bool = True
    passes: int = 1

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self.scorer = scorer

    def forward(self, batch: Batch) -> Tensor:
        return self.scorer(batch)

    def train(self, mode: bool = True) -> Self:
        """As torch's, but a module that has parameters and only frozen ones stays in evaluation mode: dropout and
        running statistics of a frozen copy or a frozen language model would change what it says."""
        super().train(mode)
        for module in self.modules() if mode else ():
            parameters = list(module.parameters())
            if parameters and not any(parameter.requires_grad for parameter in parameters):
                module.eval()
        return self

    def parameters_of(self, part: str) -> Iterator[nn.Parameter]:
        """Parameters updated in ``part``; by default all of them, which is right when there is one part only."""
        if part not in self.parts:
            raise ContractError(f"objective has no part '{part}'; its parts are {', '.join(self.parts)}")
        return self.parameters()

    def loss(self, batch: Batch, part: str, *, progress: float) -> LossTerms:
        """Loss of one part. ``progress`` runs from 0 to 1 over the stage."""
        per_item = negative_log_likelihood(self.scorer(batch), batch)
        return LossTerms(weighted_mean(per_item, batch), per_item.detach())

    def validation_loss(self, batch: Batch) -> Tensor:
        """(batch,) loss per item that early stopping averages over the validation rows, with the items' weights where
        the stage is weighted.

        By default the negative log-likelihood of what the objective predicts. Validation rows are biased like the
        training rows: a strategy whose prediction is right under do(Q) must not be judged by how well it predicts
        them, and says here what it should be judged by. Called in evaluation mode, without gradients; the batch has
        the adjuster's :meth:`Adjuster.columns` and ``weight``.
        """
        return negative_log_likelihood(self(batch), batch)

    def wanted(self, batch: Batch, name: str) -> Tensor:
        """(batch, dim) one entry of ``Stage.wants``: "predictions" (by default ``self(batch)``) or "features:NAME".

        By default NAME is a view of a scorer that has features. Raises ContractError for what cannot be given.
        """
        if name == "predictions":
            return cast(Tensor, self(batch))
        kind, _, view = name.partition(":")
        if kind == "features" and view in get_args(View) and isinstance(self.scorer, HasFeatures):
            return self.scorer.features(batch, cast(View, view))
        raise ContractError(f"{type(self).__name__} wants '{name}', which {type(self.scorer).__name__} cannot give")

    def after_step(self, batch: Batch, terms: Mapping[str, LossTerms]) -> None:
        """Called once per batch after all parts have stepped; ``terms`` is keyed by part."""

    def begin(
        self,
        stage: Stage,
        predictions: Tensor | None,
        features: Mapping[str, Tensor],
        columns: Mapping[str, Tensor],
    ) -> None:
        """Called once before a stage, with what ``stage.wants`` asked for, row-aligned with the stage's table.

        Args:
            stage: the stage about to start.
            predictions: (rows, candidates) scores, -inf at padding, or ``None`` when not wanted.
            features: NAME -> (rows, dim).
            columns: (rows,) numeric columns: the adjuster's :meth:`Adjuster.columns`, ``weight`` if there are weights,
                ``answer`` (int64 position of the true candidate; -1 in kind "set" or where unknown) and ``patient``
                (int64 code of the item's first patient). Empty when the stage wants nothing.
        """


def weighted_mean(per_item: Tensor, batch: Batch) -> Tensor:
    """Mean of weight x loss. Weights have mean one over the training table, so the gradient is unbiased."""
    weight = batch.columns.get("weight")
    return per_item.mean() if weight is None else (weight.to(per_item.dtype) * per_item).mean()


class Adjuster:
    """The table side of a strategy, in scikit-learn manners.

    Options are keyword arguments of ``__init__``, stored verbatim under the same name; learned attributes end in
    an underscore. A subclass overrides only what it changes; everything here is neutral.

    ``batch_columns`` names integer or float columns of the table that the objective wants to find in ``Batch.columns``
    in training and validation; often set by :meth:`fit`. What is not a column is made by :meth:`columns`. Prediction
    must not need them.

    The trainer calls, in this order: ``fit`` on the training rows; ``rewrite`` on the training rows; ``weights`` and
    ``columns`` on the rewritten training rows and, separately, on the validation rows; ``stages``; ``attach``;
    ``batches`` for every epoch of a stage on the training rows.
    """

    card: ClassVar[Card]
    batch_columns: tuple[str, ...] = ()

    def fit(self, table: pd.DataFrame, estimand: Estimand | None = None, *, rng: np.random.Generator) -> Self:
        """Learn from training rows. Raises :class:`ContractError` for a missing column or an unserved estimand."""
        self.require(table, estimand)
        self.estimand_ = estimand
        return self

    def require(self, table: pd.DataFrame, estimand: Estimand | None) -> None:
        """Check what the card asks for, before anything is trained. Raises :class:`ContractError`, one sentence."""
        name = type(self).__name__
        if self.card.estimands and estimand is not None and estimand.name not in self.card.estimands:
            served = ", ".join(self.card.estimands)
            raise ContractError(f"{name} does not serve the estimand {estimand.name}; it serves {served}")
        if not len(table):
            raise ContractError(f"{name} was given a table without rows; choose a split that has items")
        if not self.card.needs:
            return
        if estimand is None:
            raise ContractError(f"{name} needs an estimand that names the columns for {', '.join(self.card.needs)}")
        for role in self.card.needs:
            column = estimand.roles.get(role)
            if column is None:
                raise ContractError(f"{name} needs the role '{role}', which the estimand does not name")
            if column not in table.columns:
                raise ContractError(f"{name} needs the column '{column}' (role '{role}'), which the table lacks")
            if table[column].isna().any():
                missing = int(table[column].isna().sum())
                raise ContractError(f"{name}: column '{column}' (role '{role}') is empty in {missing} training rows")

    def rewrite(self, table: pd.DataFrame, *, rng: np.random.Generator) -> pd.DataFrame:
        """Training rows as they should be learned from: ECGs by id, never signals."""
        return table

    def weights(self, table: pd.DataFrame) -> np.ndarray | None:
        """(rows,) float64 loss weights with mean one over ``table``, or ``None`` for equal weights.

        ``table`` holds training rows (after :meth:`rewrite`) or validation rows; what was learned by ``fit`` is used.
        """
        return None

    def columns(self, table: pd.DataFrame) -> Mapping[str, np.ndarray]:
        """name -> (rows,) integers or floats that the objective finds in ``Batch.columns``: a code of the style, of an
        environment, of the group of answer and severity ... By default the table's ``batch_columns``."""
        require_columns(type(self).__name__, table, self.batch_columns)
        return {name: table[name].to_numpy() for name in self.batch_columns}

    def batches(self, table: pd.DataFrame, size: int, *, seed: int, epoch: int) -> Iterator[np.ndarray] | None:
        """Row positions of each batch of an epoch, or ``None`` for a plain shuffle."""
        return None

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("main"),)

    def attach(self, scorer: Scorer, *, new_scorer: NewScorer, rng: np.random.Generator) -> Objective:
        """The objective that trains ``scorer``. ``new_scorer`` builds further ones where a strategy needs them."""
        return Objective(scorer)

    def balance(self, table: pd.DataFrame) -> pd.DataFrame | None:
        """Balance of the confounder before and after, where the strategy changes it."""
        return None

    def options(self) -> dict[str, Any]:
        """The options as given, readable back by ``type(self)(**options)``."""
        import inspect

        if type(self).__init__ is object.__init__:
            return {}
        given = inspect.signature(type(self).__init__).parameters.values()
        names = [p.name for p in given if p.name != "self" and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        return {name: getattr(self, name) for name in names}

    def state(self) -> dict[str, Any]:
        """Learned attributes and ``batch_columns`` as JSON-able values; used by :meth:`save`.

        An array becomes ``{"dtype": ..., "values": nested lists}`` and comes back from :meth:`load` as an array.
        """
        learned = {
            k: v for k, v in vars(self).items() if k.endswith("_") and not k.startswith("_") and k != "estimand_"
        }
        if "batch_columns" in vars(self):
            learned["batch_columns"] = list(self.batch_columns)
        return {
            k: {"dtype": str(v.dtype), "values": v.tolist()} if isinstance(v, np.ndarray) else v
            for k, v in learned.items()
        }

    def save(self, folder: Path) -> None:
        """Write ``adjuster.json`` (class, options, learned state, estimand). Never a pickle."""
        estimand = getattr(self, "estimand_", None)
        record = {
            "class": f"{type(self).__module__}:{type(self).__qualname__}",
            "options": self.options(),
            "state": self.state(),
            "estimand": None if estimand is None else estimand.to_dict(),
        }
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / ".adjuster.json.partial"
        partial.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
        partial.replace(folder / "adjuster.json")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read back what :meth:`save` wrote; the file's class must be ``cls``."""
        record = json.loads((folder / "adjuster.json").read_text())
        if record["class"] != f"{cls.__module__}:{cls.__qualname__}":
            raise ContractError(f"{folder / 'adjuster.json'} holds a {record['class']}, not a {cls.__qualname__}")
        from structural_models.identification import Estimand

        adjuster = cls(**record["options"])
        for name, value in record["state"].items():
            if isinstance(value, dict) and value.keys() == {"dtype", "values"}:
                value = np.asarray(value["values"], dtype=value["dtype"])
            setattr(adjuster, name, tuple(value) if name == "batch_columns" else value)
        adjuster.estimand_ = None if record["estimand"] is None else Estimand.from_dict(record["estimand"])
        return adjuster
