"""Every headline against a plain float64 loop over the rows of the table, written from the equation alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from math import exp, log
from statistics import mean

import numpy as np
import pytest

from causalecg.audits.suite import AUDITS, run_suite

ANY, OPPOSITE = "other_patient[answer=any]", "other_patient[answer=opposite]"
HELD, OTHER, SEEN = "wording[held_out]", "wording[style=other]", "wording[seen]"
FIRST, SECOND = "other_patient[answer=any,which=first]", "other_patient[answer=any,which=second]"


def mixed(seen):
    """Reads a little, goes by the style a little, heeds topic, order and metadata a little, and errs."""
    z = 1.2 * np.nan_to_num(seen.x) + 0.4 * np.nan_to_num(seen.x2) + 0.3 * (2 * seen.topic - 1)
    if seen.question:
        z = z + 0.8 * (2 * seen.style - 1)
    z = z + 0.5 * np.nan_to_num(2 * seen.told - 1) * (np.isfinite(seen.told)) + 0.4 * (2 * seen.first - 1)
    z = z + 0.3 * seen.rng.standard_normal(len(seen.x)) + (0.2 if "rules" in seen.what else 0.0)
    return 1 / (1 + np.exp(-z))


class Rows:
    """The table, as dictionaries."""

    def __init__(self, score_set) -> None:
        self.truth = {r.item_id: r.answer[0] for r in score_set.items.itertuples()}
        self.items = list(score_set.items.itertuples())
        self.given: dict[tuple[str, int, str], str] = {}
        self.expected: dict[tuple[str, int, str], str] = {}
        self.p: dict[tuple[str, int, str], float] = {}
        self.draws: dict[str, int] = {}
        for r in score_set.scores.itertuples():
            key = (r.intervention, r.draw, r.item_id)
            self.given[key] = r.answer_given[0]
            if r.answer_expected is not None:
                self.expected[key] = r.answer_expected[0]
            yes, no = (exp(v) for v in r.log_likelihood)
            self.p[key] = yes / (yes + no)
            self.draws[r.intervention] = max(self.draws.get(r.intervention, 0), r.draw + 1)

    def right(self, what: str, item: str, draw: int = 0) -> float:
        return float(self.given[what, draw, item] == self.truth[item])

    def same(self, one: str, other: str, item: str, draw: int = 0) -> float:
        return float(self.given[one, 0, item] == self.given[other, draw, item])

    def follows(self, what: str, item: str) -> float:
        return float(self.given[what, 0, item] == self.expected[what, 0, item])

    def accuracy(self, what: str, draw: int = 0) -> float:
        return mean(self.right(what, i, draw) for i in self.truth)

    def log_odds(self, what: str, item: str) -> float:
        p = self.p[what, 0, item] if self.truth[item] == "yes" else 1 - self.p[what, 0, item]
        return max(-30.0, min(30.0, log(p / (1 - p))))

    def moved(self, what: str, item: str) -> float:
        return abs(self.p["intact", 0, item] - self.p[what, 0, item])

    @property
    def majority(self) -> float:
        yes = sum(t == "yes" for t in self.truth.values()) / len(self.truth)
        return max(yes, 1 - yes)


def shapley(t: Rows) -> float:
    """Shapley 1953, two players: both orders of arrival, averaged."""
    both, words = t.accuracy("intact"), t.accuracy("no_ecg")
    ecg, nothing = t.accuracy("no_question"), t.accuracy("no_ecg+no_question")
    return mean([both - words, ecg - nothing])


def perceptual(t: Rows) -> float:
    """Gat et al. 2021, eq. 3, normalised by the accuracy."""
    exchanged = mean(t.accuracy(ANY, d) for d in range(t.draws[ANY]))
    return (t.accuracy("intact") - exchanged) / t.accuracy("intact")


def mediation(t: Rows) -> float:
    """Pearl 2001: NDE / TE on the log-odds, against no ECG and no question."""
    full, words, nothing = (
        mean(t.log_odds(what, i) for i in t.truth) for what in ("intact", "no_ecg", "no_ecg+no_question")
    )
    return (words - nothing) / (full - nothing)


def over_correction(t: Rows) -> float:
    agree = [t.right("intact", r.item_id) for r in t.items if r.shortcut_answer[0] == r.answer[0]]
    other = [t.right("intact", r.item_id) for r in t.items if r.shortcut_answer[0] != r.answer[0]]
    return mean(other) - (mean(agree) + mean(other)) / 2


def consensus(t: Rows) -> float:
    names = ["wording[rules]", HELD, SEEN, OTHER]
    every = [(what, d) for what in names for d in range(t.draws[what])]
    return mean(mean(1 - t.same("intact", what, i, d) for what, d in every) for i in t.truth)


def worst_group(t: Rows) -> float:
    groups: dict[int, list[float]] = {}
    for r in t.items:
        groups.setdefault(r.severity_known, []).append(t.right("intact", r.item_id))
    return min(mean(found) for found in groups.values())


def blind_confidence(t: Rows) -> float:
    return mean(max(t.p["no_ecg", 0, i], 1 - t.p["no_ecg", 0, i]) for i in t.truth) - t.majority


def ideal(t: Rows) -> float:
    return mean(t.same("intact", HELD, i) * (1 - t.same("intact", OPPOSITE, i)) for i in t.truth)


LOOPS: dict[str, Callable[[Rows], float]] = {
    "accuracy": lambda t: t.accuracy("intact"),
    "follow_rate": lambda t: mean(t.follows(OPPOSITE, i) for i in t.truth),
    "same_severity": lambda t: mean(t.follows("other_patient[answer=different,severity=same]", i) for i in t.truth),
    "random_ecg": lambda t: t.accuracy("intact") - t.accuracy(ANY),
    "no_ecg": lambda t: mean(t.same("intact", "no_ecg", i) for i in t.truth),
    "adversarial_wording": lambda t: t.accuracy("intact") - t.accuracy(HELD),
    "quadrants": ideal,
    "twins": lambda t: mean(t.right("intact", i) * t.follows(OPPOSITE, i) for i in t.truth),
    "severity_groups": worst_group,
    "over_correction": over_correction,
    "mirage": lambda t: t.accuracy("no_ecg") / t.accuracy("intact"),
    "confidence": blind_confidence,
    "style_effect": lambda t: mean(t.moved(OTHER, i) - t.moved(SEEN, i) for i in t.truth),
    "topic_effect": lambda t: mean(t.moved("other_topic", i) for i in t.truth),
    "consensus": consensus,
    "mediation": mediation,
    "shapley": shapley,
    "perceptual_score": perceptual,
    "option_order": lambda t: mean(1 - t.same("intact", "option_order", i) for i in t.truth),
    "prompt_leak": lambda t: t.accuracy("no_ecg") - t.accuracy("no_ecg+no_metadata"),
    "both_ecgs": lambda t: min(mean(1 - t.same("intact", what, i) for i in t.truth) for what in (FIRST, SECOND)),
    "answers": lambda t: 0.0,
}
#: Whose headline is not a mean over rows, or has a test of its own elsewhere.
ELSEWHERE = {"ecg_ladder", "zero_shot", "dependence"}


@pytest.fixture
def found(world):
    scores = world(150, {"m": ("audited", mixed)}, seed=5)
    return scores, {r.name: r for r in run_suite(scores, "full", replicates=50)}


def test_every_headline_is_that_of_a_plain_loop(found) -> None:
    scores, results = found
    rows = Rows(scores)
    assert set(LOOPS) | ELSEWHERE == set(AUDITS)
    for name, loop in LOOPS.items():
        assert results[name].estimate == pytest.approx(loop(rows), abs=1e-9), name


def test_the_ladder_is_the_drop_of_every_rung(found) -> None:
    scores, results = found
    rows = Rows(scores)
    table = results["ecg_ladder"].table.set_index("rung")
    assert {"no_ecg", "ecg[flat]", ANY} <= set(table.index)
    for rung, row in table.iterrows():
        assert row["drop"] == pytest.approx(rows.accuracy("intact") - rows.accuracy(str(rung)))


def test_the_consensus_score_is_the_share_of_subsets_all_right(found) -> None:
    """Shah et al. 2019, eq. 3, by listing the subsets."""
    scores, results = found
    rows = Rows(scores)
    every = [("intact", 0)] + [
        (what, d) for what in ("wording[rules]", HELD, SEEN, OTHER) for d in range(rows.draws[what])
    ]
    table = results["consensus"].table.set_index("what")
    for k in (1, 2, 3):
        by_item = [
            mean(float(all(rows.right(w, i, d) for w, d in subset)) for subset in combinations(every, k))
            for i in rows.truth
        ]
        assert table.loc[f"CS({k})", "estimate"] == pytest.approx(mean(by_item))


def test_the_dependence_less_chance_is_that_of_counted_tables(found) -> None:
    """The observed distance by loops; what chance gives by shuffling the styles within the strata, 2,000 times."""
    scores, results = found
    rows = Rows(scores)
    strata: dict[str, list[tuple[str, str]]] = {}
    for r in rows.items:
        strata.setdefault(r.answer[0], []).append((r.style, rows.given["intact", 0, r.item_id]))

    def distance(strata) -> float:
        total = 0.0
        for members in strata.values():
            shares = [
                mean(float(given == "yes") for s, given in members if s == style)
                for style in sorted({s for s, _ in members})
            ]
            total += len(members) * mean(abs(a - b) for a, b in combinations(shares, 2))
        return total / sum(map(len, strata.values()))

    rng = np.random.default_rng(0)
    chance = []
    for _ in range(2000):
        shuffled = {}
        for truth, members in strata.items():
            order = rng.permutation(len(members))
            shuffled[truth] = [(members[o][0], given) for o, (_, given) in zip(order, members, strict=True)]
        chance.append(distance(shuffled))
    # The chance level is a mean of 2,000 here and of the audit's own permutations there.
    error = 4 * np.std(chance) / 1000**0.5
    assert results["dependence"].estimate == pytest.approx(distance(strata) - mean(chance), abs=2 * error)
