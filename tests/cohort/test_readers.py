from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from causalecg.cohort.build import build_cohort
from causalecg.cohort.describe import describe_cohort
from causalecg.cohort.ecgqa import fill, pattern_of, read_ecgqa
from causalecg.cohort.ptbxl import read_ptbxl
from causalecg.cohort.schema import Cohort, patient_overlap
from causalecg.cohort.signals import LEADS
from causalecg.cohort.waveforms import read_record
from causalecg.errors import InputError


@pytest.fixture(scope="module")
def built(small_ptbxl, small_ecgqa, tmp_path_factory) -> Cohort:
    out = tmp_path_factory.mktemp("built") / "c"
    build_cohort(out, ptbxl=small_ptbxl, ecgqa=small_ecgqa, processes=1, progress=False)
    return Cohort.open(out)


def test_the_official_table(small_ptbxl) -> None:
    found = read_ptbxl(small_ptbxl)
    assert len(found.ecgs) == 40
    first = found.ecgs.iloc[0]
    assert (first["ecg_id"], first["patient_id"], first["sex"], first["age"]) == ("1", "1001", "female", 41.0)
    assert found.ecgs.set_index("ecg_id").loc["3", "age"] == 90.0  # 300 is PTB-XL's "above 89"
    assert first["labels"] == ["AFIB", "LVH"]  # likelihood 0 means unknown, and counts


def test_malformed_and_repeated_rows_are_skipped_and_named(small_ptbxl, tmp_path) -> None:
    folder = tmp_path / "p"
    shutil.copytree(small_ptbxl, folder, ignore=shutil.ignore_patterns("records100"))
    table = pd.read_csv(folder / "ptbxl_database.csv", dtype=str)
    table.loc[0, "scp_codes"] = "{'NORM': 100.0"
    table.loc[1, "patient_id"] = ""
    table.loc[2, "ecg_id"] = "5"
    table.to_csv(folder / "ptbxl_database.csv", index=False)
    found = read_ptbxl(folder)
    assert len(found.ecgs) == 37
    assert found.skipped["id"].tolist() == ["1", "2", "5"]
    assert "ecg_id occurs twice" in found.skipped["reason"].iloc[2]
    table.drop(columns="scp_codes").to_csv(folder / "ptbxl_database.csv", index=False)
    with pytest.raises(InputError, match="lacks the column.*scp_codes"):
        read_ptbxl(folder)
    with pytest.raises(InputError, match=r"holds no ptbxl_database\.csv"):
        read_ptbxl(tmp_path)


def without_records(small_ptbxl, folder):
    shutil.copytree(small_ptbxl, folder, ignore=shutil.ignore_patterns("records100"))
    return folder


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        ("scp_codes", "{[]: 1}", "unhashable"),
        ("scp_codes", "{'NORM': 'x'}", "could not convert"),
        ("scp_codes", "(" * 5000 + ")" * 5000, ""),
        ("sex", "inf", "infinity"),
        ("age", "inf", "age is inf"),
    ],
)
def test_an_odd_cell_costs_its_row(small_ptbxl, tmp_path, column: str, cell: str, reason: str) -> None:
    folder = without_records(small_ptbxl, tmp_path / "p")
    table = pd.read_csv(folder / "ptbxl_database.csv", dtype=str)
    table.loc[4, column] = cell
    table.to_csv(folder / "ptbxl_database.csv", index=False)
    found = read_ptbxl(folder)
    assert len(found.ecgs) == 39
    assert found.skipped["id"].tolist() == ["5"]
    assert "malformed row 6" in found.skipped["reason"].iloc[0] and reason in found.skipped["reason"].iloc[0]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (lambda row: row + b",extra", "9 fields instead of 8"),
        (lambda row: row.replace(b'"', b"", 1), "fields instead of 8|quote is not closed"),
        (lambda row: row.replace(b"40_", b"\xff_").replace(b"05_", b"\xff_"), "not UTF-8"),
    ],
)
def test_a_broken_line_costs_its_row(small_ptbxl, tmp_path, broken, reason: str) -> None:
    folder = without_records(small_ptbxl, tmp_path / "p")
    lines = (folder / "ptbxl_database.csv").read_bytes().split(b"\n")
    lines[5] = broken(lines[5])
    (folder / "ptbxl_database.csv").write_bytes(b"\n".join(lines))
    found = read_ptbxl(folder)
    assert len(found.ecgs) == 39
    assert found.skipped["id"].tolist() == ["line 6"]
    assert re.search(reason, found.skipped["reason"].iloc[0])


@pytest.mark.parametrize("name", ["ptbxl_database.csv", "scp_statements.csv"])
@pytest.mark.parametrize("text", ["", "\n\n", "a,b\n1,2\n"])
def test_an_empty_or_foreign_table_is_one_sentence(small_ptbxl, tmp_path, name: str, text: str) -> None:
    folder = without_records(small_ptbxl, tmp_path / "p")
    (folder / name).write_text(text)
    with pytest.raises(InputError, match=name) as found:
        read_ptbxl(folder)
    assert "\n" not in str(found.value)


def test_a_ragged_row_of_statements_is_skipped(small_ptbxl, tmp_path) -> None:
    folder = without_records(small_ptbxl, tmp_path / "p")
    with open(folder / "scp_statements.csv", "a") as file:
        file.write("AFLT,atrial flutter,,,1,,,Rhythm,more\n")
    found = read_ptbxl(folder)
    assert found.skipped.to_numpy().tolist() == [
        ["statement", "scp_statements.csv line 10", "malformed: 9 fields instead of 8"]
    ]
    assert "AFLT" not in found.statements.kin and len(found.statements.kin) == 8


@pytest.mark.parametrize("name", ["train_ecgs.tsv", "answers_for_each_template.csv"])
def test_an_empty_table_of_questions_is_one_sentence(small_ecgqa, tmp_path, name: str) -> None:
    folder = tmp_path / "q"
    shutil.copytree(small_ecgqa, folder)
    (folder / name).write_text("")
    with pytest.raises(InputError, match=name):
        read_ecgqa(folder)


def test_odd_rows_of_the_questions_tables_are_skipped(small_ecgqa, tmp_path) -> None:
    odd = [
        question(1, 7, 0, "Atrial fibrillation?", [1]) | {"sample_id": float("inf")},
        question(1, 7, 0, "Atrial fibrillation?", [1]) | {"template_id": float("inf")},
        question(1, 7, 4001, "Atrial fibrillation?", [1]) | {"attribute": 5},
        question(71, 7, 4002, "Atrial fibrillation?", [1]),
    ]
    folder = with_more_questions(small_ecgqa, tmp_path / "q", {"train": odd}, "71,5\n72\n73,\"{'a': 1}\"\n")
    (folder / "paraphrased" / "train" / "deep.json").write_text("[" * 100_000 + "]" * 100_000)
    with open(folder / "valid_ecgs.tsv", "a") as file:
        file.write("7\t8\t9\nx\n")
    before, found = read_ecgqa(small_ecgqa), read_ecgqa(folder)
    assert len(found.questions) == len(before.questions)
    reasons = dict(zip(found.skipped["id"], found.skipped["reason"], strict=True))
    assert set(reasons) - set(before.skipped["id"]) == {
        *(f"train/more.json[{n}]" for n in range(4)), "train/deep.json", "valid_ecgs.tsv line 6", "valid_ecgs.tsv line 5",
        *(f"answers_for_each_template.csv line {n}" for n in (5, 6, 7)),
    }  # fmt: skip
    assert reasons["train/more.json[3]"] == "malformed: template 71 has no answer space"


def odd_header(first: str) -> str:
    return first + "".join(f"odd.dat 16 1000(0)/mV 16 0 0 0 0 {lead}\n" for lead in LEADS)


@pytest.mark.parametrize("first", ["odd 12 0 1000\n", "odd 12 0.001 1000\n", "odd 0 100 0\n", "\n"])
def test_an_odd_header_costs_its_ecg(tmp_path, first: str) -> None:
    (tmp_path / "odd.hea").write_text(odd_header(first))
    np.zeros((1000, 12), dtype="<i2").tofile(tmp_path / "odd.dat")
    with pytest.raises(InputError) as found:
        read_record([str(tmp_path / "odd")], rate_hz=100, samples=1000)
    assert "\n" not in str(found.value)


def test_an_error_without_words_is_still_a_reason(tmp_path, monkeypatch) -> None:
    import wfdb

    def fails(_: str) -> None:
        raise AssertionError

    monkeypatch.setattr(wfdb, "rdrecord", fails)
    (tmp_path / "x.hea").write_text("")
    with pytest.raises(InputError, match="unreadable waveform: AssertionError$"):
        read_record([str(tmp_path / "x")], rate_hz=100, samples=1000)


def test_malformed_questions_are_skipped_with_a_reason(small_ecgqa) -> None:
    found = read_ecgqa(small_ecgqa)
    reasons = dict(zip(found.skipped["id"], found.skipped["reason"], strict=True))
    expected = {
        0: "not an object", 1: "no question_id", 2: "occurs twice", 3: "answer space", 4: "answer space",
        5: "ECG of another split", 6: "2 ECG", 7: "unknown question_type", 8: "template 99", 9: "empty question",
    }  # fmt: skip
    for number, part in expected.items():
        assert part in reasons[f"train/900.json[{number}]"]
    assert "malformed" in reasons["train/901.json"]
    assert len(found.skipped) == 11
    assert len(read_ecgqa(small_ecgqa, "template").skipped) == 0


def test_answers_are_sets_and_answer_spaces_are_the_templates(small_ecgqa) -> None:
    questions = read_ecgqa(small_ecgqa).questions.set_index("sample")
    row = questions.loc["train/100"]
    assert row["kind"] == "set"
    assert row["answer"] == ["qt interval", "rr interval"]
    assert row["candidates"] == ["none", "qt interval", "rr interval"]
    assert questions.loc["train/1", "kind"] == "one"
    # One question_id is asked of several leads: they are different canonical questions.
    assert set(questions[questions["template_id"] == "26"]["question_id"]) == {"5/I", "5/V6", "5/aVF"}


def test_wordings_are_patterns() -> None:
    pattern = pattern_of("Is there static noise in lead aVL?", ["static noise"])
    assert pattern == "Is there {attribute0} in lead {lead}?"
    assert fill(pattern, "Does lead V2 show burst noise?", ["burst noise"]) == "Is there burst noise in lead V2?"
    either = pattern_of("Which one, complete block or incomplete block?", ["complete block", "incomplete block"])
    assert either == "Which one, {attribute0} or {attribute1}?"
    assert fill(either, "", ["a fib", "a flutter"]) == "Which one, a fib or a flutter?"


NAMES = [
    "static noise",
    "burst noise",
    "T-wave",
    "t",
    "attribute",
    "st/t change",
    "bigeminal (sv, or ventricular)",
    "lead",
]


@pytest.mark.parametrize("seed", range(200))
def test_a_pattern_filled_with_its_own_is_the_question(seed: int) -> None:
    rng = np.random.default_rng(seed)
    attribute = [str(name) for name in rng.choice(NAMES, rng.integers(0, 3), replace=False)]
    words = [
        "Does",
        "it",
        "show",
        "the",
        "lead V1",
        "Lead aVR",
        "in lead II",
        *NAMES,
        *attribute,
        *map(str.upper, attribute),
    ]
    question = " ".join(str(word) for word in rng.choice(words, 8)) + "?"
    assert fill(pattern_of(question, attribute), question, attribute).lower() == question.lower()


def with_more_questions(small_ecgqa, folder, samples: dict[str, list[dict]], space: str):
    shutil.copytree(small_ecgqa, folder)
    with open(folder / "answers_for_each_template.csv", "a") as file:
        file.write(space)
    for split, found in samples.items():
        (folder / "paraphrased" / split / "more.json").write_text(json.dumps(found))
    return folder


def question(template: int, question_id: int, number: int, text: str, ecg_ids: list[int], **more) -> dict:
    return {
        "template_id": template, "question_id": question_id, "sample_id": number, "question_type": "single-verify",
        "attribute_type": "scp_code", "question": text, "answer": [["yes"], ["no"]][number % 2], "ecg_id": ecg_ids,
        "attribute": None, **more,
    }  # fmt: skip


def test_rewording_never_changes_what_is_asked(small_ptbxl, small_ecgqa, tmp_path) -> None:
    """ECG-QA's comparisons have no attribute: the finding stays in the text, one question_id for each."""
    findings = {31: "atrial fibrillation", 32: "sinus rhythm"}
    forms = ["Has {} been resolved?", "Is {} gone?", "Did {} go?", "No more {}?"]
    made = [
        question(57, q, 2000 + 100 * q + n, forms[n % 4].format(name), [1 + n, 2 + n])
        | {"question_type": "comparison_irrelevant-verify"}
        for q, name in findings.items()
        for n in range(20)
    ]
    folder = with_more_questions(small_ecgqa, tmp_path / "q", {"train": made}, "57,\"['no', 'yes']\"\n")
    build_cohort(tmp_path / "c", ptbxl=small_ptbxl, ecgqa=folder, processes=1, progress=False)
    cohort = Cohort.open(tmp_path / "c")
    for table in (cohort.items[cohort.items["template_id"] == "57"], cohort.wordings):
        for q, name in findings.items():
            asked = table.loc[table["question_id"] == str(q), "question"]
            assert len(asked) and asked.str.contains(name).all()
    words = cohort.wordings[cohort.wordings["question_id"] == "31"]
    assert len(words) == 4 and words["held_out"].sum() == 2
    assert not set(words["wording_id"]) & set(cohort.wordings.loc[cohort.wordings["question_id"] == "32", "wording_id"])
    pairs = cohort.items[cohort.items["template_id"] == "57"]
    assert (pairs[["severity_acuity", "severity_acuity_1", "severity_burden_2"]] == -1).all(axis=None)
    assert cohort.meta["items_without_severity"] == len(pairs)


def test_missing_and_unreadable_waveforms_are_skipped_and_fatal_only_alone(built, small_ptbxl, tmp_path) -> None:
    skipped = pd.read_csv(built.path / "skipped.csv")
    ecgs = skipped[skipped["kind"] == "ecg"].set_index("id")["reason"]
    assert ecgs.loc["39"] == "missing waveform"
    assert ecgs.loc["40"].startswith("unreadable waveform")
    assert (skipped["reason"] == "ECG is not among the records").sum() > 0
    assert len(built.ecgs) == len(built.signals) == 38
    empty = tmp_path / "none"
    shutil.copytree(small_ptbxl, empty, ignore=shutil.ignore_patterns("records100"))
    with pytest.raises(InputError, match="none of the .* questions"):
        build_cohort(tmp_path / "o", ptbxl=empty, ecgqa=built_ecgqa(built), processes=1, progress=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["none"]  # nothing half-written


def built_ecgqa(built: Cohort):
    return built.path.parent.parent / "ecgqa0"


def test_signals_are_the_records(built, small_ptbxl) -> None:
    import wfdb

    record = wfdb.rdrecord(str(small_ptbxl / "records100" / "00000" / "00007_lr"))
    stored = built.signals.read([built.ecg_rows["7"]])[0]
    assert built.signals.leads[3:6] == ("aVR", "aVL", "aVF")
    assert np.abs(stored - record.p_signal.T).max() <= 0.0005 + 1e-6  # half a microvolt, and float32


def test_official_and_development_splits(built) -> None:
    items = built.items
    official, development = (items[items["environment"] == name] for name in ("official", "development"))
    assert set(development["template_id"]) == {"26"}
    for part in (official, development):
        assert patient_overlap(part) == set()
    held = set(map(tuple, built.wordings.loc[built.wordings["held_out"], ["question_id", "wording_id"]].to_numpy()))
    for row in items.itertuples():
        assert ((row.question_id, row.wording_id) in held) == (row.split == "test"), row.item_id
    text = built.wordings.set_index(["question_id", "wording_id"])["question"]
    for row in items.itertuples():
        assert row.question == text.loc[(row.question_id, row.wording_id)]


def test_pairs_have_both_patients_and_both_severities(built) -> None:
    pairs = built.items[built.items["question_type"] == "comparison_irrelevant-query"]
    assert {len(p) for p in pairs["patient_ids"]} == {2}
    both = pairs[["severity_acuity_1", "severity_acuity_2"]]
    assert (both.max(axis=1) == pairs["severity_acuity"]).all()
    single = built.items[built.items["question_type"] == "single-verify"]
    assert (single["severity_burden_2"] == -1).all()


def test_same_seed_same_bytes(small_ptbxl, small_ecgqa, built, tmp_path) -> None:
    build_cohort(tmp_path / "again", ptbxl=small_ptbxl, ecgqa=small_ecgqa, processes=2, progress=False)
    assert Cohort.open(tmp_path / "again").hash == built.hash


def test_a_high_rate_record_stands_in_for_a_missing_low_rate_one(tmp_path) -> None:
    import wfdb

    t = np.arange(5000) / 500
    wave = np.stack([np.sin(2 * np.pi * 3 * t) * (k + 1) / 12 for k in range(12)], 1)
    wfdb.wrsamp(
        "hr", fs=500, units=["mV"] * 12, sig_name=[f"V{k}" for k in range(1, 7)] + ["I", "II", "III", "aVR", "aVL", "aVF"],
        p_signal=wave, fmt=["16"] * 12, write_dir=str(tmp_path), adc_gain=[5000.0] * 12, baseline=[0] * 12,
    )  # fmt: skip
    record, flags = read_record([str(tmp_path / "lr"), str(tmp_path / "hr")], rate_hz=100, samples=1000)
    assert {"resampled", "reordered"} <= set(flags)
    wanted = np.sin(2 * np.pi * 3 * np.arange(1000) / 100) * 7 / 12  # lead I came seventh
    assert np.abs(record[0] - wanted)[20:-20].max() < 0.01
    with pytest.raises(InputError, match="missing waveform"):
        read_record([str(tmp_path / "lr")], rate_hz=100, samples=1000)


def test_the_description_counts_and_tests_independence(built) -> None:
    found = describe_cohort(built)
    assert sum(group["items"] for group in found["groups"]) == len(built.items)
    test = found["groups"][0]["wording_on_severity"]["acuity"]
    assert test["df"] > 0 and 0 <= test["p"] <= 1
    assert (test["tested"], test["within"]) == ("wording", "questions that share their wordings")
    alone = [group for group in found["groups"] if group["wordings"] == 1 or group["split"] == "test"]
    nothing = [t for group in alone for t in group["wording_on_severity"].values() if t["df"] == 0]
    assert nothing and all(t["p"] is None for t in nothing)
    json.dumps(found, allow_nan=False)


def test_the_selection_is_told(small_ptbxl, small_ecgqa, tmp_path) -> None:
    from typer.testing import CliRunner

    from causalecg.cli import build_app

    folder = tmp_path / "p"
    shutil.copytree(small_ptbxl, folder)
    table = pd.read_csv(folder / "ptbxl_database.csv", dtype=str)
    table["scp_codes"] = table["scp_codes"].str.replace(r"\d+\.0", "0.0", regex=True)
    table["report"] = ""
    table.loc[0, "report"] = "sinusrhythmus"
    table.loc[1, "scp_codes"] = "{'NORM': 80.0}"
    table.to_csv(folder / "ptbxl_database.csv", index=False)
    build_cohort(tmp_path / "c", ptbxl=folder, ecgqa=small_ecgqa, processes=1, progress=False)
    selection = Cohort.open(tmp_path / "c").meta["selection"]
    assert selection["population"] == "ECGs"
    assert (selection["known"]["known_likelihoods"], selection["kept"]["known_likelihoods"]) == (2 / 40, 2 / 38)
    told = CliRunner().invoke(build_app(), ["cohort", "describe", str(tmp_path / "c")]).output
    assert re.search(r"selection, of ECGs +known +kept", told)
    assert re.search(r"known likelihoods +0\.050 +0\.053", told)
    assert re.search(r"ecgs +40 +38", told)


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize("form", ["paraphrased", "template"])
def test_the_real_questions_are_kept_as_counted(real_data, tmp_path, form: str) -> None:
    build_cohort(
        tmp_path / "c", ptbxl=real_data / "ptbxl", ecgqa=real_data / "ecgqa" / "ptbxl", form=form, progress=False
    )
    cohort = Cohort.open(tmp_path / "c")
    items = cohort.items
    assert len(cohort.ecgs) == 6000
    counts = items.groupby(["environment", "split"]).size()
    assert counts["development"].sum() == 2785
    assert counts["official"].to_dict() == {"test": 587, "train": 7094, "valid": 2456}
    noise = items[items["environment"] == "development"]
    assert len({p for ids in noise["patient_ids"] for p in ids}) == 1686
    assert noise["answer"].str[0].value_counts(normalize=True).iloc[0] == pytest.approx(0.902, abs=5e-4)
    test = items[(items["environment"] == "official") & (items["split"] == "test")]
    assert test["answer"].map(lambda a: tuple(sorted(a))).nunique() == 64
    skipped = pd.read_csv(cohort.path / "skipped.csv")
    assert skipped["reason"].value_counts().to_dict() == {"ECG is not among the records": 9867}
