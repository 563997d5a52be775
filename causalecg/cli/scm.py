"""``causalecg scm``: the declared causal graph, and what it identifies."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from causalecg.errors import InputError

if TYPE_CHECKING:
    from structural_models.estimand import Estimand
    from structural_models.graph import CausalGraph
    from structural_models.identified_law import IdentifiedLaw

GraphOption = Annotated[
    str | None,
    typer.Option(
        help="A preset ('causalecg list graphs') or a .dot, .gml or .yaml file; by default the cohort's, else "
        "severity_visible."
    ),
]
CohortOption = Annotated[str | None, typer.Option(help="Cohort folder; names the graph and the columns.")]
SeverityOption = Annotated[str | None, typer.Option(help="Severity scale.")]
#: A graph of many linked confounders has more open paths than anyone reads.
_PATHS = 100
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Method(StrEnum):
    """How ``identify`` looks for a formula."""

    minimal = "minimal"
    efficient = "efficient"
    auto = "auto"
    complete = "complete"


def register(app: typer.Typer) -> None:
    # Their files take the options from this one.
    from causalecg.cli import scm_effects, scm_implications, scm_sensitivity

    group = typer.Typer(help="Causal graphs: what they claim, and what they identify.", no_args_is_help=True)

    @group.command()
    def show(
        graph: GraphOption = None,
        cohort: CohortOption = None,
        severity: SeverityOption = None,
        given: Annotated[
            str | None, typer.Option(help="Roles or nodes adjusted for, with commas; the paths left open are shown.")
        ] = None,
        out: Annotated[
            str | None,
            typer.Option(help="Draw it (.svg, .png or .pdf), or write it as a graph file (.dot, .gml or .yaml)."),
        ] = None,
        as_json: JsonOption = False,
    ) -> None:
        """A graph's nodes, arrows, roles and open back-door paths (the 100 shortest)."""
        from structural_models.graph import open_backdoor_paths

        declared, columns = declared_on(graph, cohort, severity)
        held = [declared.roles.get(name.strip(), name.strip()) for name in given.split(",")] if given else []
        paths = [declared.path_text(path) for path in open_backdoor_paths(declared, held, most=_PATHS)]
        if out is not None:
            write_graph_to(Path(out), declared, held)
        if as_json:
            record = {**declared.to_dict(), "given": held, "open_backdoor_paths": paths, "columns": columns}
            typer.echo(json.dumps(record, indent=2, ensure_ascii=False))
            return
        typer.echo(f"{declared.name}: {declared.description}\n")
        for line in node_lines(declared, columns):
            typer.echo(line)
        typer.echo("\narrows")
        for cause, effect in sorted(declared.graph.edges):
            typer.echo(f"  {cause} → {effect}")
        after = f" given {', '.join(held)}" if held else ""
        typer.echo(f"\nopen back-door paths{after}" if paths else f"\nno open back-door path{after}")
        for path in paths:
            typer.echo(f"  {path}")

    @group.command()
    def identify(
        graph: GraphOption = None,
        cohort: CohortOption = None,
        severity: SeverityOption = None,
        method: Annotated[
            Method,
            typer.Option(
                help="minimal: the smallest adjustment set; efficient: the one of smallest variance; auto: adjustment, "
                "else a front door, else the ID algorithm; complete: the ID algorithm."
            ),
        ] = Method.minimal,
        as_json: JsonOption = False,
    ) -> None:
        """The formula of P(A | E, do(Q)), and what it assumes. Exit code 2 where it is not identified."""
        from structural_models.identification import identify as identify_
        from structural_models.identification import identify_law

        declared, columns = declared_on(graph, cohort, severity)
        routes: dict[Method, Callable[[], Estimand | IdentifiedLaw]] = {
            Method.minimal: lambda: identify_(declared, columns=columns),
            Method.efficient: lambda: identify_(declared, columns=columns, method="efficient"),
            Method.auto: lambda: identify_law(declared),
            Method.complete: lambda: identify_law(declared, method="complete"),
        }
        found = routes[method]()
        key = "law" if method in (Method.auto, Method.complete) else "estimand"
        if as_json:
            record = {"graph": declared.to_dict(), "method": method.value, key: found.to_dict()}
            typer.echo(json.dumps(record, indent=2, ensure_ascii=False))
            return
        typer.echo(f"{declared.name}\n{found}")

    scm_effects.register(group)
    scm_sensitivity.register(group)
    scm_implications.register(group)
    app.add_typer(group, name="scm")


def write_graph_to(file: Path, graph: CausalGraph, given: Sequence[str]) -> None:
    """Draw the graph, or write it as a graph file, as the suffix says. Raises InputError for another suffix."""
    drawings, texts = (".svg", ".png", ".pdf"), (".dot", ".gv", ".gml", ".yaml", ".yml")
    suffix = file.suffix.lower()
    if suffix not in (*drawings, *texts):
        raise InputError(f"--out {file} is neither a drawing nor a graph file; end it in {', '.join(drawings + texts)}")
    if not file.parent.is_dir():
        raise InputError(f"--out {file} lies in a folder that does not exist; make {file.parent} first")
    partial = file.with_name(f".{file.stem}.partial{suffix}")
    try:
        if suffix in texts:
            from structural_models.graph_files import write_graph

            write_graph(graph, partial)
        elif suffix == ".svg":
            from causalecg.reports.figures import graph_figure

            partial.write_text(graph_figure(graph, given), encoding="utf-8")
        else:
            from causalecg.reports.graph_drawing import draw_graph

            draw_graph(graph, given).savefig(partial, dpi=200, facecolor="white")
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


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
