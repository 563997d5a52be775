"""Which audits the rows of a score set allow, and what the others lack."""

from __future__ import annotations

import pandas as pd

from causalecg.audits.interventions import OPPOSITE, SAME_SEVERITY
from causalecg.audits.score_set import ScoreSet
from causalecg.audits.suite import AUDITS

#: Audits that ask whether the answer is the donor's, and under which donor.
_FOLLOWING = {"follow_rate": OPPOSITE, "same_severity": SAME_SEVERITY}


def lacking(score_set: ScoreSet, run_id: str) -> dict[str, tuple[str, ...]]:
    """Audit -> what a run's rows lack for it; nothing = it can be made.

    Named are interventions, and ``answer_expected`` where no donor's answer is known. An audit takes all its rows from
    one split; where none has them all, the one that lacks least counts. Whether there are enough patients for a
    verdict, or an oracle for the audits that compare with one, is not looked at.
    """
    scores, items = score_set.scores, score_set.items
    mine = scores[(scores["run_id"] == run_id) & (scores["draw"] == 0)]
    split = mine["item_id"].map(dict(zip(items["item_id"], items["split"], strict=True)))
    splits = [mine[split == name] for name in score_set.splits()]
    return {name: min((_lacks(name, rows) for rows in splits), key=len) for name in AUDITS}


def _lacks(audit: str, rows: pd.DataFrame) -> tuple[str, ...]:
    there = set(rows["intervention"])
    missing = tuple(what for what in ("intact", *AUDITS[audit].needs) if what not in there)
    if missing or audit not in _FOLLOWING:
        return missing
    donors = rows.loc[rows["intervention"] == _FOLLOWING[audit], "answer_expected"]
    return () if donors.notna().any() else ("answer_expected",)
