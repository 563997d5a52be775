"""``runs.json`` of a score folder: who was scored, in which order, what was asked, and whether that is done."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from causalecg.audits.roles import ROLES
from causalecg.audits.score_set import SCHEMA_VERSION
from causalecg.errors import InputError

#: By these a model is known; the rest of a record may come from a later version.
_IDENTITY = ("model", "role", "arm", "seed", "cohort_hash", "seed_of_donors")


def record_run(out: Path, run_id: str, about: Mapping[str, Any]) -> None:
    """Add a run, or check that the one of this name is the same model on the same cohort."""
    if about["role"] not in ROLES:
        raise InputError(f"role '{about['role']}' is none of {', '.join(ROLES)}")
    out.mkdir(parents=True, exist_ok=True)
    record = _read(out)
    runs = record["runs"]
    for name, other in runs.items():
        if other["cohort_hash"] != about["cohort_hash"]:
            raise InputError(f"{out} holds scores on another cohort (run {name}); choose another --out")
    before = runs.get(run_id)
    if before is None:
        runs[run_id] = {"notes": [], "asked": {}, **about}
        _write(out, record)
    elif any(before.get(key) != about.get(key) for key in _IDENTITY):
        raise InputError(f"{out} holds another model called {run_id}; choose another name or another --out")
    elif "asked" not in before:
        raise InputError(
            f"{out} was scored by an earlier version, which did not record what it asked; choose another --out"
        )


def plan(out: Path, run_id: str, split: str, planned: Mapping[str, Mapping[str, Any]]) -> None:
    """Record what is going to be asked, by intervention; InputError where the same was asked otherwise."""
    record = _read(out)
    asked = record["runs"][run_id]["asked"].setdefault(split, {})
    for name, how in planned.items():
        before = asked.get(name)
        differs = [key for key, value in how.items() if before is not None and before.get(key) != value]
        if differs:
            raise InputError(
                f"{out} holds {run_id}'s answers under {name} on {split} with another {differs[0]} "
                f"({before[differs[0]]}, not {how[differs[0]]}); choose another --out"
            )
    for name, how in planned.items():
        asked.setdefault(name, {**how, "done": False})
    _write(out, record)


def finish(out: Path, run_id: str, split: str, interventions: Iterable[str]) -> None:
    """Mark what has been asked as done."""
    record = _read(out)
    for name in interventions:
        record["runs"][run_id]["asked"][split][name]["done"] = True
    _write(out, record)


def note(out: Path, run_id: str, sentence: str) -> None:
    """A sentence for the reader of the report."""
    record = _read(out)
    notes = record["runs"][run_id]["notes"]
    if sentence not in notes:
        notes.append(sentence)
        _write(out, record)


def _read(out: Path) -> dict[str, Any]:
    path = out / "runs.json"
    found: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "runs": {}}
    return json.loads(path.read_text()) if path.exists() else found


def _write(out: Path, record: Mapping[str, Any]) -> None:
    path = out / "runs.json"
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n")
    partial.replace(path)
