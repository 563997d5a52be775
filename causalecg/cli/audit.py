"""``causalecg audit``: what a table of answers shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from causalecg.audits.result import AuditResult
    from causalecg.audits.score_set import ScoreSet
    from causalecg.tables.bad_rows import BadRow

#: As many bad rows are printed.
_PRINTED = 20


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
        check: Annotated[
            bool,
            typer.Option(
                "--check", help="Only check the table: its bad rows, or what it holds and which audits it allows."
            ),
        ] = False,
        seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
        as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    ) -> None:
        """Audit scored models. Exit code 0 pass, 1 failed, 2 bad input, 3 inconclusive or not assessed."""
        import json

        from causalecg.audits.result import EXIT_CODES
        from causalecg.audits.score_set import ScoreSet
        from causalecg.audits.suite import is_learned_from, judged_runs, no_verdict_on, run_suite, verdicts_of
        from causalecg.cli.report import refuse_other_cohort, report_of

        if check:
            _check(scores, as_json)
            return
        opened = ScoreSet.open(scores)
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
            for split in filter(is_learned_from, opened.splits()):
                typer.echo(no_verdict_on(split))
            for name in judged:
                typer.echo(f"{name}: {each[name]} (* required)")
            if page is not None:
                typer.echo(f"report: {page}")
        raise typer.Exit(EXIT_CODES[verdict])


def _check(path: Path, as_json: bool) -> None:
    """What a score folder or table holds. Exit code 2 where rows of it are bad."""
    import json

    from causalecg.audits.answer_table import bad_rows
    from causalecg.audits.score_set import ScoreSet
    from causalecg.audits.suite import is_learned_from, run_suite
    from causalecg.errors import InputError

    try:
        opened = ScoreSet.open(path)
    except InputError:
        bad = bad_rows(path) if path.is_file() else []
        if not bad:
            raise
        _print_bad(path, bad, as_json)
        raise typer.Exit(2) from None
    needs = {
        run: {r.name: r.note if r.interval is None else "" for r in run_suite(opened, "full", run_id=run, replicates=1)}
        for run in opened.runs
    }
    if not as_json:
        _print_clean(path, opened, needs)
        return
    record = {
        "items": len(opened.items),
        "runs": {run: about.get("role", "audited") for run, about in opened.runs.items()},
        "interventions": _counts(opened),
        "lacking": needs,
        "notes": {run: about["notes"] for run, about in opened.runs.items() if about.get("notes")},
        "learned_from": [split for split in opened.splits() if is_learned_from(split)],
        "bad_rows": [],
    }
    typer.echo(json.dumps(record, indent=2))


def _print_bad(path: Path, bad: list[BadRow], as_json: bool) -> None:
    import json

    if as_json:
        typer.echo(json.dumps({"bad_rows": [{"row": one.row, "says": one.says} for one in bad]}, indent=2))
        return
    count = len({one.row for one in bad})
    typer.echo(f"{path} cannot be audited: {count} bad {'row' if count == 1 else 'rows'}", err=True)
    for one in bad[:_PRINTED]:
        typer.echo(f"  {one.says}", err=True)
    if len(bad) > _PRINTED:
        typer.echo(f"  and {len(bad) - _PRINTED} more", err=True)


def _print_clean(path: Path, opened: ScoreSet, needs: dict[str, dict[str, str]]) -> None:
    from causalecg.audits.suite import AUDITS, is_learned_from, no_verdict_on

    typer.echo(f"{path} can be audited: {len(opened.items)} items, runs {', '.join(opened.runs)}")
    for name, rows in _counts(opened).items():
        typer.echo(f"  {rows} rows {name}")
    for split in filter(is_learned_from, opened.splits()):
        typer.echo(f"  {no_verdict_on(split)}")
    for run, about in opened.runs.items():
        for note in about.get("notes", []):
            typer.echo(f"{run}: {note}")
    for run, audits in needs.items():
        typer.echo(f"{run} (* an overall verdict needs it)")
        for audit, missing in audits.items():
            star = "*" if AUDITS[audit].required else ""
            typer.echo(f"  {audit + star:22} {missing or 'can be made'}")


def _counts(opened: ScoreSet) -> dict[str, int]:
    """Intervention -> rows, the intact ones first."""
    rows = opened.scores["intervention"].value_counts()
    return {str(name): int(rows[name]) for name in sorted(rows.index, key=lambda name: (name != "intact", name))}


def _line(result: AuditResult) -> str:
    if result.interval is None:
        value = f"- ({result.note})"
    else:
        value = f"{result.estimate:.3f} ({result.interval[0]:.3f}, {result.interval[1]:.3f}) {result.measure}"
    star = "*" if result.required else " "
    return f"{result.run_id}  {result.name + star:22} {result.verdict:13} {value}"
