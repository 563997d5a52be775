"""Whom a model has learned from, and the guard that keeps them out of what it is tested on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from causalecg.cohort.schema import TEST_SPLITS
from causalecg.errors import InputError
from causalecg.records import read_record

if TYPE_CHECKING:
    import pandas as pd

    from causalecg.cohort.schema import Cohort


@dataclass(frozen=True)
class Learned:
    """What is known of a model's training.

    Attributes:
        by: the model, as a sentence names it.
        patients: (source, patient_id) of all whom its weights learned from; ``None`` where that is not known.
        cohort, cohort_hash: that it was trained on last; ``None`` where that is not known.
    """

    by: str
    patients: frozenset[tuple[str, str]] | None = None
    cohort: str | None = None
    cohort_hash: str | None = None

    @classmethod
    def of_folder(cls, folder: str | Path) -> Learned:
        """Of a run, or of the weights saved in a folder, by the records that lie there or in the run that it is of."""
        from causalecg.training.beginnings import PATIENTS, begun_from, read_patients

        where = begun_from(str(folder))
        known = read_patients(where / PATIENTS) if (where / PATIENTS).is_file() else None
        record = read_record(where / "run.json") if (where / "run.json").is_file() else {}
        return cls(
            str(folder), None if known is None else frozenset(known), record.get("cohort"), record.get("cohort_hash")
        )

    @classmethod
    def of_scorer(cls, scorer: object) -> Learned | None:
        """Of whatever is scored, or what writes its texts; ``None`` where it is nothing of ours.

        By what it says of itself: none of our models is imported for a stranger's.
        """
        for model in (scorer, getattr(scorer, "model", None)):
            known, folder = getattr(model, "learned", None), getattr(model, "saved_in", None)
            if isinstance(known, cls):
                return known
            if isinstance(folder, Path):
                return cls.of_folder(folder)
        return None

    def elsewhere(self, cohort: Cohort) -> bool:
        """Whether it was trained on another cohort than this one."""
        return self.cohort_hash is not None and self.cohort_hash != cohort.hash

    def require_untested(self, cohort: Cohort, rows: pd.DataFrame) -> None:
        """InputError where one of the test rows is of a patient whom it learned from, or where it was trained on
        another cohort and it is not known on whom."""
        from causalecg.training.beginnings import PATIENTS, patients_of, refuse_learned

        if self.patients is None:
            if self.elsewhere(cohort):
                raise InputError(
                    f"{self.by} was trained on another cohort than {cohort.path} and has no {PATIENTS}, without which "
                    "it cannot be told whether it learned from patients of this one; train it again, or score it on "
                    "its own cohort"
                )
            return
        both = self.patients & patients_of(cohort, rows.loc[rows["split"].isin(TEST_SPLITS), "ecg_ids"])
        refuse_learned(both, cohort, self.by, "score it on patients whom it did not learn from")

    def notes(self, cohort: Cohort) -> list[str]:
        """What the reader of a report on this cohort is to be told."""
        if self.elsewhere(cohort):
            return [
                f"trained on another cohort, {self.cohort} ({str(self.cohort_hash)[:12]}); no patient whom it learned "
                f"from is in the test of {cohort.meta['name']}"
            ]
        if self.patients is None and self.cohort_hash is None:
            return ["whom its weights learned from is not recorded: that they are not in the test cannot be checked"]
        return []
