"""MIMIC-IV-ECG in its public layout, with records written by wfdb, and what its machine reports stand for."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causalecg.cohort.build import build_cohort
from causalecg.cohort.machine_statements import codes_of, machine_statements
from causalecg.cohort.mimic import read_mimic
from causalecg.cohort.question_severity import left_out
from causalecg.cohort.schema import Cohort
from causalecg.cohort.severity import acuity_grades, severity
from causalecg.cohort.signals import LEADS
from causalecg.errors import InputError

#: The order of MIMIC-IV-ECG's records.
ORDER = ["I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6"]
REPORTS = [
    ["Sinus rhythm", "Normal ECG"],
    ["Atrial fibrillation with rapid ventricular response", "Left axis deviation", "Abnormal ECG"],
    ["Sinus rhythm with 1st degree A-V block", "Possible inferior infarct - age undetermined", "Abnormal ECG"],
    ["Ventricular-paced rhythm", "No further analysis attempted due to paced rhythm"],
]


def leads_of(study: int) -> np.ndarray:
    """(5000, 12) mV at 500 Hz in :data:`ORDER`: a wave of its own in every lead."""
    t = np.arange(5000) / 500
    return np.stack([0.3 * np.sin(2 * np.pi * (1 + place + study / 50) * t) for place in range(12)], axis=1)


@pytest.fixture(scope="module")
def small_mimic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """38 studies with records, one (39) without a waveform, one (40) without a report."""
    import wfdb

    folder = tmp_path_factory.mktemp("mimic")
    records, reports = [], []
    for study in range(1, 41):
        subject = 10000 + study
        place = f"files/p{subject // 10}/p{subject}/s{study}"
        records.append(
            {"subject_id": subject, "study_id": study, "file_name": study, "ecg_time": f"21{study:02d}-07-23 08:44:00",
             "path": f"{place}/{study}"}
        )  # fmt: skip
        if study < 40:
            lines = REPORTS[study % 4]
            reports.append(
                {"subject_id": subject, "study_id": study, "cart_id": 6, "ecg_time": "2180-07-23 08:44:00",
                 **{f"report_{n}": lines[n] if n < len(lines) else "" for n in range(18)}, "rr_interval": 800}
            )  # fmt: skip
        if study < 39:
            (folder / place).mkdir(parents=True)
            wfdb.wrsamp(
                str(study), fs=500, units=["mV"] * 12, sig_name=ORDER, p_signal=leads_of(study), fmt=["16"] * 12,
                write_dir=str(folder / place), adc_gain=[200.0] * 12, baseline=[0] * 12,
            )  # fmt: skip
    pd.DataFrame(records).to_csv(folder / "record_list.csv", index=False)
    pd.DataFrame(reports).to_csv(folder / "machine_measurements.csv", index=False)
    return folder


def with_tables(small_mimic: Path, folder: Path) -> Path:
    folder.mkdir()
    for name in ("record_list.csv", "machine_measurements.csv"):
        shutil.copy(small_mimic / name, folder / name)
    return folder


def test_the_public_tables(small_mimic) -> None:
    found = read_mimic(small_mimic)
    assert len(found.ecgs) == 39
    assert found.skipped.to_numpy().tolist() == [["ecg", "40", "no machine report, so that nothing is known of it"]]
    first = found.ecgs.iloc[1]
    assert (first["ecg_id"], first["patient_id"], first["source"]) == ("2", "10002", "MIMIC-IV-ECG")
    assert first["low"] == first["high"] == "files/p1000/p10002/s2/2"
    assert first["labels"] == ["1AVB", "IMI", "SR"]
    assert np.isnan(first["age"]) and first["sex"] == "unknown"


def test_age_and_sex_come_from_the_patients_table_compressed_or_not(small_mimic, tmp_path) -> None:
    folder = with_tables(small_mimic, tmp_path / "m")
    people = "subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod\n"
    people += "10001,F,52,2100,2008 - 2010,\n10002,M,91,2100,2008 - 2010,\n10003,M,,2100,2008 - 2010,\nx,F,1,2100,,\n"
    with gzip.open(folder / "patients.csv.gz", "wt") as file:
        file.write(people)
    with gzip.open(folder / "record_list.csv.gz", "wb") as file:
        file.write((folder / "record_list.csv").read_bytes())
    (folder / "record_list.csv").unlink()
    found = read_mimic(folder)
    ecgs = found.ecgs.set_index("ecg_id")
    assert ecgs.loc["1", ["age", "sex"]].tolist() == [53.0, "female"]  # in 2101, a year after the anchor
    assert ecgs.loc["2", ["age", "sex"]].tolist() == [90.0, "male"]  # 91 stands for above 89
    assert np.isnan(ecgs.loc["3", "age"]) and ecgs.loc["3", "sex"] == "male"
    assert found.skipped["reason"].tolist()[0] == "malformed: subject_id is 'x'"


def test_odd_rows_are_skipped_and_named(small_mimic, tmp_path) -> None:
    folder = with_tables(small_mimic, tmp_path / "m")
    with open(folder / "record_list.csv", "a") as file:
        file.write("10001,1,1,2101-07-23 08:44:00,files/again\nx,y,z,,\n10001,50,50,,p,more\n,3,3,,\n")
    found = read_mimic(folder)
    assert len(found.ecgs) == 39
    assert found.skipped["reason"].tolist() == [
        "no machine report, so that nothing is known of it",
        "malformed: study_id occurs twice",
        "malformed: study_id is 'y'",
        "malformed: 6 fields instead of 5",
        "malformed: it has no subject_id or no path",
    ]
    (folder / "machine_measurements.csv").write_text("study_id,report_0\n")
    with pytest.raises(InputError, match=r"record_list\.csv has no usable row"):
        read_mimic(folder)
    (folder / "machine_measurements.csv").unlink()
    with pytest.raises(InputError, match=r"holds no machine_measurements\.csv; give the folder of MIMIC-IV-ECG"):
        read_mimic(folder)


@pytest.fixture(scope="module")
def built(small_mimic, small_ecgqa, tmp_path_factory) -> Cohort:
    out = tmp_path_factory.mktemp("built") / "c"
    build_cohort(out, mimic=small_mimic, ecgqa=small_ecgqa, processes=1, progress=False)
    return Cohort.open(out)


def test_a_cohort_of_it(built) -> None:
    assert built.meta["name"] == "ECG-QA on MIMIC-IV-ECG, paraphrased"
    assert "known_likelihoods" not in built.meta["selection"]["known"]
    assert set(built.items["split"]) == {"train", "valid", "test"}
    ecgs = built.ecgs.set_index("ecg_id")
    assert set(ecgs["source"]) == {"MIMIC-IV-ECG"} and {"39", "40"}.isdisjoint(ecgs.index)
    assert sorted(ecgs.loc["7", "quality"]) == ["reordered", "resampled"]
    # Each lead is where the house has it, whatever its place in the record, in mV at 100 Hz.
    stored = built.signals.read([built.ecg_rows["7"]])[0]
    t = np.arange(1000) / 100
    for row, lead in enumerate(LEADS):
        wave = 0.3 * np.sin(2 * np.pi * (1 + ORDER.index(lead) + 7 / 50) * t)
        assert np.abs(stored[row] - wave)[50:-50].max() < 0.01
    # Atrial fibrillation is asked about: no rhythm counts for the severity.
    asked = built.items[built.items["template_id"] == "1"]
    level = dict(zip(asked["ecg_ids"].str[0], asked["severity_acuity"], strict=True))
    assert (level["1"], level["2"], level["4"]) == (0, 3, 0)
    numbers = built.items[built.items["template_id"] == "69"]
    assert set(numbers["severity_acuity_1"]) == {0, 2, 3}


def test_only_the_records_that_are_asked_about_are_read(small_mimic, small_ecgqa, tmp_path) -> None:
    folder = tmp_path / "q"
    shutil.copytree(small_ecgqa, folder)
    for path in folder.glob("paraphrased/*/*.json"):
        if path.name != "0.json":
            path.unlink()
            continue
        samples = json.loads(path.read_text())
        path.write_text(json.dumps([s for s in samples if s["template_id"] == 1 and s["ecg_id"][0] % 2]))
    out = tmp_path / "c"
    build_cohort(out, mimic=small_mimic, ecgqa=folder, processes=1, progress=False)
    cohort = Cohort.open(out)
    assert {int(i) % 2 for i in cohort.ecgs["ecg_id"]} == {1}
    assert "2" not in set(pd.read_csv(out / "skipped.csv", dtype=str)["id"])


@pytest.mark.parametrize(
    ("line", "codes"),
    [
        ("Sinus rhythm", ["SR"]),
        ("Normal ECG", ["NORM"]),
        ("Abnormal ECG", []),
        ("Sinus rhythm with borderline 1st degree A-V block", ["1AVB", "SR"]),
        ("Supraventricular tachycardia", ["SVTAC"]),
        ("Ventricular tachycardia", ["VT"]),
        ("Wide QRS tachycardia", ["VT"]),
        ("RBBB with left anterior fascicular block", ["CRBBB", "LAFB"]),
        ("Incomplete RBBB", ["IRBBB"]),
        ("Left bundle branch block", ["CLBBB"]),
        ("Inferior infarct - age undetermined", ["IMI"]),
        ("Septal infarct, old", ["ASMI"]),
        ("Consider acute ST elevation MI", ["MI", "STE_"]),
        ("Lateral ST-T changes may be due to myocardial ischemia", ["ISC_", "NST_"]),
        ("Nonspecific T wave abnormality", ["NT_"]),
        ("Left ventricular hypertrophy", ["LVH"]),
        ("Voltage criteria for left ventricular hypertrophy", ["VCLVH"]),
        ("Prolonged QT interval", ["LNGQT"]),
        ("Prolonged PR interval", ["LPR"]),
        ("Ventricular premature complexes", ["PVC"]),
        ("Sinus rhythm with PACs", ["PAC", "SR"]),
        ("A-V sequential pacemaker", ["PACE"]),
        ("Wandering atrial pacemaker", ["EAR"]),
        ("Poor R wave progression - probable normal variant", []),
        ("Atrial fibrillation is no longer present", []),
        ("Cannot rule out anterior infarct", ["AMI"]),
        ("Low QRS voltages in limb leads", ["LVOLT"]),
        ("", []),
    ],
)
def test_lines_of_a_report(line: str, codes: list[str]) -> None:
    assert codes_of([line]) == codes


def test_the_table_agrees_with_itself_and_with_ptb_xls_grades() -> None:
    statements = machine_statements()
    for code, text in statements.description.items():
        assert code in codes_of([text]), code
    shared = {code for code in statements.grades if code in acuity_grades()}
    assert len(shared) > 35
    assert {code: statements.grades[code] for code in shared} == {code: acuity_grades()[code] for code in shared}
    assert set(statements.grades.values()) == {0, 1, 2, 3}


def test_severity_and_what_is_left_out_of_it() -> None:
    statements = machine_statements()
    codes = ["AFIB", "IMI", "LVH"]
    assert severity(codes, "acuity", statements) == 3
    assert severity(codes, "burden", statements) == 3
    rhythm = left_out("scp_code", ["pacemaker rhythm"], statements)
    assert rhythm is not None and {"PACE", "SR", "AFIB", "VT"} <= rhythm and "IMI" not in rhythm
    assert severity(codes, "burden", statements, without=rhythm) == 2
    infarction = left_out("scp_code", ["Myocardial infarction in inferior leads"], statements)
    assert infarction is not None and {"IMI", "AMI", "QWAVE"} <= infarction
    assert left_out("stage_of_infarction", [], statements) == infarction
    ectopy = left_out("extra_systole", [], statements)
    assert ectopy == {"PVC", "PAC", "BIGU", "TRIGU"}
    assert left_out("scp_code", ["dextrocardia"], statements) is None
    assert left_out("noise", [], statements) == frozenset()


def test_one_source_and_one_only(small_mimic, small_ecgqa, tmp_path) -> None:
    for given in ({}, {"ptbxl": small_mimic, "mimic": small_mimic}):
        with pytest.raises(InputError, match="the folder of PTB-XL or that of MIMIC-IV-ECG, and not both"):
            build_cohort(tmp_path / "c", ecgqa=small_ecgqa, **given)
    command = [
        sys.executable,
        "-m",
        "causalecg",
        "cohort",
        "build",
        "--ecgqa",
        str(small_ecgqa),
        "--out",
        str(tmp_path / "c"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("causalecg: give the folder of PTB-XL")
    assert not (tmp_path / "c").exists()
