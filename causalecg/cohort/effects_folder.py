"""A folder of confounder effects: the record, and each table as CSV."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from causalecg.cohort.effects_record import require_whole
from causalecg.errors import InputError
from causalecg.records import write_whole

RECORD = "effects.json"


def write_effects(folder: str | Path, record: dict[str, Any]) -> Path:
    """Write ``effects.json`` and ``SCALE-EFFECT.csv``; the record last, so that a folder with one is whole.

    Raises InputError where the folder is a file or holds other things.
    """
    folder = Path(folder)
    if folder.is_file():
        raise InputError(f"{folder} is a file; name a folder")
    if folder.exists() and any(folder.iterdir()) and not (folder / RECORD).exists():
        raise InputError(f"{folder} holds other things; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for scale in record["scales"]:
        for found in scale["effects"]:
            for name in ("table", "contrasts", "failures"):
                label = found["effect"] if name == "table" else f"{found['effect']}-{name}"
                pd.DataFrame(found[name]).to_csv(folder / f"{scale['scale']}-{label}.csv", index=False)
        if scale["severity"]:
            pd.DataFrame(scale["severity"]["table"]).to_csv(folder / f"{scale['scale']}-severity.csv", index=False)
    write_whole(folder / RECORD, json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return folder / RECORD


def read_effects(folder: str | Path) -> dict[str, Any]:
    """The record of a folder. Raises InputError where there is none, or it is damaged."""
    path = Path(folder) / RECORD
    try:
        # What is no number is missing.
        record = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
        known = record["kind"] == "confounder effects"
    except FileNotFoundError as error:
        raise InputError(f"{folder} holds no {RECORD}; make one with 'causalecg scm effects --out'") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged; make it again with 'causalecg scm effects --out'") from error
    if not known:
        raise InputError(f"{path} is no record of confounder effects")
    require_whole(record, str(path))
    return dict(record)
