"""``causalecg compare``: arms over seeds, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    @app.command()
    def compare(
        cohort: Annotated[Path, typer.Option(help="Cohort folder.")],
        arms: Annotated[str, typer.Option(help="Comma-separated, e.g. none,backdoor,placebo:ipw,oracle.")],
        out: Annotated[Path, typer.Option(help="Folder for runs, scores and the report; goes on where it stopped.")],
        seeds: Annotated[int, typer.Option(min=1, help="Seeds 0 to N-1 for every arm.")] = 5,
        config: Annotated[Path | None, typer.Option(help="Run configuration, TOML or JSON.")] = None,
        processes: Annotated[int, typer.Option(min=1, help="Processes of one thread each.")] = 2,
        audit_items: Annotated[int, typer.Option(min=1, help="Items put through the interventions.")] = 2000,
        as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
    ) -> None:
        """Train, score and audit every arm with every seed, and write one report."""
        import json

        from causalecg.benchmark.compare import run_comparison
        from causalecg.benchmark.comparison import print_comparison, report_comparison
        from causalecg.cohort.schema import Cohort
        from causalecg.training.config import RunConfig

        opened = Cohort.open(cohort)
        settings = RunConfig() if config is None else RunConfig.read(config)
        names = [name.strip() for name in arms.split(",") if name.strip()]
        cells = run_comparison(
            opened, names, seeds, settings, out, processes=processes, audit_items=audit_items, progress=not as_json
        )
        page, comparison = report_comparison(opened, cells, out, seed=0)
        if as_json:
            typer.echo(json.dumps(comparison, indent=2))
            return
        print_comparison(comparison)
        typer.echo(f"report: {page}")
