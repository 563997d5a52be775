"""``causalecg report``: the page again, from a score or comparison folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from causalecg.audits.result import AuditResult
    from causalecg.audits.score_set import ScoreSet


def register(app: typer.Typer) -> None:
    @app.command()
    def report(
        folder: Annotated[Path, typer.Argument(help="Score folder or comparison folder.")],
        cohort: Annotated[Path | None, typer.Option(help="Cohort folder; needed for a comparison.")] = None,
        out: Annotated[Path | None, typer.Option(help="Folder for the report; default FOLDER/report.")] = None,
        seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    ) -> None:
        """Write the report of what has been scored."""
        from causalecg.errors import InputError

        if (folder / "compare.json").exists():
            from causalecg.benchmark.cells import finished_cells
            from causalecg.benchmark.comparison import report_comparison
            from causalecg.cohort.schema import Cohort

            if cohort is None:
                raise InputError(f"{folder} is a comparison; name its cohort with --cohort")
            page, _ = report_comparison(Cohort.open(cohort), finished_cells(folder), folder, seed=seed)
        else:
            from causalecg.audits.score_set import ScoreSet
            from causalecg.audits.suite import run_suite

            opened = ScoreSet.open(folder)
            results = [r for name in opened.runs for r in run_suite(opened, run_id=name, seed=seed)]
            page = report_of(out or folder / "report", opened, results, cohort)
        typer.echo(f"report: {page}")


def report_of(out: Path, score_set: ScoreSet, results: list[AuditResult], cohort: Path | None) -> Path:
    """The page of audited runs; the declared graph is that of the default preset."""
    from causalecg.cohort.schema import Cohort
    from causalecg.reports.build import write_report
    from structural_models.graph import preset

    opened = None if cohort is None else Cohort.open(cohort)
    return write_report(out, score_set=score_set, results=results, cohort=opened, graph=preset("severity_visible"))
