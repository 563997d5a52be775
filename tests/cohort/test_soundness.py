"""Tables that contradict each other are refused in one sentence, when they are written and when they are opened."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest

from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cohort.schema import Cohort
from causalecg.cohort.soundness import require_sound
from causalecg.cohort.store import write_cohort
from causalecg.errors import InputError


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Cohort:
    folder = tmp_path_factory.mktemp("soundness") / "c"
    simulate_cohort(folder, items=24, test_items=8, rho=0.9, rate_hz=50, seconds=2, progress=False)
    return Cohort.open(folder)


def with_cell(table: pd.DataFrame, column: str, row: int, value: object) -> pd.DataFrame:
    values = table[column].tolist()
    values[row] = value
    return table.assign(**{column: pd.Series(values, index=table.index)})


S = "severity_simulated"
ITEMS = {
    "text_severity": (lambda i: i.assign(**{S: i[S].map(str)}), f"{S} of the items table holds object"),
    "gap_in_severity": (lambda i: i.assign(**{S: i[S].where(i.index > 0)}), f"{S} of the items table holds float64"),
    "no_such_level": (
        lambda i: with_cell(i, S, 3, 9),
        r"row 4, severity_simulated\) has a level that is none of -1 to",
    ),
    "text_for_a_list": (lambda i: i.assign(answer=[a[0] for a in i["answer"]]), "answer of the items table, row 1"),
    "other_patient": (lambda i: with_cell(i, "patient_ids", 2, ["x"]), r"row 3, patient_ids\) names other patients"),
    "two_patients": (lambda i: with_cell(i, "patient_ids", 2, ["x", "y"]), "as many patients as ECGs|differ in length"),
    "unknown_ecg": (lambda i: with_cell(i, "ecg_ids", 2, ["x"]), r"row 3, ecg_ids\) names an ECG that the ECG table"),
    "strange_answer": (lambda i: with_cell(i, "answer", 2, ["perhaps"]), r"row 3, answer\) has an answer that is not"),
    "item_twice": (lambda i: with_cell(i, "item_id", 2, i["item_id"][0]), "item_id '.*' occurs twice in the items"),
}


@pytest.mark.parametrize("case", ITEMS)
def test_items_are_looked_at_when_a_cohort_is_opened(cohort, tmp_path, case: str) -> None:
    change, says = ITEMS[case]
    shutil.copytree(cohort.path, tmp_path / "c")
    change(cohort.items).to_parquet(tmp_path / "c" / "items.parquet")
    with pytest.raises(InputError, match=says) as found:
        Cohort.open(tmp_path / "c")
    assert "\n" not in str(found.value)


def written(cohort: Cohort, folder, items: pd.DataFrame, ecgs: pd.DataFrame):
    def signals(target) -> None:
        for name in ("signals.npy", "signals.json"):
            shutil.copy(cohort.path / name, target / name)

    nothing = pd.DataFrame(columns=["kind", "id", "reason"])
    meta = {"name": "x", "severity_scales": cohort.meta["severity_scales"]}
    return write_cohort(
        folder, items=items, ecgs=ecgs, wordings=cohort.wordings, meta=meta, skipped=nothing, write_signals=signals
    )


@pytest.mark.parametrize(
    "case", ["text_severity", "gap_in_severity", "no_such_level", "text_for_a_list", "other_patient"]
)
def test_what_no_single_item_can_be_left_out_for_is_not_written(cohort, tmp_path, case: str) -> None:
    change, says = ITEMS[case]
    with pytest.raises(InputError, match=says):
        written(cohort, tmp_path / "a", change(cohort.items), cohort.ecgs)
    assert list(tmp_path.iterdir()) == []


def test_an_ecg_id_that_occurs_twice(cohort, tmp_path) -> None:
    ecgs = with_cell(cohort.ecgs, "ecg_id", 1, cohort.ecgs["ecg_id"][0])
    items = cohort.items[[ids[0] != cohort.ecgs["ecg_id"][1] for ids in cohort.items["ecg_ids"]]]
    with pytest.raises(InputError, match="ecg_id '.*' occurs twice in the ecgs table"):
        written(cohort, tmp_path / "a", items, ecgs)
    shutil.copytree(cohort.path, tmp_path / "c")
    ecgs.to_parquet(tmp_path / "c" / "ecgs.parquet")
    with pytest.raises(InputError, match="ecg_id '.*' occurs twice"):
        Cohort.open(tmp_path / "c")


def test_a_patient_on_both_sides_is_refused_when_a_cohort_is_opened(cohort, tmp_path) -> None:
    shutil.copytree(cohort.path, tmp_path / "c")
    train, test = (cohort.items[cohort.items["split"] == name].iloc[0] for name in ("train", "test"))
    same = {test["patient_ids"][0]: train["patient_ids"][0]}
    renamed = [[same.get(patient, patient) for patient in ids] for ids in cohort.items["patient_ids"]]
    cohort.items.assign(patient_ids=renamed).to_parquet(tmp_path / "c" / "items.parquet")
    cohort.ecgs.assign(patient_id=cohort.ecgs["patient_id"].replace(same)).to_parquet(tmp_path / "c" / "ecgs.parquet")
    with pytest.raises(InputError, match=r"1 patient\(s\) are both in training and in test"):
        Cohort.open(tmp_path / "c")


@pytest.mark.parametrize("part", [7, 20_000])
def test_answers_of_many_rows_against_an_enumeration(cohort, monkeypatch, part: int) -> None:
    """Random sets of answers and candidates: refused exactly where a set is no subset, and of the first such row."""
    monkeypatch.setattr("causalecg.cohort.soundness._PART", part)
    rng = np.random.default_rng(0)
    names = np.array(list("abcdef"))
    for _ in range(20):
        items = cohort.items.copy()
        items["candidates"] = [list(rng.choice(names, rng.integers(1, 5), replace=False)) for _ in range(len(items))]
        items["answer"] = [
            list(rng.choice(c if rng.random() < 0.995 else names, rng.integers(0, 2))) for c in items["candidates"]
        ]
        bad = [not set(a) <= set(c) for a, c in zip(items["answer"], items["candidates"], strict=True)]
        if not any(bad):
            require_sound(cohort.path, items, cohort.ecgs, cohort.meta["severity_scales"])
            continue
        with pytest.raises(InputError, match=rf"row {bad.index(True) + 1}, answer\)"):
            require_sound(cohort.path, items, cohort.ecgs, cohort.meta["severity_scales"])
