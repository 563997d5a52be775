"""What an intervention is: it changes the rows a model is asked, and says what to do to their signals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from causalecg.errors import InputError

if TYPE_CHECKING:
    from causalecg.cohort.schema import Cohort

#: What interventions add to items: who the donor is, and how the candidates and signals are changed.
ADDED = ("donor_ecg_ids", "donor_patient_ids", "answer_expected", "candidate_order", "signal_change")


@dataclass(frozen=True)
class Context:
    """Where an intervention takes things from.

    Attributes:
        table: all items, before any change; donors and other questions come from among them.
        cohort: for its wordings.
        severity: severity column, ``None`` where none is named.
        user_wordings: question or question_id -> rewordings supplied by the user.
    """

    table: pd.DataFrame
    cohort: Cohort
    severity: str | None = None
    user_wordings: Mapping[str, Sequence[str]] | None = None

    def severity_for(self, name: str) -> str:
        """The severity column; InputError where none is named."""
        if self.severity is None:
            scales = self.cohort.severity_scales
            have = f"name one: {', '.join(scales)}" if scales else "the cohort has none"
            raise InputError(f"intervention {name} needs a severity scale; {have}")
        return self.severity


class Intervention(ABC):
    """One change of a model's inputs.

    Attributes:
        name: canonical, as in score sets.
        line: what it does, in one line.
        drawn: does chance decide, so that several draws differ?
        by_severity: does it need a severity scale?
    """

    name: str
    line: str
    drawn: bool = False
    by_severity: bool = False

    @abstractmethod
    def of_items(self, rows: pd.DataFrame, context: Context, rng: np.random.Generator) -> pd.DataFrame:
        """The rows as the model gets them: those it can be applied to, in order.

        Args:
            rows: items with the columns :data:`ADDED`; never modified.
            rng: of this intervention and draw alone.
        """


@dataclass(frozen=True)
class Changed:
    """Items after an intervention.

    ``table``: those it can be applied to, with ``ecg_ids``, ``question``, ``wording_id`` and ``candidates`` as the
    model gets them; ``donor_ecg_ids``, ``donor_patient_ids`` (lists or ``None``); ``answer_expected``, the true answer
    to what is shown where that is not the item's own (or ``None``); ``candidate_order``, the item's position of each
    candidate asked (or ``None``); and ``signal_change``, a name of :mod:`causalecg.audits.signal_changes` (or
    ``None``).
    ``left_out``: how many items it cannot be applied to.
    """

    table: pd.DataFrame
    left_out: int


def column(values: Sequence[object], rows: pd.DataFrame) -> pd.Series:
    """A column of objects, e.g. of lists."""
    return pd.Series(list(values), index=rows.index, dtype=object)
