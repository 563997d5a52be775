"""Other patients' ECGs, and the two ECGs of a pair exchanged."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from causalecg.audits.donors import Answer, draw_donors
from causalecg.audits.interventions.contract import Context, Intervention, column


class OtherPatient(Intervention):
    """The ECG of another patient, of an item with the same canonical question. A pair of ECGs is swapped whole.

    Args:
        answer: of the donor: "any", "different" from the item's, or "opposite" = nothing in common with it.
        same_severity: only donors of the same severity.
    """

    drawn = True

    def __init__(self, answer: Answer, line: str, *, same_severity: bool = False) -> None:
        self.answer, self.by_severity, self.line = answer, same_severity, line
        self.name = f"other_patient[answer={answer}{',severity=same' if same_severity else ''}]"

    def of_items(self, rows: pd.DataFrame, context: Context, rng: np.random.Generator) -> pd.DataFrame:
        severity = context.severity_for(self.name) if self.by_severity else None
        donors = draw_donors(rows, answer=self.answer, severity=severity, rng=rng)
        kept, at = rows[donors >= 0], donors[donors >= 0]
        theirs = [list(ids) for ids in rows["ecg_ids"].iloc[at]]
        return kept.assign(
            ecg_ids=column(theirs, kept),
            donor_ecg_ids=column(theirs, kept),
            donor_patient_ids=column([list(ids) for ids in rows["patient_ids"].iloc[at]], kept),
            answer_expected=column([list(answer) for answer in rows["answer"].iloc[at]], kept),
        )


class OneOfTwo(Intervention):
    """One ECG of a pair is replaced by that of another patient's pair, in the same place."""

    drawn = True

    def __init__(self, which: Literal["first", "second"]) -> None:
        self.place = 0 if which == "first" else 1
        self.name = f"other_patient[answer=any,which={which}]"
        self.line = f"of two ECGs, a random other patient's as the {which}"

    def of_items(self, rows: pd.DataFrame, context: Context, rng: np.random.Generator) -> pd.DataFrame:
        pairs = rows[rows["ecg_ids"].map(len) == 2]
        if pairs.empty:
            return pairs
        donors = draw_donors(pairs, answer="any", severity=None, rng=rng)
        kept, at = pairs[donors >= 0], donors[donors >= 0]
        ecgs, patients = (list(pairs[name].iloc[at].str[self.place]) for name in ("ecg_ids", "patient_ids"))
        shown = [
            [donor, own[1]] if self.place == 0 else [own[0], donor]
            for own, donor in zip(kept["ecg_ids"], ecgs, strict=True)
        ]
        return kept.assign(
            ecg_ids=column(shown, kept),
            donor_ecg_ids=column([[ecg] for ecg in ecgs], kept),
            donor_patient_ids=column([[patient] for patient in patients], kept),
        )


class OrderExchanged(Intervention):
    name = "ecg_order"
    line = "two ECGs in the other order"

    def of_items(self, rows: pd.DataFrame, context: Context, rng: np.random.Generator) -> pd.DataFrame:
        pairs = rows[rows["ecg_ids"].map(len) == 2]
        return pairs.assign(ecg_ids=column([[second, first] for first, second in pairs["ecg_ids"]], pairs))
