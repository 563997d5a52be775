"""What estimate_effects() found, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from structural_models.effects.arm_means import ArmMeans
from structural_models.errors import TableError
from structural_models.json_values import plain
from structural_models.multiplicity import holm

IntervalKind = Literal["influence", "bootstrap", "posterior"]


@dataclass(frozen=True)
class Effects:
    """What :func:`structural_models.effects.estimate.estimate_effects` found.

    Attributes:
        treatment, outcome: columns.
        adjustment, within: columns summed over, and columns held fixed.
        method, population: how it was estimated, and whose mean it is.
        interval: how the limits were made.
        level: of the intervals.
        rows, patients: of the table; patients = 0 where none were given.
        table: one row per combination of ``within``, arm and outcome that occurs: ``arm``, ``outcome``, ``rows`` of the
            arm, ``associated`` = P(outcome | arm), ``interventional`` = P(outcome | do(arm)), ``bias`` = their
            difference, each with ``_low`` and ``_high``, and ``p_bias`` of the test that it is zero (``p_bias_holm``
            over the whole table). Where the outcome is a number, ``outcome`` is "mean".
        failures: arms of which nothing is said because some stratum (almost) lacks them: one row per such stratum.
        warnings: sentences.
    """

    treatment: str
    outcome: str
    adjustment: tuple[str, ...]
    within: tuple[str, ...]
    method: str
    population: str
    interval: IntervalKind
    level: float
    rows: int
    patients: int
    table: pd.DataFrame
    failures: pd.DataFrame
    warnings: tuple[str, ...]
    _parts: tuple[ArmMeans, ...] = field(repr=False)

    def contrasts(self, reference: object | None = None) -> pd.DataFrame:
        """Every arm against a reference arm, within one answer space.

        Args:
            reference: an arm; by default the first of each combination of ``within``.

        Returns:
            The columns of ``within``, ``arm``, ``reference``, ``outcome``, ``difference`` of P(outcome | do(arm)) and
            ``ratio``, both with limits, ``p`` of no difference, and ``p_holm`` over all of them. Outcomes that only one
            of the two arms can have are left out.

        Raises TableError for a reference that is no arm anywhere.
        """
        known = [one for one in self._parts if reference is None or reference in one.part.cells.arms.values]
        if not known:
            raise TableError(f"'{reference}' is no value of '{self.treatment}'; name one that occurs")
        rows: list[dict[str, Any]] = []
        for one in known:
            arms = one.part.cells.arms.values
            base = 0 if reference is None else int(np.flatnonzero(arms == reference)[0])
            for arm in range(len(arms)):
                if arm != base:
                    rows += self._against(one, arm, base)
        columns = ["difference", "difference_low", "difference_high", "ratio", "ratio_low", "ratio_high", "p"]
        table = pd.DataFrame(rows, columns=[*self.within, "arm", "reference", "outcome", *columns])
        return table.assign(p_holm=holm(table["p"].to_numpy(dtype=np.float64)))

    def _against(self, one: ArmMeans, arm: int, base: int) -> Iterator[dict[str, Any]]:
        arms = one.part.cells.arms.values
        for outcome in map(int, np.flatnonzero(one.occurs[arm] & one.occurs[base])):
            first, second = one.done[arm, outcome], one.done[base, outcome]
            if np.isnan(first - second):
                continue
            difference = one.limits(outcome, self.level, seen={}, done={arm: 1.0, base: -1.0})
            logs = one.log_ratio_limits(outcome, self.level, arm, base)
            yield {
                **dict(zip(self.within, one.part.held, strict=True)),
                "arm": arms[arm],
                "reference": arms[base],
                "outcome": one.outcome_names[outcome],
                "difference": first - second,
                "difference_low": difference.low,
                "difference_high": difference.high,
                "ratio": first / second if second > 0 else np.nan,
                "ratio_low": np.exp(logs.low),
                "ratio_high": np.exp(logs.high),
                "p": difference.p,
            }

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; what is not known is None."""
        record = {name: getattr(self, name) for name in self.__dataclass_fields__ if not name.startswith("_")}
        tables = {"table": self.table, "failures": self.failures, "contrasts": self.contrasts()}
        return dict(plain({**record, **{k: v.astype(object).to_dict("records") for k, v in tables.items()}}))


def effects_table(found: Sequence[ArmMeans], within: Sequence[str], level: float) -> pd.DataFrame:
    """The ``table`` of :class:`Effects`."""
    records: list[dict[str, Any]] = []
    for one in found:
        arms, names = one.part.cells.arms.values, one.outcome_names
        for arm, outcome in np.argwhere(one.occurs).tolist():
            seen, done = one.seen[arm, outcome], one.done[arm, outcome]
            record: dict[str, Any] = dict(zip(within, one.part.held, strict=True))
            record |= {"arm": arms[arm], "outcome": names[outcome], "rows": int(one.rows[arm])}
            for name, value, factors in (
                ("associated", seen, ({arm: 1.0}, {})),
                ("interventional", done, ({}, {arm: 1.0})),
                ("bias", seen - done, ({arm: 1.0}, {arm: -1.0})),
            ):
                limits = one.limits(outcome, level, seen=factors[0], done=factors[1])
                record |= {name: value, f"{name}_low": limits.low, f"{name}_high": limits.high}
            records.append({**record, "p_bias": limits.p})
    table = pd.DataFrame(records)
    return table.assign(p_bias_holm=holm(table["p_bias"].to_numpy(dtype=np.float64)))
