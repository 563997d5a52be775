"""Counterfactual augmentation by ECG swap: the same question of another ECG, whose answer is another.

Item i asks q in wording f_i and has the answer a_i. It keeps its row, with weight P(a_i | q), and gets rows in which
the same words are asked of the ECG of an item j with the same canonical question and another answer, with weight
1 - P(a_i | q) together. A wording then comes with each answer as often as its canonical question does:

    sum over a' of P(a' | f, q) [1(a = a') P(a | q) + 1(a != a') (1 - P(a' | q)) P(a | q) / (1 - P(a' | q))] = P(a | q).

Equal weights would give all answers of a binary question the same share, and with the prior P(a | q) take away what the
topic truly does to the answer. Where an answer is a set, a' and a are whole sets, and the sum needs donors of *every*
other set (``answer="other"``). Opposite answers have nothing in common, as an audit's opposite donors have not: a set
that overlaps with all others then has no donor and stays with its wordings, and the sum holds for questions with one
true answer alone. The rows that are kept still have ECG and wording of one and the same patient: where the
two depend on one another given the answer, a part of the shortcut stays. ``answer="any"`` leaves those rows out and
draws donors whatever their answer: wordings are exchanged at random within the question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np

from adjusters.contract import Adjuster, Card, ContractError
from adjusters.table_columns import require_columns

if TYPE_CHECKING:
    import pandas as pd

    from structural_models.estimand import Estimand

Donors = Literal["opposite", "other", "any", "same"]

#: What a new row has of the item that asks, beside the estimand's treatment and topic. All else, severity and patient
#: too, comes with the ECG.
ASKED = ("question", "style", "wording_id", "topic", "question_id", "template_id", "question_type")
#: Columns without which no row can be made, beside those that tell canonical questions apart.
NEEDED = ("item_id", "ecg_ids", "kind", "answer")
#: Columns that point to other rows, which a new row does not.
POINTERS = ("twin_of", "partner")
#: Weight of a row before it is brought to mean one; rows without it, such as validation rows, weigh alike.
WEIGHT = "swap_weight"
#: Smallest share of the rows that must have a donor.
LEAST = 0.05


class EcgSwap(Adjuster):
    """Adds rows in which a question is asked of another item's ECG, with that item's answer.

    Args:
        copies: donors per item, at least 1.
        answer: "opposite", donors have another answer (in kind "set" one that has nothing in common with the item's);
            "other", any other one (in kind "set" also one that overlaps: only then does every wording come with each
            set as often as its question does); "any", donors are drawn whatever their answer, and the item's own ECG is
            left out; "same", donors have the same answer, which leaves the shortcut whole.
        within: role or column of integers or texts, such as "severity", in which donor and item must agree. The finding
            is then all that tells two ECGs of a question apart, and weights make the answer independent of that column
            as well, P(a | q) throughout; what the column truly tells of the answer is lost.

    New rows have texts and treatment (:data:`ASKED`) of the item that asks and everything else, severity too, of the
    donor; two ECGs are swapped together. Items of one canonical question have the same ``question_id`` (without that
    column, the same template and topic). An item without a donor keeps its row, with full weight.

    Validation rows are not rewritten and are judged as they are: in the rows that are learned from nothing speaks for
    the wording, so there is no epoch at which the confounded rows could prefer it.

    Raises ContractError where fewer than 5 % of the rows have a donor. Learned: ``without_donor_``, number of training
    rows that have none; ``cells_``, with ``within``, what a row of a (question, stratum, answer) weighs more or less.
    """

    card = Card(
        summary="ECG swap: each question is also asked of an ECG whose answer is another.",
        uses=("rewrite", "weights"),
        extra_passes=(1, 0),
        consistent_when="given question and answer the ECG tells nothing of the wording (R1), where one answer is "
        "true, or with answer=other; with answer=any, whenever the wording has no effect of its own within a canonical "
        "question",
        fails_when="something else than the finding settles answers, unless answer=any: a topic (R3: half of the style "
        "effect stays and the topic effect shrinks) or severity (R0, slightly); the wording acts on the answer (R9); "
        "within=severity, where the answer rarely differs at a severity (R1)",
        source="counterfactual sample synthesis after Chen et al. 2020 (CSS), with weights that keep P(a | q)",
        placebo={"answer": "same"},
    )

    without_donor_: int
    cells_: dict[str, float]

    def __init__(self, copies: int = 1, answer: Donors = "opposite", within: str | None = None) -> None:
        if isinstance(copies, bool) or not isinstance(copies, int) or copies < 1:
            raise ContractError(f"ecg_swap's copies must be a whole number, at least 1, not {copies}")
        if answer not in get_args(Donors):
            raise ContractError(f"ecg_swap's answer is {', '.join(get_args(Donors))}, not '{answer}'")
        self.copies = copies
        self.answer = answer
        self.within = within

    def fit(self, table: pd.DataFrame, estimand: Estimand | None = None, *, rng: np.random.Generator) -> Self:
        super().fit(table, estimand, rng=rng)
        column = self._within()
        require_columns("ecg_swap", table, NEEDED)
        if column is not None and column not in table.columns:
            raise ContractError(f"ecg_swap needs the column '{column}' (within), which the table lacks")
        _, number = donors(table, self.answer, column)
        self.without_donor_ = int((number == 0).sum())
        if len(table) - self.without_donor_ < LEAST * len(table):
            raise ContractError(
                f"ecg_swap finds a donor for {len(table) - self.without_donor_} of {len(table)} rows: hardly any two "
                "items have the same canonical question and answers such as it needs; use an adjuster of weights"
            )
        self.cells_ = {} if column is None else _cells(table, column)
        return self

    def rewrite(self, table: pd.DataFrame, *, rng: np.random.Generator) -> pd.DataFrame:
        import pandas as pd

        column = self._within()
        pools, number = donors(table, self.answer, column)
        other = number / stratum_sizes(table, column)
        if self.answer in ("any", "same"):
            # Nothing to be weighed up: all answers are donors', or only the item's own.
            other = np.where(other > 0, 1.0 if self.answer == "any" else 0.5, 0.0)
        asks = np.flatnonzero(other > 0)
        parts = [table.assign(**{WEIGHT: 1 - other})]
        if self.answer == "any":
            parts = [parts[0].iloc[np.flatnonzero(other == 0)]]
        for copy in range(self.copies):
            donor = _drawn(pools, asks, rng.integers(0, number[asks]))
            parts.append(
                _asked_of(table, asks, donor, copy, self._asked()).assign(**{WEIGHT: other[asks] / self.copies})
            )
        return pd.concat(parts, ignore_index=True)

    def weights(self, table: pd.DataFrame) -> np.ndarray:
        """Those of :meth:`rewrite`; one for rows that were not rewritten."""
        found = np.ones(len(table))
        if WEIGHT in table.columns:
            found = table[WEIGHT].to_numpy(dtype=np.float64)
        column = self._within()
        if column is not None:
            strata = table[column].astype(str)
            keys = [_key(*of) for of in zip(canonical(table), strata, answers_of(table), strict=True)]
            found = found * np.array([self.cells_.get(key, 1.0) for key in keys])
        return found / found.mean()

    def _asked(self) -> tuple[str, ...]:
        roles = {} if self.estimand_ is None else self.estimand_.roles
        return tuple(dict.fromkeys((*ASKED, *(roles[name] for name in ("treatment", "topic") if name in roles))))

    def _within(self) -> str | None:
        if self.within is None or self.estimand_ is None:
            return self.within
        return self.estimand_.roles.get(self.within, self.within)


def canonical(table: pd.DataFrame) -> np.ndarray:
    """(rows,) texts, the same for items of the same canonical question, kind and number of ECGs."""
    names = ["question_id"] if "question_id" in table.columns else ["template_id", "topic"]
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise ContractError(f"ecg_swap needs the column 'question_id', or '{missing[0]}', which the table lacks")
    parts = [table[name].astype(str) for name in names]
    counts = table["ecg_ids"].map(len).astype(str)
    return np.array(["\t".join(row) for row in zip(*parts, table["kind"].astype(str), counts, strict=True)])


def answers_of(table: pd.DataFrame) -> list[str]:
    """(rows,) the answer or answers as one text."""
    return ["\t".join(sorted(map(str, answer))) for answer in table["answer"]]


def donors(table: pd.DataFrame, answer: Donors, within: str | None) -> tuple[list[np.ndarray], np.ndarray]:
    """(rows,) sorted positions of the rows among which each row's donors are, and (rows,) how many donors it has.

    A donor has the same canonical question and, where ``within`` is given, the same value of that column. Rows alike
    share one array, which holds the row itself where ``answer`` is "any" or "same"; a row is no donor of itself.
    """
    nobody = np.zeros(0, dtype=np.int64)
    pools, number = [nobody] * len(table), np.zeros(len(table), dtype=np.int64)
    sets = [frozenset(map(str, names)) for names in table["answer"]]
    for members in _strata(table, within):
        by_answer: dict[frozenset[str], list[int]] = {}
        for i in members.tolist():
            by_answer.setdefault(sets[i], []).append(i)
        swapped = answer in ("opposite", "other")
        for mine, rows in by_answer.items():
            if swapped:
                theirs = [
                    its for other, its in by_answer.items() if mine != other and (answer == "other" or not mine & other)
                ]
                pool = np.sort(np.array([i for its in theirs for i in its], dtype=np.int64))
            else:
                pool = members if answer == "any" else np.array(rows)
            for i in rows:
                pools[i] = pool
            number[rows] = len(pool) if swapped else len(pool) - 1
    return pools, number


def _drawn(pools: list[np.ndarray], rows: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The donor at each place of its row's pool, the row itself left out."""
    found = np.empty(len(rows), dtype=np.int64)
    for at, (row, place) in enumerate(zip(rows.tolist(), places.tolist(), strict=True)):
        pool = pools[row]
        own = int(np.searchsorted(pool, row))
        there = own < len(pool) and pool[own] == row
        found[at] = pool[place + (there and place >= own)]
    return found


def stratum_sizes(table: pd.DataFrame, within: str | None) -> np.ndarray:
    """(rows,) how many rows have the row's canonical question (and value of ``within``)."""
    found = np.zeros(len(table))
    for members in _strata(table, within):
        found[members] = len(members)
    return found


def _strata(table: pd.DataFrame, within: str | None) -> list[np.ndarray]:
    import pandas as pd

    names = canonical(table)
    if within is not None:
        names = np.array([f"{name}\t{value}" for name, value in zip(names, table[within], strict=True)])
    code, _ = pd.factorize(names)
    return [np.flatnonzero(code == at) for at in range(code.max(initial=-1) + 1)]


def _asked_of(
    table: pd.DataFrame, asks: np.ndarray, donor: np.ndarray, copy: int, names_asked: tuple[str, ...]
) -> pd.DataFrame:
    """The donors' rows with the texts of the rows that ask."""
    asked: dict[str, Any] = {name: table[name].to_numpy()[asks] for name in names_asked if name in table.columns}
    names = [f"{item}~ecg{copy}" for item in table["item_id"].to_numpy()[asks]]
    rows = table.iloc[donor].drop(columns=[name for name in POINTERS if name in table.columns])
    return rows.assign(**asked, item_id=names)


def _cells(table: pd.DataFrame, within: str) -> dict[str, float]:
    """(question, stratum, answer) -> P(answer | question) / P(answer | question, stratum) among the rows."""
    import pandas as pd

    frame = pd.DataFrame({"q": canonical(table), "s": table[within].astype(str).to_numpy(), "a": answers_of(table)})
    of_question = frame.groupby(["q", "a"])["s"].transform("size") / frame.groupby("q")["s"].transform("size")
    of_stratum = frame.groupby(["q", "s", "a"])["s"].transform("size") / frame.groupby(["q", "s"])["s"].transform(
        "size"
    )
    cells = frame.assign(ratio=of_question / of_stratum).drop_duplicates(["q", "s", "a"])
    keys = [_key(*cell) for cell in zip(cells["q"], cells["s"], cells["a"], strict=True)]
    return dict(sorted(zip(keys, cells["ratio"].tolist(), strict=True)))


def _key(*parts: str) -> str:
    return "\t".join(parts)
