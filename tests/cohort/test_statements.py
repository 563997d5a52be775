from __future__ import annotations

import numpy as np
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
        # Cell sizes are rounded to whole units, once per (topic, cell).
        topics = rows["topic"].nunique()
        assert abs(yes.mean() - 0.5) < 2 * topics / len(rows)
        assert abs((yes == severe).mean() - p) < 2 * topics / len(rows)
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
    pooled = {}
    for cell in truth["cells"]:
        if cell["split"] != "valid":
            key = (cell["split"], cell["answer"], cell["severity"])
            pooled[key] = pooled.get(key, 0) + cell["kept"]
    assert min(pooled.values()) >= 50


@pytest.mark.realdata
def test_what_cannot_be_done_is_said(real_data, tmp_path) -> None:
    with pytest.raises(InputError, match=r"between 0\.5 and 0\.95"):
        statements_cohort(tmp_path / "c", ptbxl=real_data / "ptbxl", rho=0.99, progress=False)
    with pytest.raises(InputError, match="unknown severity scale"):
        statements_cohort(tmp_path / "c", ptbxl=real_data / "ptbxl", scale="x", progress=False)
    assert list(tmp_path.iterdir()) == []
