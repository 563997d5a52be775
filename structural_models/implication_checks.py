"""Whether data contradict what a graph implies, with all its implications tested together."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

from structural_models.conditional_independence.testing import IndependenceResult, IndependenceTests
from structural_models.errors import TableError
from structural_models.graph import CausalGraph
from structural_models.implications import Unseparated, implied_independences
from structural_models.json_values import plain
from structural_models.multiplicity import holm

Verdict = Literal["contradicted", "not contradicted", "not testable"]


@dataclass(frozen=True)
class CheckedImplication:
    """One implication: its test, the p-value adjusted for all of them (Holm; NaN where no test could be made), and what
    that says."""

    result: IndependenceResult
    p_holm: float
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        return {**self.result.to_dict(), "p_holm": plain(self.p_holm), "verdict": self.verdict}


@dataclass(frozen=True)
class ImplicationChecks:
    """All implications of a graph on one set of rows.

    Attributes:
        graph: its name.
        level: the chance, at most, that any implication is said to be contradicted where all hold.
        checks: pairs first, then the joint ones.
        unseparated: pairs about which the graph says nothing that measured nodes could show.
    """

    graph: str
    level: float
    checks: tuple[CheckedImplication, ...]
    unseparated: tuple[Unseparated, ...]

    @property
    def contradicted(self) -> tuple[CheckedImplication, ...]:
        return tuple(check for check in self.checks if check.verdict == "contradicted")

    def to_dict(self) -> dict[str, Any]:
        return {
            "graph": self.graph,
            "level": self.level,
            "checks": [check.to_dict() for check in self.checks],
            "unseparated": [pair.to_dict() for pair in self.unseparated],
        }


def check_implications(graph: CausalGraph, tests: IndependenceTests, *, level: float = 0.05) -> ImplicationChecks:
    """Test every implication of the graph that measured nodes can show.

    That one is not contradicted does not mean that it holds: the rows may be too few, or the dependence of a kind the
    test does not see (the covariance measure sees differences in means, not in spread).

    Raises TableError as :func:`require_permutations`.
    """
    require_permutations(graph, tests.permutations, level=level)
    implied = implied_independences(graph)
    results = [tests.result(independence) for independence in implied.testable]
    adjusted = holm([result.p_value for result in results])
    checks = [
        CheckedImplication(r, float(p), _verdict(r, float(p), level)) for r, p in zip(results, adjusted, strict=True)
    ]
    return ImplicationChecks(graph.name, level, tuple(checks), implied.unseparated)


def require_permutations(graph: CausalGraph, permutations: int, *, level: float = 0.05) -> None:
    """Raise TableError where the smallest p-value that so many permutations can give, times the number of tests, is
    above the level: then nothing could be contradicted, however large the dependence."""
    tests = len(implied_independences(graph).testable)
    fewest = ceil(tests / level - 1e-9) - 1
    if permutations < fewest:
        raise TableError(
            f"with {permutations} permutations none of the {tests} implications of graph '{graph.name}' could be "
            f"contradicted at a level of {level:g} for all of them; ask for at least {fewest}"
        )


def _verdict(result: IndependenceResult, p: float, level: float) -> Verdict:
    if not result.made:
        return "not testable"
    return "contradicted" if p <= level else "not contradicted"
