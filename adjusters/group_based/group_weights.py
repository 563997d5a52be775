"""Group reweighting: every group of answer and style counts the same, so that the style tells nothing of the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np

from adjusters.contract import Card, ContractError
from adjusters.group_based.groups import ANSWER, GroupAdjuster, inverse_frequency

if TYPE_CHECKING:
    import pandas as pd

    from structural_models.estimand import Estimand

Scheme = Literal["uniform", "independent"]


class GroupWeights(GroupAdjuster):
    """Loss weights by the inverse frequency of a row's group.

    "uniform" weights are proportional to 1 / P(G): all groups have the same weight altogether. "independent" weights
    are P(A) P(R) / P(A, R), where R is the rest of the group (the style): as independent as the former, but the
    answers and the styles keep the shares they have. Uniform ones teach answers of equal frequency.

    Args:
        groups: columns joined by "-", of which "answer", "style" and "severity" mean their roles.
        scheme: "uniform" or "independent"; the latter needs "answer" and something else in ``groups``.
        clip: weights above it are set to it, in units of the mean weight; below one, the quantile to clip at.
        smallest: groups of fewer rows are merged.

    Learned: ``groups_``; ``group_weights_`` (groups,) float64. A validation row in no group has weight zero.
    """

    name = "group_weights"
    card = Card(
        summary="Weights by the inverse frequency of answer and style, so that the style tells nothing of the answer.",
        needs=("treatment",),
        uses=("weights",),
        consistent_when="given the answer, ECG and topic are independent of the style, and all answers are equally "
        "frequent, or scheme=independent",
        fails_when="the question has an effect of its own (R3), severity is seen in the ECG (R2), or a group is empty "
        "(R5); few effective rows under strong confounding",
        source="Idrissi et al. 2022, 'Simple data balancing' (RWG)",
    )

    group_weights_: np.ndarray

    def __init__(
        self,
        groups: str = "answer-style",
        scheme: Scheme = "uniform",
        clip: float | None = None,
        smallest: int = 1,
    ) -> None:
        self.groups = groups
        self.scheme = scheme
        self.clip = clip
        self.smallest = smallest
        self.check_groups()
        if scheme not in get_args(Scheme):
            raise ContractError(f"group_weights' scheme is uniform or independent, not '{scheme}'")
        if clip is not None and not clip > 0:
            raise ContractError(f"group_weights' clip must be a positive weight, or a quantile below one, not {clip}")
        if scheme == "independent" and not (ANSWER in groups.split("-") and "-" in groups):
            raise ContractError(
                f"group_weights' scheme 'independent' needs groups of the answer and something else, not '{groups}'"
            )

    def fit(self, table: pd.DataFrame, estimand: Estimand | None = None, *, rng: np.random.Generator) -> Self:
        super().fit(table, estimand, rng=rng)
        rows = np.asarray(self.groups_["rows"], dtype=np.float64)
        share = rows / rows.sum()
        weights = 1.0 / share if self.scheme == "uniform" else self._product_of_margins(share) / share
        weights /= weights @ share
        if self.clip is not None:
            bound = self.clip if self.clip >= 1 else np.quantile(weights[self.codes(table)], self.clip)
            weights = np.minimum(weights, bound)
        self.group_weights_ = weights / (weights @ share)
        return self

    def weights(self, table: pd.DataFrame) -> np.ndarray:
        codes = self.codes(table)
        if (codes < 0).all():
            inverse_frequency(codes, len(self.group_weights_))  # refuses, in one sentence
        found = np.where(codes >= 0, self.group_weights_[codes], 0.0)
        return np.asarray(found / found.mean(), dtype=np.float64)

    def _product_of_margins(self, share: np.ndarray) -> np.ndarray:
        """(groups,) P(A) P(R)."""
        keys: list[list[Any]] = self.groups_["keys"]
        at = self.groups_["columns"].index(ANSWER)
        answers = [key[at] for key in keys]
        rests = [tuple(key[:at] + key[at + 1 :]) for key in keys]
        return np.array(
            [
                share[[a == answer for a in answers]].sum() * share[[r == rest for r in rests]].sum()
                for answer, rest in zip(answers, rests, strict=True)
            ]
        )
