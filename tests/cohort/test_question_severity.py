from __future__ import annotations

from ast import literal_eval

import pandas as pd
import pytest

from causalecg.cohort.ptbxl import read_ptbxl
from causalecg.cohort.question_severity import left_out, with_severity
from causalecg.cohort.severity import SCALES


@pytest.fixture
def source(small_ptbxl):
    return read_ptbxl(small_ptbxl)


def test_the_answer_is_no_part_of_the_severity(source) -> None:
    """Two ECGs that differ in the statement asked about alone have the same level."""
    ecgs = pd.DataFrame({"ecg_id": ["with", "without"], "labels": [["1AVB", "AFIB"], ["1AVB"]]})
    items = pd.DataFrame({"ecg_ids": [["with"], ["without"]], "topic": "scp_code"})
    items["attribute"] = [["atrial fibrillation"]] * 2
    found = with_severity(items, ecgs, source, list(SCALES))
    for scale in SCALES:
        assert found[f"severity_{scale}"].nunique() == 1
        assert (found[f"severity_{scale}"] == found[f"severity_{scale}_1"]).all()
        assert (found[f"severity_{scale}"] > 0).all() and (found[f"severity_{scale}_2"] == -1).all()
    items["attribute"] = [["first degree AV block", "Atrial fibrillation"]] * 2
    assert (with_severity(items, ecgs, source, ["burden"])["severity_burden"] == 0).all()


def test_what_is_left_out(source) -> None:
    def of(*attribute: str, kind: str = "scp_code"):
        return left_out(kind, attribute, source.statements)

    assert of("First degree AV block") == {"1AVB", "3AVB"}
    assert of("conduction disturbance") == {"1AVB", "3AVB"}
    assert of("myocardial infarction in inferior leads") == of("myocardial infarction") == {"IMI"}
    assert of("hypertrophy", "atrial fibrillation") == {"LVH", "VCLVH", "SR", "AFIB"}
    assert of("static noise", kind="noise") == of(kind="numeric_feature") == frozenset()
    assert of(kind="stage_of_infarction") == {"IMI"}


@pytest.mark.parametrize("attribute", [(), ("any abnormal symptoms",), ("normal ECG",), ("atrial fibrillation", "x")])
def test_a_topic_that_cannot_be_named_has_no_severity(source, attribute: tuple[str, ...]) -> None:
    assert left_out("scp_code", attribute, source.statements) is None
    ecgs = pd.DataFrame({"ecg_id": ["1", "2"], "labels": [["IMI"], ["SR"]]})
    items = pd.DataFrame({"ecg_ids": [["1", "2"]], "topic": "scp_code", "attribute": [list(attribute)]})
    found = with_severity(items, ecgs, source, ["acuity"])
    assert found[["severity_acuity", "severity_acuity_1", "severity_acuity_2"]].to_numpy().tolist() == [[-1, -1, -1]]


@pytest.mark.realdata
def test_every_statement_ecg_qa_asks_about_can_be_named(real_data) -> None:
    statements = read_ptbxl(real_data / "ptbxl").statements
    templates = pd.read_csv(real_data / "ecgqa" / "templates.csv")
    rows = templates[
        (templates["attribute_type"] == "scp_code") & ~templates["answer_candidates"].str.contains("lead I")
    ]
    names = {name for cell in rows["answer_candidates"] for name in literal_eval(cell)} - {
        "yes",
        "no",
        "not sure",
        "none",
    }
    assert len(names) > 60
    assert [name for name in sorted(names) if left_out("scp_code", [name], statements) is None] in ([], ["normal ecg"])
