"""Leaderboards of tiers T1 (simulated ECGs, a small encoder-projector-LM) and T2 (real signals, imposed confounding).

Training and scoring are those of :mod:`causalecg.benchmark.compare`, one comparison per regime; its score sets become
the cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from causalecg.benchmark.effective_rows import effective_rows, leaves_few
from causalecg.benchmark.leaderboard.evidence import POSITIVITY, meant_to_be_adjusted
from causalecg.benchmark.leaderboard.record import CellRecord, Tier, cell_path
from causalecg.benchmark.leaderboard.run import Grid, checked_grid, claim, written
from causalecg.benchmark.regimes import regime as find_regime
from causalecg.benchmark.tuned import tuning_of

if TYPE_CHECKING:
    from causalecg.benchmark.law import Law
    from causalecg.cohort.schema import Cohort
    from causalecg.training.arms import Arm
    from causalecg.training.config import RunConfig

TWIN_SETS = 1000


def fill_simulated(
    out: Path,
    regimes: Sequence[str],
    arms: Sequence[str],
    seeds: int,
    *,
    rho: float | None = None,
    items: int = 4000,
    test_items: int = 20_000,
    config: Path | None = None,
    audit_items: int = 2000,
    processes: int = 2,
    progress: bool = True,
) -> Grid:
    """Tier T1: one simulated cohort per regime (in ``out/cohorts``), every arm and seed trained and scored on it.

    Args as :func:`causalecg.benchmark.leaderboard.run.fill_evidence`; ``config``: of the runs; ``audit_items``: of the
    test, put through the interventions. Raises InputError as there.
    """
    from causalecg.benchmark.cohort import simulate_cohort
    from causalecg.training.sharding import check_launch

    check_launch()
    grid, settings = _grid(regimes, arms, seeds), _configured(config)
    claim(
        out,
        {
            "tier": "t1", "rho": rho, "items": items, "test": test_items, "audit_items": audit_items,
            "config": settings.model_dump(mode="json"),
        },
        grid,
    )  # fmt: skip
    for name in grid.regimes:
        found = find_regime(name)
        law = found.law(rho if found.rho is None else None)
        folder = out / "cohorts" / name
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            simulate_cohort(
                folder,
                regime=name,
                rho=rho if found.rho is None else None,
                items=items,
                test_items=test_items,
                twins=min(test_items, TWIN_SETS),
                train_twins=items if _asks_for_twins(grid.arms) else 0,
                anti=not law.style_effect,
                processes=processes,
                progress=progress,
            )
        _compared(out, "t1", name, folder, grid, settings, audit_items, processes, progress, law)
    return grid


def fill_statements(
    out: Path,
    cohort: Path,
    arms: Sequence[str],
    seeds: int,
    *,
    config: Path | None = None,
    audit_items: int = 2000,
    processes: int = 2,
    progress: bool = True,
) -> Grid:
    """Tier T2: every arm and seed on a cohort with imposed confounding; its "regime" is called "statements"."""
    from causalecg.cohort.schema import Cohort
    from causalecg.training.sharding import check_launch

    check_launch()
    grid, settings = _grid(("statements",), arms, seeds), _configured(config)
    claim(
        out,
        {
            "tier": "t2", "cohort_hash": Cohort.open(cohort).hash, "audit_items": audit_items,
            "config": settings.model_dump(mode="json"),
        },
        grid,
    )  # fmt: skip
    _compared(out, "t2", "statements", cohort, grid, settings, audit_items, processes, progress, None)
    return grid


def _asks_for_twins(arms: Sequence[str]) -> bool:
    """Whether an arm learns from the training items' twins."""
    from adjusters.registry import adjuster_class
    from causalecg.training.arms import Arm

    return any("train_twins" in adjuster_class(Arm.parse(arm).adjuster).card.further_splits for arm in arms)


def _grid(regimes: Sequence[str], arms: Sequence[str], seeds: int) -> Grid:
    from causalecg.training.arms import Arm

    return checked_grid(regimes, written([Arm.parse(arm) for arm in arms]), seeds)


def _configured(config: Path | None) -> RunConfig:
    from causalecg.training.config import RunConfig

    return RunConfig() if config is None else RunConfig.read(config)


def _compared(
    out: Path,
    tier: Tier,
    regime: str,
    folder: Path,
    grid: Grid,
    config: RunConfig,
    audit_items: int,
    processes: int,
    progress: bool,
    law: Law | None,
) -> None:
    """Cells of one regime: trained and scored, or refused."""
    from adjusters.registry import adjuster_class
    from causalecg.audits.score_set import ScoreSet
    from causalecg.benchmark.cells import Cell
    from causalecg.benchmark.compare import run_comparison
    from causalecg.benchmark.t0.evaluation import truths
    from causalecg.cohort.schema import Cohort
    from causalecg.training.arms import Arm

    cohort = Cohort.open(folder)
    parsed = {name: Arm.parse(name) for name in grid.arms}
    verdict = _certified(cohort, config, law)
    prepared = {name: _prepared(cohort, arm, config, law, verdict) for name, arm in parsed.items()}
    refused = {name: refusal for name, (refusal, _) in prepared.items()}
    trained = [name for name in grid.arms if not refused[name]]
    comparison = out / "runs" / regime
    if trained:
        run_comparison(
            cohort, trained, grid.seeds, config, comparison,
            processes=processes, audit_items=audit_items, progress=progress,
        )  # fmt: skip
    for name, arm in parsed.items():
        card = adjuster_class(arm.adjuster).card
        adjusts = "severity" in card.needs and not arm.placebo
        for seed in range(grid.seeds):
            path = cell_path(out, regime, name, seed)
            if path.exists():
                continue
            about: dict[str, Any] = {
                "tier": tier,
                "regime": regime,
                "arm": name,
                "seed": seed,
                "rho": (cohort.meta.get("confounding") or {}).get("rho"),
                "tuning": tuning_of(name),
                "refused": refused[name],
                "weighting": prepared[name][1],
                "truths": {} if law is None else truths(law),
                "certificate": verdict if adjusts else "",
            }
            if not refused[name]:
                from causalecg.benchmark.leaderboard.score_sets import items_of

                run = Cell(name, seed).name
                about["items"] = items_of(ScoreSet.open(comparison / "scores" / run), run)
            CellRecord(**about).write(path)


def _prepared(cohort: Cohort, arm: Arm, config: RunConfig, law: Law | None, verdict: str) -> tuple[str, bool]:
    """Why an arm cannot be trained, one sentence, empty where it can; and whether its weights leave few rows."""
    from adjusters.contract import ContractError
    from adjusters.registry import adjuster_class
    from causalecg.training.fitted import fit_arm
    from structural_models.errors import NotIdentified

    adjusts = "severity" in adjuster_class(arm.adjuster).card.needs and not arm.placebo
    if adjusts and law is not None and not meant_to_be_adjusted(law) and verdict.startswith("not"):
        return f"certificate: {verdict}", False
    try:
        fitted = fit_arm(cohort, arm, config, np.random.SeedSequence(0))
    except (ContractError, NotIdentified) as error:
        return str(error), False
    weights = fitted.train.table.get("weight")
    effective = effective_rows(fitted.adjuster, None if weights is None else weights.to_numpy())
    return "", leaves_few(effective, len(cohort.split(arm.splits[0])))


def _certified(cohort: Cohort, config: RunConfig, law: Law | None) -> str:
    """Verdict of the certificate on the training rows of a simulated cohort, were the style no cause of the answer."""
    from causalecg.training.fitted import severity_column
    from structural_models.adjustability import certify

    column, _ = severity_column(cohort, config)
    if law is None or column is None:
        return ""
    table = cohort.split("train")
    table = table[["style", "question_id", column]].assign(answer=table["answer"].str.join(", "))
    return certify(
        table,
        "style",
        "answer",
        column,
        within=["question_id"],
        treatment_causes_outcome=False,
        rng=np.random.default_rng([0, 3]),
        threshold=POSITIVITY,
        permutations=999,
        replicates=200,
    ).verdict
