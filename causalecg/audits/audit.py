"""One audit: what it asks, what it needs, and the function of a run's answers that finds it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from causalecg.audits.companions import ORACLES, Companion, bystanders, companion
from causalecg.audits.outcomes import Answers, Outcomes
from causalecg.audits.result import AuditResult, Verdict
from causalecg.audits.statistics.bootstrap import ClusterBootstrap
from causalecg.audits.statistics.means import Interval, Means, Statistic
from causalecg.audits.statistics.sign_flip import sign_flip

Row = Mapping[str, Any]


class NotAssessed(Exception):
    """Why an audit cannot be made, as a clause."""


@dataclass(frozen=True)
class Finding:
    """What an audit found.

    Attributes:
        headline: the number, with its 95 % limits.
        verdict: by the rule that ``threshold`` states.
        rows: the numbers behind it.
        note: what a reader must know besides.
        p_value: of a test of no effect, unadjusted.
        about: replaces the audit's measure where it depends on what was there.
    """

    headline: Interval
    threshold: str
    verdict: Verdict
    rows: Sequence[Row]
    note: str = ""
    p_value: float | None = None
    about: str | None = None


@dataclass(frozen=True)
class Look:
    """One run's answers to the items of one split, and how to resample them."""

    outcomes: Outcomes
    run_id: str
    seed: int
    replicates: int

    def has(self, intervention: str) -> bool:
        return self.outcomes.has(self.run_id, intervention)

    def answers(self, intervention: str, draw: int = 0) -> Answers:
        return self.outcomes.answers(self.run_id, intervention, draw)

    def all_draws(self, intervention: str) -> list[Answers]:
        return [self.answers(intervention, draw) for draw in self.outcomes.draws(self.run_id, intervention)]

    def together(self, *interventions: str) -> np.ndarray:
        """(items,) bool: asked under all of these. Raises NotAssessed where there is no such item."""
        why = self.outcomes.lacks(self.run_id, *interventions)
        if why is not None:
            raise NotAssessed(why)
        asked = np.stack([self.answers(name).asked for name in interventions]).all(0)
        if not asked.any():
            raise NotAssessed(f"no item has answers under all of {', '.join(interventions)}")
        return np.asarray(asked)

    def companion(self, intervention: str, *roles: str) -> Companion | None:
        """The oracle or reference of this run, or the run of one of ``roles``; see :func:`companions.companion`."""
        return companion(self.outcomes, self.run_id, intervention, *(roles or ORACLES))

    def bystanders(self, intervention: str) -> list[tuple[str, np.ndarray, np.ndarray]]:
        return bystanders(self.outcomes, self.run_id, intervention)

    def bootstrap(self, asked: np.ndarray, swapped: Sequence[Answers] = ()) -> ClusterBootstrap:
        return self.outcomes.bootstrap(asked, seed=self.seed, replicates=self.replicates, swapped=swapped)

    def paired_p(self, statistic: Statistic, columns: np.ndarray, boot: ClusterBootstrap, means: Means) -> float:
        """Two-sided p-value of a linear contrast of columns, paired by item.

        The sign-flip test of whole patients; where an item has several patients, or a donor, Wald's test with the
        bootstrap's standard error instead, which is conservative.
        """
        if not boot.dyadic:
            rng = np.random.default_rng([self.seed, 13])
            return sign_flip(np.asarray(statistic(columns)), boot.members[:, 0], rng=rng)
        from scipy.stats import norm

        error = means.standard_error(statistic)
        centre = float(statistic(means.estimate))
        if not np.isfinite(error) or error <= 0:
            return 1.0 if centre == 0 else float("nan")
        return float(2 * norm.sf(abs(centre) / error))


@dataclass(frozen=True)
class Audit:
    """An audit.

    Attributes:
        name, question, measure: for the report; the question in plain words.
        line: what it asks, in one line.
        needs: interventions without which it is not assessed.
        find: from a run's answers to a finding; raises NotAssessed where it cannot.
        required: does the overall verdict depend on it?
        further: only in the full suite.
        prefers: the split it is best made on.
    """

    name: str
    question: str
    measure: str
    line: str
    needs: tuple[str, ...]
    find: Callable[[Look], Finding]
    required: bool = False
    further: bool = False
    prefers: str | None = None

    def __call__(self, outcomes: Outcomes, run_id: str, *, seed: int, replicates: int) -> AuditResult:
        look = Look(outcomes, run_id, seed, replicates)
        why = outcomes.lacks(run_id, *self.needs)
        try:
            if why is not None:
                raise NotAssessed(why)
            found = self.find(look)
        except NotAssessed as reason:
            return self.not_assessed(run_id, str(reason))
        limits, table = (found.headline.low, found.headline.high), pd.DataFrame(list(found.rows))
        return AuditResult(
            self.name,
            self.question,
            run_id,
            found.headline.estimate,
            limits,
            f"{found.about or self.measure} on {outcomes.split}",
            found.p_value,
            found.threshold,
            found.verdict,
            self.required,
            table,
            found.note.strip(),
        )

    def not_assessed(self, run_id: str, why: str) -> AuditResult:
        nan = float("nan")
        nothing = pd.DataFrame()
        return AuditResult(
            self.name,
            self.question,
            run_id,
            nan,
            None,
            self.measure,
            None,
            "",
            "not assessed",
            self.required,
            nothing,
            why,
        )


def column(index: int) -> Statistic:
    """The mean of one column."""
    return lambda means: means[..., index]


def difference(first: int, second: int) -> Statistic:
    """Of the means of two columns."""
    return lambda means: means[..., first] - means[..., second]


def described(what: str, interval: Interval, **more: Any) -> dict[str, Any]:
    """A row of the table: what it is, and the number with its limits."""
    return {"what": what, **interval.as_dict(), **more}


def counted(boot: ClusterBootstrap) -> str:
    return f"{boot.own} patients" + (f", {boot.donors} donor patients" if boot.donors else "")
