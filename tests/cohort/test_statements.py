from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causalecg.cohort.schema import Cohort, patient_overlap
from causalecg.cohort.statements import statements_cohort
from causalecg.errors import InputError


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.7, 0.9])
def test_the_imposed_law_holds_in_every_split(real_data, tmp_path, rho: float) -> None:
    statements_cohort(tmp_path / "c", ptbxl=real_data / "ptbxl", rho=rho, progress=False)
    cohort = Cohort.open(tmp_path / "c")
    truth = cohort.meta["confounding"]
    assert patient_overlap(cohort.items) == set()
    p = truth["p"]
    for split in ("train", "valid", "test"):
        rows = cohort.split(split)
        yes, severe = rows["finding"].to_numpy(), rows["severity_acuity"].to_numpy()
        style = (rows["style"] == "urgent").to_numpy()
        # Within each topic; cell sizes are rounded to whole units, one half in each of two cells.
        topics = rows["topic"].nunique()
        for _, part in rows.assign(agrees=yes == severe).groupby("topic"):
            assert abs(part["finding"].mean() - 0.5) <= 1 / len(part)
            assert abs(part["agrees"].mean() - p) <= 1 / len(part)
            assert part.groupby(["finding", "severity_acuity"]).ngroups == 4
        assert abs((style == severe).mean() - truth["q"]) < 4 * np.sqrt(0.25 / len(rows))
        assert abs((style == yes).mean() - rho) < 4 * np.sqrt(0.25 / len(rows)) + 2 * topics / len(rows)
        assert ((rows["answer"].str[0] == "yes") == (yes == 1)).all()
    for biased, twin in (("train", "train_oracle"), ("test", "test_unbiased")):
        one, other = cohort.split(biased), cohort.split(twin)
        assert one["ecg_ids"].map(tuple).equals(other["ecg_ids"].map(tuple))
        assert one["answer"].map(tuple).equals(other["answer"].map(tuple))
        assert abs((other["style"] == "urgent").mean() - 0.5) < 4 * np.sqrt(0.25 / len(other))
    # Recorded probabilities are those used: kept over available, cell by cell.
    for cell in truth["cells"]:
        assert cell["keep_probability"] == pytest.approx(cell["kept"] / cell["available"])
    natural = cohort.split("test_natural")
    assert (natural["keep_probability"] == 1).all()
    assert natural["finding"].mean() < 0.1
    assert len(truth["cells"]) == 3 * len(truth["topics"]) * 4
    assert min(cell["answer_given_severity"] for cell in truth["cells"]) >= 0.01
    available: dict[tuple[str, str, int], int] = {}
    for cell in truth["cells"]:
        key = (cell["topic"], cell["answer"], cell["severity"])
        available[key] = available.get(key, 0) + cell["available"]
    assert min(available.values()) >= 50
    skipped = pd.read_csv(cohort.path / "skipped.csv")
    left_out = skipped[skipped["kind"] == "topic"].set_index("id")["reason"]
    assert set(left_out.index).isdisjoint(truth["topics"])
    assert left_out.loc["PACE"].startswith("fewer than 50 patients")


@pytest.mark.realdata
def test_what_cannot_be_done_is_said(real_data, tmp_path) -> None:
    with pytest.raises(InputError, match=r"between 0\.5 and 0\.95"):
        statements_cohort(tmp_path / "c", ptbxl=real_data / "ptbxl", rho=0.99, progress=False)
    with pytest.raises(InputError, match="NOPE is no SCP statement"):
        statements_cohort(tmp_path / "c", ptbxl=real_data / "ptbxl", topics=["NOPE"], progress=False)
    with pytest.raises(InputError, match="unknown severity scale"):
        statements_cohort(tmp_path / "c", ptbxl=real_data / "ptbxl", scale="x", progress=False)
    assert list(tmp_path.iterdir()) == []
