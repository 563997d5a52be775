"""Makes the files beside it: released predictions as two kinds of benchmark write them, of patients who do not exist.

    python make_files.py [FOLDER]

llava_questions.json, llava_answers.jsonl   a LLaVA-type evaluation: conversations with the options in the prompt, and
                                            one line of generated text per question
ecgqa_predictions.csv                       a classifier on ECG-QA: one row per sample, true and predicted answers
ecg_patients.csv                            whose ECG is whose; of real ECGs the data set's own table says it
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np

ECGS, PATIENTS = 44, 40
FINDINGS = ["atrial fibrillation", "sinus rhythm", "left axis deviation", "first degree av block"]
OPTIONS = {"verify": ["yes", "no", "not sure"], "query": [*FINDINGS, "none"]}


def ecg_id(number):
    return 90001 + number


def labels_of(rng):
    """The findings of every made-up ECG."""
    return [[name for name in FINDINGS if rng.random() < 0.4] for _ in range(ECGS)]


def said(answer, rng):
    """The same answer in one of the ways in which models put it."""
    text = " and ".join(answer)
    forms = [
        text,
        text.capitalize(),
        f"{text.capitalize()}.",
        f"**{text}**",
        f"Answer: {text}",
        f"The answer is {text}.",
    ]
    return forms[rng.integers(len(forms))]


def guess(answer, options, rng):
    """The true answer three times of four, else another one."""
    others = [name for name in options if name not in answer]
    return answer if rng.random() < 0.75 else [others[rng.integers(len(others))]]


def llava(labels, rng):
    questions, answers = [], []
    for number in range(ECGS):
        kind = ("verify", "query")[number % 4 == 3]
        finding = FINDINGS[number % 3]
        words = f"Does this ECG show {finding}?" if kind == "verify" else "Which findings does this ECG show?"
        true = (["yes"] if finding in labels[number] else ["no"]) if kind == "verify" else labels[number] or ["none"]
        prompt = f"{words}\nAnswer with the options only.\nOptions: {', '.join(OPTIONS[kind])}"
        talk = [{"from": "human", "value": f"<image>\n{prompt}"}, {"from": "gpt", "value": ", ".join(true)}]
        name = f"made-up-{number:03d}"
        questions.append({"id": name, "image": f"{ecg_id(number)}-0.png", "conversations": talk})
        text = said(guess(true, OPTIONS[kind], rng), rng)
        odd = {
            5: "Yes, the P waves are absent.",
            18: "I cannot tell without the ECG.",
            30: "",
            41: "The rhythm looks odd.",
        }
        answers.append(
            {
                "question_id": name,
                "prompt": prompt,
                "text": odd.get(number, text),
                "answer_id": f"made-up-answer-{number:03d}",
                "model_id": "made-up-7b",
                "metadata": {},
            }
        )
    return questions, answers


def ecgqa(labels, rng):
    rows = []
    for number in range(ECGS):
        ecgs, finding = [ecg_id(number)], FINDINGS[number % 2]
        kind, template = "single-verify", 1
        question = f"Does this ECG show symptoms of {finding}?"
        options, true = ["no", "yes"], ["yes" if finding in labels[number] else "no"]
        if number % 4 == 3:
            kind, template, options = "single-query", 11, OPTIONS["query"]
            question, true = "What findings does this ECG show?", labels[number] or ["none"]
        elif number % 4 == 2:
            kind, template = "comparison_irrelevant-verify", 58
            other = (number + 7) % ECGS
            ecgs.append(ecg_id(other))
            question = f"Is {finding} a new finding of the second ECG compared with the first one?"
            true = ["yes" if finding in labels[other] and finding not in labels[number] else "no"]
        rows.append({"sample_id": number, "ecg_id": ecgs, "question_type": kind, "attribute_type": "scp_code",
                     "template_id": template, "question_id": f"{template}{number % 2}", "question": question,
                     "answer": true, "prediction": guess(true, options, rng)})  # fmt: skip
    return rows


def make(folder):
    labels = labels_of(np.random.default_rng(2024))
    questions, answers = llava(labels, np.random.default_rng(1))
    lines = [json.dumps(answer) for answer in answers]
    (folder / "llava_questions.json").write_text(json.dumps(questions, indent=1) + "\n", encoding="utf-8")
    (folder / "llava_answers.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    owners = [{"ecg_id": ecg_id(i), "patient_id": f"made-up-patient-{i % PATIENTS:02d}"} for i in range(ECGS)]
    tables = {"ecgqa_predictions.csv": ecgqa(labels, np.random.default_rng(2)), "ecg_patients.csv": owners}
    for name, rows in tables.items():
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
