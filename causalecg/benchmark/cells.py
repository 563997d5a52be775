"""One cell of a comparison: train one arm with one seed, then score it. Cells are independent and resume."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causalecg.errors import InputError

if TYPE_CHECKING:
    from causalecg.training.config import RunConfig

#: Marks a scored cell.
DONE = "done"
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

    ``splits`` are scored with the ECG and question intact; ``audit_items`` items of the biased test, drawn at random
    and the same in every cell, are put through the default interventions as well, those of the unbiased test get a
    random ECG. ``build``, ``package.module:function``, builds what is trained in place of the composite.
    """

    cohort: Path
    out: Path
    config: RunConfig
    splits: tuple[str, ...]
    audit_items: int
    build: str | None = None


def config_of(cell: Cell, config: RunConfig) -> RunConfig:
    """Of one cell: where ``model.start`` is the folder of a comparison, it begins with that one's run of the same arm
    and seed. InputError where that is not there."""
    start = config.model.start
    if start is None or not (Path(start) / "compare.json").is_file():
        return config
    from causalecg.training.run import Run

    run = Path(start).resolve() / "runs" / cell.name
    try:
        Run.open(run)
    except InputError as error:
        raise InputError(f"model.start: {cell.name} cannot begin with its run in {start}: {error}") from error
    return config.model_copy(update={"model": config.model.model_copy(update={"start": str(run)})})


def run_cell(cell: Cell, plan: Plan) -> str:
    """Train and score one cell, going on from wherever an earlier attempt stopped. Returns the cell's name."""
    from causalecg.audits.interventions import DEFAULT_SUITE, RANDOM
    from causalecg.audits.scoring import score
    from causalecg.cohort.schema import Cohort
    from causalecg.training.builds import imported
    from causalecg.training.run import train

    build = None if plan.build is None else imported(plan.build)
    cohort = Cohort.open(plan.cohort)
    folder = plan.out / "scores" / cell.name
    run = train(
        cohort,
        cell.arm,
        config_of(cell, plan.config),
        seed=cell.seed,
        out=plan.out / "runs" / cell.name,
        scorer=build,
        progress=False,
    )
    about: dict[str, Any] = {"model": cell.name, "role": cell.role, "arm": cell.arm, "seed": cell.seed}
    about |= {key: names for key, names in plan.config.held_out.items() if names}
    common: dict[str, Any] = {
        "run_id": cell.name,
        "run": about,
        "out": folder,
        "severity": run.severity_column,
        "environment": plan.config.environment,
        "template_ids": plan.config.template_ids,
        "progress": False,
    }
    scorer = run.scorer(build, trust_remote_code=plan.config.model.trust_remote_code)
    # Most splits are of the same ECGs.
    with scorer.caching():
        for split in plan.splits:
            score(scorer, cohort, split=split, interventions=("intact",), **common)
        changed = [name for name in DEFAULT_SUITE if name != "intact"]
        score(scorer, cohort, split="test", interventions=changed, max_items=plan.audit_items, **common)
        if "test_unbiased" in plan.splits:
            score(scorer, cohort, split="test_unbiased", interventions=(RANDOM,), max_items=plan.audit_items, **common)
    (folder / DONE).touch()
    return cell.name


def finished_cells(out: Path) -> list[Cell]:
    """Cells of a comparison that have been scored, of the seeds that every arm has, arms in the order they were given.

    InputError when there are none.
    """
    import json

    from causalecg.errors import InputError

    found = []
    for done in sorted((out / "scores").glob(f"*/{DONE}")):
        (about,) = json.loads((done.parent / "runs.json").read_text())["runs"].values()
        found.append(Cell(about["arm"], about["seed"]))
    place = {arm: i for i, arm in enumerate(json.loads((out / "compare.json").read_text())["arms"])}
    whole = {s for s in {cell.seed for cell in found} if {c.arm for c in found if c.seed == s} == place.keys()}
    if not whole:
        none = [arm for arm in place if arm not in {cell.arm for cell in found}]
        which = f" ({', '.join(none)}: none)" if none else ""
        raise InputError(f"{out} has no seed that every arm has finished{which}; run 'causalecg compare' again")
    return sorted((cell for cell in found if cell.seed in whole), key=lambda cell: (cell.seed, place[cell.arm]))
