"""``causalecg audit``: what a table of answers shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from causalecg.audits.result import AuditResult


def register(app: typer.Typer) -> None:
    @app.command()
    def audit(
        scores: Annotated[Path, typer.Argument(help="Score folder, or a .csv, .jsonl or .parquet table of answers.")],
        out: Annotated[Path | None, typer.Option(help="Folder for the report.")] = None,
        cohort: Annotated[Path | None, typer.Option(help="Cohort folder, for the ECGs of the report.")] = None,
        suite: Annotated[
            str,
            typer.Option(
                help="default, full, or a comma-separated list. A verdict needs accuracy, follow_rate and "
                "adversarial_wording; without one of them it is 'not assessed'."
            ),
        ] = "default",
        run: Annotated[
            str | None, typer.Option(help="Audit this run only; by default every run, judging those of role audited.")
        ] = None,
        check: Annotated[bool, typer.Option("--check", help="Only check that the table can be read.")] = False,
        seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
        as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    ) -> None:
        """Audit scored models. Exit code 0 pass, 1 a required audit failed, 3 inconclusive or not assessed."""
        import json

        from causalecg.audits.result import EXIT_CODES
        from causalecg.audits.score_set import ScoreSet
        from causalecg.audits.suite import judged_runs, run_suite, verdicts_of
        from causalecg.cli.report import refuse_other_cohort, report_of

        opened = ScoreSet.open(scores)
        if check:
            what = ", ".join(sorted(opened.scores["intervention"].unique()))
            typer.echo(f"{scores} can be audited: {len(opened.items)} items, runs {', '.join(opened.runs)}, {what}")
            return
        if cohort is not None:
            refuse_other_cohort(opened, cohort)
        judged = judged_runs(opened) if run is None else [run]
        names = [*judged, *(name for name in opened.runs if run is None and name not in judged)]
        results = [result for name in names for result in run_suite(opened, suite, run_id=name, seed=seed)]
        verdict, each = verdicts_of(results, judged)
        page = None if out is None else report_of(out, opened, results, cohort, judged=judged, seed=seed)
        if as_json:
            record = {"verdict": verdict, "runs": each, "audits": [r.to_dict() for r in results]}
            typer.echo(json.dumps(record, indent=2, allow_nan=False))
        else:
            for result in results:
                typer.echo(_line(result))
            for name in names:
                for note in opened.runs[name].get("notes", []):
                    typer.echo(f"{name}: {note}")
            for name in judged:
                typer.echo(f"{name}: {each[name]} (* required)")
            if page is not None:
                typer.echo(f"report: {page}")
        raise typer.Exit(EXIT_CODES[verdict])


def _line(result: AuditResult) -> str:
    if result.interval is None:
        value = f"- ({result.note})"
    else:
        value = f"{result.estimate:.3f} ({result.interval[0]:.3f}, {result.interval[1]:.3f}) {result.measure}"
    star = "*" if result.required else " "
    return f"{result.run_id}  {result.name + star:22} {result.verdict:13} {value}"
