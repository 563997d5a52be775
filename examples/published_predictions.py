"""Released predictions of two benchmarks, in their own formats: brought into a table of answers, checked, audited and
reported. Run: python published_predictions.py OUT

The files in examples/published are made up; put your own in their place. Such releases hold answers to intact items
only, which cannot show whether a model reads the ECG: the report says what is missing.
"""

import ast
import csv
import json
import re
import sys
from pathlib import Path

from causalecg import ScoreSet, run_suite, write_report
from causalecg.audits.answer_parser import parse_answer
from causalecg.audits.answer_table import bad_rows
from causalecg.audits.verdicts import overall

PUBLISHED = Path(__file__).parent / "published"


def patients(folder):
    """ecg_id -> patient_id; for PTB-XL, ptbxl_database.csv says it."""
    with (folder / "ecg_patients.csv").open(encoding="utf-8") as file:
        return {row["ecg_id"]: row["patient_id"] for row in csv.DictReader(file)}


def from_llava(folder):
    """Generated text (question_id, prompt, text, ...), joined with the questions and their true answers."""
    owner = patients(folder)
    questions = json.loads((folder / "llava_questions.json").read_text(encoding="utf-8"))
    lines = (folder / "llava_answers.jsonl").read_text(encoding="utf-8").splitlines()
    text = {row["question_id"]: row["text"] for row in map(json.loads, lines)}
    if len(text) < len(lines) or text.keys() - {question["id"] for question in questions}:
        sys.exit(
            f"{folder / 'llava_answers.jsonl'} answers a question twice, or one that is not in llava_questions.json"
        )
    rows = []
    for question in questions:
        prompt, true = (turn["value"] for turn in question["conversations"])
        words, _, options = prompt.removeprefix("<image>\n").partition("\nOptions: ")
        candidates = re.split(r",\s*(?![^(]*\))", options)  # not at a comma within brackets
        kind = "one" if "yes" in candidates else "set"
        ecg = question["image"].split("-")[0]
        rows.append(
            {
                "item_id": question["id"],
                "intervention": "intact",
                "question": words.splitlines()[0],
                "candidates": candidates,
                "kind": kind,
                "answer": parse_answer(true, candidates, kind).answers,
                "text": text.get(question["id"]),  # a question left out of the answers counts as unanswered
                "ecg_id": ecg,
                "patient_id": owner[ecg],
            }
        )
    return rows


def from_ecgqa(folder):
    """A classifier's predictions on ECG-QA: lists of answers, one ECG or two."""
    owner = patients(folder)
    rows = []
    with (folder / "ecgqa_predictions.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            ecgs = [str(ecg) for ecg in ast.literal_eval(row["ecg_id"])]
            rows.append(
                {
                    "item_id": row["sample_id"],
                    "intervention": "intact",
                    "question_id": row["question_id"],
                    "template_id": row["template_id"],
                    "question": row["question"],
                    "answer": ast.literal_eval(row["answer"]),
                    "answer_given": ast.literal_eval(row["prediction"]),
                    "ecg_id": ecgs,
                    "patient_id": [owner[ecg] for ecg in ecgs],
                }
            )
    return rows


def main(out, folder=PUBLISHED):
    for name, convert in (("llava", from_llava), ("ecgqa", from_ecgqa)):
        table = out / f"{name}.jsonl"
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text("\n".join(json.dumps(row) for row in convert(folder)) + "\n", encoding="utf-8")
        bad = bad_rows(table)
        if bad:
            sys.exit(f"{table}: {bad[0].says}; {len(bad)} in all")
        scores = ScoreSet.open(table)
        results = run_suite(scores)
        print(f"{name}: {overall(results)};", write_report(out / name, score_set=scores, results=results))
        for result in results:
            print(f"  {result.name}: {result.verdict} {result.note if result.verdict == 'not assessed' else ''}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
