"""Asking a scorer every item under every intervention; appended part by part, resumable."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from adjusters.contract import Scorer, decide
from causalecg.audits.interventions import DEFAULT_SUITE, Changed, intervene
from causalecg.audits.progress import bar
from causalecg.audits.run_records import finish, note, plan, require_same
from causalecg.audits.score_set import SCORE_COLUMNS
from causalecg.cohort.batches import TableBatches
from causalecg.errors import InputError
from causalecg.parquet import read_parquet
from causalecg.training.tables import of_environment, rows_of

if TYPE_CHECKING:
    from causalecg.cohort.schema import Cohort

_PART = 5000
#: Scores of one model, asked twice, differ by less than this, absolutely or relatively, whatever the hardware.
SAME = 1e-2
_DONOR_COLUMNS = ("donor_ecg_ids", "donor_patient_ids", "answer_expected")
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
        severity: severity scale or its column, for donors of the same severity.
        draws: donors or wordings per item.
        max_items: only the first so many items of the split. Donors and wordings are those of the whole split.
        environment, template_ids: which items.
        progress: show a bar.

    Returns ``out``. Parts that are there already are not scored again. What is asked is recorded in ``runs.json``
    before, and marked as done after, so that part of the rows is never taken for all of them.

    Raises InputError for an unknown split, severity, intervention or role, when ``out`` holds another model of this
    name (one that scores the first items that are there otherwise, too), or the same one asked otherwise (other items,
    severity, environment, templates or number of draws).
    """
    out = Path(out)
    if severity is not None and severity not in cohort.items.columns:
        severity = cohort.severity_column(severity)
    table = rows_of(cohort, split, environment=environment, template_ids=template_ids)
    kept = table if max_items is None else table.iloc[:max_items]
    how = {
        "max_items": max_items,
        "severity": severity,
        "environment": environment,
        "template_ids": list(template_ids),
    }
    jobs = [(name, draw) for name in interventions for draw in range(draws if "[" in name else 1)]
    changed = {
        job: _of_items(intervene(job[0], table, cohort, severity=severity, seed=seed, draw=job[1]), kept)
        for job in jobs
    }
    planned = {
        name: {
            **how,
            "draws": sum(what == name for what, _ in jobs),
            "rows": sum(len(changed[j]) for j in jobs if j[0] == name),
        }
        for name in interventions
    }
    about = {"model": run_id, "role": "audited", **(run or {}), "cohort_hash": cohort.hash, "seed_of_donors": seed}
    require_same(out, run_id, about, split, planned)
    if isinstance(scorer, torch.nn.Module):
        scorer.eval()
    names = {job: _stem(run_id, split, *job) for job in jobs}
    _try_out(scorer, cohort, changed, names, out / "scores", batch_size)
    plan(out, run_id, about, split, planned)
    _record_items(out, _with_majority(kept.reset_index(drop=True), cohort, environment), severity)
    caching = getattr(scorer, "caching", nullcontext)
    (out / "scores").mkdir(exist_ok=True)
    with bar(f"scoring {run_id} on {split}", sum(map(len, changed.values())), progress) as advance, caching():
        for (name, draw), rows in changed.items():
            _score_one(
                scorer, cohort, rows, name, draw, run_id, out / "scores" / names[name, draw], batch_size, advance
            )
            if len(rows) < len(kept):
                note(out, run_id, f"{split}: {len(kept) - len(rows)} of {len(kept)} items have no {name}")
    finish(out, run_id, split, planned)
    if len(kept) < len(table):
        note(out, run_id, f"{split}: the first {len(kept)} of {len(table)} items")
    return out


def _of_items(changed: Changed, kept: pd.DataFrame) -> pd.DataFrame:
    table = changed.table
    return table[table["item_id"].isin(set(kept["item_id"]))].reset_index(drop=True)


def _stem(run_id: str, split: str, name: str, draw: int) -> str:
    """Name of the parts of one intervention."""
    words = "--".join(re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-") for text in (run_id, split, name))
    # Names that differ only in their marks must not share a file.
    return f"{words}--{draw}--{hashlib.sha256(run_id.encode()).hexdigest()[:8]}"


def _part_path(stem: Path, number: int) -> Path:
    return stem.with_name(f"{stem.name}--{number}.parquet")


def _try_out(
    scorer: Scorer,
    cohort: Cohort,
    changed: Mapping[tuple[str, int], pd.DataFrame],
    names: Mapping[tuple[str, int], str],
    folder: Path,
    batch_size: int,
) -> None:
    """Ask one batch before anything is written: is it a scorer, and the one whose answers are there already?

    Raises InputError where it is not. What makes a model is its weights, options and code, none of which can be told
    from its name; but another model gives other likelihoods.
    """
    first = {job: rows.iloc[:batch_size].reset_index(drop=True) for job, rows in changed.items() if len(rows)}
    if not first:
        return
    there = {job: _part_path(folder / names[job], 0) for job in first if _part_path(folder / names[job], 0).exists()}
    job = next(iter(there or first))
    new = _answers(scorer, cohort, first[job], batch_size, lambda _: None)
    if job not in there:
        return
    before = read_parquet(there[job], columns=["item_id", "log_likelihood"]).iloc[: len(first[job])]
    if list(before["item_id"]) != list(first[job]["item_id"]):
        raise InputError(f"{there[job]} holds answers to other items; choose another --out")
    old, new_values = np.concatenate(list(before["log_likelihood"])), np.concatenate(new["log_likelihood"])
    if old.shape != new_values.shape or not np.allclose(old, new_values, rtol=SAME, atol=SAME):
        raise InputError(
            f"{folder.parent} holds answers of another model by this name (the first {len(before)} items under "
            f"{job[0]} are scored otherwise now); choose another --name or --out"
        )


def _score_one(
    scorer: Scorer,
    cohort: Cohort,
    rows: pd.DataFrame,
    name: str,
    draw: int,
    run_id: str,
    stem: Path,
    batch_size: int,
    advance: Any,
) -> None:
    """One intervention, in parts; a part that is there is kept, whatever its length."""
    for number, start in enumerate(range(0, len(rows), _PART)):
        part = rows.iloc[start : start + _PART].reset_index(drop=True)
        path = _part_path(stem, number)
        if path.exists():
            if list(read_parquet(path, columns=["item_id"])["item_id"]) != list(part["item_id"]):
                raise InputError(f"{path} holds answers to other items; choose another --out")
            advance(len(part))
            continue
        answers = _answers(scorer, cohort, part, batch_size, advance)
        frame = part[["item_id", "question", "wording_id", *_DONOR_COLUMNS]].assign(
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


def _check(scores: Any, shape: torch.Size, item: str) -> None:
    if not isinstance(scores, torch.Tensor):
        raise InputError(
            f"the scorer gave a {type(scores).__name__}; it must give a torch tensor of {tuple(shape)} scores"
        )
    if scores.shape != shape:
        raise InputError(f"the scorer gave scores of shape {tuple(scores.shape)} for {tuple(shape)} candidates")
    if torch.isnan(scores).any():
        raise InputError(f"the scorer gave NaN for an item of the batch that begins with {item}")


def _with_majority(table: pd.DataFrame, cohort: Cohort, environment: str | None) -> pd.DataFrame:
    """Adds ``majority_answer``: the most frequent training answer of the template; null where training lacks it."""
    rows = of_environment(cohort.items[cohort.items["split"] == "train"], environment)
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
        before = read_parquet(path)
        new = kept[~kept["item_id"].isin(set(before["item_id"]))]
        if new.empty:
            return
        kept = pd.concat([before, new], ignore_index=True)
    partial = path.with_name(".items.parquet.partial")
    kept.to_parquet(partial, index=False)
    partial.replace(path)
