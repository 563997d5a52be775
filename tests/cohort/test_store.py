from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cohort.batches import TableBatches, make_batch
from causalecg.cohort.schema import Cohort
from causalecg.cohort.store import write_cohort
from causalecg.cohort.wordings import STYLES, render, training_wordings, wording_table
from causalecg.errors import InputError


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Cohort:
    folder = tmp_path_factory.mktemp("store") / "c"
    simulate_cohort(folder, items=24, test_items=8, rho=0.9, rate_hz=50, seconds=2, progress=False)
    return Cohort.open(folder)


def again(cohort: Cohort, folder, items: pd.DataFrame, **more):
    def signals(target) -> None:
        for name in ("signals.npy", "signals.json"):
            (target / name).write_bytes((cohort.path / name).read_bytes())

    arguments = {
        "items": items, "ecgs": cohort.ecgs, "wordings": cohort.wordings, "meta": {"name": "x", "severity_scales": {}},
        "skipped": pd.DataFrame(columns=["kind", "id", "reason"]), "write_signals": signals,
    }  # fmt: skip
    return write_cohort(folder, **{**arguments, **more})


def test_rows_that_break_the_schema_are_listed_and_fatal_only_alone(cohort, tmp_path) -> None:
    items = cohort.items.copy()
    items.at[0, "answer"] = ["perhaps"]
    items.at[1, "split"] = "tset"
    items.at[2, "ecg_ids"] = ["nowhere"]
    items.at[3, "item_id"] = items.at[4, "item_id"]
    found = Cohort.open(again(cohort, tmp_path / "a", items))
    reasons = pd.read_csv(found.path / "skipped.csv")["reason"].tolist()
    assert reasons == [
        "answer not among the candidates",
        "unknown split",
        "ECG not in the cohort",
        "item_id occurs twice",
    ]
    assert len(found.items) == len(items) - 4
    with pytest.raises(InputError, match="nothing is left"):
        again(cohort, tmp_path / "b", items.assign(kind="both"))
    assert not (tmp_path / "b").exists()


def test_a_patient_on_both_sides_is_fatal(cohort, tmp_path) -> None:
    items = cohort.items.copy()
    test = items.index[items["split"] == "test"][0]
    items.at[test, "patient_ids"] = list(items.at[0, "patient_ids"])
    with pytest.raises(InputError, match=r"1 patient\(s\) are both in training and in test"):
        again(cohort, tmp_path / "a", items)


def test_a_failed_write_leaves_nothing(cohort, tmp_path) -> None:
    def fails(folder) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        again(cohort, tmp_path / "a", cohort.items, write_signals=fails)
    assert list(tmp_path.iterdir()) == []


def test_the_hash_notices_any_change(cohort, tmp_path) -> None:
    same = Cohort.open(again(cohort, tmp_path / "a", cohort.items))
    other = Cohort.open(again(cohort, tmp_path / "b", cohort.items.assign(topic="other")))
    assert same.hash == cohort.hash != other.hash


def test_folders_that_are_no_cohorts(tmp_path, cohort) -> None:
    with pytest.raises(InputError, match=r"has no cohort\.json"):
        Cohort.open(tmp_path)
    with pytest.raises(InputError, match="exists already"):
        again(cohort, tmp_path, cohort.items)
    with pytest.raises(InputError, match="no items in split test_natural; it has"):
        cohort.split("test_natural")


@pytest.mark.parametrize("meta", ["[]", "3", '{"schema_version": 1}', '{"schema_version": 1, "name": 3}', "{", "\xff"])
def test_a_cohort_without_its_record_is_one_sentence(cohort, tmp_path, meta: str) -> None:
    shutil.copytree(cohort.path, tmp_path / "c")
    (tmp_path / "c" / "cohort.json").write_text(meta, encoding="latin-1")
    with pytest.raises(InputError, match="build the cohort again|cannot be read as a cohort") as found:
        Cohort.open(tmp_path / "c")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("table", "column"),
    [("items", "candidates"), ("items", "severity_simulated"), ("ecgs", "sex"), ("wordings", "style")],
)
def test_a_table_without_a_column_is_named(cohort, tmp_path, table: str, column: str) -> None:
    shutil.copytree(cohort.path, tmp_path / "c")
    path = tmp_path / "c" / f"{table}.parquet"
    pd.read_parquet(path).drop(columns=column).to_parquet(path)
    with pytest.raises(InputError, match=rf"{table}\.parquet lacks the column\(s\) {column}; build"):
        Cohort.open(tmp_path / "c")


@pytest.mark.parametrize("d_prime", [0.0, -1.0, float("nan"), float("inf")])
def test_a_discriminability_that_is_no_number_is_refused(tmp_path, d_prime: float) -> None:
    with pytest.raises(InputError, match="d' must be positive and finite"):
        simulate_cohort(tmp_path / "c", items=24, test_items=8, rho=0.9, d_prime=d_prime, progress=False)


def test_batches_are_their_rows(cohort) -> None:
    table = cohort.split("train")
    table.at[1, "question"] = None
    table.at[2, "ecg_ids"] = []
    batch = TableBatches(cohort, table, ("severity_simulated",))([2, 0, 1])
    assert batch.rows.tolist() == [2, 0, 1]
    assert batch.question[2] is None and batch.question[1] == table["question"].iloc[0]
    assert batch.ecg_present.tolist() == [[False, False], [True, False], [True, False]]
    assert (batch.ecg[0] == 0).all()
    row = cohort.ecg_rows[table["ecg_ids"].iloc[0][0]]
    assert np.array_equal(batch.ecg[1, 0].numpy(), cohort.signals.read([row])[0])
    assert batch.columns["ecg_row"].tolist()[1] == [row, -1]
    assert batch.columns["severity_simulated"].tolist() == table["severity_simulated"].iloc[[2, 0, 1]].tolist()
    truth = [names[int(at)] for names, at in zip(batch.candidates, batch.answer.long().argmax(1), strict=True)]
    assert truth == [table["answer"].iloc[i][0] for i in (2, 0, 1)]
    assert torch.equal(make_batch(cohort, table, [2, 0, 1]).ecg, batch.ecg)
    with pytest.raises(InputError, match="which the cohort lacks"):
        TableBatches(cohort, table.assign(ecg_ids=[["x"]] * len(table)))


def test_an_epoch_holds_every_row_once_and_one_kind_to_a_batch(cohort) -> None:
    table = cohort.split("train")
    table["kind"] = np.where(np.arange(len(table)) % 3 == 0, "set", "one")
    batches = TableBatches(cohort, table)
    for parts in (batches.shuffled(5, np.random.default_rng(0)), batches.in_order(5)):
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(table)))
        assert all(len(set(table["kind"].iloc[part])) == 1 for part in parts)
    with pytest.raises(InputError, match="items of one kind"):
        batches([0, 1])


def test_held_out_wordings_are_new_sentences_without_new_words() -> None:
    words = wording_table({"q": "atrial fibrillation"})
    seen, held = words[~words["held_out"]], words[words["held_out"]]
    assert set(held["question"]) & set(seen["question"]) == set()
    assert {w for q in held["question"] for w in q.split()} <= {w for q in seen["question"] for w in q.split()}
    assert set(held["style"]) == set(seen["style"]) == set(STYLES)
    assert len(training_wordings()) * 2 == len(seen)
    with pytest.raises(IndexError):
        render("calm", 12, "x")


def test_signals_are_those_of_the_ecg_table(cohort, tmp_path) -> None:
    count = len(cohort.ecgs)
    more = pd.concat([cohort.ecgs, cohort.ecgs.iloc[:1].assign(ecg_id="one more")], ignore_index=True)
    with pytest.raises(InputError, match=f"has stored {count} ECGs, and the ECG table has {count + 1}"):
        again(cohort, tmp_path / "a", cohort.items, ecgs=more)
    assert list(tmp_path.iterdir()) == []
    shutil.copytree(cohort.path, tmp_path / "c")
    np.save(tmp_path / "c" / "signals.npy", np.load(cohort.path / "signals.npy")[:-1])
    opened = Cohort.open(tmp_path / "c")
    with pytest.raises(InputError, match=rf"holds {count - 1} ECGs, and ecgs\.parquet {count}"):
        _ = opened.signals


def test_what_is_handed_over_to_be_written_is_whole(cohort, tmp_path) -> None:
    with pytest.raises(InputError, match=r"meta of .* has no usable 'severity_scales'"):
        again(cohort, tmp_path / "a", cohort.items, meta={"name": "x"})
    with pytest.raises(InputError, match=r"the items table lacks the column\(s\) severity_mine; add"):
        again(cohort, tmp_path / "a", cohort.items, meta={"name": "x", "severity_scales": {"mine": ["low", "high"]}})
    with pytest.raises(InputError, match=r"the ecgs table lacks the column\(s\) quality"):
        again(cohort, tmp_path / "a", cohort.items, ecgs=cohort.ecgs.drop(columns="quality"))
