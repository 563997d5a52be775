"""Every arm, every seed, in parallel processes of one thread each; resumable cell by cell."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from causalecg.benchmark.cells import DONE, Cell, Plan, run_cell
from causalecg.errors import InputError

if TYPE_CHECKING:
    from causalecg.cohort.schema import Cohort
    from causalecg.training.config import RunConfig

_POLL_SECONDS = 1.0
#: One OpenMP thread per process: two pools that spin on two cores collapse.
WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "TOKENIZERS_PARALLELISM": "false"}


def run_comparison(
    cohort: Cohort,
    arms: Sequence[str],
    seeds: int,
    config: RunConfig,
    out: str | Path,
    *,
    processes: int = 2,
    audit_items: int = 2000,
    progress: bool = True,
) -> list[Cell]:
    """Train and score every arm with seeds 0..``seeds`` - 1 under ``out``; finished cells are not done again.

    Raises:
        InputError: an unknown or repeated arm, no seed, or ``out`` holds a comparison of another cohort or
            configuration.
        ContractError, NotIdentified: an arm cannot work on this cohort. Nothing has been trained then.
    """
    from causalecg.cohort.schema import TEST_SPLITS
    from causalecg.training.arms import Arm
    from causalecg.training.run import check_arm
    from causalecg.training.tables import of_environment, rows_of

    out = Path(out)
    parsed = [Arm.parse(text) for text in arms]
    names = [str(arm) for arm in parsed]
    if seeds < 1 or not names or len(set(names)) != len(names):
        raise InputError(f"compare needs at least one seed and distinct arms, not {seeds} and {', '.join(names)}")
    rows_of(cohort, "train", environment=config.environment, template_ids=config.template_ids)
    have = set(of_environment(cohort.items, config.environment)["split"])
    splits = tuple(name for name in TEST_SPLITS if name in have)
    plan = Plan(cohort.path.resolve(), out.resolve(), config, splits, audit_items)
    for arm in parsed:
        check_arm(cohort, arm, config)
    _claim(out, cohort, config, audit_items, names)
    # Seeds outermost: a stopped comparison has complete seeds rather than complete arms.
    cells = [Cell(name, seed) for seed in range(seeds) for name in names]
    todo = [cell for cell in cells if not (out / "scores" / cell.name / DONE).exists()]
    _run_all(todo, plan, processes, progress)
    return cells


def _claim(out: Path, cohort: Cohort, config: RunConfig, audit_items: int, arms: Sequence[str]) -> None:
    """Record what this comparison is of, or check that it is the one recorded; new arms join those that are there."""
    record = {
        "cohort_hash": cohort.hash,
        "cohort": cohort.meta["name"],
        "config": config.model_dump(mode="json"),
        "audit_items": audit_items,
    }
    path = out / "compare.json"
    if path.exists():
        found = json.loads(path.read_text())
        differs = [key for key, value in record.items() if found.get(key) != value]
        if differs:
            what = {"cohort_hash": "cohort", "config": "configuration", "audit_items": "number of audited items"}
            raise InputError(f"{out} holds a comparison with another {what[differs[0]]}; choose another --out")
        _write(path, {**found, "arms": list(dict.fromkeys([*found.get("arms", []), *arms]))})
        return
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty and holds no comparison; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    _write(path, {**record, "arms": list(arms)})


def _write(path: Path, record: dict[str, object]) -> None:
    partial = path.with_name(".compare.json.partial")
    partial.write_text(json.dumps(record, indent=2) + "\n")
    partial.replace(path)


def _run_all(cells: Sequence[Cell], plan: Plan, processes: int, progress: bool) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    if not cells:
        return
    before = {name: os.environ.get(name) for name in WORKER_ENVIRONMENT}
    os.environ.update(WORKER_ENVIRONMENT)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), disable=not progress
    )
    try:
        workers = min(processes, len(cells))
        with bar, ProcessPoolExecutor(workers, get_context("spawn"), initializer=end_with_parent) as pool:
            cells_bar = bar.add_task("arms x seeds", total=len(cells))
            epochs_bar = bar.add_task("epochs", total=None)
            pending: set[Future[str]] = {pool.submit(run_cell, cell, plan) for cell in cells}
            try:
                while pending:
                    done, pending = wait(pending, timeout=_POLL_SECONDS)
                    for finished in done:
                        finished.result()
                        bar.advance(cells_bar)
                    bar.update(epochs_bar, completed=_epochs_done(cells, plan.out))
            except BaseException:
                for waiting in pending:
                    waiting.cancel()
                raise
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def end_with_parent() -> None:
    """Let this worker end when its parent does, even by a kill: it would train on, in a folder that the next attempt
    goes on with."""

    def watch() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=watch, daemon=True).start()


def _epochs_done(cells: Sequence[Cell], out: Path) -> int:
    logs = (out / "runs" / cell.name / "metrics.jsonl" for cell in cells)
    return sum(log.read_bytes().count(b"\n") for log in logs if log.exists())
