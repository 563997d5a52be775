from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from causalecg.audits.interventions import DEFAULT_SUITE, OPPOSITE, SAME_SEVERITY
from causalecg.audits.loading import load_model
from causalecg.audits.score_set import ScoreSet
from causalecg.audits.scoring import score
from causalecg.audits.suite import run_suite
from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cohort.schema import Cohort
from causalecg.errors import InputError
from causalecg.models.config import ModelConfig
from causalecg.reports.build import write_report
from causalecg.reports.declared import declared
from causalecg.training.config import RunConfig
from structural_models.graph import preset


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Cohort:
    folder = tmp_path_factory.mktemp("c") / "c"
    simulate_cohort(folder, items=120, test_items=80, rho=0.9, rate_hz=50, seconds=2, progress=False)
    return Cohort.open(folder)


def first_candidate(batch) -> torch.Tensor:
    return torch.zeros(batch.candidate_ids.shape).masked_fill(batch.padding, float("-inf"))


def scored(cohort: Cohort, out, name: str = "m", scorer=first_candidate, **options):
    options = {"split": "test", "progress": False, "severity": "severity_simulated"} | options
    return ScoreSet.open(score(scorer, cohort, run_id=name, out=out, **options))


def test_donors_are_those_of_the_whole_split(cohort: Cohort, tmp_path) -> None:
    whole, few = (scored(cohort, tmp_path / str(n), max_items=n).scores for n in (None, 25))
    keys = ["item_id", "intervention", "draw"]
    both = few.merge(whole, on=keys, suffixes=("", "_whole"))
    assert len(both) == len(few) > 25 * 5
    assert both["question"].tolist() == both["question_whole"].tolist()
    swapped = both[both["donor_ecg_ids"].notna()]
    for column in ("donor_ecg_ids", "donor_patient_ids"):
        pairs = zip(swapped[column], swapped[f"{column}_whole"], strict=True)
        assert all(list(a) == list(b) for a, b in pairs)
    opened = ScoreSet.open(tmp_path / "25")
    assert opened.runs["m"]["notes"][-1] == "test: 25 of 80 items, drawn at random"
    assert "not named" not in {r.name: r for r in run_suite(opened)}["follow_rate"].note


def test_a_part_of_a_split_is_of_all_of_it_and_the_same_for_every_model(cohort: Cohort, tmp_path) -> None:
    """Cohorts may be sorted by topic: the first items would be of the first topics."""
    chosen = {
        (name, seed): set(
            scored(cohort, tmp_path / f"{seed}", name, max_items=25, seed=seed, interventions=("intact",))
            .scores.query("run_id == @name")["item_id"]
        )
        for name, seed in (("a", 0), ("b", 0), ("a", 1))
    }  # fmt: skip
    assert all(len(items) == 25 for items in chosen.values())
    assert chosen["a", 0] == chosen["b", 0] != chosen["a", 1]
    place = cohort.split("test").reset_index().set_index("item_id")["index"]
    # Mean place of 25 of 80 drawn without replacement: 39.5, standard deviation 3.8; of the first 25 it is 12.
    assert abs(place.loc[sorted(chosen["a", 0])].mean() - place.mean()) < 4 * 3.8


@pytest.mark.parametrize("change", [{"max_items": 30}, {"severity": "second", "interventions": ("intact",)}])
def test_the_same_run_asked_otherwise_is_refused(cohort: Cohort, tmp_path, change) -> None:
    before = scored(cohort, tmp_path / "s").scores
    scales = {**cohort.meta["severity_scales"], "second": ["low", "high"]}
    items = cohort.items.assign(severity_second=cohort.items["severity_simulated"])
    two = replace(cohort, items=items, meta={**cohort.meta, "severity_scales": scales})
    with pytest.raises(InputError, match=f"with another {next(iter(change))}"):
        scored(two, tmp_path / "s", **change)
    assert len(ScoreSet.open(tmp_path / "s").scores) == len(before)


def test_names_that_differ_in_marks_do_not_share_a_file_and_order_is_kept(cohort: Cohort, tmp_path) -> None:
    for name in ("z b", "z-b", "a"):
        found = scored(cohort, tmp_path / "s", name, interventions=("intact",))
    assert list(found.runs) == ["z b", "z-b", "a"]
    assert found.scores["run_id"].value_counts().to_dict() == {"z b": 80, "z-b": 80, "a": 80}


def test_a_half_scored_folder_is_not_assessed_until_it_is_finished(cohort: Cohort, tmp_path) -> None:
    calls = 0

    def stops(batch) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > len(DEFAULT_SUITE) - 1:
            raise KeyboardInterrupt
        return first_candidate(batch)

    with pytest.raises(KeyboardInterrupt):
        scored(cohort, tmp_path / "s", scorer=stops)
    opened = ScoreSet.open(tmp_path / "s")
    assert any("is incomplete" in note for note in opened.runs["m"]["notes"])
    half = {r.name: r for r in run_suite(opened)}
    assert half["follow_rate"].verdict == "not assessed"
    assert "has not finished" in half["follow_rate"].note
    whole = scored(cohort, tmp_path / "s")
    assert not any("incomplete" in note for note in whole.runs["m"]["notes"])
    assert {r.name: r for r in run_suite(whole)}["follow_rate"].verdict != "not assessed"


def test_every_split_is_in_the_table_of_runs(cohort: Cohort, tmp_path) -> None:
    scored(cohort, tmp_path / "s", "both")
    scored(cohort, tmp_path / "s", "both", split="test_unbiased", interventions=("intact",))
    opened = scored(cohort, tmp_path / "s", "other", split="test_unbiased")
    results = [r for name in opened.runs for r in run_suite(opened, run_id=name, replicates=100)]
    assert {r.measure.rpartition(" ")[2] for r in results if r.run_id == "other" and r.interval} == {"test_unbiased"}
    write_report(tmp_path / "r", score_set=opened, results=results)
    both, other = json.loads((tmp_path / "r" / "report.json").read_text())["arms"]
    assert {"test", "test_unbiased"} <= both.keys()
    assert "test_unbiased" in other and "test" not in other
    right = opened.scores.merge(opened.items, on="item_id").query(
        "run_id == 'both' and split == 'test_unbiased' and intervention == 'intact'"
    )
    hits = [set(a) == set(b) for a, b in zip(right["answer_given"], right["answer"], strict=True)]
    assert both["test_unbiased"]["estimate"] == pytest.approx(np.mean(hits))


def a_run(cohort: Cohort, environment: str | None) -> SimpleNamespace:
    balance = pd.DataFrame({"covariate": ["s"], "level": ["1"], "smd_before": [0.9], "smd_after": [np.nan]})
    return SimpleNamespace(
        path="run",
        record={"cohort_hash": cohort.hash, "seed": 3},
        arm=SimpleNamespace(role="audited"),
        config=RunConfig(environment=environment),
        graph="finding_mediated",
        estimand=None,
        severity_column="severity_simulated",
        balance=lambda: balance,
        scorer=lambda build, *, trust_remote_code: first_candidate,
    )


def test_a_run_brings_its_graph_and_balance_but_no_other_environment(cohort: Cohort, tmp_path, monkeypatch) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    monkeypatch.setattr("causalecg.training.run.Run.open", lambda folder: a_run(cohort, "north"))
    with pytest.raises(InputError, match="trained in environment north"):
        load_model(str(tmp_path / "run"), cohort, environment="south")
    assert load_model(str(tmp_path / "run"), cohort, environment="north").environment == "north"
    monkeypatch.setattr("causalecg.training.run.Run.open", lambda folder: a_run(cohort, None))
    model = load_model(str(tmp_path / "run"), cohort)
    opened = scored(cohort, tmp_path / "s", scorer=model.scorer, run=model.about, interventions=("intact",))
    found = declared(opened.runs, ["m"])
    assert found.graph is not None and found.graph.to_dict() == preset("finding_mediated").to_dict()
    assert found.balance["m"]["smd_before"].tolist() == [0.9]
    assert str(tmp_path) not in (tmp_path / "s" / "runs.json").read_text()


def test_a_saved_model_is_asked_about_ecgs_of_its_own_rate(cohort: Cohort, tmp_path, monkeypatch) -> None:
    """The cohort's are of 50 Hz; nothing else would tell the encoder."""
    (tmp_path / "m").mkdir()
    saved = SimpleNamespace(config=ModelConfig(encoder="openecg", encoder_options={"rate_hz": 500}))
    monkeypatch.setattr("causalecg.models.pretrained.from_pretrained", lambda folder, **_: saved)
    with pytest.raises(InputError, match="reads ECGs at rate_hz = 500, and the cohort's are sampled at 50 Hz"):
        load_model(str(tmp_path / "m"), cohort)
    saved.config = ModelConfig()
    assert load_model(str(tmp_path / "m"), cohort).scorer is saved


def test_no_graph_is_declared_by_a_table_of_answers() -> None:
    assert declared({"m": {"role": "audited"}}, ["m"]).graph is None


def test_every_item_of_a_swap_names_its_donor(cohort: Cohort, tmp_path) -> None:
    found = scored(cohort, tmp_path / "s", interventions=(OPPOSITE, "intact"))
    owner = cohort.ecgs.set_index("ecg_id")["patient_id"]
    swapped = found.scores[found.scores["intervention"] == OPPOSITE]
    for row in swapped.itertuples():
        assert [owner[ecg] for ecg in row.donor_ecg_ids] == list(row.donor_patient_ids)


def the_longer_question(batch) -> torch.Tensor:
    """Another model: of other likelihoods, though it answers as the first does."""
    return first_candidate(batch) + torch.tensor([[0.1 * len(q)] for q in batch.question])


def test_another_model_by_the_same_name_is_refused(cohort: Cohort, tmp_path) -> None:
    before = scored(cohort, tmp_path / "s", interventions=("intact",)).scores
    for interventions in (("intact",), DEFAULT_SUITE):
        with pytest.raises(InputError, match="another model by this name"):
            scored(cohort, tmp_path / "s", scorer=the_longer_question, interventions=interventions)
    pd.testing.assert_frame_equal(ScoreSet.open(tmp_path / "s").scores, before)
    assert len(scored(cohort, tmp_path / "s").scores) > 5 * len(before)


def test_a_folder_of_other_things_is_left_alone(cohort: Cohort, tmp_path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "items.parquet").write_bytes(b"somebody's")
    with pytest.raises(InputError, match="holds no scores"):
        scored(cohort, tmp_path / "s")
    with pytest.raises(InputError, match="holds no scores"):
        scored(cohort, cohort.path)
    assert [p.name for p in (tmp_path / "s").iterdir()] == ["items.parquet"]
    with pytest.raises(InputError, match=r"holds other things \(cohort.json\)"):
        write_report(cohort.path, score_set=scored(cohort, tmp_path / "t"), results=[])


@pytest.mark.parametrize(
    ("scorer", "says"),
    [
        (lambda batch: None, "gave a NoneType"),
        (lambda batch: first_candidate(batch).numpy(), "gave a ndarray"),
        (lambda batch: first_candidate(batch)[:, :1], "scores of shape"),
        (lambda batch: first_candidate(batch) * float("nan"), "gave NaN"),
        (lambda batch: first_candidate(batch).index_fill(1, torch.tensor([1]), float("inf")), r"gave \+infinity"),
        (lambda batch: first_candidate(batch) - float("inf"), "gave -infinity for every candidate"),
    ],
)
def test_what_is_no_scorer_writes_nothing(cohort: Cohort, tmp_path, scorer, says: str) -> None:
    with pytest.raises(InputError, match=says):
        scored(cohort, tmp_path / "s", scorer=scorer)
    assert not (tmp_path / "s").exists()


def test_infinities_that_say_something_are_taken(cohort: Cohort, tmp_path) -> None:
    """One candidate ruled out; and of a set none, which is answered by no candidate."""
    one = scored(
        cohort, tmp_path / "one", scorer=lambda b: first_candidate(b).index_fill(1, torch.tensor([0]), -torch.inf)
    )
    assert {tuple(given) for given in one.scores["answer_given"]} == {(names[1],) for names in one.items["candidates"]}
    sets = replace(cohort, items=cohort.items.assign(kind="set"))
    none = scored(sets, tmp_path / "set", scorer=lambda b: first_candidate(b) - torch.inf)
    assert {tuple(given) for given in none.scores["answer_given"]} == {()}


def test_the_severity_is_a_scale_or_its_column(cohort: Cohort, tmp_path) -> None:
    for severity in ("simulated", "severity_simulated"):
        found = scored(cohort, tmp_path / severity, severity=severity, max_items=5)
        assert "severity_simulated" in found.items.columns
    with pytest.raises(InputError, match="no severity scale 'acuty'; it has simulated"):
        scored(cohort, tmp_path / "s", severity="acuty")
    assert "severity_simulated" in scored(cohort, tmp_path / "first", severity=None, max_items=5).items.columns


def test_without_a_severity_scale_the_rest_is_asked_and_it_is_said(cohort: Cohort, tmp_path) -> None:
    items = cohort.items.drop(columns="severity_simulated")
    none = replace(cohort, items=items, meta={**cohort.meta, "severity_scales": {}})
    found = scored(none, tmp_path / "s", severity=None, max_items=30)
    assert set(found.scores["intervention"]) == set(DEFAULT_SUITE) - {SAME_SEVERITY}
    assert f"test: no items have {SAME_SEVERITY}, as the cohort has no severity scale" in found.runs["m"]["notes"]
    verdicts = {result.name: result.verdict for result in run_suite(found)}
    assert verdicts["same_severity"] == "not assessed"
    assert verdicts["follow_rate"] != "not assessed"
    with pytest.raises(InputError, match="has no severity scale, which .*severity=same.* needs; leave it out"):
        scored(none, tmp_path / "t", severity=None, interventions=(SAME_SEVERITY,))
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("runs.json", b"{"),
        ("runs.json", b"{}"),
        ("runs.json", b"[]"),
        ("items.parquet", b"PAR1"),
        ("scores/*.parquet", b"PAR1"),
    ],
)
def test_a_damaged_folder_is_said_so(cohort: Cohort, tmp_path, file: str, content: bytes) -> None:
    scored(cohort, tmp_path / "s", interventions=("intact",))
    next((tmp_path / "s").glob(file)).write_bytes(content)
    with pytest.raises(InputError, match=r"damaged|cannot be read"):
        ScoreSet.open(tmp_path / "s")


def test_which_answers_are_missing_is_said(cohort: Cohort, tmp_path) -> None:
    found = scored(cohort, tmp_path / "s", interventions=(OPPOSITE,))
    notes = {result.name: result.note for result in run_suite(found)}
    assert notes["follow_rate"] == notes["twins"] == "there are no answers under intact"
    assert notes["adversarial_wording"] == "there are no answers under intact, wording[held_out]"
