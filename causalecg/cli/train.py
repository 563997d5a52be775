"""``causalecg train``: one arm, one seed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    @app.command()
    def train(
        cohort: Annotated[Path, typer.Option(help="Cohort folder.")],
        arm: Annotated[str, typer.Option(help="E.g. none, backdoor?prior=marginal, placebo:ipw, oracle.")],
        out: Annotated[Path, typer.Option(help="Run folder; an interrupted run goes on where it stopped.")],
        config: Annotated[Path | None, typer.Option(help="Run configuration, TOML or JSON.")] = None,
        seed: Annotated[int, typer.Option(min=0, help="Of initial weights, order and all else that is random.")] = 0,
    ) -> None:
        """Train one arm of a cohort."""
        from accelerate import PartialState

        from causalecg.cohort.schema import Cohort
        from causalecg.training.config import RunConfig
        from causalecg.training.run import train as train_

        settings = RunConfig() if config is None else RunConfig.read(config)
        run = train_(Cohort.open(cohort), arm, settings, seed=seed, out=out)
        rows = run.record["rows"]
        if PartialState().is_main_process:  # one line, however many processes trained it
            typer.echo(
                f"trained {run.arm} (seed {seed}) on {rows['train']} items, {rows['valid']} for validation: {out}"
            )
