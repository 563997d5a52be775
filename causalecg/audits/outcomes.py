"""A score set as arrays: who answered what, under which intervention, on which items."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from causalecg.audits.bootstrap import ClusterBootstrap
from causalecg.audits.donors import patient_codes
from causalecg.audits.score_set import ScoreSet


@dataclass(frozen=True)
class Answers:
    """Answers of one run under one intervention, aligned with the items of an :class:`Outcomes`.

    Attributes:
        asked: (items,) bool.
        code: (items,) int64 code of the answer given, -1 where not asked or not answered; -2 where unanswerable.
        expected: (items,) int64 code of the donor's true answer, -1 where there is no donor.
        true: (items,) int64 code of the item's own answer.
    """

    asked: np.ndarray
    code: np.ndarray
    expected: np.ndarray
    true: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """(items,) float64: is the answer exactly the true one? NaN where not asked. No answer is a wrong answer."""
        return np.where(self.asked, (self.code == self.true).astype(np.float64), np.nan)

    @property
    def follows(self) -> np.ndarray:
        """(items,) float64: is the answer exactly the donor's? NaN where there is no donor."""
        known = self.asked & (self.expected >= 0)
        return np.where(known, (self.code == self.expected).astype(np.float64), np.nan)


class Outcomes:
    """Items of one split, and everybody's answers to them (draw 0).

    Args:
        score_set: where from.
        split: which items.
    """

    def __init__(self, score_set: ScoreSet, split: str) -> None:
        self.score_set, self.split = score_set, split
        self.items = score_set.items[score_set.items["split"] == split].reset_index(drop=True)
        self._position = pd.Series(np.arange(len(self.items)), index=self.items["item_id"])
        self._codes: dict[frozenset[str], int] = {}
        self.true = self._coded(self.items["answer"])
        self.patients = patient_codes(self.items["patient_ids"])
        scores = score_set.scores
        mine = scores[scores["item_id"].isin(self._position.index) & (scores["draw"] == 0)]
        self._groups = dict(iter(mine.groupby(["run_id", "intervention"], sort=False)))
        self._answers: dict[tuple[str, str], Answers] = {}

    def has(self, run_id: str, intervention: str) -> bool:
        return (run_id, intervention) in self._groups

    def answers(self, run_id: str, intervention: str) -> Answers:
        """KeyError when there are none; see :meth:`has`."""
        key = (run_id, intervention)
        if key not in self._answers:
            rows = self._groups[key]
            at = self._position[rows["item_id"]].to_numpy()
            asked = np.zeros(len(self.items), dtype=bool)
            code, expected = (np.full(len(self.items), -1, dtype=np.int64) for _ in range(2))
            asked[at] = True
            answered = rows["status"].isin(("answered", "abstained")).to_numpy()
            code[at] = np.where(answered, self._coded(rows["answer_given"]), -2)
            expected[at] = self._coded(rows["answer_expected"])
            self._answers[key] = Answers(asked, code, expected, self.true)
        return self._answers[key]

    def majority(self) -> np.ndarray:
        """(items,) float64: is the template's majority answer right? The most frequent training answer where the score
        set names it, else that of the items themselves."""
        if "majority_answer" in self.items.columns and self.items["majority_answer"].notna().all():
            code = self._coded(self.items["majority_answer"])
        else:
            own = pd.Series(self.true).groupby(self.items["template_id"]).agg(lambda codes: codes.mode().iloc[0])
            code = own[self.items["template_id"]].to_numpy()
        return np.asarray(code == self.true, dtype=np.float64)

    def balance_weights(self, asked: np.ndarray) -> np.ndarray:
        """(items,) weights under which, within each canonical question, all answers that occur weigh the same.

        A question with one answer throughout has weight zero: nothing can be told from it, and with it somebody who
        knows the question alone would be above chance.
        """
        frame = pd.DataFrame({"q": self.items["question_id"], "a": self.true})[asked]
        per_answer = frame.groupby(["q", "a"])["a"].transform("size")
        per_question = frame.groupby("q")["a"].transform("size")
        distinct = frame.groupby("q")["a"].transform("nunique")
        weights = np.zeros(len(self.items))
        weights[asked] = np.where(distinct > 1, per_question / (per_answer * distinct), 0.0)
        return weights

    def bootstrap(self, asked: np.ndarray, *, seed: int, replicates: int) -> ClusterBootstrap:
        """Resampling of the patients of some items; the same draws for the same items and seed."""
        return ClusterBootstrap(self.patients[asked], rng=np.random.default_rng([seed, 7]), replicates=replicates)

    def _coded(self, answers: Sequence[Any] | pd.Series) -> np.ndarray:
        return np.fromiter(self._each_code(answers), dtype=np.int64, count=len(answers))

    def _each_code(self, answers: Sequence[Any] | pd.Series) -> Iterator[int]:
        for answer in answers:
            if answer is None or isinstance(answer, float):
                yield -1
            else:
                yield self._codes.setdefault(frozenset(answer), len(self._codes))
