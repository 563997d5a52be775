"""What a leaderboard shows: per regime and arm every measure with its interval, and per arm the worst regime.

Seeds and patients are resampled together (:class:`SeededBootstrap`). Test patients are the same in every cell of a
regime, so differences and ratios of arms are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from causalecg.audits.statistics.means import Interval
from causalecg.audits.statistics.seeds import Draws, SeededBootstrap
from causalecg.benchmark.leaderboard.record import DONORS, MEASURES, CellRecord, cell_path
from causalecg.benchmark.leaderboard.run import Grid
from causalecg.errors import InputError

#: Recovery is a ratio: it is given where the gap's lower limit clears this many points, on so many test items.
MINIMUM_GAP, MINIMUM_ITEMS = 0.05, 20_000
#: Regimes whose smallest lower limit of recovery is an arm's worst.
WORST_OF = ("R1", "R2", "R3", "R4", "R6", "R7")
#: Without confounding there is no gap to recover: points only.
NULL_REGIME = "R8"
REPLICATES = 1000

#: column -> title, in the order of the tables.
COLUMNS: dict[str, str] = {
    "accuracy": "unbiased accuracy",
    "recovery": "recovery",
    "recovery_ess": "recovery, ESS-matched oracle",
    "points": "points over none",
    "biased": "biased accuracy",
    "anti": "anti-aligned accuracy",
    "in_distribution": "biased accuracy less oracle's",
    "style_effect": "style effect",
    "style_signed": "style effect, signed",
    "style_decision": "decisions that follow the style",
    "style_error": "style-effect error",
    "topic_effect": "topic effect",
    "topic_error": "topic-effect error",
    "topic_decision_error": "topic-decision error",
    "follow_rate": "follow rate",
    "reliance": "reliance ratio",
    "twins": "both twins right",
    "target_error": "error of P(A | E, do(Q))",
}
_MEANS = {
    "accuracy": "correct_unbiased",
    "biased": "correct_biased",
    "anti": "correct_anti",
    "style_effect": "style_effect",
    "style_signed": "style_signed",
    "style_decision": "style_decision",
    "topic_effect": "topic_effect",
    "follow_rate": "follow",
    "twins": "twin_right",
    "target_error": "target_error",
}
_SIGNED = ("style_signed",)
#: error -> (measure, what is true of the law)
_ERRORS = {
    "style_error": ("style_effect", "style_effect"),
    "topic_error": ("topic_effect", "topic_effect"),
    "topic_decision_error": ("topic_decision", "topic_decision"),
}


def summarise(out: Path, settings: dict[str, Any], grid: Grid, *, seed: int = 0) -> dict[str, Any]:
    """The leaderboard as a JSON-able record: settings, ``rows`` (one per regime and arm) and ``arms`` (one per arm).

    Raises InputError where a cell of the grid is missing.
    """
    rows = [row for regime in grid.regimes for row in _of_regime(out, regime, grid, seed)]
    return {
        **settings,
        "regimes": list(grid.regimes),
        "seeds": grid.seeds,
        "columns": COLUMNS,
        "rows": rows,
        "arms": [_of_arm(arm, rows, grid) for arm in grid.arms],
    }


def _of_regime(out: Path, regime: str, grid: Grid, seed: int) -> list[dict[str, Any]]:
    cells = {arm: [_cell(out, regime, arm, s) for s in range(grid.seeds)] for arm in grid.arms}
    trained = {arm: found for arm, found in cells.items() if not any(cell.refused for cell in found)}
    draws, items = _drawn(trained, grid.seeds, seed)
    rows = []
    for arm, found in cells.items():
        first = found[0]
        row: dict[str, Any] = {
            "regime": regime,
            "arm": arm,
            "rho": first.rho,
            "tuning": first.tuning,
            "refused": _refusal(found),
            "certificate": next((cell.certificate for cell in found if cell.certificate), ""),
            "truths": first.truths,
            "unconverged": sum(not s["converged"] for c in found for s in c.training.get("stages", [])),
            "test_items": items,
        }
        rows.append(row)
        if arm in trained:
            row |= _measures(arm, draws, first, regime, items)
    return rows


def _cell(out: Path, regime: str, arm: str, seed: int) -> CellRecord:
    path = cell_path(out, regime, arm, seed)
    if not path.exists():
        raise InputError(f"{out} has no cell of {regime}, {arm}, seed {seed}; run the same command again")
    return CellRecord.read(path)


def _refusal(cells: Sequence[CellRecord]) -> str:
    refused = [cell.refused for cell in cells if cell.refused]
    if not refused:
        return ""
    where = "" if len(refused) == len(cells) else f"in {len(refused)} of {len(cells)} seeds: "
    return where + refused[0]


class _Regime:
    """Draws of the means of every arm and measure, and the bootstrap they are of."""

    def __init__(self) -> None:
        self.boot: dict[str, SeededBootstrap] = {}
        self.draws: dict[tuple[str, str], Draws] = {}

    def interval(self, statistic: Callable[..., Any], measure: str, *arms: str) -> Interval | None:
        keys = [(arm, measure) for arm in arms]
        if any(key not in self.draws for key in keys):
            return None
        return self.boot[measure].interval(statistic, *(self.draws[key] for key in keys))


def _drawn(trained: dict[str, list[CellRecord]], seeds: int, seed: int) -> tuple[_Regime, int]:
    """Draws, and how many items the unbiased test has."""
    found = _Regime()
    if not trained:
        return found, 0
    tables = {arm: [cell.items for cell in cells] for arm, cells in trained.items()}
    first = next(iter(tables.values()))[0]
    assert first is not None
    boots: dict[str, SeededBootstrap] = {}
    items = 0
    for measure in MEASURES:
        # One measure at a time: all of them, of many arms and seeds, would need several gigabytes.
        grid = {}
        for arm, each in tables.items():
            columns = [table[measure].to_numpy() for table in each if table is not None and measure in table]
            if len(columns) == seeds and all(np.isfinite(column).any() for column in columns):
                grid[arm] = np.stack(columns, axis=1)
        if not grid:
            continue
        if measure == "correct_unbiased":
            items = int(np.isfinite(next(iter(grid.values()))).all(1).sum())
        # Measures with the same patients share their draws.
        donor = DONORS.get(measure, "")
        donor = donor if donor in first else ""
        if donor not in boots:
            donors = first[[donor]].to_numpy() if donor else None
            boots[donor] = SeededBootstrap(
                first[["patient"]].to_numpy(), seeds, seed=seed, donors=donors, replicates=REPLICATES
            )
        found.boot[measure] = boots[donor]
        found.draws |= {(arm, measure): drawn for arm, drawn in boots[donor].arms(grid).items()}
    return found, items


def _measures(arm: str, found: _Regime, cell: CellRecord, regime: str, items: int) -> dict[str, Any]:
    row: dict[str, Interval | None] = {
        name: found.interval(lambda m: m, measure, arm) for name, measure in _MEANS.items()
    }
    for name, value in row.items():
        if value is not None and name not in _SIGNED:
            row[name] = Interval(value.estimate, max(value.low, 0.0), min(value.high, 1.0))
    for name, (measure, truth) in _ERRORS.items():
        if truth in cell.truths:
            row[name] = _error(found, measure, arm, cell.truths[truth])
    row["points"] = found.interval(lambda a, n: a - n, "correct_unbiased", arm, "none") if arm != "none" else None
    if arm != "oracle":
        row["in_distribution"] = found.interval(lambda a, o: a - o, "correct_biased", arm, "oracle")
        row["reliance"] = found.interval(lambda a, o: a / o, "random_drop", arm, "oracle")
    note = ""
    if arm not in ("none", "oracle"):
        row["recovery"], note = _recovery(found, arm, "oracle", regime, items)
        if cell.weighting:
            row["recovery_ess"], _ = _recovery(found, arm, "oracle_ess", regime, items)
    return {
        **{name: None if value is None else value.as_dict() for name, value in row.items()},
        "recovery_note": note,
    }


def _error(found: _Regime, measure: str, arm: str, truth: float) -> Interval | None:
    """Of |mean - truth|: its interval is that of the mean, folded at the truth."""
    value = found.interval(lambda m: m - truth, measure, arm)
    if value is None:
        return None
    ends = sorted((abs(value.low), abs(value.high)))
    return Interval(abs(value.estimate), 0.0 if value.low <= 0 <= value.high else ends[0], ends[1])


def _recovery(found: _Regime, arm: str, oracle: str, regime: str, items: int) -> tuple[Interval | None, str]:
    """(arm - none) / (oracle - none), and why it is not given."""
    gap = found.interval(lambda o, n: o - n, "correct_unbiased", oracle, "none")
    if gap is None:
        return None, f"points only: needs the arms none and {oracle}"
    if regime == NULL_REGIME:
        return None, "points only: without confounding there is nothing to recover"
    if items < MINIMUM_ITEMS:
        return None, f"points only: {items:,} test items, recovery needs {MINIMUM_ITEMS:,}"
    if not gap.low >= MINIMUM_GAP:
        return None, (
            f"points only: the lower limit of the gap is {100 * gap.low:.1f} points, recovery needs "
            f"{100 * MINIMUM_GAP:.0f}"
        )
    return (
        found.interval(lambda a, n, o: (a - n) / (o - n), "correct_unbiased", arm, "none", oracle),
        "",
    )


def _of_arm(arm: str, rows: list[dict[str, Any]], grid: Grid) -> dict[str, Any]:
    own = {row["regime"]: row for row in rows if row["arm"] == arm}
    wanted = [regime for regime in WORST_OF if regime in own]
    low = {regime: own[regime]["recovery"]["low"] for regime in wanted if own[regime].get("recovery")}
    without = [regime for regime in WORST_OF if regime not in low]
    worst = min(low, key=lambda regime: low[regime]) if low and not without else None
    null = own.get(NULL_REGIME, {})
    return {
        "arm": arm,
        "worst_recovery": None if worst is None else low[worst],
        "worst_regime": worst,
        "worst_note": ""
        if worst or not wanted or arm in ("none", "oracle")
        else f"no recovery in {', '.join(without)}",
        "no_harm": null.get("points"),
        "in_distribution": null.get("in_distribution"),
        "refused": [regime for regime, row in own.items() if row["refused"]],
    }
