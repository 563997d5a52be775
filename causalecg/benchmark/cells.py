"""One cell of a comparison: train one arm with one seed, then score it. Cells are independent and resume."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from causalecg.training.config import RunConfig

#: Arms that are read by role in the audits; every other arm is "audited".
ROLES = {
    "none": "unadjusted",
    "oracle": "oracle",
    "question_only": "question_only",
    "ecg_only": "ecg_only",
}


@dataclass(frozen=True)
class Cell:
    arm: str
    seed: int

    @property
    def name(self) -> str:
        """Folder and run name, e.g. ``backdoor-prior-marginal-seed0``."""
        return f"{re.sub(r'[^A-Za-z0-9_.]+', '-', self.arm).strip('-')}-seed{self.seed}"

    @property
    def role(self) -> str:
        return ROLES.get(self.arm.partition("?")[0], "audited")


@dataclass(frozen=True)
class Plan:
    """What every cell has in common.

    ``splits`` are scored with the ECG and question intact; ``audit_items`` items of ``audit_split`` (the first in
    table order, so the same in every cell) are put through the default interventions as well.
    """

    cohort: Path
    out: Path
    config: RunConfig
    splits: tuple[str, ...]
    audit_split: str
    audit_items: int


def run_cell(cell: Cell, plan: Plan) -> str:
    """Train and score one cell, going on from wherever an earlier attempt stopped. Returns the cell's name."""
    from causalecg.audits.interventions import DEFAULT_SUITE
    from causalecg.audits.scoring import score
    from causalecg.cohort.schema import Cohort
    from causalecg.training.run import train

    cohort = Cohort.open(plan.cohort)
    run = train(cohort, cell.arm, plan.config, seed=cell.seed, out=plan.out / "runs" / cell.name, progress=False)
    scorer = run.scorer()
    about = {"model": cell.name, "role": cell.role, "arm": cell.arm, "seed": cell.seed, "cohort_hash": cohort.hash}
    folder = plan.out / "scores" / cell.name
    for split in plan.splits:
        interventions = ("intact",)
        score(
            scorer,
            cohort,
            split=split,
            interventions=interventions,
            run_id=cell.name,
            run=about,
            out=folder,
            seed=0,
            severity=run.severity_column,
            progress=False,
        )
    score(
        scorer,
        cohort,
        split=plan.audit_split,
        interventions=DEFAULT_SUITE,
        run_id=cell.name,
        run=about,
        out=folder,
        seed=0,
        severity=run.severity_column,
        max_items=plan.audit_items,
        progress=False,
    )
    return cell.name
