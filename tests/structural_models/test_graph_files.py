from __future__ import annotations

import sys
from pathlib import Path

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structural_models.errors import GraphError
from structural_models.graph import PRESETS, CausalGraph, causal_graph, preset
from structural_models.graph_files import load_graph, read_graph, write_graph

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
        ("g.yaml", "edges: [q -> a]\nroles: {name: q}", "unknown role 'name'"),
        ("g.dot", "digraph { a -> b", "cannot be read as DOT: Expected"),
        ("g.dot", "", "cannot be read as DOT"),
        ("g.dot", "graph { a -- b }", "undirected"),
        ("g.dot", "digraph { a -> b } digraph { c -> d }", "holds 2 graphs"),
        ("g.dot", "digraph { a -> b [dir=both] }", "a common cause nobody has measured as a node"),
        ("g.dot", "digraph { a [role=treatment]; b [role=treatment]; a -> b }", "to both 'a' and 'b'"),
        ("g.txt", "q -> a", "not a graph file"),
    ],
)
def test_bad_files_are_refused_in_one_sentence(name: str, text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(GraphError, match=says) as caught:
        read_graph(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_nothing_is_printed_where_dot_is_broken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """pydot's parser complains on standard output, where --json should stand alone."""
    (tmp_path / "g.dot").write_text("digraph { a -> ")
    with pytest.raises(GraphError):
        read_graph(tmp_path / "g.dot")
    assert capsys.readouterr().out == ""


QUIRKS = """
digraph "all of it" {
  graph [rankdir=LR]; description="quotes, ports, subgraphs";
  node [shape=box]; edge [color=red];
  "the question" [role=treatment]; answer [role="outcome", label=<A<sub>1</sub>>];
  node [latent=true]; u; "a \\"hidden\\" one";
  node [latent=false]; subgraph cluster_x { label="measured"; severity [role=severity]; severity -> answer:n };
  {u "a \\"hidden\\" one"} -> severity -> {"the question" "node"}; // "node" in quotes is a node
  "node" -> answer; "the question" -> answer; "the question" -> answer


}

"""


def test_dot_as_people_write_it(tmp_path: Path) -> None:
    (tmp_path / "g.dot").write_text(QUIRKS.replace("\\\\", "\\"))
    graph = read_graph(tmp_path / "g.dot")
    assert (graph.name, graph.description) == ("all of it", "quotes, ports, subgraphs")
    assert graph.roles == {"treatment": "the question", "outcome": "answer", "severity": "severity"}
    assert graph.latent == {"u", 'a "hidden" one'}
    assert sorted(graph.graph.edges) == [
        ('a "hidden" one', "severity"),
        ("node", "answer"),
        ("severity", "answer"),
        ("severity", "node"),
        ("severity", "the question"),
        ("the question", "answer"),
        ("u", "severity"),
    ]


@pytest.mark.parametrize("suffix", ["yaml", "yml", "dot", "gv", "gml"])
@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_read_back_as_written(name: str, suffix: str, tmp_path: Path) -> None:
    write_graph(preset(name), tmp_path / f"g.{suffix}")
    assert read_graph(tmp_path / f"g.{suffix}").to_dict() == preset(name).to_dict()


NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=6
).filter(lambda text: "\\" not in text)


@settings(max_examples=60, deadline=None)
@given(
    names=st.lists(
        NAMES.filter(lambda name: name.strip() == name and "->" not in name), min_size=3, max_size=5, unique=True
    ),
    pairs=st.sets(st.tuples(st.integers(0, 4), st.integers(0, 4))),
    hidden=st.sets(st.integers(2, 4)),
    about=NAMES,
)
@pytest.mark.parametrize("suffix", ["yaml", "dot", "gml"])
def test_any_graph_is_read_back_as_written(suffix: str, tmp_path_factory, names, pairs, hidden, about: str) -> None:
    drawn = nx.DiGraph()
    drawn.add_nodes_from(names)
    drawn.add_edges_from((names[i], names[j]) for i, j in pairs if i < j < len(names))
    latent = frozenset(names[i] for i in hidden if i < len(names))
    graph = CausalGraph(
        f"g {about.strip()}", drawn, {"treatment": names[0], "outcome": names[1]}, latent, about.strip()
    )
    file = tmp_path_factory.mktemp("graph") / f"g.{suffix}"
    write_graph(graph, file)
    assert read_graph(file).to_dict() == graph.to_dict()


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="no kind of graph file"):
        write_graph(preset("reference_paper"), tmp_path / "g.txt")
    odd = causal_graph([("x->y", "a"), ("q", "a")], {"treatment": "q", "outcome": "a"})
    with pytest.raises(GraphError, match="cannot be a node in YAML"):
        write_graph(odd, tmp_path / "g.yaml")
    for name in ("x\\", 'x\\"'):
        with pytest.raises(GraphError, match="its backslash; use YAML or GML"):
            write_graph(causal_graph([(name, "a"), ("q", "a")], {"treatment": "q", "outcome": "a"}), tmp_path / "g.dot")


def test_a_missing_file_and_a_missing_dot_reader_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GraphError, match="is not a file"):
        read_graph(tmp_path / "g.dot")
    (tmp_path / "g.dot").write_text(DOT)
    monkeypatch.setitem(sys.modules, "pydot", None)
    with pytest.raises(GraphError, match="needs the package pydot"):
        read_graph(tmp_path / "g.dot")
