"""``causalecg list``: what can be named on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any

import typer

from causalecg.errors import InputError

#: kind -> (module, function that returns {name: one line about it})
LISTINGS: dict[str, tuple[str, str]] = {
    "adjusters": ("adjusters.registry", "describe"),
    "audits": ("causalecg.audits.suite", "describe"),
    "interventions": ("causalecg.audits.interventions", "describe"),
    "encoders": ("causalecg.models.encoder", "describe"),
    "projectors": ("causalecg.models.projector", "describe"),
    "weights": ("causalecg.models.weights.catalogue", "describe"),
    "severity-scales": ("causalecg.cohort.severity", "describe"),
    "regimes": ("causalecg.benchmark.regimes", "describe"),
    "graphs": ("structural_models.graph", "describe"),
}
#: kind -> (module, function that returns Markdown), where there is more to tell than a line.
TABLES: dict[str, tuple[str, str]] = {"adjusters": ("adjusters.catalogue", "markdown")}


def register(app: typer.Typer) -> None:
    @app.command("list")
    def list_(
        kind: Annotated[str, typer.Argument(help=" | ".join(LISTINGS))],
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
        as_markdown: Annotated[
            bool, typer.Option("--markdown", help="Print Markdown tables; of adjusters, all that their cards say.")
        ] = False,
    ) -> None:
        """What can be named on the command line."""
        if kind not in LISTINGS:
            raise InputError(f"nothing is called '{kind}' to list; choose one of {', '.join(LISTINGS)}")
        if as_json and as_markdown:
            raise InputError("list prints JSON or Markdown, not both; leave out --json or --markdown")
        if as_markdown and kind in TABLES:
            typer.echo(_function(*TABLES[kind])())
            return
        names: dict[str, str] = _function(*LISTINGS[kind])()
        if as_markdown:
            from adjusters.catalogue import table

            typer.echo(table(("name", "what it is"), [(f"`{name}`", line) for name, line in names.items()]))
            return
        if as_json:
            typer.echo(json.dumps(names, indent=2))
            return
        width = max(map(len, names))
        for name, line in names.items():
            typer.echo(f"{name:{width}}  {line}")


def _function(module: str, name: str) -> Callable[[], Any]:
    found: Callable[[], Any] = getattr(import_module(module), name)
    return found
