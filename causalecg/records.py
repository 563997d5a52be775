"""A folder that holds one thing, and a JSON record that says what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from causalecg.errors import InputError


def require_room(out: Path, what: str) -> None:
    """Make the folder. InputError where it has other things in it than ``what``, whose record it lacks."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; choose another --out")
    # What a write that was cut short has left is nobody's.
    if out.exists() and any(not (path.name[0] == "." and path.suffix == ".partial") for path in out.iterdir()):
        raise InputError(f"{out} is not empty and holds no {what}; choose another --out")
    out.mkdir(parents=True, exist_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a file: whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """As JSON with sorted keys, whole or not at all."""
    write_whole(path, json.dumps(record, indent=2, sort_keys=True) + "\n")


def read_record(path: Path) -> dict[str, Any]:
    """InputError where it is damaged."""
    try:
        found = json.loads(path.read_text())
        if isinstance(found, dict):
            return found
    except ValueError:
        pass
    raise InputError(f"{path} is damaged; remove the folder and begin again, or choose another --out")
