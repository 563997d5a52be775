"""Every arm, every seed, in parallel processes of one thread each; resumable cell by cell."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import TYPE_CHECKING

from causalecg.benchmark.cells import DONE, Cell, Plan, config_of, run_cell
from causalecg.benchmark.workers import worker_pool
from causalecg.errors import InputError
from causalecg.only_writer import only_writer
from causalecg.records import read_record, require_room, write_record

if TYPE_CHECKING:
    from causalecg.cohort.schema import Cohort
    from causalecg.training.config import RunConfig

_POLL_SECONDS = 1.0


def run_comparison(
    cohort: Cohort,
    arms: Sequence[str],
    seeds: int,
    config: RunConfig,
    out: str | Path,
    *,
    build: str | None = None,
    processes: int = 2,
    audit_items: int = 2000,
    progress: bool = True,
) -> list[Cell]:
    """Train and score every arm with seeds 0..``seeds`` - 1 under ``out``; finished cells are not done again.

    ``build``, ``package.module:function``, names the function from a seed to a module of your own, which is trained in
    place of the composite; each process imports it, from the current folder too.

    Raises:
        InputError: an unknown or repeated arm, no seed, a launch that training does not serve, or ``out`` holds a
            comparison of another cohort, configuration or module or is written by another process, or ``build`` names
            no such function.
        ContractError, NotIdentified: an arm cannot work on this cohort. Nothing has been trained then.
    """
    from causalecg.cohort.schema import TEST_SPLITS
    from causalecg.training.arms import Arm
    from causalecg.training.beginnings import require_beginning
    from causalecg.training.builds import imported, require_build, require_no_model
    from causalecg.training.run import check_arm
    from causalecg.training.sharding import check_launch
    from causalecg.training.tables import of_environment, rows_of

    check_launch()
    if build is not None:
        require_build(imported(build))
        require_no_model(config)
    out = Path(out)
    parsed = [Arm.parse(text) for text in arms]
    names = [str(arm) for arm in parsed]
    if seeds < 1 or not names or len(set(names)) != len(names):
        raise InputError(f"compare needs at least one seed and distinct arms, not {seeds} and {', '.join(names)}")
    rows_of(cohort, "train", environment=config.environment, template_ids=config.template_ids)
    have = set(of_environment(cohort.items, config.environment)["split"])
    splits = tuple(name for name in TEST_SPLITS if name in have)
    plan = Plan(cohort.path.resolve(), out.resolve(), config, splits, audit_items, build)
    for arm in parsed:
        check_arm(cohort, arm, config)
    # Seeds outermost: a stopped comparison has complete seeds rather than complete arms.
    cells = [Cell(name, seed) for seed in range(seeds) for name in names]
    todo = [cell for cell in cells if not (out / "scores" / cell.name / DONE).exists()]
    for cell in todo:
        its = config_of(cell, config)
        require_beginning(cohort, its)
    with only_writer(out):
        _claim(out, cohort, config, audit_items, names, build)
        _run_all(todo, plan, processes, progress)
    return cells


def _claim(
    out: Path, cohort: Cohort, config: RunConfig, audit_items: int, arms: Sequence[str], build: str | None
) -> None:
    """Record what this comparison is of, or check that it is the one recorded; new arms join those that are there."""
    record = {
        "cohort_hash": cohort.hash,
        "cohort": cohort.meta["name"],
        "config": config.model_dump(mode="json"),
        "audit_items": audit_items,
    }
    path = out / "compare.json"
    if path.exists():
        found = read_record(path)
        same = {key: found.get(key) == value for key, value in record.items()}
        same["config"] = config.same_as(found.get("config"))
        same["build"] = found.get("build") == build
        differs = [key for key, agrees in same.items() if not agrees]
        if differs:
            says = config.differing(found.get("config"))
            configuration = f"configuration ({says})" if says else "configuration"
            what = {"cohort_hash": "cohort", "config": configuration, "audit_items": "number of audited items"}
            which = what.get(differs[0], differs[0])
            raise InputError(f"{out} holds a comparison with another {which}; choose another --out")
        write_record(path, {**found, "arms": list(dict.fromkeys([*found.get("arms", []), *arms]))})
        return
    require_room(out, "comparison")
    write_record(path, {**record, **({} if build is None else {"build": build}), "arms": list(arms)})


def _run_all(cells: Sequence[Cell], plan: Plan, processes: int, progress: bool) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    if not cells:
        return
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), disable=not progress
    )
    with bar, worker_pool(min(processes, len(cells))) as pool:
        cells_bar = bar.add_task("arms x seeds", total=len(cells))
        epochs_bar = bar.add_task("epochs", total=None)
        pending: set[Future[str]] = {pool.submit(run_cell, cell, plan) for cell in cells}
        while pending:
            done, pending = wait(pending, timeout=_POLL_SECONDS)
            for finished in done:
                finished.result()
                bar.advance(cells_bar)
            bar.update(epochs_bar, completed=_epochs_done(cells, plan.out))


def _epochs_done(cells: Sequence[Cell], out: Path) -> int:
    logs = (out / "runs" / cell.name / "metrics.jsonl" for cell in cells)
    return sum(log.read_bytes().count(b"\n") for log in logs if log.exists())
