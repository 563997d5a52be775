"""What a run begins with must not have learned what it is tested on."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest

from causalecg.benchmark.cohort import simulate_cohort
from causalecg.benchmark.compare import run_comparison
from causalecg.cohort.schema import Cohort
from causalecg.errors import InputError
from causalecg.parquet import read_parquet
from causalecg.training.beginnings import PATIENTS, refuse_tested_patients
from causalecg.training.config import RunConfig
from causalecg.training.encoder_pretraining import _frequent_labels, pretrain_encoder
from causalecg.training.run import train
from causalecg.training.stages import train_stages

SMALL = {
    "encoder_options": {"widths": [4, 8]},
    "embedded": {"hidden": 16, "layers": 1, "heads": 2, "vocabulary": 260},
}


@pytest.fixture(scope="module")
def two_topics(tmp_path_factory) -> Cohort:
    folder = tmp_path_factory.mktemp("cohort") / "c"
    return Cohort.open(
        simulate_cohort(folder, regime="R3", items=80, test_items=20, rho=0.9, rate_hz=50, seconds=2, progress=False)
    )


def test_a_topic_that_was_learned_cannot_be_held_out_later(two_topics, tmp_path) -> None:
    first, second = sorted(two_topics.items["topic"].unique())
    config = RunConfig(epochs=1, model=SMALL, held_out_topics=(first,))
    run = train(two_topics, "none", config, seed=0, out=tmp_path / "a", progress=False)
    begun = {**SMALL, "start": str(run.path)}
    with pytest.raises(InputError, match=f"'{second}' is to be held out, but .*a may have learned of it"):
        train(
            two_topics, "none", RunConfig(epochs=1, model=begun, held_out_topics=(second,)),
            seed=0, out=tmp_path / "b", progress=False,
        )  # fmt: skip
    assert not (tmp_path / "b").exists()
    again = RunConfig(epochs=1, model=begun, held_out_topics=(first,))
    assert train(two_topics, "none", again, seed=0, out=tmp_path / "b", progress=False).record["status"] == "done"
    stages = tmp_path / "stages.toml"
    stages.write_text(
        f'epochs = 1\n[[stages]]\nname = "one"\n[[stages]]\nname = "two"\nheld_out_topics = ["{first}"]\n'
    )
    with pytest.raises(InputError, match="but stage one may have learned of it"):
        train_stages(stages, out=tmp_path / "s", seed=0, cohort=two_topics.path, progress=False)
    assert not (tmp_path / "s").exists()


def labelled(*topics: tuple[str, str]) -> SimpleNamespace:
    """A cohort of twelve ECGs that have the label A, B or both; (question_id, topic) are what is asked about."""
    labels = [["A"], ["B"], ["A", "B"]] * 12
    ids = [str(i) for i in range(len(labels))]
    items = pd.DataFrame(
        [
            {"split": split, "ecg_ids": [i], "patient_ids": [i], "question_id": q, "topic": t, "template_id": "t"}
            for i in ids
            for split in ("train", "valid")
            for q, t in topics
        ]
    )
    ecgs = pd.DataFrame({"ecg_id": ids, "patient_id": ids, "labels": labels})
    return SimpleNamespace(path="here", ecgs=ecgs, items=items, split=lambda name: items[items["split"] == name])


def test_the_label_of_a_topic_held_out_is_not_learned() -> None:
    cohort = labelled(("A", "first finding"), ("B", "second finding"), ("C", "third finding"))
    assert _frequent_labels(cohort, RunConfig()) == ["A", "B"]
    assert _frequent_labels(cohort, RunConfig(held_out_topics=("first finding",))) == ["B"]
    with pytest.raises(InputError, match="no label of cohort here is called 'third finding'"):
        _frequent_labels(cohort, RunConfig(held_out_topics=("third finding",)))


def test_an_encoder_that_may_know_a_topic_is_refused(two_topics, tmp_path) -> None:
    topic = str(two_topics.items["topic"].iloc[0])
    (tmp_path / "e").mkdir()
    record = {"task": "labels", "config": RunConfig().model_dump(mode="json")}
    (tmp_path / "e" / "pretraining.json").write_text(json.dumps(record))
    config = RunConfig(model={"start": str(tmp_path / "e")}, held_out_topics=(topic,))
    with pytest.raises(InputError, match=f"'{topic}' is to be held out, but .*e may have learned of it"):
        train(two_topics, "none", config, seed=0, out=tmp_path / "b", progress=False)


def patients(source: str, **splits: list[str]) -> SimpleNamespace:
    rows = [(split, name) for split, names in splits.items() for name in names]
    items = pd.DataFrame([{"split": s, "ecg_ids": [f"e{n}"], "patient_ids": [n], "template_id": "t"} for s, n in rows])
    ecgs = pd.DataFrame({"ecg_id": [f"e{n}" for _, n in rows], "patient_id": [n for _, n in rows], "source": source})
    return SimpleNamespace(
        path=source, items=items, ecgs=ecgs, split=lambda name: items[items["split"] == name].reset_index(drop=True)
    )


def test_a_patient_learned_from_is_not_tested_later() -> None:
    first = patients("PTB-XL", train=["1", "2"], valid=["3"], test=["4"])
    same = patients("PTB-XL", train=["1"], valid=["2"], test=["4", "5"])
    other = patients("PTB-XL", train=["1"], valid=["5"], test=["3"])
    configs = [RunConfig()] * 2
    refuse_tested_patients([first, same], configs)
    with pytest.raises(InputError, match="patient 3 of PTB-XL is in the test of cohort PTB-XL, and 1 such patients"):
        refuse_tested_patients([first, other], configs)
    # Other data sets have other patients of that name, and simulated ones are nobody's.
    refuse_tested_patients([first, patients("MIMIC", train=["1"], valid=["5"], test=["3"])], configs)
    made = [patients("simulated R1", train=["1"], valid=["2"], test=["3"]) for _ in range(2)]
    made[1].items["split"] = ["test", "valid", "train"]
    refuse_tested_patients(made, configs)


def test_patients_behind_what_a_run_begins_with_are_not_tested(two_topics, tmp_path) -> None:
    named = replace(two_topics, ecgs=two_topics.ecgs.assign(source="a clinic"))
    first, second = tmp_path / "first", tmp_path / "second"
    config = RunConfig(epochs=1, model=SMALL)
    train(named, "none", config, seed=0, out=first, progress=False)
    learned = named.items[named.items["split"].isin(["train", "valid"])]
    expected = {patient for names in learned["patient_ids"] for patient in names}
    assert set(read_parquet(first / PATIENTS)["patient_id"]) == expected

    # Another cohort of other training patients: whoever comes after it is told of the first one's too.
    turned = {"train": "test", "test": "train", "test_unbiased": "train_oracle"}
    other = replace(named, items=named.items.assign(split=named.items["split"].replace(turned)))
    elsewhere = replace(other, ecgs=other.ecgs.assign(source="another clinic"))
    begun = config.model_copy(update={"model": config.model.model_copy(update={"start": str(first)})})
    for attempt in (
        lambda: train(other, "none", begun, seed=0, out=second, progress=False),
        lambda: pretrain_encoder(other, "labels", begun, seed=0, out=second, progress=False),
        lambda: run_comparison(other, ["none"], 1, begun, second, progress=False),
    ):
        with pytest.raises(InputError, match=r"patient .* of a clinic is in the test of cohort .*first learned from"):
            attempt()
        assert not second.exists()
    train(elsewhere, "none", begun, seed=0, out=second, progress=False)
    found = read_parquet(second / PATIENTS)
    assert set(found.loc[found["source"] == "a clinic", "patient_id"]) == expected
    assert set(found["source"]) == {"a clinic", "another clinic"}

    # Of saved weights without a record nothing is known, and so nothing is said of what begins with them.
    (second / PATIENTS).unlink()
    begun = config.model_copy(update={"model": config.model.model_copy(update={"start": str(second)})})
    train(other, "none", begun, seed=0, out=tmp_path / "third", progress=False)
    assert not (tmp_path / "third" / PATIENTS).exists()
