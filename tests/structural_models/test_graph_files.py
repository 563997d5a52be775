from __future__ import annotations

import sys
from pathlib import Path

import networkx as nx
import pytest

from structural_models.errors import GraphError
from structural_models.graph_files import load_graph, read_graph

YAML = """
description: age too
edges: [age -> severity -> question, severity -> answer, question -> answer, ecg -> answer]
roles: {severity: severity, treatment: question, ecg: ecg, outcome: answer}
latent: [age]
"""
DOT = """digraph {
  age [latent=true]; severity [role=severity]; question [role=treatment]; ecg [role="ecg"]; answer [role=outcome];
  age -> severity -> question; severity -> answer; question -> answer; ecg -> answer
}"""


def write_gml(path: Path) -> None:
    graph = nx.DiGraph(
        [
            ("age", "severity"),
            ("severity", "question"),
            ("severity", "answer"),
            ("question", "answer"),
            ("ecg", "answer"),
        ]
    )
    roles = {"severity": "severity", "question": "treatment", "ecg": "ecg", "answer": "outcome"}
    nx.set_node_attributes(graph, roles, "role")
    graph.nodes["age"]["latent"] = 1
    nx.write_gml(graph, path)


@pytest.mark.parametrize("suffix", ["yaml", "dot", "gml"])
def test_the_three_formats_read_the_same_graph(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"mine.{suffix}"
    if suffix == "gml":
        write_gml(file)
    elif suffix == "dot":
        pytest.importorskip("pydot")
        file.write_text(DOT)
    else:
        file.write_text(YAML)
    graph = load_graph(file)
    assert graph.name == "mine"
    assert sorted(graph.graph.edges) == [
        ("age", "severity"),
        ("ecg", "answer"),
        ("question", "answer"),
        ("severity", "answer"),
        ("severity", "question"),
    ]
    assert graph.roles == {"severity": "severity", "treatment": "question", "ecg": "ecg", "outcome": "answer"}
    assert graph.latent == {"age"}


def test_a_name_without_suffix_is_a_preset() -> None:
    assert load_graph("reference_paper").name == "reference_paper"


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("g.yaml", "edges: [a -> b", "cannot be read as YAML"),
        ("g.yaml", "- a", "needs at least 'edges' and 'roles'"),
        ("g.yaml", "edges: [a -> b]\nrole: {}", "unknown key 'role'"),
        ("g.yaml", "edges: [a - b]\nroles: {}", "'cause -> effect'"),
        ("g.yaml", "edges: [q -> a, a -> q]\nroles: {treatment: q, outcome: a}", "cycle"),
        ("g.yaml", "edges: [q -> a]\nroles: [q]", "must map each role"),
        ("g.gml", "graph [", "cannot be read as GML"),
        ("g.gml", 'graph [ node [ id 0 label "q" ] ]', "undirected"),
        ("g.txt", "q -> a", "not a graph file"),
    ],
)
def test_bad_files_are_refused_in_one_sentence(name: str, text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(GraphError, match=says) as caught:
        read_graph(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_missing_dot_reader_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GraphError, match="is not a file"):
        read_graph(tmp_path / "g.dot")
    (tmp_path / "g.dot").write_text(DOT)
    monkeypatch.setitem(sys.modules, "pydot", None)
    with pytest.raises(GraphError, match="needs the package pydot"):
        read_graph(tmp_path / "g.dot")
