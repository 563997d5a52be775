"""Filling a leaderboard: regimes, arms and seeds in processes of one thread each; finished cells stay as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causalecg.benchmark.leaderboard.evidence import EvidencePlan, declared_estimand, law_of, run_evidence_cell
from causalecg.benchmark.leaderboard.record import CellRecord, cell_path
from causalecg.benchmark.regimes import REGIMES
from causalecg.benchmark.workers import worker_pool
from causalecg.errors import InputError
from causalecg.records import read_record, require_room, write_record
from structural_models.json_values import plain

if TYPE_CHECKING:
    from causalecg.training.arms import Arm

PLAN = "plan.json"


@dataclass(frozen=True)
class Grid:
    """Which cells a leaderboard has."""

    regimes: tuple[str, ...]
    arms: tuple[str, ...]
    seeds: int

    def __iter__(self) -> Iterator[tuple[str, str, int]]:
        """Seeds outermost: a stopped leaderboard has complete seeds rather than complete regimes."""
        return ((r, a, s) for s in range(self.seeds) for r in self.regimes for a in self.arms)


def chosen_regimes(text: str) -> tuple[str, ...]:
    """From "R0,R1" or "all". Raises InputError for an unknown or repeated one."""
    names = list(REGIMES) if text.strip() == "all" else [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in REGIMES:
            raise InputError(f"unknown regime '{name}'; known are {', '.join(REGIMES)}, or all of them: all")
    if not names or len(set(names)) < len(names):
        raise InputError(f"name every regime once, not '{text}'")
    return tuple(names)


def fill_evidence(
    out: Path,
    regimes: Sequence[str],
    arms: Sequence[str],
    seeds: int,
    *,
    rho: float | None = None,
    items: int = 4000,
    test_items: int = 20_000,
    fit: str = "spline",
    processes: int = 2,
    progress: bool = True,
) -> tuple[Grid, list[CellRecord]]:
    """Fill a leaderboard of tier T0 and return its cells, in the grid's order, without their items.

    Args:
        out: folder; one that holds a leaderboard of the same settings is gone on with, and may be given further
            regimes, arms and seeds.
        regimes, arms: names. ``seeds``: seeds 0 to N - 1.
        rho: P(D = F) of the regimes that leave it open.
        items: to learn from; validation has an eighth of it, at least 200. ``test_items``: to be tested on.
        fit: "spline", or "linear" (misspecified).

    Raises InputError for an unknown arm or regime, a number out of range, or another leaderboard in ``out``.
    """
    from causalecg.benchmark.t0.arms import EvidenceArm

    grid = checked_grid(regimes, written([EvidenceArm.parse(arm) for arm in arms]), seeds)
    if items < 100 or test_items < 100:
        raise InputError(f"tier t0 needs at least 100 training and 100 test items, not {items} and {test_items}")
    if fit not in ("spline", "linear"):
        raise InputError(f"the scorer of tier t0 is spline or linear, not {fit}")
    plan = EvidencePlan(rho, items, max(items // 8, 200), test_items, fit, declared_estimand())  # type: ignore[arg-type]
    for regime in grid.regimes:
        law_of(plan, regime)
    settings = {k: v for k, v in asdict(plan).items() if k != "estimand"}
    claim(out, {"tier": "t0", **settings}, grid)
    todo = [cell for cell in grid if not cell_path(out, *cell).exists()]
    _run_all(todo, plan, out, processes, progress)
    return grid, [CellRecord.read(cell_path(out, *cell), items=False) for cell in grid]


def written(arms: Sequence[Arm]) -> tuple[str, ...]:
    """The arms' texts. InputError for an option that its adjuster refuses whatever the data."""
    for arm in arms:
        try:
            arm.make()
        except ValueError as error:
            raise InputError(f"arm {arm}: {error}") from error
    return tuple(map(str, arms))


def checked_grid(regimes: Sequence[str], arms: Sequence[str], seeds: int) -> Grid:
    """InputError without a regime, an arm or a seed, or with an arm given twice."""
    if seeds < 1 or not arms or not regimes or len(set(arms)) < len(arms):
        raise InputError(
            f"a leaderboard needs regimes, distinct arms and at least one seed, not {', '.join(regimes) or 'none'}; "
            f"{', '.join(arms) or 'none'}; {seeds}"
        )
    return Grid(tuple(regimes), tuple(arms), seeds)


def claim(out: Path, settings: dict[str, Any], grid: Grid) -> None:
    """Record what the leaderboard is of, or check that it is the one recorded."""
    path = out / PLAN
    if path.exists():
        found = read_record(path)
        differs = [key for key in settings if not _same(key, found.get(key), plain(settings[key]))]
        if differs:
            raise InputError(
                f"{out} holds a leaderboard with {differs[0]} {found.get(differs[0])}, not {settings[differs[0]]}; "
                "choose another --out"
            )
    else:
        require_room(out, "leaderboard")
    write_record(path, plain({**settings, **asdict(grid)}))


def _same(key: str, found: Any, wanted: Any) -> bool:
    if key != "config":
        return bool(found == wanted)
    from causalecg.training.config import RunConfig

    return RunConfig(**wanted).same_as(found)


def settings_of(out: Path) -> dict[str, Any]:
    """What the leaderboard in a folder is of, apart from its grid."""
    record = read_record(out / PLAN)
    return {key: value for key, value in record.items() if key not in ("regimes", "arms", "seeds")}


def _run_all(
    todo: Sequence[tuple[str, str, int]], plan: EvidencePlan, out: Path, processes: int, progress: bool
) -> None:
    from rich.console import Console
    from rich.progress import track

    if not todo:
        return
    if processes == 1:
        for cell in track(todo, "cells", console=Console(stderr=True), disable=not progress):
            run_evidence_cell(plan, out, *cell)
        return
    with worker_pool(min(processes, len(todo))) as pool:
        done = as_completed([pool.submit(run_evidence_cell, plan, out, *cell) for cell in todo])
        for finished in track(done, "cells", total=len(todo), console=Console(stderr=True), disable=not progress):
            finished.result()
