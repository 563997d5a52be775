from __future__ import annotations

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from structural_models.conditional_independence.observations import Observations
from structural_models.conditional_independence.testing import IndependenceTests
from structural_models.errors import TableError
from structural_models.graph import CausalGraph, preset
from structural_models.implication_checks import ImplicationChecks, check_implications
from structural_models.multiplicity import holm


def checked(graph: CausalGraph, observations: Observations, seed: int = 0, draws: int = 199) -> ImplicationChecks:
    return check_implications(
        graph, IndependenceTests(observations, rng=np.random.default_rng(seed), permutations=draws)
    )


def verdicts(checks: ImplicationChecks) -> dict[str, str]:
    return {str(check.result.independence): check.verdict for check in checks.checks}


def drawn(seed: int, visible: float, rows: int = 400) -> Observations:
    """Severity moves the question, and the ECG by ``visible``."""
    rng = np.random.default_rng([4, seed])
    s = rng.integers(0, 3, rows)
    q = np.where(rng.random(rows) < 0.5, s, rng.integers(0, 3, rows))
    e = rng.standard_normal((rows, 6)) + visible * s[:, None]
    a = (rng.random(rows) < 1 / (1 + np.exp(-e[:, 0] - s + 1))).astype(np.int64)
    table = pd.DataFrame({"s": s, "q": q, "a": a})
    return Observations(table, {"severity": "s", "question": "q", "answer": "a"}, {"ecg": e})


def test_a_visible_severity_contradicts_the_reference_paper_and_no_other() -> None:
    seen = drawn(0, visible=0.5)
    paper = checked(preset("reference_paper"), seen)
    assert set(verdicts(paper).values()) == {"contradicted"} and len(paper.contradicted) == 3
    assert verdicts(checked(preset("severity_visible"), seen)) == {"ecg ⟂ question | severity": "not contradicted"}
    hidden = checked(preset("reference_paper"), drawn(1, visible=0.0))
    assert set(verdicts(hidden).values()) == {"not contradicted"}


def test_holm_is_over_the_tests_that_could_be_made() -> None:
    seen = drawn(2, visible=0.0)
    without = Observations(seen.table, {**seen.columns, "severity": "missing"}, seen.arrays)
    paper = checked(preset("reference_paper"), without)
    assert list(verdicts(paper).values()) == ["not contradicted", "not testable", "not testable"]
    assert paper.checks[1].result.reason == "severity has no column: there is no 'missing'"
    assert paper.checks[0].p_holm == paper.checks[0].result.p_value
    whole = checked(preset("reference_paper"), seen)
    assert [c.p_holm for c in whole.checks] == holm([c.result.p_value for c in whole.checks]).tolist()
    record = paper.to_dict()
    assert record["checks"][1]["p_holm"] is None and record["checks"][1]["verdict"] == "not testable"
    assert record["checks"][0]["independence"] == "ecg ⟂ question"


def test_family_wise_error_where_all_implications_hold() -> None:
    """Three independent measured nodes imply three pairs and three joint independences."""
    graph = CausalGraph("none", nx.empty_graph([*"abc"], create_using=nx.DiGraph), {"treatment": "a", "outcome": "b"})
    repetitions, any_wrong = 100, 0
    for seed in range(repetitions):
        rng = np.random.default_rng([6, seed])
        table = pd.DataFrame(rng.integers(0, 3, (80, 3)), columns=[*"abc"])
        any_wrong += bool(checked(graph, Observations(table, {n: n for n in "abc"}), seed).contradicted)
    assert any_wrong <= 0.05 * repetitions + 3 * np.sqrt(0.05 * 0.95 * repetitions)


@pytest.mark.parametrize("name", ["latent_severity", "finding_mediated"])
def test_pairs_that_nothing_measured_separates_are_listed(name: str) -> None:
    checks = checked(preset(name), drawn(3, 0.0))
    assert checks.unseparated and "stays open" in checks.to_dict()["unseparated"][0]["reason"]


def test_permutations_must_be_enough_for_the_smallest_p_to_survive_holm() -> None:
    """Three tests: 3 / (1 + 59) = .05."""
    seen = drawn(0, visible=0.5)
    assert len(checked(preset("reference_paper"), seen, draws=59).contradicted) == 3
    with pytest.raises(TableError, match="none of the 3 implications .* ask for at least 59"):
        checked(preset("reference_paper"), seen, draws=58)
