from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causalecg.audits.interventions import intervene
from causalecg.cohort.comparisons import KINDS, paired
from causalecg.cohort.schema import Cohort, item_errors, patient_overlap
from causalecg.cohort.statements import statements_cohort

SCALES = ["acuity", "burden"]


def units(rng: np.random.Generator) -> pd.DataFrame:
    """200 ECGs of 80 patients, two topics, both splits."""
    rows = []
    for topic, share in (("A", 0.3), ("B", 0.1)):
        for ecg in range(200):
            rows.append(
                {
                    "ecg_id": f"e{ecg}", "patient_id": f"p{ecg % 80}", "topic_code": topic, "topic": topic,
                    "split": "train" if ecg % 80 < 60 else "test", "answer_is_yes": int(rng.random() < share),
                    "severity_acuity": int(rng.random() < 0.5), "severity_burden": int(rng.random() < 0.2),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def test_a_pair_is_yes_only_where_the_second_alone_shows_it() -> None:
    single = units(np.random.default_rng(0))
    pairs = paired(single, SCALES, np.random.default_rng(1))
    of = single.set_index(["topic_code", "ecg_id"])
    first = of.loc[pd.MultiIndex.from_frame(pairs[["topic_code", "first_ecg_id"]])].reset_index(drop=True)
    second = of.loc[pd.MultiIndex.from_frame(pairs[["topic_code", "ecg_id"]])].reset_index(drop=True)
    yes = (first["answer_is_yes"] == 0) & (second["answer_is_yes"] == 1)
    assert (pairs["answer_is_yes"] == yes).all()
    assert (first["split"] == pairs["split"]).all() and (second["split"] == pairs["split"]).all()
    assert (pairs["first_patient_id"] == first["patient_id"]).all()
    assert (pairs["patient_id"] == second["patient_id"]).all()
    assert (pairs["patient_id"] != pairs["first_patient_id"]).all()
    assert not pairs.duplicated(["topic_code", "first_ecg_id", "ecg_id"]).any()
    for scale in SCALES:
        name = f"severity_{scale}"
        assert (pairs[f"{name}_1"] == first[name]).all() and (pairs[f"{name}_2"] == second[name]).all()
        assert (pairs[name] == np.maximum(first[name], second[name])).all()
    kinds = pd.Series(list(zip(first["answer_is_yes"], second["answer_is_yes"], strict=True)), name="kind")
    for _, rows in pairs.assign(kind=kinds).groupby(["split", "topic_code"]):
        drawn = rows["kind"].value_counts()
        assert set(drawn.index) == set(KINDS)
        # Repeated pairs and pairs of one patient are left out of what was drawn.
        assert drawn[(0, 1)] > drawn[(0, 0)] and drawn[(0, 1)] > drawn[(1, 0)]


@pytest.mark.realdata
@pytest.mark.slow
def test_comparisons_of_real_ecgs(real_data, tmp_path) -> None:
    path = statements_cohort(
        tmp_path / "c", ptbxl=real_data / "ptbxl", topics=["IMI", "LAFB"], comparisons=True, metadata=["age"],
        progress=False,
    )  # fmt: skip
    cohort = Cohort.open(path)
    items = cohort.items
    assert item_errors(items, cohort.ecgs["ecg_id"]).empty and patient_overlap(items) == set()
    assert "test_natural" not in set(items["split"])
    labels = dict(zip(cohort.ecgs["ecg_id"], cohort.ecgs["labels"], strict=True))
    for topic, (first, second), answer in zip(items["question_id"], items["ecg_ids"], items["answer"], strict=True):
        assert (answer[0] == "yes") == (topic in labels[second] and topic not in labels[first])
    assert items["question"].str.contains("second").all() and items["metadata"].str.startswith("First ECG").any()
    for split in ("train", "valid", "test"):
        rows = cohort.split(split)
        agrees = (rows["finding"] == rows["severity_acuity"]).to_numpy()
        for _, part in rows.assign(agrees=agrees).groupby("topic"):
            assert abs(part["finding"].mean() - 0.5) <= 1 / len(part)
            assert abs(part["agrees"].mean() - cohort.meta["confounding"]["p"]) <= 1 / len(part)
    changed = intervene("other_patient[answer=opposite]", cohort.split("test"), cohort, severity=None, seed=0).table
    assert changed["ecg_ids"].map(len).eq(2).all() and len(changed) > 0.9 * (items["split"] == "test").sum()
