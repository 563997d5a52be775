"""Writing a cohort folder: validated, hashed, and there only when it is complete."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from causalecg.cohort.schema import (
    ECG_COLUMNS,
    ITEM_COLUMNS,
    SCHEMA_VERSION,
    WORDING_COLUMNS,
    item_errors,
    require_patients_apart,
)
from causalecg.cohort.signals import SignalStore
from causalecg.cohort.soundness import require_lists, require_sound
from causalecg.errors import InputError

SKIPPED_COLUMNS = ("kind", "id", "reason")
_CHUNK = 1 << 22


def write_cohort(
    folder: str | Path,
    *,
    items: pd.DataFrame,
    ecgs: pd.DataFrame,
    wordings: pd.DataFrame,
    meta: dict[str, Any],
    skipped: pd.DataFrame,
    write_signals: Callable[[Path], None],
) -> Path:
    """Write a cohort folder in one step: it appears complete or not at all.

    Args:
        folder: must not exist yet.
        items, ecgs, wordings: the tables of :mod:`causalecg.cohort.schema`. Items that break the schema are left out
            and listed in ``skipped.csv``.
        meta: at least ``name`` and ``severity_scales`` ({scale: level words, low to high}).
        skipped: columns kind, id, reason.
        write_signals: is given the folder and fills ``signals.npy`` and ``signals.json``, in the order of ``ecgs``.

    Raises:
        InputError: the folder exists, a table lacks a column, no item is left, a patient is on both sides of the
            train-test border, the tables contradict each other (:mod:`causalecg.cohort.soundness`), or the signals are
            not those of ``ecgs``.
    """
    folder = Path(folder)
    require_new(folder)
    for key, kind in (("name", str), ("severity_scales", dict)):
        if not isinstance(meta.get(key), kind):
            raise InputError(
                f"meta of {folder} has no usable '{key}'; give a name and {{scale: level words, low to high}}"
            )
    scales = [f"severity_{scale}" for scale in meta["severity_scales"]]
    _require_columns(
        folder,
        {"items": items, "ecgs": ecgs, "wordings": wordings},
        {"items": [*ITEM_COLUMNS, *scales], "ecgs": list(ECG_COLUMNS), "wordings": list(WORDING_COLUMNS)},
    )
    require_lists(folder, items)
    errors = item_errors(items, ecgs["ecg_id"])
    if len(errors):
        bad = errors.drop_duplicates("row")
        more = pd.DataFrame({"kind": "item", "id": bad["item_id"], "reason": bad["reason"]})
        skipped = pd.concat([skipped, more], ignore_index=True)
        items = items.drop(index=items.index[bad["row"]]).reset_index(drop=True)
    if items.empty:
        counts = ", ".join(f"{n} x {reason}" for reason, n in skipped["reason"].value_counts().items())
        raise InputError(f"nothing is left to put into {folder}: {counts or 'there were no items'}")
    require_patients_apart(items)
    require_sound(folder, items, ecgs, meta["severity_scales"])

    partial = folder.parent / f".{folder.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        for name, table in (("items", items), ("ecgs", ecgs), ("wordings", wordings)):
            table.reset_index(drop=True).to_parquet(partial / f"{name}.parquet", index=False)
        write_signals(partial)
        stored = len(SignalStore.open(partial))
        if stored != len(ecgs):
            raise InputError(f"write_signals has stored {stored:,} ECGs, and the ECG table has {len(ecgs):,}")
        skipped.reindex(columns=list(SKIPPED_COLUMNS)).to_csv(partial / "skipped.csv", index=False)
        answers = sorted({answer for names in items["candidates"] for answer in names})
        record = {
            **meta,
            "schema_version": SCHEMA_VERSION,
            "answer_vocabulary": answers,
            "counts": {
                "items": len(items),
                "ecgs": len(ecgs),
                "skipped": len(skipped),
                "by_split": {str(k): int(v) for k, v in items["split"].value_counts().sort_index().items()},
            },
            "hash": content_hash(partial),
        }
        (partial / "cohort.json").write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return folder


def _require_columns(folder: Path, tables: dict[str, pd.DataFrame], needed: dict[str, list[str]]) -> None:
    for name, columns in needed.items():
        missing = [column for column in columns if column not in tables[name].columns]
        if missing:
            raise InputError(f"{folder}: the {name} table lacks the column(s) {', '.join(missing)}; add them")


def require_new(folder: Path) -> None:
    """Raise InputError when there is something at ``folder`` already."""
    if folder.exists():
        raise InputError(f"{folder} exists already; choose another --out or remove it first")


def content_hash(folder: Path) -> str:
    """sha256 over the tables and the signals, by name and content."""
    digest = hashlib.sha256()
    for name in ("ecgs.parquet", "items.parquet", "signals.json", "signals.npy", "wordings.parquet"):
        digest.update(name.encode())
        with open(folder / name, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
