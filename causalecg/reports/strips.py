"""One item on paper: the ECG as it is and the one put in its place, with every run's answers to both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from causalecg.audits.interventions import OPPOSITE
from causalecg.reports.paper import ecg_paper

if TYPE_CHECKING:
    import pandas as pd

    from causalecg.audits.score_set import ScoreSet
    from causalecg.cohort.schema import Cohort


def swapped_item(score_set: ScoreSet, cohort: Cohort) -> dict[str, Any] | None:
    """The first item, in table order, that got the ECG of an opposite-answer donor; ``None`` where there is none.

    Keys: question, answer, donor_answer, intact (SVGs), swapped (SVGs), answers (rows of run, intact, swapped).
    """
    scores = score_set.scores
    swaps = scores[(scores["intervention"] == OPPOSITE) & scores["donor_ecg_ids"].notna()]
    if swaps.empty or "ecg_ids" not in score_set.items.columns:
        return None
    own = score_set.items.set_index("item_id")["ecg_ids"]
    known = [
        expected is not None and all(str(i) in cohort.ecg_rows for i in (*ids, *own[item]))
        for ids, item, expected in zip(swaps["donor_ecg_ids"], swaps["item_id"], swaps["answer_expected"], strict=True)
    ]
    swaps = swaps[known]
    if swaps.empty:
        return None
    chosen = swaps.iloc[0]
    item = score_set.items.set_index("item_id").loc[chosen["item_id"]]
    donors = [str(i) for i in chosen["donor_ecg_ids"]]
    intact = scores[(scores["item_id"] == chosen["item_id"]) & (scores["intervention"] == "intact")]
    given = {row.run_id: row for row in intact.itertuples()}
    rows = []
    for other in swaps[swaps["item_id"] == chosen["item_id"]].itertuples():
        if other.run_id in given and list(other.donor_ecg_ids) == donors:
            rows.append(
                {
                    "run": other.run_id,
                    "intact": _joined(given[other.run_id].answer_given),
                    "swapped": _joined(other.answer_given),
                    "follows": set(other.answer_given) == set(chosen["answer_expected"]),
                }
            )
    return {
        "item_id": chosen["item_id"],
        "question": item["question"],
        "answer": _joined(item["answer"]),
        "donor_answer": _joined(chosen["answer_expected"]),
        "intact": _papers([str(i) for i in item["ecg_ids"]], cohort, "ECG of the item"),
        "swapped": _papers(donors, cohort, "ECG of the donor"),
        "answers": rows,
    }


def _papers(ecg_ids: list[str], cohort: Cohort, label: str) -> list[str]:
    signals = cohort.signals
    rows = [cohort.ecg_rows[ecg_id] for ecg_id in ecg_ids]
    return [
        ecg_paper(signal, signals.leads, signals.rate_hz, f"{label} {ecg_id}")
        for ecg_id, signal in zip(ecg_ids, signals.read(rows), strict=True)
    ]


def _joined(answer: pd.Series | list[str]) -> str:
    return ", ".join(map(str, answer)) or "no answer"
