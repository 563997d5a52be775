"""``causalecg train``: one arm, one seed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    @app.command()
    def train(
        out: Annotated[Path, typer.Option(help="Run folder; an interrupted run goes on where it stopped.")],
        cohort: Annotated[Path | None, typer.Option(help="Cohort folder.")] = None,
        arm: Annotated[
            str | None, typer.Option(help="E.g. none, backdoor?prior=marginal, placebo:ipw, oracle.")
        ] = None,
        config: Annotated[
            Path | None, typer.Option(help="Run configuration, TOML or JSON; or several stages, TOML.")
        ] = None,
        build: Annotated[
            str | None,
            typer.Option(
                help="package.module:function, from a seed to a module of your own that is trained in place of the "
                "composite; looked for in the current folder too."
            ),
        ] = None,
        seed: Annotated[int, typer.Option(min=0, help="Of initial weights, order and all else that is random.")] = 0,
    ) -> None:
        """Train one arm of a cohort, or the stages that a configuration names."""
        from causalecg.cohort.schema import Cohort
        from causalecg.errors import InputError
        from causalecg.processes import processes
        from causalecg.training.builds import imported
        from causalecg.training.config import RunConfig
        from causalecg.training.run import train as train_
        from causalecg.training.stages import has_stages, train_stages

        if has_stages(config):
            if arm is not None:
                raise InputError(f"the stages of {config} name their own arms; leave --arm out")
            if build is not None:
                raise InputError(f"the stages of {config} train the composite, part by part; leave --build out")
            folder = train_stages(str(config), out=out, seed=seed, cohort=cohort)
            if processes().is_main_process:
                typer.echo(f"trained the stages of {config} (seed {seed}); the last one: {folder}")
            return
        if cohort is None or arm is None:
            raise InputError("train needs --cohort and --arm, or a --config that names stages")
        settings = RunConfig() if config is None else RunConfig.read(config)
        scorer = None if build is None else imported(build)
        run = train_(Cohort.open(cohort), arm, settings, seed=seed, out=out, scorer=scorer)
        rows = run.record["rows"]
        if processes().is_main_process:  # one line, however many processes trained it
            typer.echo(
                f"trained {run.arm} (seed {seed}) on {rows['train']} items, {rows['valid']} for validation: {out}"
            )
