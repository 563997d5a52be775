"""Reading a causal graph from a DOT, GML or YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import networkx as nx

from structural_models.errors import GraphError
from structural_models.graph import CausalGraph, preset

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


def _read_gml(file: Path) -> CausalGraph:
    try:
        graph = nx.read_gml(file)
    except (nx.NetworkXError, UnicodeDecodeError, ValueError) as error:
        raise GraphError(f"{file} cannot be read as GML: {_one_line(error)}") from error
    return _from_attributes(file, graph)


def _read_dot(file: Path) -> CausalGraph:
    try:
        graph = nx.nx_pydot.read_dot(file)
    except ImportError as error:
        raise GraphError(
            f"{file} is a DOT file, which needs the package pydot; install it or use GML or YAML"
        ) from error
    except Exception as error:  # pydot raises whatever its parser does
        raise GraphError(f"{file} cannot be read as DOT: {_one_line(error)}") from error
    return _from_attributes(file, graph)


def _from_attributes(file: Path, graph: nx.Graph) -> CausalGraph:
    if not graph.is_directed():
        raise GraphError(f"{file} holds an undirected graph; a causal graph needs arrows")
    marks = {node: {k: str(v).strip('"') for k, v in data.items()} for node, data in graph.nodes(data=True)}
    named: dict[str, str] = {}
    for node, data in marks.items():
        role = data.get("role")
        if role is None:
            continue
        if role in named:
            raise GraphError(f"{file} gives the role '{role}' to both '{named[role]}' and '{node}'; choose one")
        named[role] = node
    latent = frozenset(node for node, data in marks.items() if data.get("latent", "").lower() in {"true", "1"})
    about = str(graph.graph.get("description", "")).strip('"')
    return CausalGraph(file.stem, nx.DiGraph(graph), named, latent, about)


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
    graph = nx.DiGraph()
    graph.add_nodes_from(_strings(file, spec, "nodes"))
    for text in _strings(file, spec, "edges"):
        nodes = [part.strip() for part in text.split("->")]
        if len(nodes) < 2 or not all(nodes):
            raise GraphError(f"{file} has the edge '{text}'; write it as 'cause -> effect'")
        nx.add_path(graph, nodes)
    named = {str(role): str(node) for role, node in roles.items()}
    latent = frozenset(_strings(file, spec, "latent"))
    return CausalGraph(str(spec.get("name", file.stem)), graph, named, latent, str(spec.get("description", "")).strip())


def _strings(file: Path, spec: Mapping[str, Any], key: str) -> list[str]:
    values = spec.get(key) or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise GraphError(f"{file}: '{key}' must be a list of texts")
    return values


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
