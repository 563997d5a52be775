"""``causalecg audit``: what a table of answers shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    @app.command()
    def audit(
        scores: Annotated[Path, typer.Argument(help="Score folder, or a .csv, .jsonl or .parquet table of answers.")],
        out: Annotated[Path | None, typer.Option(help="Folder for the report.")] = None,
        cohort: Annotated[Path | None, typer.Option(help="Cohort folder, for the ECGs of the report.")] = None,
        suite: Annotated[str, typer.Option(help="default, full, or a comma-separated list.")] = "default",
        run: Annotated[str | None, typer.Option(help="Audit this run only; by default every run.")] = None,
        check: Annotated[bool, typer.Option("--check", help="Only check that the table can be read.")] = False,
        seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
        as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    ) -> None:
        """Audit scored models. Exit code 0 pass, 1 a required audit failed, 3 inconclusive or not assessed."""
        import json

        from causalecg.audits.result import EXIT_CODES, overall
        from causalecg.audits.score_set import ScoreSet
        from causalecg.audits.suite import audited_run, run_suite
        from causalecg.cli.report import report_of
        from causalecg.errors import InputError

        opened = ScoreSet.open(scores)
        if check:
            what = ", ".join(sorted(opened.scores["intervention"].unique()))
            typer.echo(f"{scores} can be audited: {len(opened.items)} items, runs {', '.join(opened.runs)}, {what}")
            return
        if run is not None and run not in opened.runs:
            raise InputError(f"no run is called '{run}'; there are {', '.join(opened.runs)}")
        judged = run or audited_run(opened) if len(opened.runs) > 1 or run else next(iter(opened.runs))
        names = [run] if run else [judged, *(name for name in opened.runs if name != judged)]
        results = [result for name in names for result in run_suite(opened, suite, run_id=name, seed=seed)]
        verdict = overall([result for result in results if result.run_id == judged])
        page = None if out is None else report_of(out, opened, results, cohort)
        if as_json:
            typer.echo(json.dumps({"verdict": verdict, "audits": [r.to_dict() for r in results]}, indent=2))
        else:
            for result in results:
                if result.interval is None:
                    value = f"- ({result.note})"
                else:
                    value = (
                        f"{result.estimate:.3f} ({result.interval[0]:.3f}, {result.interval[1]:.3f}) {result.measure}"
                    )
                star = "*" if result.required else " "
                typer.echo(f"{result.run_id}  {result.name + star:22} {result.verdict:13} {value}")
            typer.echo(f"{judged}: {verdict} (* required)")
            if page is not None:
                typer.echo(f"report: {page}")
        raise typer.Exit(EXIT_CODES[verdict])
