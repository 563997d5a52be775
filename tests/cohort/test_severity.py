from __future__ import annotations

import pandas as pd
import pytest

from causalecg.cohort.ptbxl import read_ptbxl
from causalecg.cohort.severity import SCALES, acuity_grades, severity
from causalecg.errors import InputError


@pytest.fixture
def statements(small_ptbxl):
    return read_ptbxl(small_ptbxl).statements


def test_levels(statements) -> None:
    assert severity(["NORM", "SR"], "acuity", statements) == severity(["NORM", "SR"], "burden", statements) == 0
    assert severity(["1AVB", "IMI"], "acuity", statements) == 3
    assert severity(["1AVB", "IMI"], "burden", statements) == 2
    assert severity(["1AVB", "3AVB"], "burden", statements) == 1  # one group of disease
    assert severity(["1AVB", "IMI", "LVH", "AFIB"], "burden", statements) == 3  # four groups, counted up to three
    assert severity(["UNKNOWN"], "acuity", statements) == 0
    with pytest.raises(InputError, match="unknown severity scale 'gravity'"):
        severity([], "gravity", statements)


def test_without_the_topic_its_family_goes_too(statements) -> None:
    assert statements.relatives("1AVB") == {"1AVB", "3AVB"}
    assert statements.relatives("LVH") == {"LVH", "VCLVH"}  # the same category, though one is a diagnosis
    assert statements.relatives("AFIB") == {"AFIB", "SR"}
    without = statements.relatives("1AVB")
    # The answer to "first degree AV block?" must not be a part of the severity it is adjusted for.
    for scale in SCALES:
        levels = {
            severity(codes, scale, statements, without=without) for codes in (["1AVB", "LVH"], ["3AVB", "LVH"], ["LVH"])
        }
        assert len(levels) == 1


@pytest.mark.realdata
def test_every_official_statement_has_a_grade(real_data) -> None:
    official = pd.read_csv(real_data / "ptbxl" / "scp_statements.csv", index_col=0)
    assert set(acuity_grades()) == set(official.index)
    assert set(acuity_grades().values()) == {0, 1, 2, 3}


@pytest.mark.realdata
def test_arrhythmia_counts_rhythm_statements_only(real_data) -> None:
    statements = read_ptbxl(real_data / "ptbxl").statements
    assert severity(["PVC", "PAC", "PRC(S)", "SBRAD", "STACH"], "burden", statements) == 0
    assert [severity([code], "burden", statements) for code in ("BIGU", "AFIB", "PACE")] == [1, 1, 1]
