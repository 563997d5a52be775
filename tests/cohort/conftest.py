"""A small PTB-XL and ECG-QA on disk, in their own formats, with real WFDB records."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

LEADS = ["I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6"]
CODES = ["{'NORM': 100.0, 'SR': 0.0}", "{'AFIB': 0.0, 'LVH': 100.0}", "{'IMI': 50.0, 'SR': 0.0}", "{'1AVB': 100.0}"]


def write_record(folder: Path, name: str, signal: np.ndarray, *, fs: int = 100, leads: list[str] = LEADS) -> None:
    import wfdb

    folder.mkdir(parents=True, exist_ok=True)
    wfdb.wrsamp(
        name, fs=fs, units=["mV"] * len(leads), sig_name=leads, p_signal=signal, fmt=["16"] * len(leads),
        write_dir=str(folder), adc_gain=[1000.0] * len(leads), baseline=[0] * len(leads),
    )  # fmt: skip


@pytest.fixture(scope="session")
def small_ptbxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 ECGs of 40 patients; ECG 39's waveform is missing, ECG 40's header is garbage."""
    folder = tmp_path_factory.mktemp("ptbxl")
    rng = np.random.default_rng(0)
    rows = []
    for i in range(1, 41):
        name = f"{i:05d}_lr"
        rows.append(
            {
                "ecg_id": i, "patient_id": f"{1000 + i}.0", "age": 300.0 if i == 3 else 40.0 + i, "sex": i % 2,
                "scp_codes": CODES[i % 4], "strat_fold": 1 + i % 10,
                "filename_lr": f"records100/00000/{name}", "filename_hr": f"records500/00000/{i:05d}_hr",
            }
        )  # fmt: skip
        if i < 39:
            write_record(folder / "records100" / "00000", name, rng.standard_normal((1000, 12)).round(3) * 0.2)
    (folder / "records100" / "00000" / "00040_lr.hea").write_text("this is no header\n")
    pd.DataFrame(rows).to_csv(folder / "ptbxl_database.csv", index=False)
    statements = [
        ("NORM", "normal ECG", 1, None, None, "NORM", "NORM", "Normal/abnormal"),
        ("IMI", "inferior myocardial infarction", 1, None, None, "MI", "IMI", "Myocardial Infarction"),
        ("LVH", "left ventricular hypertrophy", 1, None, None, "HYP", "LVH", "Ventricular Hypertrophy"),
        ("VCLVH", "voltage criteria", None, 1, None, None, None, "Ventricular Hypertrophy"),
        ("1AVB", "first degree AV block", 1, None, None, "CD", "_AVB", "Conduction"),
        ("3AVB", "third degree AV block", 1, None, None, "CD", "_AVB", "Conduction"),
        ("SR", "sinus rhythm", None, None, 1, None, None, "Rhythm"),
        ("AFIB", "atrial fibrillation", None, None, 1, None, None, "Rhythm"),
    ]
    columns = [
        "",
        "description",
        "diagnostic",
        "form",
        "rhythm",
        "diagnostic_class",
        "diagnostic_subclass",
        "Statement Category",
    ]
    pd.DataFrame(statements, columns=columns).to_csv(folder / "scp_statements.csv", index=False)
    return folder


@pytest.fixture(scope="session")
def small_ecgqa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Template 1 (verify, all splits), 26 (noise, training only), 69 (numeric, two ECGs), and what must be skipped."""
    folder = tmp_path_factory.mktemp("ecgqa")
    (folder / "answers_for_each_template.csv").write_text(
        "template_id,classes\n1,\"['no', 'not sure', 'yes']\"\n26,\"['no', 'yes']\"\n69,\"['none', 'rr interval', 'qt interval']\"\n"
    )
    splits = {"train": range(1, 25), "valid": range(25, 29), "test": range(29, 41)}
    for name, ids in splits.items():
        (folder / f"{name}_ecgs.tsv").write_text("".join(f"{n}\t{i}\n" for n, i in enumerate(ids)))
        for form in ("template", "paraphrased"):
            (folder / form / name).mkdir(parents=True)

    def sample(template, question_id, number, kind, attribute_type, question, answer, ecg_id, attribute=None) -> dict:
        return {
            "template_id": template, "question_id": question_id, "sample_id": number, "question_type": kind,
            "attribute_type": attribute_type, "question": question, "answer": answer, "ecg_id": ecg_id,
            "attribute": attribute,
        }  # fmt: skip

    for form in ("template", "paraphrased"):
        for name, ids in splits.items():
            ids = list(ids)
            words = ["Is atrial fibrillation here?", "Any atrial fibrillation?"]
            if name == "test":
                words = ["Atrial fibrillation present?"]
            found = [
                sample(1, 7, n, "single-verify", "scp_code", words[n % len(words)] if form == "paraphrased" else "Atrial fibrillation?",
                       ["yes"] if n % 3 else ["no"], [i], ["atrial fibrillation"])
                for n, i in enumerate(ids)
            ]  # fmt: skip
            found += [
                sample(69, 9, 100 + n, "comparison_irrelevant-query", "numeric_feature",
                       "Which numbers changed?" if name != "test" else "What changed in numbers?",
                       [["rr interval", "qt interval"], ["none"], ["rr interval"]][n % 3], [ids[n], ids[n + 1]])
                for n in range(len(ids) - 1)
            ]  # fmt: skip
            (folder / form / name / "0.json").write_text(json.dumps(found))
        noise = [
            sample(26, 5, 500 + n, "single-verify", "noise", w.format(lead), ["yes"] if n % 4 else ["no"], [1 + n % 24], ["static noise"])
            for n, (w, lead) in enumerate(
                (w, lead) for lead in ("I", "V6", "aVF") for w in ("Static noise in lead {}?", "Is lead {} showing static noise?",
                                                                  "Does lead {} have static noise?") for _ in range(8)
            )
        ]  # fmt: skip
        (folder / form / "train" / "500.json").write_text(json.dumps(noise))
    bad = [
        "not an object",
        {"template_id": 1},
        sample(1, 7, 0, "single-verify", "scp_code", "Again?", ["yes"], [1]),  # sample 0 again
        sample(1, 7, 900, "single-verify", "scp_code", "Q?", ["perhaps"], [1]),
        sample(1, 7, 901, "single-verify", "scp_code", "Q?", ["yes", "no"], [1]),
        sample(1, 7, 902, "single-verify", "scp_code", "Q?", ["yes"], [30]),  # a test ECG
        sample(1, 7, 903, "single-verify", "scp_code", "Q?", ["yes"], [1, 2]),
        sample(1, 7, 904, "single-guess", "scp_code", "Q?", ["yes"], [1]),
        sample(99, 7, 905, "single-verify", "scp_code", "Q?", ["yes"], [1]),
        sample(1, 7, 906, "single-verify", "scp_code", "  ", ["yes"], [1]),
    ]
    (folder / "paraphrased" / "train" / "900.json").write_text(json.dumps(bad))
    (folder / "paraphrased" / "train" / "901.json").write_text('[{"template_id": 1,')
    return folder
