from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from adjusters.severity_based.other_words_first import OtherWordsFirst
from causalecg.audits.interventions import intervene
from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cohort.batches import TableBatches
from causalecg.cohort.build import build_cohort
from causalecg.cohort.metadata import prompts, with_metadata
from causalecg.cohort.schema import Cohort
from causalecg.errors import InputError


@pytest.fixture(scope="module")
def ecgs() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "ecg_id": ["a", "b", "c", "d"],
            "age": [63.0, np.nan, 90.0, np.nan],
            "sex": ["female", "male", "unknown", "unknown"],
        }
    )


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    folder: Path = tmp_path_factory.mktemp("cohort") / "c"
    simulate_cohort(folder, items=60, test_items=40, rho=0.9, seed=1, rate_hz=50, seconds=2, progress=False)
    return Cohort.open(folder)


def test_what_is_known_is_told_and_the_rest_left_out(ecgs) -> None:
    items = pd.DataFrame({"ecg_ids": [["a"], ["b"], ["c"], ["d"], ["a", "b"], ["d", "c"], ["d", "d"]]})
    assert list(with_metadata(items, ecgs, ["age", "sex"])["metadata"]) == [
        "Age 63, female.",
        "Male.",
        "Age 90 or above.",
        "",
        "First ECG: age 63, female. Second ECG: male.",
        "Second ECG: age 90 or above.",
        "",
    ]
    assert with_metadata(items, ecgs, ["sex"])["metadata"][4] == "First ECG: female. Second ECG: male."
    assert with_metadata(items, ecgs, []) is items


def test_no_other_field_can_be_told(ecgs) -> None:
    items = pd.DataFrame({"ecg_ids": [["a"]]})
    with pytest.raises(InputError, match="no metadata 'agee'; did you mean 'age'"):
        with_metadata(items, ecgs, ["agee"])
    with pytest.raises(InputError, match="names a field twice"):
        with_metadata(items, ecgs, ["age", "age"])


def test_it_stands_before_the_question_and_never_without_one(cohort) -> None:
    plain = cohort.split("test")
    table = plain.assign(metadata=["Age 63, female.", None, "", float("nan"), *["Male."] * 36])
    table.loc[4, "question"] = None
    batch = TableBatches(cohort, table)(np.arange(40))
    assert batch.question[0] == f"Age 63, female. {plain['question'][0]}"
    assert batch.question[1:4] == tuple(plain["question"][1:4])
    assert batch.question[4] is None
    assert batch.metadata[:6] == ("Age 63, female.", "", "", "", "", "Male.")
    assert batch.without_question().question == (None,) * 40 and batch.without_question().metadata == ()
    assert batch.select([5, 0]).metadata == ("Male.", "Age 63, female.")
    assert batch.to("cpu").metadata == batch.metadata


def test_without_the_column_nothing_changes(cohort) -> None:
    plain = cohort.split("test")
    for table in (plain, plain.assign(metadata=None)):
        batch = TableBatches(cohort, table)(np.arange(40))
        assert batch.question == tuple(plain["question"]) and batch.metadata == ()


def test_another_wording_or_ecg_leaves_it_as_it_is(cohort) -> None:
    table = cohort.split("test").assign(metadata="Age 63, female.")
    for name in ("wording[style=other]", "other_patient[answer=opposite]"):
        changed = intervene(name, table, cohort, severity=None, seed=0).table
        asked, before = prompts(changed)
        assert len(changed) and set(before) == {"Age 63, female."}
        assert asked == [f"Age 63, female. {q}" for q in changed["question"]]


def test_stratified_exchanges_the_question_and_keeps_the_metadata(cohort) -> None:
    """With the metadata taken for part of the wording, no text would be found and nothing exchanged."""
    table = cohort.split("train").assign(metadata=[f"Age {20 + i}." if i % 2 else "" for i in range(60)])
    pools = {"q": table["question"].value_counts().to_dict()}
    objective = OtherWordsFirst(lambda batch: torch.zeros(len(batch), 2), pools)
    batch = TableBatches(cohort, table)(np.arange(60))
    asked = objective.words.at(batch, torch.linspace(0, 0.99, 60)).question
    bare = [a.removeprefix(f"{m} ") if m else a for a, m in zip(asked, batch.metadata, strict=True)]
    assert all(a.startswith(m) for a, m in zip(asked, batch.metadata, strict=True))
    assert set(bare) <= set(table["question"])
    assert sum(b != q for b, q in zip(bare, table["question"], strict=True)) > 40


def test_a_run_knows_the_words_of_its_metadata(cohort, tmp_path) -> None:
    from causalecg.models.config import EmbeddedLanguageModel, ModelConfig
    from causalecg.training.config import RunConfig
    from causalecg.training.run import train

    told = replace(cohort, items=cohort.items.assign(metadata="Age 63, female."))
    model = ModelConfig(
        encoder_options={"widths": [8, 16]},
        embedded=EmbeddedLanguageModel(hidden=16, layers=1, heads=2, vocabulary=260),
    )
    run = train(told, "none", RunConfig(model=model, epochs=1), seed=0, out=tmp_path / "r", progress=False)
    assert any(text.startswith("Age 63, female. ") for text in run.record["texts"])


def test_a_cohort_is_built_with_it(small_ptbxl, small_ecgqa, tmp_path) -> None:
    build_cohort(
        tmp_path / "c", ptbxl=small_ptbxl, ecgqa=small_ecgqa, metadata=["age", "sex"], processes=1, progress=False
    )
    built = Cohort.open(tmp_path / "c")
    by_item = dict(zip(built.items["item_id"], built.items["metadata"], strict=True))
    assert by_item["train/0"] == "Age 41, female."
    assert by_item["train/2"] == "Age 90 or above, female."
    assert by_item["train/100"] == "First ECG: age 41, female. Second ECG: age 42, male."
    assert built.meta["made_with"]["metadata"] == ["age", "sex"]
    with pytest.raises(InputError, match="no metadata 'weight'"):
        build_cohort(tmp_path / "d", ptbxl=small_ptbxl, ecgqa=small_ecgqa, metadata=["weight"])
    assert not (tmp_path / "d").exists()
