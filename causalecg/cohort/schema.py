"""What is learned from: an items table, an ECG table and a signal store, in one folder.

items.parquet     one row per (ECG or ECG pair, question)
ecgs.parquet      one row per ECG, in the order of the signal store
wordings.parquet  every wording of every canonical question, with its style and whether it is held out
signals.npy       (ecgs, 12, samples) int16 in microvolts, memory-mapped; signals.json says rate and leads
cohort.json       name, schema version, content hash, answer vocabulary, severity scales, how it was made
skipped.csv       what was left out, and why
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from causalecg.cohort.soundness import flattened, require_sound
from causalecg.errors import InputError
from causalecg.parquet import read_parquet

if TYPE_CHECKING:
    from causalecg.cohort.signals import SignalStore

SCHEMA_VERSION = 1

#: Splits a model may learn from. ``*_oracle`` are the same ECGs and answers with the style re-drawn at random;
#: ``train_twins`` are training items with the finding set to what it was not and the same noise (``twin_of``), for
#: adjusters that ask for them.
TRAINING_SPLITS = ("train", "valid", "train_oracle", "valid_oracle", "train_twins")
#: Splits no training may touch. ``test_anti``: the style is the answer's opposite; ``twins``: pairs of items that share
#: all noise and differ in one thing (``twin_of``).
TEST_SPLITS = ("test", "test_unbiased", "test_natural", "test_anti", "twins")

#: Column of the items -> the key, of a run's configuration and record, that names what of it training never asks.
HELD_OUT = {"topic": "held_out_topics", "template_id": "held_out_templates"}

#: column -> what it holds. ``severity_<scale>`` columns (int64 level; for two ECGs the maximum, with
#: ``severity_<scale>_1`` and ``_2`` beside it) come on top of these. A level of -1 means "not defined": in ``_2`` that
#: there is one ECG, in all three that it cannot be said which statements the question is about, so that they cannot
#: be left out. Nothing may be adjusted for such a level; cohort.json counts the items (``items_without_severity``).
ITEM_COLUMNS: dict[str, str] = {
    "item_id": "string, unique",
    "source": "string, the data set the item comes from",
    "split": "string, one of TRAINING_SPLITS or TEST_SPLITS",
    "patient_ids": "list of one or two strings",
    "ecg_ids": "list of one or two strings",
    "template_id": "string",
    "question_id": "string, the canonical question: template x attribute, however it is worded",
    "question_type": "string, e.g. single-verify",
    "topic": "string, the finding asked about",
    "style": "string, how it is worded; one value throughout where styles are not distinguished",
    "wording_id": "string, row of wordings.parquet within question_id",
    "question": "string, as asked",
    "candidates": "list of strings, the answer space",
    "kind": "string: one or set",
    "answer": "list of strings, a subset of candidates",
}
#: ``metadata``: string or null, a sentence about the patient(s) that is put before the question, e.g. "Age 63, female."
ITEM_OPTIONAL = ("group", "environment", "twin_of", "partner", "finding", "keep_probability", "metadata")
ECG_COLUMNS: dict[str, str] = {
    "ecg_id": "string, unique",
    "patient_id": "string",
    "age": "float, years, NaN unknown; 90 also stands for PTB-XL's 300, 'above 89'",
    "sex": "string: female, male or unknown",
    "labels": "list of strings, SCP codes or simulated findings",
    "source": "string",
    "quality": "list of strings, flags of the signal policy (e.g. nan:V2, flat:II)",
}
WORDING_COLUMNS: dict[str, str] = {
    "question_id": "string",
    "wording_id": "string",
    "style": "string",
    "held_out": "bool, never used in training",
    "question": "string, the full text",
}
#: key of cohort.json that every cohort has -> its type.
META_KEYS: dict[str, type] = {
    "name": str,
    "hash": str,
    "severity_scales": dict,
    "answer_vocabulary": list,
    "counts": dict,
}


@dataclass(frozen=True)
class Cohort:
    """An opened cohort folder. Tables are read once; signals stay on disk."""

    path: Path
    items: pd.DataFrame
    ecgs: pd.DataFrame
    wordings: pd.DataFrame
    meta: dict[str, Any]

    @classmethod
    def open(cls, path: str | Path) -> Cohort:
        """Open a folder written by :func:`write_cohort`. Raises InputError where it is not one, unreadable, or
        not sound: see :func:`~causalecg.cohort.soundness.require_sound` and :func:`require_patients_apart`."""
        folder = Path(path)
        if not (folder / "cohort.json").is_file():
            raise InputError(f"{folder} is not a cohort: it has no cohort.json; make one with 'causalecg cohort'")
        try:
            meta = json.loads((folder / "cohort.json").read_text())
            items, ecgs, wordings = (read_parquet(folder / f"{n}.parquet") for n in ("items", "ecgs", "wordings"))
        except (OSError, ValueError) as error:
            raise InputError(f"{folder} cannot be read as a cohort: {str(error).splitlines()[0]}") from error
        if not isinstance(meta, dict):
            raise InputError(f"{folder / 'cohort.json'} does not hold an object; build the cohort again")
        if meta.get("schema_version") != SCHEMA_VERSION:
            raise InputError(
                f"{folder} has cohort schema {meta.get('schema_version')}, this version reads {SCHEMA_VERSION}; "
                "build it again"
            )
        _require_whole(folder, meta, {"items": items, "ecgs": ecgs, "wordings": wordings})
        require_sound(folder, items, ecgs, meta["severity_scales"])
        require_patients_apart(items)
        return cls(folder, items, ecgs, wordings, meta)

    @cached_property
    def signals(self) -> SignalStore:
        from causalecg.cohort.signals import SignalStore

        store = SignalStore.open(self.path)
        if len(store) != len(self.ecgs):
            raise InputError(
                f"{store.path} holds {len(store):,} ECGs, and ecgs.parquet {len(self.ecgs):,}; build the cohort again"
            )
        return store

    @property
    def hash(self) -> str:
        return str(self.meta["hash"])

    @property
    def severity_scales(self) -> tuple[str, ...]:
        return tuple(self.meta["severity_scales"])

    def severity_column(self, scale: str) -> str:
        """Column of a severity scale. InputError where there is no such scale."""
        if scale not in self.severity_scales:
            have = ", ".join(self.severity_scales) or "none"
            raise InputError(f"cohort {self.path} has no severity scale '{scale}'; it has {have}")
        return f"severity_{scale}"

    @cached_property
    def answer_vocabulary(self) -> dict[str, int]:
        return {answer: i for i, answer in enumerate(self.meta["answer_vocabulary"])}

    @cached_property
    def ecg_rows(self) -> dict[str, int]:
        """ecg_id -> row in the signal store."""
        return {ecg_id: row for row, ecg_id in enumerate(self.ecgs["ecg_id"])}

    def split(self, *names: str) -> pd.DataFrame:
        """Items of these splits, with a fresh 0..n-1 index. Raises InputError when there are none."""
        table = self.items[self.items["split"].isin(names)].reset_index(drop=True)
        if table.empty:
            have = ", ".join(sorted(self.items["split"].unique()))
            raise InputError(f"cohort {self.path} has no items in split {' or '.join(names)}; it has {have}")
        return table


def _require_whole(folder: Path, meta: dict[str, Any], tables: dict[str, pd.DataFrame]) -> None:
    for key, kind in META_KEYS.items():
        if not isinstance(meta.get(key), kind):
            raise InputError(f"{folder / 'cohort.json'} has no usable '{key}'; build the cohort again")
    scales = [f"severity_{scale}" for scale in meta["severity_scales"]]
    needed = {"items": [*ITEM_COLUMNS, *scales], "ecgs": list(ECG_COLUMNS), "wordings": list(WORDING_COLUMNS)}
    for name, columns in needed.items():
        missing = [column for column in columns if column not in tables[name].columns]
        if missing:
            path = folder / f"{name}.parquet"
            raise InputError(f"{path} lacks the column(s) {', '.join(missing)}; build the cohort again")


def item_errors(items: pd.DataFrame, ecg_ids: Iterable[str]) -> pd.DataFrame:
    """Rows of ``items`` that break the schema: columns row, item_id, reason. Empty when all is well."""
    missing = [name for name in ITEM_COLUMNS if name not in items.columns]
    if missing:
        raise InputError(f"items table lacks the column(s) {', '.join(missing)}")
    known = set(ecg_ids)
    found: list[tuple[int, str, str]] = []

    def note(mask: Sequence[bool] | pd.Series, reason: str) -> None:
        for row in [i for i, bad in enumerate(mask) if bad]:
            found.append((row, str(items["item_id"].iloc[row]), reason))

    note(items["item_id"].duplicated(), "item_id occurs twice")
    note(~items["split"].isin((*TRAINING_SPLITS, *TEST_SPLITS)), "unknown split")
    note(~items["kind"].isin(("one", "set")), "kind is neither one nor set")
    note([not 1 <= len(ids) <= 2 for ids in items["ecg_ids"]], "not one or two ECGs")
    note([any(i not in known for i in ids) for ids in items["ecg_ids"]], "ECG not in the cohort")
    note(
        [len(p) != len(e) for p, e in zip(items["patient_ids"], items["ecg_ids"], strict=True)],
        "patient_ids and ecg_ids differ in length",
    )
    note([len(c) < 1 or len(set(c)) != len(c) for c in items["candidates"]], "candidates empty or repeated")
    note(
        [not set(a) <= set(c) for a, c in zip(items["answer"], items["candidates"], strict=True)],
        "answer not among the candidates",
    )
    note(
        [k == "one" and len(a) != 1 for a, k in zip(items["answer"], items["kind"], strict=True)],
        "kind one without exactly one answer",
    )
    return pd.DataFrame(found, columns=["row", "item_id", "reason"]).sort_values(["row"], ignore_index=True)


def patient_overlap(items: pd.DataFrame) -> set[str]:
    """Patients seen both in a training split and in a test split; must be empty."""
    row, patients = flattened(items["patient_ids"])
    training, test = (items["split"].isin(names).to_numpy()[row] for names in (TRAINING_SPLITS, TEST_SPLITS))
    return set(patients[training]) & set(patients[test])


def require_patients_apart(items: pd.DataFrame) -> None:
    """InputError where a patient is in training and in test of one environment."""
    for environment, rows in items.groupby(items.get("environment", pd.Series("", index=items.index)), dropna=False):
        both = patient_overlap(rows)
        if both:
            where = f" of environment {environment}" if environment else ""
            raise InputError(f"{len(both)} patient(s){where} are both in training and in test, e.g. {sorted(both)[0]}")
