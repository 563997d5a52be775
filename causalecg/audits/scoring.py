"""Asking a scorer every item under every intervention; appended part by part, resumable."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from adjusters.contract import Scorer, decide
from causalecg.audits.interventions import DEFAULT_SUITE, intervene
from causalecg.audits.progress import bar
from causalecg.audits.roles import ROLES
from causalecg.audits.score_set import SCHEMA_VERSION, SCORE_COLUMNS
from causalecg.cohort.batches import TableBatches
from causalecg.errors import InputError
from causalecg.training.tables import rows_of

if TYPE_CHECKING:
    from causalecg.cohort.schema import Cohort

_PART = 5000
_KEPT_COLUMNS = (
    "item_id", "source", "split", "patient_ids", "ecg_ids", "template_id", "question_id", "question_type", "topic",
    "style", "wording_id", "question", "candidates", "kind", "answer", "environment", "group",
)  # fmt: skip


def score(
    scorer: Scorer,
    cohort: Cohort,
    *,
    split: str,
    run_id: str,
    out: str | Path,
    interventions: Sequence[str] = DEFAULT_SUITE,
    run: dict[str, Any] | None = None,
    severity: str | None = None,
    seed: int = 0,
    draws: int = 1,
    batch_size: int = 256,
    max_items: int | None = None,
    environment: str | None = None,
    template_ids: Sequence[str] = (),
    progress: bool = True,
) -> Path:
    """Score the items of a split and append the answers to the score set in ``out``.

    Args:
        scorer: any callable of the contract. It is put into evaluation mode; its ``caching()`` is used if it has one.
        split: e.g. "test".
        run_id: name of the model among those of ``out``.
        interventions: canonical names; donors and wordings depend on ``seed`` and the name only.
        run: what is recorded about the model: role (default "audited"), arm, seed, ...
        severity: severity column, for donors of the same severity.
        draws: donors or wordings per item.
        max_items: only the first so many items of the split.
        environment, template_ids: which items.
        progress: show a bar.

    Returns ``out``. Parts that are there already are not scored again.

    Raises InputError for an unknown split, intervention or role, or when ``out`` holds another model of this name.
    """
    out = Path(out)
    table = rows_of(cohort, split, environment=environment, template_ids=template_ids)
    whole = len(table)
    if max_items is not None:
        table = table.iloc[:max_items].reset_index(drop=True)
    about = {"model": run_id, "role": "audited", **(run or {}), "cohort_hash": cohort.hash, "seed_of_donors": seed}
    _record_run(out, run_id, about)
    _record_items(out, _with_majority(table, cohort, environment), severity)
    if isinstance(scorer, torch.nn.Module):
        scorer.eval()
    jobs = [(name, draw) for name in interventions for draw in range(draws if "[" in name else 1)]
    caching = getattr(scorer, "caching", nullcontext)
    with bar(f"scoring {run_id} on {split}", len(jobs) * len(table), progress) as advance, caching():
        for name, draw in jobs:
            left_out = _score_one(
                scorer, cohort, table, name, draw, run_id, out / "scores", severity, seed, batch_size, split, advance
            )
            if left_out:
                _note(out, run_id, f"{split}: {left_out} of {len(table)} items have no {name}")
    if whole > len(table):
        _note(out, run_id, f"{split}: the first {len(table)} of {whole} items")
    return out


def _score_one(
    scorer: Scorer,
    cohort: Cohort,
    table: pd.DataFrame,
    name: str,
    draw: int,
    run_id: str,
    folder: Path,
    severity: str | None,
    seed: int,
    batch_size: int,
    split: str,
    advance: Any,
) -> int:
    """One intervention; returns how many items it cannot be applied to."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = "--".join(re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-") for text in (run_id, split, name)) + f"--{draw}"
    changed = intervene(name, table, cohort, severity=severity, seed=seed, draw=draw)
    for number, start in enumerate(range(0, len(changed.table), _PART)):
        part = changed.table.iloc[start : start + _PART].reset_index(drop=True)
        path = folder / f"{stem}--{number}.parquet"
        if path.exists() and len(pd.read_parquet(path, columns=["item_id"])) == len(part):
            advance(len(part))
            continue
        answers = _answers(scorer, cohort, part, batch_size, advance)
        frame = part[["item_id", "question", "wording_id", "donor_ecg_ids", "answer_expected"]].assign(
            run_id=run_id,
            intervention=name,
            draw=draw,
            status="answered",
            passes=getattr(scorer, "passes", 1),
            **answers,
        )
        partial = path.with_name(f".{path.name}.partial")
        frame[list(SCORE_COLUMNS)].to_parquet(partial, index=False)
        partial.replace(path)
    return changed.left_out


def _answers(scorer: Scorer, cohort: Cohort, part: pd.DataFrame, batch_size: int, advance: Any) -> dict[str, list[Any]]:
    given: list[list[str]] = [[] for _ in range(len(part))]
    values: list[np.ndarray] = [np.empty(0, dtype=np.float32) for _ in range(len(part))]
    batches = TableBatches(cohort, part)
    with torch.no_grad():
        for positions in batches.in_order(batch_size):
            batch = batches(positions)
            scores = scorer(batch)
            _check(scores, batch.candidate_ids.shape, part["item_id"].iloc[int(positions[0])])
            for at, answer, row, names in zip(
                positions, decide(scores, batch), scores.float().cpu().numpy(), batch.candidates, strict=True
            ):
                given[at], values[at] = answer, row[: len(names)]
            advance(len(positions))
    return {"answer_given": given, "log_likelihood": values}


def _check(scores: torch.Tensor, shape: torch.Size, item: str) -> None:
    if scores.shape != shape:
        raise InputError(f"the scorer gave scores of shape {tuple(scores.shape)} for {tuple(shape)} candidates")
    if torch.isnan(scores).any():
        raise InputError(f"the scorer gave NaN for an item of the batch that begins with {item}")


def _with_majority(table: pd.DataFrame, cohort: Cohort, environment: str | None) -> pd.DataFrame:
    """Adds ``majority_answer``: the most frequent training answer of the template; null where training lacks it."""
    rows = cohort.items[cohort.items["split"] == "train"]
    if environment is not None:
        rows = rows[rows["environment"] == environment]
    counts: dict[str, Counter[tuple[str, ...]]] = {}
    for template, answer in zip(rows["template_id"], rows["answer"], strict=True):
        counts.setdefault(template, Counter())[tuple(sorted(answer))] += 1
    best = {name: list(min(c.items(), key=lambda pair: (-pair[1], pair[0]))[0]) for name, c in counts.items()}
    answers = pd.Series([best.get(name) for name in table["template_id"]], index=table.index, dtype=object)
    return table.assign(majority_answer=answers)


def _record_items(out: Path, table: pd.DataFrame, severity: str | None) -> None:
    columns = [*(c for c in _KEPT_COLUMNS if c in table.columns), "majority_answer"]
    if severity is not None:
        columns.append(severity)
    kept = table[columns]
    path = out / "items.parquet"
    if path.exists():
        before = pd.read_parquet(path)
        new = kept[~kept["item_id"].isin(set(before["item_id"]))]
        if new.empty:
            return
        kept = pd.concat([before, new], ignore_index=True)
    partial = path.with_name(".items.parquet.partial")
    kept.to_parquet(partial, index=False)
    partial.replace(path)


def _record_run(out: Path, run_id: str, about: dict[str, Any]) -> None:
    if about["role"] not in ROLES:
        raise InputError(f"role '{about['role']}' is none of {', '.join(ROLES)}")
    out.mkdir(parents=True, exist_ok=True)
    path = out / "runs.json"
    record: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "runs": {}}
    if path.exists():
        record = json.loads(path.read_text())
    for name, other in record["runs"].items():
        if other["cohort_hash"] != about["cohort_hash"]:
            raise InputError(f"{out} holds scores on another cohort (run {name}); choose another --out")
    before = record["runs"].get(run_id)
    if before is not None and {**before, "notes": None} != {**about, "notes": None}:
        raise InputError(f"{out} holds another model called {run_id}; choose another name or another --out")
    record["runs"][run_id] = {"notes": [], **(before or about)}
    _write(path, record)


def _note(out: Path, run_id: str, sentence: str) -> None:
    path = out / "runs.json"
    record = json.loads(path.read_text())
    notes = record["runs"][run_id].setdefault("notes", [])
    if sentence not in notes:
        notes.append(sentence)
        _write(path, record)


def _write(path: Path, record: dict[str, Any]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
    partial.replace(path)
