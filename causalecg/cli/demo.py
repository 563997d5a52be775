"""``causalecg demo``: the whole line on a simulated cohort."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

#: One seed of: no adjustment, back-door adjustment, the same with shuffled severity, and the unconfounded oracle.
ARMS = ("none", "backdoor", "placebo:backdoor", "oracle")


def register(app: typer.Typer) -> None:
    @app.command()
    def demo(
        out: Annotated[Path, typer.Option(help="Folder for the cohort, the runs and the report.")] = Path("demo"),
        quick: Annotated[bool, typer.Option(help="A tenth of the size: shows the path, proves nothing.")] = False,
        processes: Annotated[int, typer.Option(min=1, help="Processes of one thread each.")] = 2,
    ) -> None:
        """Simulate a confounded cohort, train four arms with one seed, audit them, and write the report."""
        from causalecg.benchmark.cohort import simulate_cohort
        from causalecg.benchmark.compare import run_comparison
        from causalecg.benchmark.comparison import print_comparison, report_comparison
        from causalecg.cohort.schema import Cohort
        from causalecg.training.config import RunConfig

        size, tested, audited, epochs = (400, 300, 150, 2) if quick else (4000, 3000, 1500, 8)
        folder = out / "cohort"
        if not folder.exists():
            typer.echo("1/3 simulating a cohort in which severity drives both the wording and the answer (rho = .99)")
            simulate_cohort(folder, regime="R1", rho=0.99, items=size, test_items=tested, seed=0, processes=processes)
        cohort = Cohort.open(folder)
        typer.echo(f"2/3 training and scoring {len(ARMS)} arms, one seed: {', '.join(ARMS)}")
        config = RunConfig(epochs=epochs)
        cells = run_comparison(cohort, ARMS, 1, config, out / "comparison", processes=processes, audit_items=audited)
        typer.echo("3/3 auditing, and writing the report")
        page, comparison = report_comparison(cohort, cells, out / "comparison", seed=0)
        print_comparison(comparison)
        typer.echo(f"report: {page}")
