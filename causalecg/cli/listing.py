"""``causalecg list``: what can be named on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from typing import Annotated

import typer

from causalecg.errors import InputError

#: kind -> (module, function that returns {name: one line about it})
LISTINGS: dict[str, tuple[str, str]] = {
    "adjusters": ("adjusters.registry", "describe"),
    "audits": ("causalecg.audits.suite", "describe"),
    "interventions": ("causalecg.audits.interventions", "describe"),
    "encoders": ("causalecg.models.encoder", "describe"),
    "projectors": ("causalecg.models.projector", "describe"),
    "severity-scales": ("causalecg.cohort.severity", "describe"),
    "regimes": ("causalecg.benchmark.regimes", "describe"),
    "graphs": ("structural_models.graph", "describe"),
}


def register(app: typer.Typer) -> None:
    @app.command("list")
    def list_(
        kind: Annotated[str, typer.Argument(help=" | ".join(LISTINGS))],
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ) -> None:
        """What can be named on the command line."""
        if kind not in LISTINGS:
            raise InputError(f"nothing is called '{kind}' to list; choose one of {', '.join(LISTINGS)}")
        module, function = LISTINGS[kind]
        describe: Callable[[], dict[str, str]] = getattr(import_module(module), function)
        names = describe()
        if as_json:
            typer.echo(json.dumps(names, indent=2))
            return
        width = max(map(len, names))
        for name, line in names.items():
            typer.echo(f"{name:{width}}  {line}")
