"""Causal graphs in Graphviz's DOT language."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import networkx as nx

from structural_models.errors import GraphError
from structural_models.graph import CausalGraph


def read_dot(file: Path) -> nx.DiGraph:
    """Nodes with their attributes, arrows, and the graph's own attributes (with "name" where the file gives one).

    Subgraphs count, and so do defaults (``node [latent=true]``), for the nodes that first appear after them. Ports
    (``a:n``) do not.

    Raises:
        GraphError: pydot is missing, the file is not one directed DOT graph, or an edge is drawn with another direction
            than the one it is written in.
    """
    try:
        import pydot
    except ImportError as error:
        raise GraphError(
            f"{file} is a DOT file, which needs the package pydot; install it or use GML or YAML"
        ) from error
    said = io.StringIO()
    with redirect_stdout(said):  # where pydot's parser complains
        try:
            found = pydot.graph_from_dot_data(file.read_text(encoding="utf-8"))
        except Exception as error:  # pydot raises whatever its parser does
            raise GraphError(f"{file} cannot be read as DOT: {' '.join(str(error).split())}") from error
    if not found:
        why = said.getvalue().strip().rpartition("\n")[2] or "it holds no graph"
        raise GraphError(f"{file} cannot be read as DOT: {why}")
    if len(found) > 1:
        raise GraphError(f"{file} holds {len(found)} graphs; keep the one that is meant")
    if found[0].get_type() != "digraph":
        raise GraphError(f"{file} holds an undirected graph; a causal graph needs arrows: digraph {{ a -> b }}")
    graph = nx.DiGraph(**{key: _bare(value) for key, value in found[0].get_attributes().items()})
    _add(file, graph, found[0], {})
    name = _bare(found[0].get_name())
    if name:
        graph.graph["name"] = name
    return graph


def _add(file: Path, graph: nx.DiGraph, part: Any, inherited: Mapping[str, str]) -> None:
    """Nodes, edges and subgraphs of ``part``, in the order of the file."""
    defaults = dict(inherited)
    members = [*part.get_nodes(), *part.get_edges(), *part.get_subgraphs()]
    for member in sorted(members, key=lambda found: found.get_sequence()):
        attributes = {key: _bare(value) for key, value in member.get_attributes().items()}
        if hasattr(member, "get_source"):
            for cause in _ends(member.get_source()):
                for effect in _ends(member.get_destination()):
                    if attributes.get("dir", "forward") != "forward":
                        raise GraphError(
                            f"{file} draws {cause} -> {effect} with dir={attributes['dir']}; write the arrow as it "
                            "points, and a common cause nobody has measured as a node with latent=true"
                        )
                    for node in (cause, effect):
                        if node not in graph:
                            graph.add_node(node, **defaults)
                    graph.add_edge(cause, effect)
        elif hasattr(member, "get_nodes"):
            _add(file, graph, member, defaults)
        elif member.get_name() == "node":
            defaults.update(attributes)
        elif member.get_name() not in ("edge", "graph", '"\\n"', '"\\r\\n"'):  # pydot makes nodes of blank lines
            node = _node(member.get_name())
            graph.add_node(node, **{**({} if node in graph else defaults), **attributes})


def _ends(end: Any) -> Iterator[str]:
    """The nodes an edge's end stands for: one, or those of {a b}."""
    if isinstance(end, str):
        yield _node(end)
    else:
        yield from map(_node, end["nodes"])


def _node(name: str) -> str:
    return _bare(name if name.startswith('"') else name.partition(":")[0])


def _bare(text: Any) -> str:
    """Without its quotation marks."""
    text = str(text)
    return text[1:-1].replace('\\"', '"') if len(text) > 1 and text[0] == text[-1] == '"' else text


def dot_text(graph: CausalGraph) -> str:
    """DOT that :func:`read_dot` reads back; unmeasured nodes are dashed.

    Raises:
        GraphError: a text has a backslash at its end or before a quotation mark, which DOT cannot say.
    """
    lines = [f"digraph {_quoted(graph.name)} {{", f"  description={_quoted(graph.description)};"]
    for node in sorted(graph.graph):
        role = graph.role_of(node)
        marks = [f"role={role}"] * (role is not None) + ["latent=true", "style=dashed"] * (node in graph.latent)
        lines.append(f"  {_quoted(node)}{' [' + ', '.join(marks) + ']' if marks else ''};")
    lines += [f"  {_quoted(cause)} -> {_quoted(effect)};" for cause, effect in sorted(graph.graph.edges)]
    return "\n".join([*lines, "}", ""])


def _quoted(text: str) -> str:
    if text.endswith("\\") or '\\"' in text:
        raise GraphError(f"{text!r} cannot be written in DOT because of its backslash; use YAML or GML")
    return '"' + text.replace('"', '\\"') + '"'
