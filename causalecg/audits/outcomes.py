"""A score set as arrays: who answered what, under which intervention, on which items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from causalecg.audits.donors import patient_codes
from causalecg.audits.statistics.bootstrap import ClusterBootstrap

if TYPE_CHECKING:
    from causalecg.audits.score_set import ScoreSet


@dataclass(frozen=True)
class Answers:
    """Answers of one run under one intervention, aligned with the items of an :class:`Outcomes`.

    Attributes:
        asked: (items,) bool.
        code: (items,) int64 code of the answer given, -1 where not asked or not answered; -2 where unanswerable.
        expected: (items,) int64 code of the donor's true answer, -1 where there is no donor.
        true: (items,) int64 code of the item's own answer.
        donors: (items, 2) int64 code of the donor's patients, -1 where there is none or it is not known.
    """

    asked: np.ndarray
    code: np.ndarray
    expected: np.ndarray
    true: np.ndarray
    donors: np.ndarray

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
    """Items of one split, and everybody's answers to them.

    Args:
        score_set: where from.
        split: which items.
    """

    def __init__(self, score_set: ScoreSet, split: str) -> None:
        self.score_set, self.split = score_set, split
        self.items = score_set.items[score_set.items["split"] == split].reset_index(drop=True)
        self._position = pd.Series(np.arange(len(self.items)), index=self.items["item_id"])
        self._codes: dict[Any, int] = {}
        self.true = self.codes(self.items["answer"])
        self.patients = patient_codes(self.items["patient_ids"])
        self._people = _people(self.items["patient_ids"], self.patients)
        self._owners: dict[str, int] | None = None
        scores = score_set.scores
        mine = scores[scores["item_id"].isin(self._position.index)]
        keys = ["run_id", "intervention", "draw"]
        groups: Mapping[Any, Any] = mine.groupby(keys, sort=False).indices
        self._groups: dict[tuple[str, str, int], pd.Index] = {key: mine.index[at] for key, at in groups.items()}
        self._answers: dict[tuple[str, str, int], Answers] = {}
        self._probabilities: dict[tuple[str, str, int], np.ndarray] = {}

    def has(self, run_id: str, intervention: str) -> bool:
        return (run_id, intervention, 0) in self._groups

    def lacks(self, run_id: str, *interventions: str) -> str | None:
        """Which of these were not asked, as a clause; ``None`` where all were."""
        missing = [name for name in interventions if not self.has(run_id, name)]
        return f"there are no answers under {', '.join(missing)}" if missing else None

    def draws(self, run_id: str, intervention: str) -> list[int]:
        """Numbers of the draws that were asked."""
        return sorted(draw for run, what, draw in self._groups if (run, what) == (run_id, intervention))

    def rows(self, run_id: str, intervention: str, draw: int = 0) -> pd.DataFrame:
        """Rows of the score table. KeyError when there are none; see :meth:`has`."""
        return self.score_set.scores.loc[self._groups[run_id, intervention, draw]]

    def places(self, rows: pd.DataFrame) -> np.ndarray:
        """(rows,) int64 position of each row's item."""
        return self._position[rows["item_id"]].to_numpy()

    def answers(self, run_id: str, intervention: str, draw: int = 0) -> Answers:
        """KeyError when there are none; see :meth:`has`."""
        key = (run_id, intervention, draw)
        if key not in self._answers:
            rows = self.rows(*key)
            at = self.places(rows)
            asked = np.zeros(len(self.items), dtype=bool)
            code, expected = (np.full(len(self.items), -1, dtype=np.int64) for _ in range(2))
            asked[at] = True
            answered = rows["status"].isin(("answered", "abstained")).to_numpy()
            code[at] = np.where(answered, self.codes(rows["answer_given"]), -2)
            expected[at] = self.codes(rows["answer_expected"])
            donors = np.full((len(self.items), 2), -1, dtype=np.int64)
            donors[at] = self._donors(rows)
            self._answers[key] = Answers(asked, code, expected, self.true, donors)
        return self._answers[key]

    @cached_property
    def true_place(self) -> np.ndarray:
        """(items,) int64 position of the true answer among the item's candidates; -1 where there is no one such."""
        if "candidates" not in self.items.columns:
            return np.full(len(self.items), -1, dtype=np.int64)
        found = []
        kinds = self.items["kind"] if "kind" in self.items.columns else ["one"] * len(self.items)
        for names, answer, kind in zip(self.items["candidates"], self.items["answer"], kinds, strict=True):
            known = _is_list(names) and kind == "one" and len(answer) == 1
            found.append(list(names).index(answer[0]) if known and answer[0] in list(names) else -1)
        return np.array(found, dtype=np.int64)

    def probabilities(self, run_id: str, intervention: str, draw: int = 0) -> np.ndarray:
        """(items, most candidates) probability of each candidate of an item of kind "one", in the item's order.

        The softmax of its log-likelihoods. NaN beyond the item's candidates, in the whole row where there are no
        log-likelihoods or several answers may be true. KeyError as for :meth:`answers`.
        """
        key = (run_id, intervention, draw)
        if key not in self._probabilities:
            self._probabilities[key] = self._softmax(self.rows(*key))
        return self._probabilities[key]

    def log_odds(self, run_id: str, intervention: str, draw: int = 0) -> np.ndarray:
        """(items,) log-odds of the item's own true answer; NaN as for :meth:`probabilities`. Kept within +-30."""
        found = self._of_true(self.probabilities(run_id, intervention, draw))
        with np.errstate(divide="ignore"):
            return np.clip(np.log(found) - np.log1p(-found), -30.0, 30.0)

    def confidence(self, run_id: str, intervention: str, draw: int = 0) -> np.ndarray:
        """(items,) probability of the likeliest candidate; NaN as for :meth:`probabilities`."""
        table = self.probabilities(run_id, intervention, draw)
        return np.asarray(np.where(np.isfinite(table[:, 0]), np.nanmax(np.nan_to_num(table, nan=-1.0), axis=1), np.nan))

    def _of_true(self, table: np.ndarray) -> np.ndarray:
        place = self.true_place
        return np.where(place >= 0, table[np.arange(len(table)), np.maximum(place, 0)], np.nan)

    def _softmax(self, rows: pd.DataFrame) -> np.ndarray:
        kinds = self.items["kind"] if "kind" in self.items.columns else pd.Series("one", index=self.items.index)
        one = (kinds == "one").to_numpy()
        at = self.places(rows)
        values = rows["log_likelihood"] if "log_likelihood" in rows.columns else pd.Series(None, index=rows.index)
        given = [one[i] and _is_list(v) for i, v in zip(at, values, strict=True)]
        kept = [v for v, there in zip(values, given, strict=True) if there]
        lengths = np.array([len(v) for v in kept], dtype=np.int64)
        table = np.full((len(self.items), int(lengths.max(initial=1))), np.nan)
        if not kept:
            return table
        line = np.repeat(at[given], lengths)
        place = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        table[line, place] = np.concatenate([np.asarray(v, dtype=np.float64) for v in kept])
        there = at[given]
        part = table[there]
        part = np.exp(part - np.nanmax(part, axis=1, keepdims=True))
        table[there] = part / np.nansum(part, axis=1, keepdims=True)
        return table

    def majority(self) -> np.ndarray:
        """(items,) float64: is the template's majority answer right? The most frequent training answer where the score
        set names one for the template, else that of the items themselves."""
        own = pd.Series(self.true).groupby(self.items["template_id"]).agg(lambda codes: codes.mode().iloc[0])
        code = own[self.items["template_id"]].to_numpy()
        if "majority_answer" in self.items.columns:
            learned = self.codes(self.items["majority_answer"])
            code = np.where(learned >= 0, learned, code)
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

    def commonest(self, asked: np.ndarray) -> np.ndarray:
        """(items,) bool: is the item's true answer the most frequent one of its canonical question, among the asked?"""
        frame = pd.DataFrame({"q": self.items["question_id"], "a": self.true})
        most = frame[asked].groupby("q")["a"].agg(lambda codes: codes.mode().iloc[0])
        return np.asarray(frame["a"].to_numpy() == frame["q"].map(most).to_numpy())

    def bootstrap(
        self, asked: np.ndarray, *, seed: int, replicates: int, swapped: Sequence[Answers] = ()
    ) -> ClusterBootstrap:
        """Resampling of the patients of some items; the same draws for the same items, donors and seed.

        Args:
            asked: (items,) bool.
            seed, replicates: of the draws.
            swapped: answers given to other patients' ECGs: those patients are resampled as well.
        """
        donors = np.concatenate([answers.donors for answers in swapped], axis=1)[asked] if swapped else None
        rng = np.random.default_rng([seed, 7])
        return ClusterBootstrap(self.patients[asked], donors=donors, rng=rng, replicates=replicates)

    def _donors(self, rows: pd.DataFrame) -> np.ndarray:
        """(rows, 2) codes of the donors' patients: as named in the rows, else the owners of the donors' ECGs."""
        codes = np.full((len(rows), 2), -1, dtype=np.int64)
        columns = [
            rows[name] if name in rows else [None] * len(rows) for name in ("donor_patient_ids", "donor_ecg_ids")
        ]
        for row, (patients, ecgs) in enumerate(zip(*columns, strict=True)):
            if _is_list(patients):
                found = [self._people.setdefault(str(name), len(self._people)) for name in patients]
            elif _is_list(ecgs):
                found = [self._owner(str(name)) for name in ecgs]
            else:
                continue
            codes[row, : len(found[:2])] = found[:2]
        return codes

    def _owner(self, ecg: str) -> int:
        if self._owners is None:
            items = self.score_set.items
            self._owners = {}
            if "ecg_ids" in items.columns:
                for ecgs, patients in zip(items["ecg_ids"], items["patient_ids"], strict=True):
                    for i, name in enumerate(ecgs):
                        patient = str(patients[min(i, len(patients) - 1)])
                        self._owners[str(name)] = self._people.setdefault(patient, len(self._people))
        return self._owners.get(ecg, -1)

    def codes(self, answers: Sequence[Any] | pd.Series) -> np.ndarray:
        """(rows,) int64 code of each answer (set), the same throughout; -1 where there is none."""
        return np.fromiter(self._each_code(answers), dtype=np.int64, count=len(answers))

    def _each_code(self, answers: Sequence[Any] | pd.Series) -> Iterator[int]:
        for answer in answers:
            if answer is None or isinstance(answer, float):
                yield -1
            else:
                key = answer[0] if len(answer) == 1 else frozenset(answer)
                yield self._codes.setdefault(key, len(self._codes))


def _people(patient_ids: pd.Series, codes: np.ndarray) -> dict[str, int]:
    """Patient -> code, of the items' own patients."""
    return {
        str(name): int(code)
        for ids, pair in zip(patient_ids, codes, strict=True)
        for name, code in zip(ids, pair, strict=False)
    }


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple, np.ndarray)) and len(value) > 0
