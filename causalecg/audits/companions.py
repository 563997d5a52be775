"""Whom a run is held against: the oracle or a named reference, the question-only model, the majority answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from causalecg.audits.outcomes import Answers, Outcomes

ORACLES = ("oracle", "reference")


@dataclass(frozen=True)
class Companion:
    """Another run on the same items.

    Attributes:
        run_id, role: as recorded; a reference is never called an oracle.
        intact, changed: its answers without and with the intervention.
    """

    run_id: str
    role: str
    intact: Answers
    changed: Answers

    @property
    def label(self) -> str:
        return f"{self.role} ({self.run_id})"

    @property
    def both(self) -> np.ndarray:
        """(items,) bool: asked with and without the intervention."""
        return np.asarray(self.intact.asked & self.changed.asked)


def companion(outcomes: Outcomes, run_id: str, intervention: str, *roles: str) -> Companion | None:
    """The run of one of these roles that shares items with ``run_id`` under the intervention.

    Roles are tried in order; within a role, the run of the same training seed, else the first. Never the run itself.
    """
    runs = outcomes.score_set.runs
    asked = outcomes.answers(run_id, intervention).asked
    for role in roles:
        able = []
        for name in outcomes.score_set.of_role(role):
            if name != run_id and outcomes.has(name, intervention) and outcomes.has(name, "intact"):
                found = Companion(name, role, outcomes.answers(name, "intact"), outcomes.answers(name, intervention))
                if (found.both & asked).any():
                    able.append(found)
        seed = runs[run_id].get("seed")
        same = [found for found in able if runs[found.run_id].get("seed") == seed]
        if able:
            return (same or able)[0]
    return None


def bystanders(outcomes: Outcomes, run_id: str, intervention: str) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """(label, intact right, changed right) of the majority answer, a question-only run and an oracle or reference.

    (items,) float64 each, NaN where the other was not asked. The majority answer sees neither ECG nor wording.
    """
    majority = outcomes.majority()
    found = [("majority answer per template", majority, majority)]
    for roles in (("question_only",), ORACLES):
        other = companion(outcomes, run_id, intervention, *roles)
        if other is not None:
            found.append((other.label, other.intact.correct, other.changed.correct))
    return found
