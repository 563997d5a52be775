"""A cohort of one's own tables: what docs/your_own_data.md says, and one sentence for what is wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causalecg import Cohort, import_cohort
from causalecg.cohort.signals import LEADS
from causalecg.errors import InputError

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "your_own_data.md").read_text()
SCALES = {"acuity": ["low", "middle", "high"]}
Change = Callable[[pd.DataFrame], pd.DataFrame]


def write_wfdb(path: Path, millivolts: np.ndarray, fs: int = 100, gain: float = 1000.0, unit: str = "mV") -> None:
    import wfdb

    path.parent.mkdir(parents=True, exist_ok=True)
    wfdb.wrsamp(
        path.name, fs=fs, units=[unit] * 12, sig_name=list(LEADS), p_signal=millivolts.T, fmt=["16"] * 12,
        adc_gain=[gain] * 12, baseline=[0] * 12, write_dir=str(path.parent),
    )  # fmt: skip


def record(number: int, samples: int = 200) -> np.ndarray:
    return np.random.default_rng(number).normal(0, 0.3, (12, samples)).round(3)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 ECGs of 20 patients, 2 s at 100 Hz: the even ones WFDB, the odd ones arrays; each asked about twice."""
    folder = tmp_path_factory.mktemp("own")
    ecgs, items = [], []
    for number in range(40):
        array = number % 2 == 1
        path = f"arrays/{number}.npy" if array else f"wfdb/{number}"
        if array:
            (folder / "arrays").mkdir(exist_ok=True)
            np.save(folder / path, record(number))
        else:
            write_wfdb(folder / path, record(number))
        ecgs.append((f"e{number}", f"p{number // 2}", path, 100 if array else "", "AFIB|LVH" if number % 3 else ""))
        for style in ("calm", "urgent"):
            split = "train" if number < 24 else "valid" if number < 32 else "test"
            items.append((f"e{number}", f"{style}: AF?", "yes" if number % 3 else "no", style, "af", split, number % 3))
    pd.DataFrame(ecgs, columns=["ecg_id", "patient_id", "path", "rate_hz", "labels"]).to_csv(
        folder / "ecgs.csv", index=False
    )
    names = ["ecg_ids", "question", "answer", "style", "question_id", "split", "severity_acuity"]
    pd.DataFrame(items, columns=names).to_csv(folder / "items.csv", index=False)
    return folder


def tables(place: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    ecgs, items = (pd.read_csv(place / f"{name}.csv", dtype=str, keep_default_na=False) for name in ("ecgs", "items"))
    return ecgs.assign(path=[str(place / path) for path in ecgs["path"]]), items


def imported(
    place: Path, folder: Path, ecgs: Change | None = None, items: Change | None = None, suffix: str = "csv", **more
) -> Cohort:
    """Of the tables as they are, or changed, in a folder of their own."""
    for name, table, change in zip(("ecgs", "items"), tables(place), (ecgs, items), strict=True):
        changed = table if change is None else change(table)
        if suffix == "csv":
            changed.to_csv(folder / f"{name}.csv", index=False)
        else:
            changed.to_parquet(folder / f"{name}.parquet")
    given = {"severity": SCALES, "seconds": 2.0, "processes": 1, "progress": False, **more}
    out = import_cohort(folder / "c", ecgs=folder / f"ecgs.{suffix}", items=folder / f"items.{suffix}", **given)
    return Cohort.open(out)


def test_the_commands_of_the_page(tmp_path: Path) -> None:
    blocks = re.findall(r"```(\w*)\n(.*?)```", PAGE, re.DOTALL)
    for name in ("ecgs.csv", "items.csv", "wordings.csv"):
        text = re.search(rf"`{name}`:\n\n```\n(.*?)```", PAGE, re.DOTALL)
        assert text is not None
        (tmp_path / name).write_text(text[1])
    for number in (1, 2):
        write_wfdb(tmp_path / "records" / f"000{number}", record(number, 1000))
    (tmp_path / "arrays").mkdir()
    np.save(tmp_path / "arrays" / "0003.npy", record(3, 2500))
    commands = [line for line in blocks[0][1].splitlines() if line]
    assert len(commands) == 2 and all(line.startswith("causalecg cohort ") for line in commands)
    program = next(text for language, text in blocks if language == "python")
    for arguments in ([*(["-m", *line.split()] for line in commands)], [["-c", program]]):
        for one in arguments:
            done = subprocess.run([sys.executable, *one], cwd=tmp_path, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
    own = Cohort.open(tmp_path / "own")
    assert own.items["item_id"].tolist() == ["item-1", "item-2", "item-3"]
    assert own.ecgs["labels"].map(list).tolist() == [["AFIB", "LVH"], [], ["AFIB"]]
    assert own.ecgs["sex"].tolist() == ["female", "female", "male"] and np.isnan(own.ecgs["age"].iloc[2])
    assert own.ecgs["quality"].map(list).tolist() == [[], [], ["resampled"]]
    assert own.items["severity_acuity"].tolist() == [2, 0, 1]
    assert own.items["patient_ids"].map(list).tolist() == [["p1"], ["p1"], ["p2"]]
    assert np.abs(own.signals.read([0])[0] - record(1, 1000)).max() < 0.001


def test_every_column_of_the_page_is_read_and_every_one_read_is_on_the_page() -> None:
    from causalecg.cohort import own_ecgs, own_items

    told = set(re.findall(r"`([a-zA-Z_]+)`", "\n".join(line for line in PAGE.splitlines() if line.startswith("| `"))))
    read = {*own_ecgs.NEEDED, *own_ecgs.OPTIONAL, *own_items.NEEDED, *own_items.OPTIONAL}
    assert read <= told


def test_both_kinds_of_records_and_all_defaults(place: Path, tmp_path: Path) -> None:
    own = imported(place, tmp_path)
    assert len(own.ecgs) == 40 and len(own.items) == 80 and own.meta["counts"]["skipped"] == 0
    stored = own.signals.read(range(40))
    assert np.abs(stored - np.stack([record(number) for number in range(40)])).max() <= 0.0005 + 1e-6
    row = own.items.iloc[0]
    assert (row["template_id"], row["topic"], row["kind"], row["question_type"]) == ("af", "af", "one", "single-verify")
    assert list(row["candidates"]) == ["no", "yes"]
    assert own.wordings["wording_id"].tolist() == ["af-00", "af-01"] and not own.wordings["held_out"].any()
    assert own.meta["roles"] == {"treatment": "style"} and own.meta["made_with"]["split"] is None
    assert not re.search(re.escape(str(place)), (own.path / "cohort.json").read_text())


def test_a_cohort_of_the_fewest_columns(place: Path, tmp_path: Path) -> None:
    own = imported(
        place, tmp_path, ecgs=lambda e: e.drop(columns="labels"), severity=None,
        items=lambda i: i[["ecg_ids", "question", "answer"]].assign(question=["a?", "b?"] * 40),
    )  # fmt: skip
    assert set(own.items["question_id"]) == {"question-1", "question-2"} and set(own.items["style"]) == {"any"}
    assert set(own.items["topic"]) == {"any"} and own.severity_scales == ()
    sides = own.items.groupby(own.items["patient_ids"].map(lambda ids: ids[0]))["split"].nunique()
    assert (sides == 1).all() and own.items["split"].nunique() > 1
    assert own.meta["made_with"]["split"] == {"train": 0.7, "valid": 0.15, "test": 0.15}
    describe = [sys.executable, "-m", "causalecg", "cohort", "describe", str(own.path)]
    told = subprocess.run(describe, capture_output=True, text=True, check=True).stdout
    assert "no severity is recorded, so there is none to adjust for" in told
    assert "can severity be adjusted for?" not in told


def test_the_same_tables_and_seed_give_the_same_bytes_whatever_the_format(place: Path, tmp_path: Path) -> None:
    found = []
    for name, suffix, seed in (("a", "csv", 0), ("b", "parquet", 0), ("d", "csv", 1)):
        (tmp_path / name).mkdir()
        found.append(
            imported(
                place, tmp_path / name, suffix=suffix, seed=seed, processes=1 + (name == "b"), name="mine",
                items=lambda i: i.drop(columns="split"), ecgs=lambda e: e.assign(rate_hz="100"),
            )
        )  # fmt: skip
    assert found[0].hash == found[1].hash != found[2].hash


def test_two_ecgs_sets_and_lists(place: Path, tmp_path: Path) -> None:
    def pairs(items: pd.DataFrame) -> pd.DataFrame:
        rows = items.iloc[[0, 4]].assign(
            ecg_ids=[["e0", "e1"], ["e2", "e4"]], question="which?", question_id="which", answer=[["A", "B"], ["C"]],
            severity_acuity=[2, -1], severity_acuity_1=[0, 1], severity_acuity_2=[2, -1],
        ).drop(columns="split")  # fmt: skip
        more = rows.iloc[:1].assign(ecg_ids=[["e3"]], severity_acuity=1, severity_acuity_1=1, severity_acuity_2=-1)
        return pd.concat([rows, more], ignore_index=True)

    own = imported(place, tmp_path, items=pairs, suffix="parquet", split={"train": 0.98, "valid": 0.01, "test": 0.01})
    assert own.items["kind"].tolist() == ["set"] * 3
    assert own.items["question_type"].tolist() == ["comparison-query", "comparison-query", "single-query"]
    assert own.items["patient_ids"].map(list).tolist() == [["p0", "p0"], ["p1", "p2"], ["p1"]]
    assert list(own.items["candidates"][1]) == ["A", "B", "C"]
    assert own.items[["severity_acuity", "severity_acuity_1", "severity_acuity_2"]].to_numpy().tolist() == [
        [2, 0, 2], [-1, 1, -1], [1, 1, -1]
    ]  # fmt: skip
    assert own.meta["items_without_severity"] == 1


def test_further_wordings(place: Path, tmp_path: Path) -> None:
    table = pd.DataFrame(
        [("af", "urgent: AF?", "urgent", ""), ("af", "calm: and AF?", "calm", ""), ("af", "So, AF?", "calm", "no")],
        columns=["question_id", "question", "style", "held_out"],
    )
    table.to_csv(tmp_path / "w.csv", index=False)
    own = imported(place, tmp_path, wordings=tmp_path / "w.csv")
    assert own.wordings[["wording_id", "question", "held_out"]].to_numpy().tolist() == [
        ["af-00", "calm: AF?", False], ["af-01", "urgent: AF?", False],
        ["af-02", "calm: and AF?", True], ["af-03", "So, AF?", False],
    ]  # fmt: skip
    for column, value, says in (
        ("held_out", "yes", "w.csv, row 1, held_out: training asks this wording"),
        ("held_out", "perhaps", "w.csv, row 1, held_out: 'perhaps' is not known; write yes or no"),
        ("question_id", "x", "w.csv, row 1, question_id: no item asks 'x'"),
    ):
        table.assign(**{column: [value, *table[column][1:]]}).to_csv(tmp_path / "w.csv", index=False)
        with pytest.raises(InputError, match=re.escape(says)):
            import_cohort(tmp_path / "d", ecgs=tmp_path / "ecgs.csv", items=tmp_path / "items.csv",
                          wordings=tmp_path / "w.csv", severity=SCALES, progress=False)  # fmt: skip
    table.drop(columns="style").to_csv(tmp_path / "w.csv", index=False)
    with pytest.raises(InputError, match="lacks the column style, and the items have calm, urgent"):
        import_cohort(tmp_path / "d", ecgs=tmp_path / "ecgs.csv", items=tmp_path / "items.csv",
                      wordings=tmp_path / "w.csv", severity=SCALES, progress=False)  # fmt: skip


def cell(column: str, row: int, value: str) -> Change:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        values = table[column].tolist() if column in table.columns else [""] * len(table)
        values[row - 1] = value
        return table.assign(**{column: values})

    return change


E1 = {
    "ecg_twice": (cell("ecg_id", 2, "e0"), "ecgs.csv, row 2, ecg_id: 'e0' is that of row 1 too; give each ECG an id"),
    "no_patient": (cell("patient_id", 2, " "), "ecgs.csv, row 2, patient_id: it is blank; fill it in"),
    "no_rate": (cell("rate_hz", 2, ""), "ecgs.csv, row 2, rate_hz: it is blank, and an .npy file does not say"),
    "odd_rate": (cell("rate_hz", 2, "fast"), "ecgs.csv, row 2, rate_hz: 'fast' is no number; write the sampling rate"),
    "odd_age": (cell("age", 1, "300"), "ecgs.csv, row 1, age: 300 is nobody's age"),
    "odd_sex": (cell("sex", 1, "2"), "ecgs.csv, row 1, sex: '2' is not known; write female, male or unknown"),
    "no_path": (lambda e: e.drop(columns="path"), "lacks the column(s) path; docs/your_own_data.md says"),
    "misspelt": (lambda e: e.rename(columns={"labels": "label"}), "has a column 'label'; did you mean 'labels'?"),
    "other_marks": (
        lambda e: pd.DataFrame({";".join(e.columns): [";".join(row) for row in e.to_numpy()]}),
        "seems to be separated by semicolons; separate its cells by commas",
    ),
    "no_rows": (lambda e: e.iloc[:0], "ecgs.csv has no rows"),
    "several": (lambda e: e.assign(patient_id=""), "ecgs.csv, row 1, patient_id: it is blank; fill it in (40 rows are"),
}  # fmt: skip
E2 = {
    "unknown_ecg": (cell("ecg_ids", 3, "e99"), "items.csv, row 3, ecg_ids: 'e99' is not in the ECG table; add it"),
    "three_ecgs": (cell("ecg_ids", 3, "e1|e2|e3"), "items.csv, row 3, ecg_ids: 3 ECGs; an item has one or two"),
    "no_answer": (cell("answer", 3, ""), "items.csv, row 3, answer: it is blank; fill it in"),
    "other_answer": (
        lambda i: i.assign(candidates="yes|no|unsure").pipe(cell("answer", 3, "maybe")),
        "items.csv, row 3, answer: 'maybe' is not among the candidates; add it there, or spell it alike",
    ),
    "one_answer": (lambda i: i.assign(answer="yes"), "items.csv, row 1, candidates: there are none, and 'yes' is the"),
    "two_answers": (
        lambda i: i.assign(kind="one").pipe(cell("answer", 3, "yes|no")),
        "items.csv, row 3, answer: there are 2, and the kind is one; write set into a column kind",
    ),
    "candidate_twice": (cell("candidates", 3, "yes|no|yes"), "items.csv, row 3, candidates: one is there twice"),
    "odd_kind": (cell("kind", 3, "many"), "items.csv, row 3, kind: 'many' is not known; write one or set"),
    "odd_split": (cell("split", 3, "Train"), "items.csv, row 3, split: 'Train' is not known; write one of train, valid"),
    "no_split": (cell("split", 3, ""), "items.csv, row 3, split: it is blank; fill it in, or leave the whole column out"),
    "both_sides": (
        cell("split", 5, "test"), "items.csv, row 5, split: patient p1 is in test here and in training in row 7|"
        "items.csv, row 6, split: patient p1 is in training here and in test in row 5; put all"),
    "item_twice": (
        lambda i: i.assign(item_id=[f"i{k // 2}" for k in range(80)]),
        "items.csv, row 2, item_id: 'i0' is that of row 1 too; give each item an id of its own (40 rows are bad)",
    ),
    "other_patient": (
        lambda i: i.assign(patient_ids="p0"), "items.csv, row 5, patient_ids: the ECG table says p1; correct one"),
    "severity_word": (
        cell("severity_acuity", 3, "high"),
        "items.csv, row 3, severity_acuity: 'high' is no level; write 0 (low), 1 (middle), 2 (high), or -1",
    ),
    "severity_level": (cell("severity_acuity", 3, "3"), "items.csv, row 3, severity_acuity: '3' is no level; write"),
    "severity_half": (cell("severity_acuity", 3, "0.5"), "items.csv, row 3, severity_acuity: '0.5' is no level; write"),
    "no_words": (cell("severity_burden", 1, "0"), "has a column severity_burden, whose levels have no words; give them"),
    "no_severity": (
        lambda i: i.drop(columns="severity_acuity"), "has no column severity_acuity; add it, or leave the severity"),
    "half_a_pair": (cell("severity_acuity_1", 1, "0"), "a column severity_acuity_1 without severity_acuity_2"),
    "wrong_pair": (
        lambda i: i.assign(severity_acuity_1="2", severity_acuity_2="-1"),
        "items.csv, row 1, severity_acuity: it is 0, and that of its ECGs 2 and -1; write 2, the larger",
    ),
    "wording_id": (
        lambda i: i.assign(wording_id="w"), "items.csv, row 2, wording_id: 'w' of question 'af' has another text or"),
    "misspelt": (lambda i: i.rename(columns={"style": "styel"}), "has a column 'styel'; did you mean 'style'?"),
}  # fmt: skip


@pytest.mark.parametrize("case", E1)
def test_wrong_ecg_tables_are_one_sentence(place: Path, tmp_path: Path, case: str) -> None:
    change, says = E1[case]
    refused(place, tmp_path, says, ecgs=change)


@pytest.mark.parametrize("case", E2)
def test_wrong_items_tables_are_one_sentence(place: Path, tmp_path: Path, case: str) -> None:
    change, says = E2[case]
    refused(place, tmp_path, says, items=change)


def refused(place: Path, folder: Path, says: str, **more) -> None:
    with pytest.raises(InputError) as found:
        imported(place, folder, **more)
    assert any(one in str(found.value) for one in says.split("|")), str(found.value)
    assert "\n" not in str(found.value)
    assert {path.name for path in folder.iterdir()} <= {"ecgs.csv", "items.csv"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"split": {"train": 0.5, "valid": 0.2, "test": 0.2}}, "give three between 0 and 1 that sum to 1"),
        ({"split": {"train": 0.7, "valid": 0.1, "test": 0.2}}, "has a column split; leave the shares of splits out"),
        ({"severity": {"acuity": ["low"]}}, "give at least two different ones, low to high"),
        ({"severity": {"acuity_1": ["low", "high"]}}, "'acuity_1' cannot name a severity"),
        ({"metadata": ["weight"]}, "there is no metadata 'weight'"),
        ({"wordings": "nowhere.csv"}, "nowhere.csv does not exist; give a table of wordings"),
    ],
)
def test_wrong_options_are_one_sentence(place: Path, tmp_path: Path, options: dict, says: str) -> None:
    refused(place, tmp_path, says, **options)


def test_records_that_cannot_be_read_are_skipped_with_their_items(place: Path, tmp_path: Path) -> None:
    bad = {
        "missing": None, "microvolts": record(0) * 1000, "turned": record(0).T, "whole numbers": np.zeros((12, 9), int),
        "nothing": np.full((12, 200), np.nan), "garbage": b"no array",
    }  # fmt: skip
    for name, signal in bad.items():
        if isinstance(signal, bytes):
            (tmp_path / f"{name}.npy").write_bytes(signal)
        elif signal is not None:
            np.save(tmp_path / f"{name}.npy", signal)
    write_wfdb(tmp_path / "wrong_unit", record(0) * 1000, gain=1.0)

    def change(ecgs: pd.DataFrame) -> pd.DataFrame:
        paths = [f"{name}.npy" for name in bad] + ["wrong_unit.hea"]
        return ecgs.assign(path=[*paths, *ecgs["path"][len(paths) :]], rate_hz="100")

    own = imported(place, tmp_path, ecgs=change)
    skipped = pd.read_csv(own.path / "skipped.csv")
    reasons = dict(zip(skipped["id"], skipped["reason"], strict=True))
    for ecg, says in zip(
        [f"e{k}" for k in range(7)],
        ("missing waveform", "is not in mV", "transpose it", "divide by the gain", "every lead has gaps", "unreadable",
         "is not in mV"),
        strict=True,
    ):  # fmt: skip
        assert says in reasons[ecg], (ecg, reasons[ecg])
    assert len(own.ecgs) == 33 and len(own.items) == 66
    assert skipped["reason"].value_counts()["its ECG cannot be read"] == 14


def test_where_no_record_can_be_read_the_first_reason_is_told(place: Path, tmp_path: Path) -> None:
    refused(place, tmp_path, "none of the 40 ECGs of", ecgs=lambda e: e.assign(path="nowhere"))


def test_leads_of_an_array_by_name(place: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "two.npy", record(1)[[1, 0]])
    own = imported(
        place, tmp_path, items=lambda i: i[i["ecg_ids"] == "e1"].assign(candidates="yes|no"),
        ecgs=lambda e: e[e["ecg_id"] == "e1"].assign(path="two.npy", leads="II|I"),
    )  # fmt: skip
    stored = own.signals.read([0])[0]
    assert np.abs(stored[:2] - record(1)[:2]).max() <= 0.0005 + 1e-6
    assert np.abs(stored[2] - (record(1)[1] - record(1)[0])).max() <= 0.001 + 1e-6
    assert "missing:V1" in own.ecgs["quality"][0]


def test_bad_input_on_the_command_line_is_exit_code_2(place: Path, tmp_path: Path) -> None:
    base = [
        "-m",
        "causalecg",
        "cohort",
        "import",
        "--ecgs",
        str(place / "ecgs.csv"),
        "--items",
        str(place / "items.csv"),
    ]
    for more, says in (
        (["--severity", "acuity"], "--severity takes a name and words"),
        (["--severity", "acuity=low,middle,high", "--split", "a,b"], "--split takes the shares"),
        ([], "has a column severity_acuity, whose levels have no words"),
    ):
        run = subprocess.run(
            [sys.executable, *base, "--out", "c", *more], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert run.returncode == 2 and says in run.stderr and len(run.stderr.strip().splitlines()) == 1
        assert list(tmp_path.iterdir()) == []
