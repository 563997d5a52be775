from __future__ import annotations

from dataclasses import replace

import networkx as nx
import numpy as np
import pytest

from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cohort.build import build_cohort
from causalecg.cohort.ecg_embedding import FEATURES, ecg_embedding
from causalecg.cohort.node_observations import node_observations
from causalecg.cohort.schema import Cohort
from causalecg.cohort.statements import statements_cohort
from causalecg.errors import InputError
from structural_models.conditional_independence.testing import IndependenceTests
from structural_models.graph import CausalGraph, preset
from structural_models.implication_checks import check_implications

SIMULATED = {"severity": "severity_simulated", "treatment": "style"}
TOPICS = ("1AVB", "AFIB", "IMI", "LAFB", "LVH", "NDT")
BURDEN = {"severity": "severity_burden", "treatment": "question_id"}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    folder = tmp_path_factory.mktemp("simulated") / "c"
    simulate_cohort(folder, items=1200, test_items=40, rho=0.9, seed=2, rate_hz=50, seconds=2, progress=False)
    return Cohort.open(folder)


@pytest.fixture(scope="module")
def asked(small_ptbxl, small_ecgqa, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    folder = tmp_path_factory.mktemp("asked") / "c"
    build_cohort(folder, ptbxl=small_ptbxl, ecgqa=small_ecgqa, processes=1, progress=False)
    return Cohort.open(folder)


def verdicts(cohort: Cohort, graph: str) -> dict[str, str]:
    rows = node_observations(cohort, preset(graph), SIMULATED)
    tests = IndependenceTests(rows.observations, rng=np.random.default_rng(0), permutations=199)
    return {str(c.result.independence): c.verdict for c in check_implications(preset(graph), tests).checks}


def test_severity_that_shows_through_the_finding_contradicts_the_reference_paper(simulated: Cohort) -> None:
    assert set(verdicts(simulated, "reference_paper").values()) == {"contradicted"}
    found = verdicts(simulated, "finding_mediated")
    assert found["ecg ⟂ style | severity"] == found["answer ⟂ style | severity"] == "not contradicted"
    assert found["ecg ⟂ topic"] == "not testable"


def test_columns_arrays_and_patients(simulated: Cohort) -> None:
    rows = node_observations(simulated, preset("severity_visible"), SIMULATED)
    seen = rows.observations
    train = simulated.split("train")
    assert len(seen.table) == len(train) and seen.within == () and rows.held == () and rows.notes == ()
    assert seen.table[seen.columns["question"]].tolist() == train["style"].tolist()
    assert seen.table[seen.columns["severity"]].tolist() == train["severity_simulated"].astype(str).tolist()
    assert seen.table[seen.columns["answer"]].tolist() == [given[0] for given in train["answer"]]
    np.testing.assert_allclose(seen.arrays["ecg"], ecg_embedding(simulated, list(train["ecg_ids"].str[0])))
    assert len(np.unique(seen.members)) == len(train)


def test_items_without_a_severity_and_nodes_without_a_role(simulated: Cohort) -> None:
    items = simulated.items.copy()
    train = np.flatnonzero(items["split"] == "train")
    items.loc[train[:30], "severity_simulated"] = -1
    ecgs = simulated.ecgs.assign(age=np.where(np.arange(len(simulated.ecgs)) % 10, 60.0, np.nan))
    graph = CausalGraph(
        "with age",
        nx.DiGraph([("age", "severity"), ("severity", "question"), ("question", "answer"), ("site", "answer")]),
        {"severity": "severity", "treatment": "question", "outcome": "answer"},
    )
    rows = node_observations(replace(simulated, items=items, ecgs=ecgs), graph, SIMULATED)
    assert rows.notes[0] == "30 items without a severity are left out" and "with a gap in age" in rows.notes[1]
    assert rows.observations.arrays == {} and rows.observations.columns["age"] == "age"
    assert rows.observations.why_not(["site"]) == "site has no column: there is no 'site'"
    with pytest.raises(InputError, match="no item of cohort .* has a severity"):
        node_observations(replace(simulated, items=items.assign(severity_simulated=-1)), graph, SIMULATED)


def test_of_real_questions_the_wording_is_compared_within_the_question(asked: Cohort) -> None:
    rows = node_observations(asked, preset("topic_and_style"), BURDEN)
    seen = rows.observations
    assert seen.columns["style"] == "wording_id" and seen.columns["topic"] == "question_id"
    assert seen.within == ("question_id", "environment", "number of ECGs")
    assert rows.held == ("topic",) and "severity leaves it out" in str(seen.why_not(["topic"]))
    assert "style is how a question is worded (wording_id)" in rows.notes[0]
    train = asked.split("train")
    single = ~seen.table["severity level"].str.contains("then")
    assert (single == (seen.table["number of ECGs"] == 1)).all() and single.nunique() == 2
    # Of two ECGs the second's features stand beside the first's; of one, zeros.
    ecg, width = seen.arrays["ecg"], len(FEATURES)
    two = seen.table["number of ECGs"].to_numpy() == 2
    assert ecg.shape == (len(train), 2 * width)
    assert (ecg[~two, width:] == 0).all()
    known = train["ecg_ids"].map(len).to_numpy() == 2
    second = ecg_embedding(asked, list(train.loc[known, "ecg_ids"].str[1]))
    np.testing.assert_allclose(ecg[two, width:], second)
    assert (seen.members[~two, 1] == -1).all()


def test_splits_and_environments(asked: Cohort, simulated: Cohort) -> None:
    rows = node_observations(asked, preset("reference_paper"), BURDEN, environment="development")
    assert rows.observations.within == ("question_id",)
    with pytest.raises(InputError, match="has no environment 'x' in split train; it has development, official"):
        node_observations(asked, preset("reference_paper"), BURDEN, environment="x")
    with pytest.raises(InputError, match="it has none"):
        node_observations(simulated, preset("reference_paper"), SIMULATED, environment="x")
    with pytest.raises(InputError, match="no items in split nowhere"):
        node_observations(simulated, preset("reference_paper"), SIMULATED, split="nowhere")


@pytest.mark.realdata
@pytest.mark.slow
def test_real_ecgs_contradict_the_reference_paper_and_style_given_severity_does_not(real_data, tmp_path) -> None:
    """Style was assigned by us from the severity (acuity), so E ⟂ F | S holds by design; E ⟂ S is nature's."""
    statements_cohort(tmp_path / "c", ptbxl=real_data / "ptbxl", rho=0.8, topics=TOPICS, progress=False)
    cohort = Cohort.open(tmp_path / "c")
    found = {}
    for scale in ("acuity", "burden"):
        columns = {"severity": f"severity_{scale}", "treatment": "style"}
        for name in ("reference_paper", "severity_visible"):
            rows = node_observations(cohort, preset(name), columns)
            tests = IndependenceTests(rows.observations, rng=np.random.default_rng(0), permutations=199)
            checks = check_implications(preset(name), tests).checks
            found |= {(scale, str(c.result.independence)): c.verdict for c in checks}
    assert (
        found["acuity", "ecg ⟂ {question, severity}"] == found["burden", "ecg ⟂ {question, severity}"] == "contradicted"
    )
    assert found["acuity", "ecg ⟂ severity"] == found["burden", "ecg ⟂ severity"] == "contradicted"
    assert found["acuity", "ecg ⟂ question | severity"] == "not contradicted"
    # The other scale is not what the style was assigned from.
    assert found["burden", "ecg ⟂ question | severity"] == "contradicted"
