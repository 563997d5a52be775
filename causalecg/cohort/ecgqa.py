"""ECG-QA v1.0.2: questions about one or two ECGs, in the words of a template or paraphrased.

The files of both source versions (PTB-XL and MIMIC-IV-ECG) have the same keys; ``ecg_id`` is a number there and here a
string. Answers are sets. Each template has ten wordings: seven in train and valid, three others in test.

Source: Oh et al., ECG-QA, NeurIPS 2023 Datasets and Benchmarks.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from causalecg.cohort.tables import read_rows
from causalecg.errors import InputError

Form = Literal["template", "paraphrased"]
SPLITS = ("train", "valid", "test")
QUESTION_TYPES = (
    "single-verify", "single-choose", "single-query", "comparison_consecutive-verify", "comparison_consecutive-query",
    "comparison_irrelevant-verify", "comparison_irrelevant-query",
)  # fmt: skip
_KEYS = ("template_id", "question_id", "sample_id", "question_type", "attribute_type", "question", "answer", "ecg_id")
_LEAD = re.compile(r"\blead (III|II|I|aVR|aVL|aVF|V[1-6])\b", re.IGNORECASE)
_SLOT = re.compile(r"\{(lead|attribute(\d+))\}")


@dataclass(frozen=True)
class EcgQa:
    """``questions``: one row per usable sample, with its official split; ``skipped``: the others, with a reason."""

    questions: pd.DataFrame
    skipped: pd.DataFrame


def read_ecgqa(folder: str | Path, form: Form = "paraphrased") -> EcgQa:
    """Read every ``FORM/SPLIT/*.json`` under a folder, with the answer space of each template.

    Columns of ``questions``: sample (split/sample_id), split, template_id, question_id, asked (question_id, lead
    aside), question_type, attribute_type, attribute (list), question, ecg_ids, answer, candidates, kind.

    Malformed samples, repeated ones, answers outside the template's answer space and ECGs of another split are
    skipped; so are malformed rows of the split lists and of the answer spaces. Raises InputError where the layout is
    not ECG-QA's, a table has no usable row, or nothing is left.
    """
    folder = Path(folder)
    if form not in ("template", "paraphrased"):
        raise InputError(f"ECG-QA comes in the forms template and paraphrased, not '{form}'")
    if not (folder / form).is_dir() or not (folder / "answers_for_each_template.csv").is_file():
        raise InputError(f"{folder} is not a folder of ECG-QA: it needs {form}/ and answers_for_each_template.csv")
    rows: list[dict[str, Any]] = []
    skipped: list[tuple[str, str, str]] = []
    spaces = _answer_spaces(folder / "answers_for_each_template.csv", skipped)
    seen: set[str] = set()
    for split in SPLITS:
        listed = _listed(folder / f"{split}_ecgs.tsv", skipped)
        for where, sample in _samples(folder / form / split, skipped):
            try:
                row = _question(sample, spaces, listed)
                name = f"{split}/{row.pop('sample_id')}"
                if name in seen:
                    raise ValueError("sample occurs twice")
            except (ValueError, TypeError, KeyError, OverflowError) as error:
                skipped.append(
                    ("question", where, f"malformed: {error}" if not isinstance(error, _Unusable) else str(error))
                )
                continue
            seen.add(name)
            rows.append({"sample": name, "split": split, **row})
    if not rows:
        raise InputError(f"{folder / form} holds no usable question: {skipped[0][2] if skipped else 'no JSON files'}")
    return EcgQa(pd.DataFrame(rows), pd.DataFrame(skipped, columns=["kind", "id", "reason"]))


class _Unusable(ValueError):
    """Well-formed, but not to be used."""


def _samples(folder: Path, skipped: list[tuple[str, str, str]]) -> Iterator[tuple[str, Any]]:
    for path in sorted(folder.glob("*.json")):
        try:
            samples = json.loads(path.read_text())
            if not isinstance(samples, list):
                raise ValueError("not a list of samples")
        except (ValueError, RecursionError) as error:
            skipped.append(("file", f"{folder.name}/{path.name}", f"malformed: {error}"))
            continue
        for number, sample in enumerate(samples):
            yield f"{folder.name}/{path.name}[{number}]", sample


def _question(sample: Any, spaces: dict[str, list[str]], listed: set[str] | None) -> dict[str, Any]:
    if not isinstance(sample, dict):
        raise ValueError("not an object")
    missing = [key for key in _KEYS if key not in sample]
    if missing:
        raise ValueError(f"no {', '.join(missing)}")
    kind = sample["question_type"]
    if kind not in QUESTION_TYPES:
        raise ValueError(f"unknown question_type {kind!r}")
    ecg_ids = [str(i) for i in _list(sample["ecg_id"], "ecg_id")]
    wanted = 2 if kind.startswith("comparison") else 1
    if len(ecg_ids) != wanted or len(set(ecg_ids)) != wanted:
        raise ValueError(f"{kind} with {len(ecg_ids)} ECG(s), {len(set(ecg_ids))} of them distinct")
    answer = sorted({str(a) for a in _list(sample["answer"], "answer")})
    if not isinstance(sample["question"], str) or not sample["question"].strip():
        raise ValueError("empty question")
    template = str(int(sample["template_id"]))
    if template not in spaces:
        raise ValueError(f"template {template} has no answer space")
    attribute = [str(a) for a in _list(sample.get("attribute") or [], "attribute")]
    candidates = _candidates(kind, attribute, spaces[template])
    verify = kind.endswith("verify")
    if not answer or not set(answer) <= set(candidates) or (verify and len(answer) != 1):
        raise _Unusable("answer outside the template's answer space")
    if listed is not None and not set(ecg_ids) <= listed:
        raise _Unusable("ECG of another split")
    question = sample["question"].strip()
    lead = _LEAD.search(question)
    identity = sample["question_id"]
    # One question_id may be asked of several leads, whose answers differ.
    asked = str(identity) if identity is not None else f"{template}: {pattern_of(question, attribute)}"
    canonical = asked if lead is None else f"{asked}/{lead.group(1)}"
    return {
        "sample_id": int(sample["sample_id"]),
        "template_id": template,
        "question_id": canonical,
        "asked": asked,
        "question_type": kind,
        "attribute_type": str(sample["attribute_type"]),
        "attribute": attribute,
        "question": question,
        "ecg_ids": ecg_ids,
        "answer": answer,
        "candidates": candidates,
        "kind": "one" if verify else "set",
    }


def _candidates(kind: str, attribute: list[str], space: list[str]) -> list[str]:
    """A choice is between what it names and "none"; every other question has its template's answer space."""
    named = sorted({*attribute, "none"} & set(space))
    return named if kind == "single-choose" and len(named) > 1 else space


def pattern_of(question: str, attribute: list[str]) -> str:
    """A question's wording with its lead and attributes taken out, each into a slot of its own.

    What the question asks about without an attribute that names it stays in: such a wording belongs to its question
    alone (:func:`has_every_slot`).
    """
    lead = _LEAD.search(question)
    at = {name.lower(): number for number, name in reversed(list(enumerate(attribute)))}
    names = [rf"(?<!\w){re.escape(name)}" for name in sorted(at, key=len, reverse=True) if name]
    if lead is not None:
        names.append(rf"(?<=\blead ){lead.group(1)}\b")

    def slot(found: re.Match[str]) -> str:
        number = at.get(found.group(0).lower())
        return "{lead}" if number is None else f"{{attribute{number}}}"

    return re.sub("|".join(names), slot, question, flags=re.IGNORECASE) if names else question


def has_every_slot(pattern: str, attribute: list[str]) -> bool:
    """Whether a wording names all that its question is about, so that it can ask about something else."""
    slots = {int(found.group(2)) for found in _SLOT.finditer(pattern) if found.group(2)}
    return bool(attribute) and len(slots) == len({name.lower() for name in attribute})


def fill(pattern: str, question: str, attribute: list[str]) -> str:
    """Another wording's pattern, with what ``question`` asks about put in."""
    lead = _LEAD.search(question)

    def value(slot: re.Match[str]) -> str:
        if slot.group(2) and int(slot.group(2)) < len(attribute):
            return attribute[int(slot.group(2))]
        return lead.group(1) if lead is not None and slot.group(1) == "lead" else slot.group(0)

    text = _SLOT.sub(value, pattern)
    return text[:1].upper() + text[1:]


def _answer_spaces(path: Path, skipped: list[tuple[str, str, str]]) -> dict[str, list[str]]:
    rows = read_rows(path, ("template_id", "classes"))
    skipped += [("answer space", f"{path.name} line {line}", f"malformed: {reason}") for line, reason in rows.bad]
    spaces: dict[str, list[str]] = {}
    for line, row in rows.good:
        try:
            classes = ast.literal_eval(row["classes"])
            if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
                raise ValueError("classes is not a list of answers")
            spaces[str(int(row["template_id"]))] = sorted(classes)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
            skipped.append(("answer space", f"{path.name} line {line}", f"malformed: {error}"))
    if not spaces:
        raise InputError(f"{path} holds no answer space; each row needs a template_id and a list of classes")
    return spaces


def _listed(path: Path, skipped: list[tuple[str, str, str]]) -> set[str] | None:
    """ECGs of a split, from its two-column list; ``None`` where there is no list."""
    if not path.is_file():
        return None
    found = set()
    for line, text in enumerate(path.read_text(errors="replace").split("\n"), start=1):
        fields = text.strip("\r").split("\t")
        if len(fields) == 2 and fields[1].strip():
            found.add(fields[1].strip())
        elif text.strip():
            skipped.append(("list", f"{path.name} line {line}", "malformed: not a number and an ECG"))
    if not found:
        raise InputError(f"{path} lists no ECG; each line needs a number and an ECG, or remove the file")
    return found


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{name} is not a list")
    return value
