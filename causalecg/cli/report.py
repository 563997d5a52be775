"""``causalecg report``: the page of a score folder, a table of answers, a comparison or confounder effects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from causalecg.audits.result import AuditResult
    from causalecg.audits.score_set import ScoreSet


def register(app: typer.Typer) -> None:
    @app.command()
    def report(
        folder: Annotated[Path, typer.Argument(help="Score folder, table of answers, comparison or effects folder.")],
        cohort: Annotated[Path | None, typer.Option(help="Cohort folder; needed for a comparison.")] = None,
        out: Annotated[
            Path | None, typer.Option(help="Folder for the report; default FOLDER/report, or TABLE-report.")
        ] = None,
        seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    ) -> None:
        """Write the report of what has been scored, or of what 'causalecg scm effects' found."""
        from causalecg.cohort.effects_folder import RECORD
        from causalecg.errors import InputError

        if (folder / RECORD).exists():
            from rich.console import Console

            from causalecg.reports.confounder_effects import write_confounder_report

            with Console(stderr=True).status("writing the report"):
                page = write_confounder_report(folder, out)
        elif (folder / "compare.json").exists():
            from causalecg.benchmark.cells import finished_cells
            from causalecg.benchmark.comparison import report_comparison
            from causalecg.cohort.schema import Cohort

            if cohort is None:
                raise InputError(f"{folder} is a comparison; name its cohort with --cohort")
            page, _ = report_comparison(Cohort.open(cohort), finished_cells(folder), folder, seed=seed, report=out)
        else:
            from causalecg.audits.score_set import ScoreSet
            from causalecg.audits.suite import run_suite

            opened = ScoreSet.open(folder)
            if cohort is not None:
                refuse_other_cohort(opened, cohort)
            results = [r for name in opened.runs for r in run_suite(opened, run_id=name, seed=seed)]
            beside = folder / "report" if folder.is_dir() else folder.with_name(f"{folder.stem}-report")
            page = report_of(out or beside, opened, results, cohort, seed=seed)
        typer.echo(f"report: {page}")


def refuse_other_cohort(score_set: ScoreSet, cohort: Path) -> None:
    """InputError when the cohort is not the one that was scored."""
    from causalecg.cohort.schema import Cohort
    from causalecg.errors import InputError

    opened = Cohort.open(cohort)
    for name, run in score_set.runs.items():
        if run.get("cohort_hash", opened.hash) != opened.hash:
            raise InputError(f"run {name} was scored on another cohort than {cohort}; name that one with --cohort")


def report_of(
    out: Path,
    score_set: ScoreSet,
    results: list[AuditResult],
    cohort: Path | None,
    *,
    judged: Sequence[str] | None = None,
    seed: int = 0,
) -> Path:
    """The page of audited runs, with the graph, estimand and balance that they declare."""
    from causalecg.cohort.schema import Cohort
    from causalecg.reports.build import write_report
    from causalecg.reports.declared import declared

    found = declared(score_set.runs, list(dict.fromkeys(result.run_id for result in results)))
    return write_report(
        out,
        score_set=score_set,
        results=results,
        cohort=None if cohort is None else Cohort.open(cohort),
        balance=found.balance,
        graph=found.graph,
        estimand=found.estimand,
        judged=judged,
        seed=seed,
    )
