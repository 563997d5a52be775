"""Causal graphs as DOT, GML and YAML files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import networkx as nx

from structural_models.dot_files import dot_text, read_dot
from structural_models.errors import GraphError
from structural_models.graph import ROLES, CausalGraph, causal_graph, preset

_YAML_KEYS = {"name", "description", "edges", "nodes", "roles", "latent"}


def load_graph(name_or_file: str | Path) -> CausalGraph:
    """A preset by name, or a graph file by its path (anything with a file suffix)."""
    return read_graph(name_or_file) if Path(name_or_file).suffix else preset(str(name_or_file))


def read_graph(path: str | Path) -> CausalGraph:
    """Read a graph with roles.

    DOT (.dot, .gv; needs pydot) and GML (.gml): a node plays a role by its attribute ``role``, and is unmeasured by
    ``latent`` = true or 1. YAML (.yaml, .yml)::

        description: severity is visible, and so is age
        edges: [severity -> question, severity -> answer, question -> answer, ecg -> answer, age -> severity -> ecg]
        roles: {severity: severity, treatment: question, ecg: ecg, outcome: answer}
        latent: []

    Raises:
        GraphError: the file is missing, unreadable or of another kind, or what it declares is not a causal graph.
    """
    file = Path(path)
    if not file.is_file():
        raise GraphError(f"{file} is not a file; give a graph file (.dot, .gml, .yaml) or the name of a preset graph")
    readers = {".dot": _read_dot, ".gv": _read_dot, ".gml": _read_gml, ".yaml": _read_yaml, ".yml": _read_yaml}
    if file.suffix.lower() not in readers:
        raise GraphError(f"{file} is not a graph file this reads; use one of {', '.join(readers)}")
    return readers[file.suffix.lower()](file)


def write_graph(graph: CausalGraph, path: str | Path) -> None:
    """Write a graph that :func:`read_graph` reads back: .yaml, .yml, .dot, .gv or .gml.

    Raises:
        GraphError: another suffix, or a node that YAML's arrows cannot name.
    """
    file = Path(path)
    writers = {".yaml": _yaml_text, ".yml": _yaml_text, ".dot": dot_text, ".gv": dot_text, ".gml": _gml_text}
    if file.suffix.lower() not in writers:
        raise GraphError(f"{file} is no kind of graph file; use one of {', '.join(writers)}")
    file.write_text(writers[file.suffix.lower()](graph), encoding="utf-8")


def _gml_text(graph: CausalGraph) -> str:
    drawn = nx.DiGraph(name=graph.name, description=graph.description)
    for node in sorted(graph.graph):
        role = graph.role_of(node)
        drawn.add_node(node, **({"role": role} if role else {}), **({"latent": 1} if node in graph.latent else {}))
    drawn.add_edges_from(sorted(graph.graph.edges))
    return "\n".join([*nx.generate_gml(drawn), ""])


def _yaml_text(graph: CausalGraph) -> str:
    import yaml

    for node in graph.graph:
        if "->" in node or node != node.strip():
            raise GraphError(f"{node!r} cannot be a node in YAML, where '->' and outer spaces mean the arrow; use DOT")
    spec = {
        "name": graph.name,
        "description": graph.description,
        "edges": [f"{cause} -> {effect}" for cause, effect in sorted(graph.graph.edges)],
        "nodes": sorted(nx.isolates(graph.graph)),
        "roles": {role: graph.roles[role] for role in ROLES if role in graph.roles},
        "latent": sorted(graph.latent),
    }
    return yaml.safe_dump(spec, sort_keys=False, allow_unicode=True, width=120)


def _read_gml(file: Path) -> CausalGraph:
    try:
        graph = nx.read_gml(file)
    except (nx.NetworkXError, UnicodeDecodeError, ValueError) as error:
        raise GraphError(f"{file} cannot be read as GML: {_one_line(error)}") from error
    return _from_attributes(file, nx.relabel_nodes(graph, str))


def _read_dot(file: Path) -> CausalGraph:
    return _from_attributes(file, read_dot(file))


def _from_attributes(file: Path, graph: nx.Graph) -> CausalGraph:
    about = str(graph.graph.get("description", ""))
    return causal_graph(graph, name=str(graph.graph.get("name") or file.stem), description=about)


def _read_yaml(file: Path) -> CausalGraph:
    import yaml

    try:
        spec = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GraphError(f"{file} cannot be read as YAML: {_one_line(error)}") from error
    if not isinstance(spec, dict) or "edges" not in spec:
        raise GraphError(f"{file} is not a graph: it needs at least 'edges' and 'roles'")
    unknown = sorted(set(map(str, spec)) - _YAML_KEYS)
    if unknown:
        raise GraphError(f"{file} holds the unknown key '{unknown[0]}'; known are {', '.join(sorted(_YAML_KEYS))}")
    roles = spec.get("roles") or {}
    if not isinstance(roles, Mapping):
        raise GraphError(f"{file}: 'roles' must map each role to a node, e.g. {{treatment: question}}")
    return causal_graph(
        _strings(file, spec, "edges"),
        {str(role): str(node) for role, node in roles.items()},
        latent=_strings(file, spec, "latent"),
        name=str(spec.get("name") or file.stem),
        description=str(spec.get("description") or "").strip(),
        nodes=_strings(file, spec, "nodes"),
    )


def _strings(file: Path, spec: Mapping[str, Any], key: str) -> list[str]:
    values = spec.get(key) or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise GraphError(f"{file}: '{key}' must be a list of texts")
    return values


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
