"""``runs.json`` of a score folder: who was scored, in which order, what was asked, and whether that is done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from causalecg.audits.roles import ROLES
from causalecg.errors import InputError
from causalecg.records import write_whole

SCHEMA_VERSION = 1

#: Of what is asked under an intervention, what may be more the next time.
GROWING = ("draws", "rows")
#: By these a model is known; the rest of a record may come from a later version.
_IDENTITY = ("model", "role", "arm", "seed", "cohort_hash", "seed_of_donors")


def require_same(
    out: Path, run_id: str, about: Mapping[str, Any], split: str, planned: Mapping[str, Mapping[str, Any]]
) -> None:
    """InputError where ``out`` is no place for these answers: other things, another cohort, another model of this name,
    or the same asked otherwise. Nothing is written.

    Args:
        about: the run's record.
        planned: intervention -> what is going to be asked.
    """
    if about["role"] not in ROLES:
        raise InputError(f"role '{about['role']}' is none of {', '.join(ROLES)}")
    if not (out / "runs.json").exists() and out.exists() and any(not p.name.startswith(".") for p in out.iterdir()):
        raise InputError(f"{out} is not empty and holds no scores; choose another --out")
    runs = read_records(out)["runs"]
    for name, other in runs.items():
        if other["cohort_hash"] != about["cohort_hash"]:
            raise InputError(f"{out} holds scores on another cohort (run {name}); choose another --out")
    before = runs.get(run_id)
    if before is None:
        return
    if any(before.get(key) != about.get(key) for key in _IDENTITY):
        raise InputError(f"{out} holds another model called {run_id}; choose another name or another --out")
    if "asked" not in before:
        raise InputError(
            f"{out} was scored by an earlier version, which did not record what it asked; choose another --out"
        )
    for name, how in planned.items():
        asked = before["asked"].get(split, {}).get(name)
        differs = [key for key in how if key not in GROWING and asked is not None and asked.get(key) != how[key]]
        if differs:
            raise InputError(
                f"{out} holds {run_id}'s answers under {name} on {split} with another {differs[0]} "
                f"({asked[differs[0]]}, not {how[differs[0]]}); choose another --out"
            )


def plan(
    out: Path, run_id: str, about: Mapping[str, Any], split: str, planned: Mapping[str, Mapping[str, Any]]
) -> None:
    """Record a run and what it is going to be asked; of what is recorded already only draws and rows may grow."""
    out.mkdir(parents=True, exist_ok=True)
    record = read_records(out)
    run = record["runs"].setdefault(run_id, {"notes": [], "asked": {}, **about})
    asked = run["asked"].setdefault(split, {})
    for name, how in planned.items():
        before = asked.setdefault(name, {**how, "done": False})
        if how["draws"] > before["draws"]:
            before.update({key: how[key] for key in GROWING}, done=False)
    _write(out, record)


def finish(out: Path, run_id: str, split: str, planned: Mapping[str, Mapping[str, Any]]) -> None:
    """Mark what has been asked as done, unless more of it had been planned before."""
    record = read_records(out)
    for name, how in planned.items():
        asked = record["runs"][run_id]["asked"][split][name]
        asked["done"] = asked["done"] or how["draws"] >= asked["draws"]
    _write(out, record)


def note(out: Path, run_id: str, sentence: str) -> None:
    """A sentence for the reader of the report."""
    record = read_records(out)
    notes = record["runs"][run_id]["notes"]
    if sentence not in notes:
        notes.append(sentence)
        _write(out, record)


def read_records(out: Path) -> dict[str, Any]:
    """``runs.json``, or that of an empty folder. InputError where it is damaged, or of another schema."""
    path = out / "runs.json"
    if not path.exists():
        return {"schema_version": SCHEMA_VERSION, "runs": {}}
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        version, _ = found["schema_version"], found["runs"].items()
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path} is damaged; remove {out} and score again") from None
    if version != SCHEMA_VERSION:
        raise InputError(f"{out} has score schema {version}, this version reads {SCHEMA_VERSION}; choose another --out")
    return found


def _write(out: Path, record: Mapping[str, Any]) -> None:
    write_whole(out / "runs.json", json.dumps(record, indent=2, allow_nan=False) + "\n")
