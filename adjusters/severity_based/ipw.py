"""Inverse probability weighting on the wording of the question, given severity."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np

from adjusters.contract import Adjuster, Card, ContractError
from adjusters.severity_based.cells import (
    TOLERATED_WITHIN,
    Columns,
    Scheme,
    cell_values,
    cell_weights,
    overlap_report,
    pooled_balance,
    require_overlap,
)
from adjusters.severity_based.logit_weights import learn_logit_weights, logit_weights
from adjusters.severity_based.patient_folds import fold_of, patient_folds
from adjusters.severity_based.question_embedding import QuestionEmbedding
from adjusters.severity_based.text_weights import QUESTION, learn_text_weights, text_weights
from adjusters.table_columns import require_columns

if TYPE_CHECKING:
    import pandas as pd

    from structural_models.estimand import Estimand

PropensityBy = Literal["counts", "multinomial", "embedding"]
#: Of the question's text, and the folds it is cross-fitted over, where no others are asked for.
DIMENSIONS, TEXT_FOLDS = 32, 5


class InverseProbabilityWeighting(Adjuster):
    """Loss weights under which the style of the question is independent of severity, within each topic.

    Weights are P(F | T) / P(F | S, T), mean one; any number of styles and levels. A row in a cell that training lacked
    (possible in validation) has weight zero.

    Args:
        scheme: "stabilised" keeps the styles' own shares P(F | T). "unstabilised", 1 / P(F | S, T): all styles of a
            topic weigh the same. "overlap": bounded, for the population in which every style is likely. "entropy": no
            propensity, but the most even weights that balance every level of what is adjusted for exactly; with several
            columns their levels and not all combinations, with one column the same as stabilised.
        clip: weights above it are set to it; below one, the quantile to clip at. Trades bias for variance.
        propensity: "counts", shares of the cells. "multinomial", a logit with main effects of what is adjusted for
            (levels or quantities) and of the group. "embedding": the treatment is the text of the question, as a
            vector, and the weight P(S | T) / P(S | text, T), which is P(text | T) / P(text | S, T).
        folds: patients are dealt into so many folds, and weighted by what was learned from the others'; 0 = not;
            ``None`` = 5 for "embedding", else 0. Rows of other patients are weighted by what was learned from all.
        dimensions: of the text's vector; ``None`` = 32. For "embedding" without a column.
        embedding: column with a vector per row, for "embedding"; ``None`` = TF-IDF and truncated singular values of the
            training questions.
        treatment: role or column of the treatment: the estimand's, a finer division of it (``wording_id``), or the
            topic, where the estimand does not hold it fixed.
        by: role or column within which weights are formed; ``None`` = across all items.

    Learned: ``weighing_`` (what weights are found by: from all rows and, in folds, from each fold's others) and
    ``overlap_`` (effective sample size, smallest share of an arm among rows alike, thin cells).
    """

    card = Card(
        summary="Inverse probability weights that make the wording independent of severity within each topic.",
        needs=("severity", "treatment"),
        uses=("weights",),
        estimands=("P(A | E, do(Q))", "P(A | do(Q))"),
        consistent_when="severity is measured without error, suffices, and every style occurs at every severity; with "
        "multinomial or embedding, the logit also has the right form (by default an embedding is of the text's words, "
        "TF-IDF and SVD, not of a sentence encoder)",
        fails_when="severity recorded with error (R4); no overlap (R5, refused); causes besides severity (R9); at rho "
        "= .99 a few heavy rows decide (R1, R6), which a network soon memorises",
        source="Robins, Hernán & Brumback 2000; Li & Li 2019 (overlap); Hainmueller 2012 (entropy); Gui & Veitch 2022 "
        "(text as treatment)",
    )

    weighing_: dict[str, Any]
    overlap_: dict[str, Any]

    def __init__(
        self,
        scheme: Scheme = "stabilised",
        clip: float | None = None,
        propensity: PropensityBy = "counts",
        folds: int | None = None,
        dimensions: int | None = None,
        embedding: str | None = None,
        treatment: str | None = None,
        by: str | None = "topic",
    ) -> None:
        if scheme not in get_args(Scheme):
            raise ContractError(f"ipw's scheme is {', '.join(get_args(Scheme))}, not '{scheme}'")
        if propensity not in get_args(PropensityBy):
            raise ContractError(f"ipw's propensity is {', '.join(get_args(PropensityBy))}, not '{propensity}'")
        if clip is not None and not clip > 0:
            raise ContractError(f"ipw's clip must be a positive weight, or a quantile below one, not {clip}")
        if scheme == "overlap" and clip is not None:
            raise ContractError("ipw's overlap weights are bounded already; do not give clip with them")
        if scheme == "entropy" and propensity != "counts":
            raise ContractError("ipw's entropy weights have no propensity; leave the option propensity out")
        if scheme == "entropy" and folds:
            raise ContractError("ipw's entropy weights balance the rows they are for; do not cross-fit them")
        if folds is not None and (not isinstance(folds, int) or folds < 0 or folds == 1):
            raise ContractError(f"ipw's folds must be 0 (no cross-fitting) or at least 2, not {folds}")
        if propensity != "embedding" and (dimensions is not None or embedding is not None):
            raise ContractError("ipw's dimensions and embedding belong to propensity=embedding")
        if propensity == "embedding":
            if scheme != "stabilised" or treatment is not None:
                raise ContractError(
                    "ipw with propensity=embedding takes the text for the treatment, of which only stabilised weights "
                    "are defined; leave scheme and treatment out"
                )
            if dimensions is not None and (embedding is not None or not isinstance(dimensions, int) or dimensions < 1):
                raise ContractError(
                    "ipw's dimensions must be a whole number, at least 1, and go without a column of embeddings"
                )
        self.scheme = scheme
        self.clip = clip
        self.propensity = propensity
        self.folds = folds
        self.dimensions = dimensions
        self.embedding = embedding
        self.treatment = treatment
        self.by = by

    def fit(self, table: pd.DataFrame, estimand: Estimand | None = None, *, rng: np.random.Generator) -> Self:
        super().fit(table, estimand, rng=rng)
        assert estimand is not None
        columns = self._columns(table)
        self._require_overlap(table, columns.of_levels(table))
        learn = self._learner(table, columns)
        self.weighing_ = {"needed": [*columns.all], "all": learn(table), "folds": [], "patients": "", "fold_of": {}}
        if self._folds:
            patients = estimand.roles.get("patient", "patient_ids")
            of_patient = patient_folds("ipw", table, patients, self._folds, rng)
            fold = fold_of(table, patients, of_patient)
            self.weighing_ |= {"patients": patients, "fold_of": of_patient}
            self.weighing_["folds"] = [learn(table[fold != number]) for number in range(self._folds)]
            alone = self._apply(self.weighing_["all"], table) > 0
            lost = int(alone[self._raw(table) == 0].sum())
            if lost:
                raise ContractError(
                    f"ipw: {lost} training rows are of a kind that occurs in their own fold of patients alone; use "
                    "fewer folds, or folds=0"
                )
        self._require_rows(table, columns)
        self.overlap_ = overlap_report(table, columns.of_levels(table), self.weights(table))
        return self

    def weights(self, table: pd.DataFrame) -> np.ndarray:
        require_columns("ipw", table, self.weighing_["needed"])
        raw = self._raw(table)
        if not raw.any():
            raise ContractError(
                f"ipw: none of these {len(table)} rows is in a cell of {self.weighing_['needed']} seen in training"
            )
        return np.asarray(raw / raw.mean(), dtype=np.float64)

    def balance(self, table: pd.DataFrame) -> pd.DataFrame:
        """Standardised mean differences of the strata between styles, within topics, before and after weighting."""
        return pooled_balance(table, self._columns(table), self.weights(table), overlap=self.scheme == "overlap")

    @property
    def _folds(self) -> int:
        if self.folds is None:
            return TEXT_FOLDS if self.propensity == "embedding" else 0
        return self.folds

    def _raw(self, table: pd.DataFrame) -> np.ndarray:
        """(rows,) weights, of mean one where they were learned; zero for what was not learned from."""
        found = self._apply(self.weighing_["all"], table)
        if self._folds:
            fold = fold_of(table, self.weighing_["patients"], self.weighing_["fold_of"])
            for number, learned in enumerate(self.weighing_["folds"]):
                at = np.flatnonzero(fold == number)
                if len(at):
                    found[at] = self._apply(learned, table.iloc[at])
        return found

    def _apply(self, learned: dict[str, Any], table: pd.DataFrame) -> np.ndarray:
        apply: dict[PropensityBy, Callable[[dict[str, Any], pd.DataFrame], np.ndarray]] = {
            "counts": cell_values,
            "multinomial": logit_weights,
            "embedding": text_weights,
        }
        return apply[self.propensity](learned, table)

    def _learner(self, table: pd.DataFrame, columns: Columns) -> Callable[[pd.DataFrame], dict[str, Any]]:
        if self.propensity == "counts":
            return partial(cell_weights, columns=columns, scheme=self.scheme, clip=self.clip)
        if self.propensity == "multinomial":
            return partial(learn_logit_weights, columns=columns, scheme=self.scheme, clip=self.clip)
        embedding: QuestionEmbedding | str | None = self.embedding
        if embedding is None:
            require_columns("ipw", table, (QUESTION,))
            texts = [str(text) for text in table[QUESTION]]
            embedding = QuestionEmbedding.fit(texts, self.dimensions or DIMENSIONS)
        return partial(learn_text_weights, columns=columns, clip=self.clip, embedding=embedding)

    def _require_overlap(self, table: pd.DataFrame, columns: Columns) -> None:
        """Of what is balanced: combinations of levels by counts, each column's levels otherwise."""
        if self.scheme == "entropy" or self.propensity == "multinomial":
            for column in columns.strata:
                require_overlap("ipw", table, Columns((column,), columns.treatment, columns.within))
        else:
            require_overlap("ipw", table, columns)

    def _require_rows(self, table: pd.DataFrame, columns: Columns) -> None:
        """Overlap weights leave out every stratum that one style of the topic lacks, and then one severity may be all
        that a topic is learned from."""
        left = float((self._raw(table) == 0).mean())
        if self.scheme == "overlap" and left > TOLERATED_WITHIN:
            raise ContractError(
                f"ipw's overlap weights leave out {left:.0%} of the rows, of strata in which some {columns.treatment} "
                "never occurs; merge styles or levels, or use scheme=stabilised"
            )

    def _columns(self, table: pd.DataFrame) -> Columns:
        assert self.estimand_ is not None
        quantities = self.propensity == "multinomial"
        return Columns.of("ipw", table, self.estimand_, self.treatment, self.by, quantities=quantities)
