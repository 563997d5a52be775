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

from causalecg.errors import InputError

Form = Literal["template", "paraphrased"]
SPLITS = ("train", "valid", "test")
QUESTION_TYPES = (
    "single-verify", "single-choose", "single-query", "comparison_consecutive-verify", "comparison_consecutive-query",
    "comparison_irrelevant-verify", "comparison_irrelevant-query",
)  # fmt: skip
_KEYS = ("template_id", "question_id", "sample_id", "question_type", "attribute_type", "question", "answer", "ecg_id")
_LEAD = re.compile(r"\blead (III|II|I|aVR|aVL|aVF|V[1-6])\b", re.IGNORECASE)


@dataclass(frozen=True)
class EcgQa:
    """``questions``: one row per usable sample, with its official split; ``skipped``: the others, with a reason."""

    questions: pd.DataFrame
    skipped: pd.DataFrame


def read_ecgqa(folder: str | Path, form: Form = "paraphrased") -> EcgQa:
    """Read every ``FORM/SPLIT/*.json`` under a folder, with the answer space of each template.

    Columns of ``questions``: sample (split/sample_id), split, template_id, question_id, question_type, attribute_type,
    attribute (list), question, ecg_ids, answer, candidates, kind.

    Malformed samples, repeated ones, answers outside the template's answer space and ECGs of another split are
    skipped. Raises InputError where the layout is not ECG-QA's, or nothing is left.
    """
    folder = Path(folder)
    if form not in ("template", "paraphrased"):
        raise InputError(f"ECG-QA comes in the forms template and paraphrased, not '{form}'")
    if not (folder / form).is_dir() or not (folder / "answers_for_each_template.csv").is_file():
        raise InputError(f"{folder} is not a folder of ECG-QA: it needs {form}/ and answers_for_each_template.csv")
    spaces = _answer_spaces(folder / "answers_for_each_template.csv")
    rows: list[dict[str, Any]] = []
    skipped: list[tuple[str, str, str]] = []
    seen: set[str] = set()
    for split in SPLITS:
        listed = _listed(folder / f"{split}_ecgs.tsv")
        for where, sample in _samples(folder / form / split, skipped):
            try:
                row = _question(sample, spaces, listed)
                name = f"{split}/{row.pop('sample_id')}"
                if name in seen:
                    raise ValueError("sample occurs twice")
            except (ValueError, TypeError, KeyError) as error:
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
        except ValueError as error:
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
    attribute = [str(a) for a in sample.get("attribute") or []]
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
    canonical = f"{identity if identity is not None else f'{template}: {pattern_of(question, attribute)}'}"
    if lead is not None:
        canonical += f"/{lead.group(1)}"
    return {
        "sample_id": int(sample["sample_id"]),
        "template_id": template,
        "question_id": canonical,
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
    """A question's wording with what is asked about taken out: the same for all leads and attributes of a template."""
    pattern = _LEAD.sub("lead {lead}", question)
    for name in sorted(attribute, key=len, reverse=True):
        pattern = re.sub(re.escape(name), "{attribute}", pattern, flags=re.IGNORECASE)
    return pattern


def fill(pattern: str, question: str, attribute: list[str]) -> str:
    """Another wording's pattern, with what ``question`` asks about put in."""
    lead = _LEAD.search(question)
    text = pattern if lead is None else pattern.replace("lead {lead}", lead.group(0))
    text = text.replace("{attribute}", attribute[0]) if attribute else text
    return text[:1].upper() + text[1:]


def _answer_spaces(path: Path) -> dict[str, list[str]]:
    table = pd.read_csv(path, dtype=str)
    try:
        return {
            str(int(t)): sorted(ast.literal_eval(c))
            for t, c in zip(table["template_id"], table["classes"], strict=True)
        }
    except (KeyError, ValueError, SyntaxError) as error:
        raise InputError(f"{path} cannot be read: it needs template_id and a list of classes ({error})") from error


def _listed(path: Path) -> set[str] | None:
    """ECGs of a split, from its two-column list; ``None`` where there is no list."""
    if not path.is_file():
        return None
    return set(pd.read_csv(path, sep="\t", header=None, dtype=str).iloc[:, -1])


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{name} is not a list")
    return value
