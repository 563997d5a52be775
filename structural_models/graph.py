"""A declared causal graph: nodes, what role each plays, and which of them nobody has measured."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Any

import networkx as nx

from structural_models.errors import GraphError

#: role -> (letter used in formulas, what it is)
ROLES: dict[str, tuple[str, str]] = {
    "severity": ("S", "how ill the patient is"),
    "treatment": ("Q", "the question, or its style where topic and style are told apart (then F)"),
    "topic": ("T", "the finding asked about"),
    "finding": ("D", "the finding itself, as it shows in the ECG"),
    "ecg": ("E", "the ECG"),
    "outcome": ("A", "the answer"),
}

Path = list[str]


@dataclass(frozen=True)
class CausalGraph:
    """A directed acyclic graph with roles.

    Attributes:
        name: how it is called in reports.
        graph: nodes and edges; copied and frozen here.
        roles: role (a key of :data:`ROLES`) -> node. "treatment" and "outcome" are required.
        latent: nodes nobody has measured.
        description: what the graph claims, in plain sentences.

    Raises:
        GraphError: a node that is no text, a cycle, an unknown role, a role or latent node that is not in the graph,
            two roles on one node, or a treatment or outcome that is missing or latent.
    """

    name: str
    graph: nx.DiGraph
    roles: Mapping[str, str]
    latent: frozenset[str] = field(default_factory=frozenset)
    description: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "graph", nx.freeze(nx.DiGraph(self.graph)))
        object.__setattr__(self, "roles", dict(self.roles))
        object.__setattr__(self, "latent", frozenset(self.latent))
        where = f"graph '{self.name}'"
        for node in self.graph:
            if not isinstance(node, str) or not node.strip():
                raise GraphError(f"{where} has a node {node!r}; nodes are named by a text that is not empty")
        if not nx.is_directed_acyclic_graph(self.graph):
            cycle = nx.find_cycle(self.graph)
            around = " -> ".join(str(node) for node in (*(edge[0] for edge in cycle), cycle[0][0]))
            raise GraphError(f"{where} has the cycle {around}; it must be acyclic, so remove one of these edges")
        for role, node in self.roles.items():
            if role not in ROLES:
                raise GraphError(f"{where} uses the unknown role '{role}'; roles are {', '.join(ROLES)}")
            self.require_node(node, f"as its {role}")
        for node in sorted(self.latent):
            self.require_node(node, "as latent")
        if len(set(self.roles.values())) < len(self.roles):
            twice = sorted(n for n in set(self.roles.values()) if list(self.roles.values()).count(n) > 1)
            raise GraphError(f"{where} gives node '{twice[0]}' two roles; give each role a node of its own")
        for role in ("treatment", "outcome"):
            if self.node(role) in self.latent:
                raise GraphError(f"{where} declares its {role} '{self.node(role)}' latent; it must be observed")

    def require_node(self, node: str, what: str) -> None:
        """Raise GraphError unless ``node`` is in the graph."""
        if node not in self.graph:
            nodes = ", ".join(map(str, self.graph))
            raise GraphError(f"graph '{self.name}' names '{node}' {what}, which is not one of its nodes ({nodes})")

    def node(self, role: str) -> str:
        """The node that plays ``role``. Raises GraphError where none does."""
        if role not in self.roles:
            raise GraphError(f"graph '{self.name}' has no node in the role '{role}'; declare one")
        return self.roles[role]

    def role_of(self, node: str) -> str | None:
        return next((role for role, name in self.roles.items() if name == node), None)

    def key(self, node: str) -> str:
        """The role of a node, or its own name where it has none."""
        return self.role_of(node) or node

    def symbol(self, node: str) -> str:
        """The letter of a node in formulas, or its name where it has no role."""
        role = self.role_of(node)
        if role is None:
            return node
        return "F" if role == "treatment" and "topic" in self.roles else ROLES[role][0]

    @property
    def observed(self) -> frozenset[str]:
        return frozenset(self.graph) - self.latent

    def with_latent(self, *nodes: str) -> CausalGraph:
        """The same graph with further nodes declared unmeasured."""
        return CausalGraph(self.name, self.graph, self.roles, self.latent | set(nodes), self.description)

    def independent(self, first: Collection[str], second: Collection[str], given: Collection[str] = ()) -> bool:
        """Whether the graph implies ``first`` ⟂ ``second`` given ``given`` (d-separation)."""
        return bool(nx.is_d_separator(self.graph, set(first), set(second), set(given)))

    def path_text(self, path: Sequence[str]) -> str:
        """A path as it is drawn, e.g. "question ← severity → answer"."""
        arrows = (f"{'→' if self.graph.has_edge(a, b) else '←'} {b}" for a, b in pairwise(path))
        return " ".join([path[0], *arrows])

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "description": self.description,
            "nodes": sorted(self.graph),
            "edges": sorted([a, b] for a, b in self.graph.edges),
            "roles": {role: self.roles[role] for role in ROLES if role in self.roles},
            "latent": sorted(self.latent),
        }


def causal_graph(
    arrows: nx.DiGraph | Iterable[str | tuple[str, str]],
    roles: Mapping[str, str] | None = None,
    *,
    nodes: Collection[str] = (),
    latent: Collection[str] = (),
    name: str = "user graph",
    description: str = "",
) -> CausalGraph:
    """A graph of one's own, e.g. ``causal_graph(["s -> q -> a", "s -> a"], {"treatment": "q", "outcome": "a"})``.

    Args:
        arrows: "cause -> effect", chains of them, or pairs (cause, effect); or a networkx graph, whose nodes may carry
            their ``role`` and ``latent`` (true or 1) as attributes.
        roles: role (a key of :data:`ROLES`) -> node; goes before the attributes.
        nodes: further nodes, which may have no arrow.
        latent: nodes nobody has measured, besides those so marked.

    Raises:
        GraphError: as :class:`CausalGraph`; an arrow that is none; a role given twice; an undirected graph.
    """
    if isinstance(arrows, nx.Graph):
        if not arrows.is_directed():
            raise GraphError(f"graph '{name}' is undirected; a causal graph needs arrows")
        drawn = nx.DiGraph(arrows)
    else:
        drawn = nx.DiGraph()
        for arrow in arrows:
            chain = [part.strip() for part in arrow.split("->")] if isinstance(arrow, str) else list(arrow)
            if len(chain) < 2 or not all(chain):
                raise GraphError(f"graph '{name}' has the edge '{arrow}'; write it as 'cause -> effect'")
            nx.add_path(drawn, chain)
    drawn.add_nodes_from(nodes)
    marked: dict[str, str] = {}
    for node, role in drawn.nodes(data="role"):
        if role is not None and marked.setdefault(str(role), node) != node:
            raise GraphError(
                f"graph '{name}' gives the role '{role}' to both '{marked[role]}' and '{node}'; choose one"
            )
    hidden = {node for node, mark in drawn.nodes(data="latent") if str(mark).lower() in {"true", "1"}}
    return CausalGraph(name, drawn, {**marked, **(roles or {})}, frozenset(latent) | hidden, description)


def open_backdoor_paths(graph: CausalGraph, given: Collection[str] = (), most: int | None = None) -> list[Path]:
    """Paths from treatment to outcome that begin with an arrow into the treatment and carry association.

    Args:
        graph: latent nodes count like any other.
        given: nodes conditioned on. A collider on the path opens it when it, or a descendant of it, is among them.
        most: stop after so many; the number of paths grows exponentially with the number of linked confounders.

    Returns:
        Paths as node names, treatment first; the shortest come first, equal lengths in alphabetical order.

    Raises:
        GraphError: a name in ``given`` is not a node of the graph.
    """
    return list(islice(each_open_path(graph, given), most))


def each_open_path(graph: CausalGraph, given: Collection[str] = (), avoiding: Collection[str] = ()) -> Iterator[Path]:
    """The paths of :func:`open_backdoor_paths` one by one, without those through a node in ``avoiding``."""
    for node in given:
        graph.require_node(node, "as conditioned on")
    drawn, start, end = graph.graph, graph.node("treatment"), graph.node("outcome")
    held = set(given)
    opened = held.union(*(nx.ancestors(drawn, node) for node in held))
    length = [[start, cause] for cause in sorted(drawn.predecessors(start)) if cause not in avoiding]
    while length:
        longer = []
        for path in length:
            before, node = path[-2:]
            if node == end:
                yield path
                continue
            for after in sorted({*drawn.predecessors(node), *drawn.successors(node)}.difference(path, avoiding)):
                collider = drawn.has_edge(before, node) and drawn.has_edge(after, node)
                if (node in opened) if collider else (node not in held):
                    longer.append([*path, after])
        length = longer


_ROLES_WHOLE = {"severity": "severity", "treatment": "question", "ecg": "ecg", "outcome": "answer"}
_ROLES_SPLIT = {**_ROLES_WHOLE, "treatment": "style", "topic": "topic"}
_PAPER = (("severity", "question"), ("severity", "answer"), ("question", "answer"), ("ecg", "answer"))
_VISIBLE = (*_PAPER, ("severity", "ecg"))


def _declare(
    name: str, edges: Sequence[tuple[str, str]], roles: Mapping[str, str], description: str, latent: Sequence[str] = ()
) -> CausalGraph:
    return CausalGraph(name, nx.DiGraph(list(edges)), roles, frozenset(latent), description)


_PRESETS = {
    graph.name: graph
    for graph in (
        _declare(
            "reference_paper",
            _PAPER,
            _ROLES_WHOLE,
            "Our reading of the reference paper's abstract: severity shapes both the question asked and the answer. "
            "That the ECG carries no trace of severity it does not state; averages over P(s) and P(s | E) then agree.",
        ),
        _declare(
            "severity_visible",
            _VISIBLE,
            _ROLES_WHOLE,
            "As reference_paper, and severity shows in the ECG, as it does in practice. "
            "The average must run over P(s | E).",
        ),
        _declare(
            "finding_mediated",
            (
                ("severity", "finding"),
                ("finding", "ecg"),
                ("finding", "answer"),
                ("severity", "style"),
                ("topic", "answer"),
            ),
            {**_ROLES_SPLIT, "finding": "finding"},
            "Severity acts on the answer only through the finding, which is read in the ECG but not itself observed; "
            "style is a nuisance that causes nothing, and the topic acts on the answer by right.",
            latent=("finding",),
        ),
        _declare(
            "topic_and_style",
            (
                ("severity", "topic"),
                ("severity", "style"),
                ("severity", "ecg"),
                ("severity", "answer"),
                ("topic", "style"),
                ("topic", "answer"),
                ("style", "answer"),
                ("ecg", "answer"),
            ),
            _ROLES_SPLIT,
            "The question is split into topic and style. Severity shapes both, a topic has its own wordings, and style "
            "may act on the answer; the effect of style is asked for within a topic.",
        ),
        _declare(
            "latent_severity",
            _VISIBLE,
            _ROLES_WHOLE,
            "As severity_visible, but severity has not been measured: nothing observed closes the path from question "
            "to answer through it.",
            latent=("severity",),
        ),
    )
}

PRESETS: tuple[str, ...] = tuple(_PRESETS)
#: Where neither a user nor a cohort names a graph.
DEFAULT_GRAPH = "severity_visible"


def preset(name: str) -> CausalGraph:
    """One of :data:`PRESETS`. Raises GraphError for another name."""
    if name not in _PRESETS:
        raise GraphError(f"no preset graph is called '{name}'; choose {', '.join(PRESETS)}, or give a graph file")
    return _PRESETS[name]


def describe() -> dict[str, str]:
    """Preset name -> what it claims."""
    return {name: graph.description for name, graph in _PRESETS.items()}
