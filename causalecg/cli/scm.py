"""``causalecg scm``: the declared causal graph, and what it identifies."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from causalecg.errors import InputError

if TYPE_CHECKING:
    from structural_models.graph import CausalGraph

GraphOption = Annotated[
    str | None,
    typer.Option(
        help="A preset ('causalecg list graphs') or a .dot, .gml or .yaml file; by default the cohort's, else "
        "severity_visible."
    ),
]
CohortOption = Annotated[str | None, typer.Option(help="Cohort folder; names the graph and the columns.")]
SeverityOption = Annotated[str | None, typer.Option(help="Severity scale.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    from causalecg.cli import scm_implications

    group = typer.Typer(help="Causal graphs: what they claim, and what they identify.", no_args_is_help=True)

    @group.command()
    def show(
        graph: GraphOption = None,
        cohort: CohortOption = None,
        severity: SeverityOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """A graph's nodes, arrows, roles and open back-door paths."""
        from structural_models.graph import open_backdoor_paths

        declared, columns = declared_on(graph, cohort, severity)
        paths = [declared.path_text(path) for path in open_backdoor_paths(declared)]
        if as_json:
            record = {**declared.to_dict(), "open_backdoor_paths": paths, "columns": columns}
            typer.echo(json.dumps(record, indent=2, ensure_ascii=False))
            return
        typer.echo(f"{declared.name}: {declared.description}\n")
        for line in node_lines(declared, columns):
            typer.echo(line)
        typer.echo("\narrows")
        for cause, effect in sorted(declared.graph.edges):
            typer.echo(f"  {cause} → {effect}")
        typer.echo("\nopen back-door paths" if paths else "\nno open back-door path")
        for path in paths:
            typer.echo(f"  {path}")

    @group.command()
    def identify(
        graph: GraphOption = None,
        cohort: CohortOption = None,
        severity: SeverityOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """The formula of P(A | E, do(Q)), and what it assumes. Exit code 2 where it is not identified."""
        from structural_models.identification import identify as identify_

        declared, columns = declared_on(graph, cohort, severity)
        estimand = identify_(declared, columns=columns)
        if as_json:
            record = {"graph": declared.to_dict(), "estimand": estimand.to_dict()}
            typer.echo(json.dumps(record, indent=2, ensure_ascii=False))
            return
        typer.echo(f"{declared.name}\n{estimand}")

    scm_implications.register(group)
    app.add_typer(group, name="scm")


def declared_on(text: str | None, cohort: str | None, severity: str | None) -> tuple[CausalGraph, dict[str, str]]:
    """The graph, and the columns of severity and treatment, as the options and the cohort say.

    In a cohort without a scale the severity is unmeasured. Raises InputError where the cohort has no such scale, or
    several and none is named.
    """
    from structural_models.graph import DEFAULT_GRAPH
    from structural_models.graph_files import load_graph

    if cohort is None:
        return load_graph(text or DEFAULT_GRAPH), {} if severity is None else {"severity": f"severity_{severity}"}
    from causalecg.cohort.schema import Cohort

    opened = Cohort.open(cohort)
    scales = opened.severity_scales
    graph = load_graph(text or opened.meta.get("graph") or DEFAULT_GRAPH)
    columns = {"treatment": opened.meta.get("roles", {}).get("treatment", "style")}
    if severity is None and not scales:
        return (graph.with_latent(graph.node("severity")) if "severity" in graph.roles else graph), columns
    if severity is None and len(scales) == 1:
        severity = scales[0]
    if severity not in scales:
        asked = "several severity scales" if severity is None else f"no severity scale '{severity}'"
        have = f"name one of {', '.join(scales)} with --severity" if scales else "it has none"
        raise InputError(f"cohort {cohort} has {asked}; {have}")
    return graph, {**columns, "severity": f"severity_{severity}"}


def node_lines(graph: CausalGraph, columns: dict[str, str]) -> list[str]:
    width = max(map(len, graph.graph))
    lines = []
    for node in sorted(graph.graph):
        role = graph.role_of(node)
        about = [graph.symbol(node) if role else " ", role or "no role"]
        if node in graph.latent:
            about.append("not measured")
        elif role in columns:
            about.append(f"column {columns[role]}")
        lines.append(f"  {node:{width}}  {', '.join(about)}")
    return lines
