"""A run on another cohort than its own: of patients whom it did not learn from, and only where that can be told."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from causalecg.audits.loading import load_model
from causalecg.audits.score_set import ScoreSet
from causalecg.audits.scoring import score
from causalecg.audits.suite import run_suite
from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cohort.schema import Cohort
from causalecg.errors import InputError
from causalecg.models.answering import FreeText
from causalecg.models.pretrained import from_pretrained
from causalecg.parquet import read_parquet
from causalecg.reports.build import write_report
from causalecg.training.beginnings import PATIENTS
from causalecg.training.config import RunConfig
from causalecg.training.prepared import prepare
from causalecg.training.run import Run, train

SMALL = {
    "encoder_options": {"widths": [4, 8]},
    "embedded": {"hidden": 16, "layers": 1, "heads": 2, "vocabulary": 260},
}
CONFIG = RunConfig(epochs=1, model=SMALL)
LEARNED_FROM = r"patient .* of a clinic is in the test of cohort .*, and \d+ such patients are among those that .*run"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Cohort:
    folder = tmp_path_factory.mktemp("cohort") / "c"
    simulate_cohort(folder, items=80, test_items=60, rho=0.9, rate_hz=50, seconds=2, progress=False)
    opened = Cohort.open(folder)
    return replace(opened, ecgs=opened.ecgs.assign(source="a clinic"))


@pytest.fixture(scope="module")
def run(cohort, tmp_path_factory) -> Run:
    return train(cohort, "none", CONFIG, seed=0, out=tmp_path_factory.mktemp("r") / "run", progress=False)


@pytest.fixture
def overlapping(cohort) -> Cohort:
    """Its test patients are those whom the cohort trains on."""
    turned = cohort.items["split"].replace({"train": "test", "test": "train"})
    return replace(cohort, items=cohort.items.assign(split=turned), meta={**cohort.meta, "hash": "f" * 64})


@pytest.fixture
def elsewhere(overlapping) -> Cohort:
    """The same, of other people."""
    meta = {**overlapping.meta, "name": "the other clinic"}
    return replace(overlapping, ecgs=overlapping.ecgs.assign(source="another clinic"), meta=meta)


def scored(scorer, cohort: Cohort, out: Path, **told) -> ScoreSet:
    return ScoreSet.open(
        score(scorer, cohort, **{"split": "test", "run_id": "m", "out": out, "progress": False, **told})
    )


def test_a_patient_learned_from_is_no_test_of_whatever_way_it_is_scored(run, overlapping, tmp_path) -> None:
    as_a_link = tmp_path / "link"
    as_a_link.symlink_to(run.path / "model")
    ways = {
        "the run": lambda: load_model(str(run.path), overlapping).scorer,
        "its weights": lambda: load_model(str(run.path / "model"), overlapping).scorer,
        "a link": lambda: load_model(str(as_a_link), overlapping).scorer,
        "in Python": run.scorer,
        "weights in Python": lambda: from_pretrained(run.path / "model"),
        "as it writes": lambda: FreeText(run.scorer(), 4),
    }
    for name, way in ways.items():
        with pytest.raises(InputError, match=LEARNED_FROM if name != "a link" else "among those that .*link learned"):
            scored(way(), overlapping, tmp_path / "s", severity="simulated")
        assert not (tmp_path / "s").exists(), name


def test_what_was_made_ready_knows_whom_it_learns_from(run, cohort, overlapping, tmp_path) -> None:
    ready = prepare(cohort, "none", from_pretrained(run.path / "model"))
    expected = set(read_parquet(run.path / PATIENTS)["patient_id"])
    assert {patient for _, patient in ready.scorer().learned.patients} == expected
    with pytest.raises(InputError, match="among those that arm none prepared on .* learned from"):
        scored(ready.scorer(), overlapping, tmp_path / "s")


def test_a_run_is_scored_on_another_cohort_and_the_report_says_so(run, cohort, elsewhere, tmp_path) -> None:
    model = load_model(str(run.path), elsewhere)
    assert (model.severity, model.environment, model.template_ids) == ("severity_simulated", None, ())
    found = scored(model.scorer, elsewhere, tmp_path / "s", run=model.about, severity=model.severity)
    assert found.runs["m"]["trained_on"] == {"cohort": cohort.meta["name"], "cohort_hash": cohort.hash}
    assert found.runs["m"]["cohort_hash"] == elsewhere.hash
    said = f"trained on another cohort, {cohort.meta['name']} ({cohort.hash[:12]})"
    write_report(tmp_path / "r", score_set=found, results=run_suite(found, "accuracy"))
    record = json.loads((tmp_path / "r" / "report.json").read_text())
    assert any(note.startswith(said) for note in record["notes"]["m"])
    assert "trained_on" not in scored(run.scorer(), cohort, tmp_path / "own").runs["m"]


def test_where_it_is_not_known_whom_a_run_learned_from_another_cohort_is_refused(run, cohort, elsewhere, tmp_path):
    shutil.copytree(run.path, tmp_path / "run")
    (tmp_path / "run" / PATIENTS).unlink()
    for folder in (tmp_path / "run", tmp_path / "run" / "model"):
        model = load_model(str(folder), elsewhere)
        with pytest.raises(InputError, match=r"trained on another cohort than .* and has no patients.parquet"):
            scored(model.scorer, elsewhere, tmp_path / "s")
        scored(load_model(str(folder), cohort).scorer, cohort, tmp_path / f"own-{folder.name}")
    # Of weights alone nothing is known, which is said.
    shutil.copytree(run.path / "model", tmp_path / "weights")
    found = scored(load_model(str(tmp_path / "weights"), elsewhere).scorer, elsewhere, tmp_path / "s")
    assert any("is not recorded" in note for note in found.runs["m"]["notes"])
    pd.DataFrame({"patient": ["1"]}).to_parquet(tmp_path / "run" / PATIENTS)
    with pytest.raises(InputError, match="lacks the columns source and patient_id"):
        load_model(str(tmp_path / "run"), elsewhere)


def with_scale(cohort: Cohort, name: str) -> Cohort:
    levels = cohort.meta["severity_scales"]["simulated"]
    return replace(
        cohort,
        items=cohort.items.rename(columns={"severity_simulated": f"severity_{name}"}),
        meta={**cohort.meta, "severity_scales": {name: levels}},
    )


def test_the_severity_is_the_runs_own_where_the_other_cohort_has_it(run, elsewhere) -> None:
    with pytest.raises(InputError, match="trained by severity_simulated; leave --severity out"):
        load_model(str(run.path), elsewhere, severity="acuity")
    other = with_scale(elsewhere, "acuity")
    assert load_model(str(run.path), other).severity == "severity_acuity"
    assert load_model(str(run.path), other, severity="acuity").severity == "severity_acuity"
    none = replace(other, meta={**other.meta, "severity_scales": {}})
    assert load_model(str(run.path), none).severity is None


def test_templates_of_a_run_are_those_of_its_own_cohort(cohort, elsewhere, tmp_path) -> None:
    template = str(cohort.items["template_id"].iloc[0])
    config = CONFIG.model_copy(update={"template_ids": (template,)})
    run = train(cohort, "none", config, seed=0, out=tmp_path / "run", progress=False)
    assert load_model(str(run.path), cohort).template_ids == (template,)
    assert load_model(str(run.path), elsewhere).template_ids == ()


def test_the_environment_is_the_runs_own_where_the_other_cohort_has_it(cohort, elsewhere, tmp_path) -> None:
    def of(cohort: Cohort, *names: str) -> Cohort:
        return replace(
            cohort,
            items=cohort.items.assign(
                environment=pd.Series(names * len(cohort.items)).iloc[: len(cohort.items)].to_numpy()
            ),
        )

    config = CONFIG.model_copy(update={"environment": "north"})
    run = str(train(of(cohort, "north"), "none", config, seed=0, out=tmp_path / "run", progress=False).path)
    assert load_model(run, elsewhere).environment is None
    assert load_model(run, of(elsewhere, "east", "west"), environment="east").environment == "east"
    both = of(elsewhere, "north", "west")
    assert load_model(run, both).environment == "north"
    with pytest.raises(InputError, match="trained in environment north, which .* has too; leave --environment out"):
        load_model(run, both, environment="west")


def test_ecgs_of_another_kind_are_refused(run, elsewhere, tmp_path) -> None:
    shutil.copytree(run.path, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    for key, says in (
        ("leads", "learned from ECGs of 8 leads and .*, and those of .* have 12 leads"),
        ("rate_hz", "at 8 Hz, and those of .* at 50 Hz"),
    ):
        (tmp_path / "run" / "run.json").write_text(json.dumps({**record, key: 8}))
        with pytest.raises(InputError, match=says):
            load_model(str(tmp_path / "run"), elsewhere)


def test_training_rows_are_scored_as_they_were(run, cohort, tmp_path) -> None:
    """Somebody who wants to see them may; no verdict comes of it."""
    found = scored(run.scorer(), cohort, tmp_path / "s", split="valid", interventions=("intact",))
    assert len(found.scores) == len(cohort.split("valid"))


def test_a_scorer_of_somebody_else_is_asked_nothing(overlapping, tmp_path) -> None:
    constant = lambda batch: torch.zeros(batch.candidate_ids.shape)  # noqa: E731
    assert "trained_on" not in scored(constant, overlapping, tmp_path / "s").runs["m"]
