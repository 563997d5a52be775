"""Asking a scorer every item under every intervention; appended part by part, resumable, over several processes."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from adjusters.contract import Batch, HasAbstention, Scorer, decide
from causalecg.audits.answer_parser import parse_answer
from causalecg.audits.interventions import DEFAULT_SUITE, USER, intervene, is_drawn, needs_severity
from causalecg.audits.progress import bar
from causalecg.audits.run_records import finish, note, plan, require_same
from causalecg.audits.score_set import SCORE_COLUMNS
from causalecg.audits.signal_changes import changed_signals
from causalecg.audits.user_wordings import unasked
from causalecg.cohort.batches import TableBatches
from causalecg.cohort.ecg_format import require_known_format
from causalecg.errors import InputError
from causalecg.only_writer import only_writer
from causalecg.parquet import read_parquet
from causalecg.processes import processes
from causalecg.training.learned import Learned
from causalecg.training.tables import of_environment, rows_of

if TYPE_CHECKING:
    from causalecg.cohort.schema import Cohort

#: Maps a batch to scores of its candidates, or to one text per item, which is parsed.
Answerer = Callable[[Batch], Any] | Scorer
_PART = 2000
#: Scores of one model, asked twice, differ by less than this, absolutely or relatively, whatever the hardware.
SAME = 1e-2
_DONOR_COLUMNS = ("donor_ecg_ids", "donor_patient_ids", "answer_expected", "candidate_order")
_KEPT_COLUMNS = (
    "item_id", "source", "split", "patient_ids", "ecg_ids", "template_id", "question_id", "question_type", "topic",
    "style", "wording_id", "question", "candidates", "kind", "answer", "environment", "group", "twin_of", "metadata",
)  # fmt: skip
Job = tuple[str, int]


def score(
    scorer: Answerer,
    cohort: Cohort,
    *,
    split: str,
    run_id: str,
    out: str | Path,
    interventions: Sequence[str] = DEFAULT_SUITE,
    run: dict[str, Any] | None = None,
    severity: str | None = None,
    seed: int = 0,
    draws: int | Mapping[str, int] = 1,
    further_items: int | None = None,
    batch_size: int = 256,
    max_items: int | None = None,
    environment: str | None = None,
    template_ids: Sequence[str] = (),
    user_wordings: Mapping[str, Sequence[str]] | None = None,
    progress: bool = True,
) -> Path:
    """Score the items of a split and append the answers to the score set in ``out``.

    Args:
        scorer: any callable of the contract; or one that gives a list of texts, one per item, which are parsed by
            :func:`causalecg.audits.answer_parser.parse_answer`. It is put into evaluation mode; its ``caching()`` is
            used if it has one, and so is its ``abstains(batch)``: what it declines is "abstained", whatever its scores.
        split: e.g. "test".
        run_id: name of the model among those of ``out``.
        interventions: canonical names; donors and wordings depend on ``seed`` and the name only.
        run: what is recorded about the model: role (default "audited"), arm, seed, ...
        severity: severity scale or its column, for donors of the same severity; ``None`` = the cohort's first. Where it
            has none, what needs a severity is left out, and the run's notes say so.
        draws: donors or wordings per item, of all interventions or by name.
        further_items: interventions outside the default suite, and draws after the first, are asked of so many items
            only, chosen at random by ``seed``; ``None`` = of all.
        max_items: only so many items of the split, drawn at random by ``seed`` (cohorts may be sorted by topic). Donors
            and wordings are those of the whole split.
        environment, template_ids: which items.
        user_wordings: question or question_id -> wordings, for ``wording[user]``; some of them have to be asked.
        progress: show a bar.

    Returns ``out``. Parts that are there already are not scored again; more interventions and more draws may be added.
    What is asked is recorded in ``runs.json`` before, and marked as done after, so that part of the rows is never taken
    for all of them. Under ``accelerate launch`` every process scores its share of the parts, each part once.

    No test item may be of a patient whom the scorer learned from, where that is known: of a run, of the weights saved
    in one, and of what :func:`causalecg.training.prepared.prepare` made ready. Where it was trained on another cohort,
    the run's record says on which (``trained_on``).

    Raises InputError for such an item, an unknown split, severity, intervention or role, when ``out`` holds another
    model of this name (one that scores the first items that are there otherwise, too), or the same one asked otherwise
    (other items, severity, environment or templates), or that learned from ECGs of another rate or length than the
    cohort's.
    """
    require_known_format(scorer, cohort.signals, f"cohort {cohort.path}")
    taking_part = processes()
    out = Path(out)
    if severity is None:
        severity = next(iter(cohort.severity_scales), None)
    if severity is not None and severity not in cohort.items.columns:
        severity = cohort.severity_column(severity)
    without_severity = [name for name in interventions if severity is None and needs_severity(name)]
    if without_severity and len(without_severity) == len(interventions):
        raise InputError(f"cohort {cohort.path} has no severity scale, which {without_severity[0]} needs; leave it out")
    interventions = [name for name in interventions if name not in without_severity]
    table = rows_of(cohort, split, environment=environment, template_ids=template_ids)
    learned = Learned.of_scorer(scorer)
    if learned is not None:
        learned.require_untested(cohort, table)
    by_user = any(USER in name.split("+") for name in interventions)
    left = unasked(user_wordings, table) if user_wordings is not None and by_user else []
    kept = _subsample(table, max_items, seed, "items")
    some = _subsample(kept, further_items, seed, "further items")
    how = {"max_items": max_items, "severity": severity, "environment": environment, "template_ids": list(template_ids)}
    changed: dict[Job, pd.DataFrame] = {}
    asked: dict[Job, int] = {}
    for name in interventions:
        wanted = draws if isinstance(draws, int) else draws.get(name, 1)
        for draw in range(wanted if is_drawn(name) else 1):
            rows = intervene(
                name, table, cohort, severity=severity, seed=seed, draw=draw, user_wordings=user_wordings
            ).table
            whom = kept if name in DEFAULT_SUITE and draw == 0 else some
            changed[name, draw] = rows[rows["item_id"].isin(set(whom["item_id"]))].reset_index(drop=True)
            asked[name, draw] = len(whom)
    planned = {
        name: {
            **how,
            "draws": sum(what == name for what, _ in changed),
            "rows": sum(len(rows) for (what, _), rows in changed.items() if what == name),
        }
        for name in interventions
    }
    about = {"model": run_id, "role": "audited", **(run or {}), "cohort_hash": cohort.hash, "seed_of_donors": seed}
    if learned is not None and learned.elsewhere(cohort):
        about["trained_on"] = {"cohort": learned.cohort, "cohort_hash": learned.cohort_hash}
    require_same(out, run_id, about, split, planned)
    if isinstance(scorer, torch.nn.Module):
        scorer.to(taking_part.device).eval()
    folder = out / "scores"
    asking = _Asking(scorer, cohort, batch_size, seed, taking_part.device)
    stems = {job: folder / _stem(run_id, split, *job) for job in changed}
    _try_out(asking, changed, stems)
    with only_writer(out, among=taking_part.is_main_process):
        taking_part.wait_for_everyone()
        if taking_part.is_main_process:
            plan(out, run_id, about, split, planned)
            _record_items(out, _with_training(kept.reset_index(drop=True), cohort, environment), severity)
            folder.mkdir(exist_ok=True)
        taking_part.wait_for_everyone()
        mine = list(_parts(changed))[taking_part.process_index :: taking_part.num_processes]
        caching = getattr(scorer, "caching", nullcontext)
        shown = progress and taking_part.is_main_process
        with (
            bar(f"scoring {run_id} on {split}", sum(stop - start for _, start, stop in mine), shown) as advance,
            caching(),
        ):
            for job, start, stop in mine:
                part = changed[job].iloc[start:stop].reset_index(drop=True)
                asking.part(part, job, run_id, _part_path(stems[job], start // _PART), advance)
        taking_part.wait_for_everyone()
        if taking_part.is_main_process:
            for (name, draw), rows in changed.items():
                if len(rows) < asked[name, draw]:
                    note(
                        out,
                        run_id,
                        f"{split}: {asked[name, draw] - len(rows)} of {asked[name, draw]} items have no {name}",
                    )
            finish(out, run_id, split, planned)
            if left:
                asked_of = f"{len(user_wordings or ()) - len(left)} of the {len(user_wordings or ())} questions"
                note(out, run_id, f"{split}: {asked_of} of your wordings are asked; '{left[0]}' is not")
            for name in without_severity:
                note(out, run_id, f"{split}: no items have {name}, as the cohort has no severity scale")
            for sentence in [] if learned is None else learned.notes(cohort):
                note(out, run_id, sentence)
            if len(kept) < len(table):
                note(out, run_id, f"{split}: {len(kept)} of {len(table)} items, drawn at random")
        taking_part.wait_for_everyone()
    return out


def _subsample(table: pd.DataFrame, number: int | None, seed: int, purpose: str) -> pd.DataFrame:
    """So many rows, in their order; the same positions for tables of one length."""
    if number is None or number >= len(table):
        return table
    rng = np.random.default_rng([seed, zlib.crc32(purpose.encode())])
    return table.iloc[np.sort(rng.permutation(len(table))[:number])]


def _parts(changed: Mapping[Job, pd.DataFrame]) -> Iterator[tuple[Job, int, int]]:
    for job, rows in changed.items():
        for start in range(0, len(rows), _PART):
            yield job, start, min(start + _PART, len(rows))


def _stem(run_id: str, split: str, name: str, draw: int) -> str:
    """Name of the parts of one intervention."""
    words = "--".join(re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-") for text in (run_id, split, name))
    # Names that differ only in their marks must not share a file.
    return f"{words}--{draw}--{hashlib.sha256(f'{run_id} {name}'.encode()).hexdigest()[:8]}"


def _part_path(stem: Path, number: int) -> Path:
    return stem.with_name(f"{stem.name}--{number}.parquet")


def _try_out(asking: _Asking, changed: Mapping[Job, pd.DataFrame], stems: Mapping[Job, Path]) -> None:
    """Ask one batch before anything is written: is it a scorer, and the one whose answers are there already?

    Raises InputError where it is not. What makes a model is its weights, options and code, none of which can be told
    from its name; but another model gives other likelihoods.
    """
    first = {job: rows.iloc[: asking.batch_size].reset_index(drop=True) for job, rows in changed.items() if len(rows)}
    if not first:
        return
    there = {job: _part_path(stems[job], 0) for job in first if _part_path(stems[job], 0).exists()}
    job = next(iter(there or first))
    new = asking.answers(first[job], job[1], lambda _: None)
    if job not in there:
        return
    before = read_parquet(there[job], columns=["item_id", "log_likelihood", "text"]).iloc[: len(first[job])]
    if list(before["item_id"]) != list(first[job]["item_id"]):
        raise InputError(f"{there[job]} holds answers to other items; choose another --out")
    if not _same(before, new):
        folder = there[job].parent.parent
        raise InputError(
            f"{folder} holds answers of another model by this name (the first {len(before)} items under "
            f"{job[0]} are scored otherwise now); choose another --name or --out"
        )


def _same(before: pd.DataFrame, new: Mapping[str, list[Any]]) -> bool:
    if list(before["text"]) != new["text"]:
        return False
    if new["log_likelihood"][0] is None or before["log_likelihood"].iloc[0] is None:
        return new["log_likelihood"][0] is None and before["log_likelihood"].iloc[0] is None
    old, values = np.concatenate(list(before["log_likelihood"])), np.concatenate(new["log_likelihood"])
    return old.shape == values.shape and bool(np.allclose(old, values, rtol=SAME, atol=SAME))


class _Asking:
    """Puts rows to a scorer and writes down what it says."""

    def __init__(
        self, scorer: Answerer, cohort: Cohort, batch_size: int, seed: int, device: torch.device | str
    ) -> None:
        self.scorer, self.cohort, self.batch_size, self.seed, self.device = scorer, cohort, batch_size, seed, device

    def part(self, part: pd.DataFrame, job: Job, run_id: str, path: Path, advance: Callable[[int], None]) -> None:
        """Ask and write one part; one that is there is kept."""
        if path.exists():
            if list(read_parquet(path, columns=["item_id"])["item_id"]) != list(part["item_id"]):
                raise InputError(f"{path} holds answers to other items; choose another --out")
            advance(len(part))
            return
        frame = part[["item_id", "question", "wording_id", *_DONOR_COLUMNS]].assign(
            run_id=run_id,
            intervention=job[0],
            draw=job[1],
            passes=getattr(self.scorer, "passes", 1),
            **self.answers(part, job[1], advance),
        )
        partial = path.with_name(f".{path.name}.partial")
        frame[list(SCORE_COLUMNS)].to_parquet(partial, index=False)
        partial.replace(path)

    def answers(self, part: pd.DataFrame, draw: int, advance: Callable[[int], None]) -> dict[str, list[Any]]:
        """Columns answer_given, status, text and log_likelihood (in the items' own order of candidates)."""
        found: dict[str, list[Any]] = {
            name: [None] * len(part) for name in ("answer_given", "status", "text", "log_likelihood")
        }
        batches = TableBatches(self.cohort, part)
        with torch.no_grad():
            for positions in batches.in_order(self.batch_size):
                batch = self._spoilt(batches(positions), part.iloc[positions], draw)
                here = batch.to(self.device)
                said = self.scorer(here)
                declined: list[bool] = (
                    self.scorer.abstains(here).tolist() if isinstance(self.scorer, HasAbstention) else []
                )
                rows = _read(said, batch, part["item_id"].iloc[int(positions[0])], declined)
                for at, (answer, status, text, values) in zip(positions, rows, strict=True):
                    order = part["candidate_order"].iloc[int(at)]
                    found["answer_given"][at], found["status"][at], found["text"][at] = answer, status, text
                    found["log_likelihood"][at] = _in_order(values, order)
                advance(len(positions))
        return found

    def _spoilt(self, batch: Batch, rows: pd.DataFrame, draw: int) -> Batch:
        """With the signals the intervention asks for, which depend on the seed, the ECG and the draw alone."""
        change = rows["signal_change"].iloc[0]
        if change is None:
            return batch
        ids = [str(ecg) for ecgs in rows["ecg_ids"] for ecg in ecgs]
        present = batch.ecg_present
        seeds = [[self.seed, zlib.crc32(ecg.encode()), draw] for ecg in ids]
        ecg = batch.ecg.clone()
        ecg[present] = torch.from_numpy(changed_signals(change, ecg[present].numpy(), seeds))
        return batch.replace(ecg=ecg)


Said = tuple[list[str], str, str | None, np.ndarray | None]


def _read(said: Any, batch: Batch, item: str, declined: Sequence[bool] = ()) -> list[Said]:
    """Per item: answers, status, text, and values of its candidates as they were asked. InputError for anything else
    than scores or texts.

    Args:
        declined: for scores, whether each item is answered by none of its candidates; empty: none is declined.
    """
    if isinstance(said, (list, tuple)) and all(text is None or isinstance(text, str) for text in said):
        if len(said) != len(batch):
            raise InputError(f"the scorer gave {len(said)} texts for {len(batch)} items; it must give one each")
        parsed = [parse_answer(text, names, batch.kind) for text, names in zip(said, batch.candidates, strict=True)]
        return [(list(one.answers), one.status, text, None) for one, text in zip(parsed, said, strict=True)]
    _check(said, batch, item)
    scores = said.float().cpu()
    values = [row[: len(names)] for row, names in zip(scores.numpy(), batch.candidates, strict=True)]
    given = zip(decide(scores, batch), values, declined or [False] * len(batch), strict=True)
    return [([], "abstained", None, row) if no else (answer, "answered", None, row) for answer, row, no in given]


def _in_order(values: np.ndarray | None, order: Sequence[int] | None) -> np.ndarray | None:
    if values is None or order is None:
        return values
    found = np.empty_like(values)
    found[list(order)] = values
    return found


def _check(scores: Any, batch: Batch, item: str) -> None:
    shape = batch.candidate_ids.shape
    if not isinstance(scores, torch.Tensor):
        raise InputError(
            f"the scorer gave a {type(scores).__name__}; it must give a torch tensor of {tuple(shape)} scores, or a "
            "list of one text per item"
        )
    if scores.shape != shape:
        raise InputError(f"the scorer gave scores of shape {tuple(scores.shape)} for {tuple(shape)} candidates")
    where = f"for an item of the batch that begins with {item}"
    padding = batch.padding.to(scores.device)
    if torch.isnan(scores).any():
        raise InputError(f"the scorer gave NaN {where}")
    if (scores.isposinf() & ~padding).any():
        raise InputError(f"the scorer gave +infinity {where}; no candidate is that likely: give finite scores")
    # Log-odds may all be -inf: none of the set is there. Of log-likelihoods one has to be the best.
    if batch.kind == "one" and (scores.isneginf() | padding).all(1).any():
        raise InputError(
            f"the scorer gave -infinity for every candidate {where}; give finite scores, and say in abstains(batch) "
            "what is declined"
        )


def _with_training(table: pd.DataFrame, cohort: Cohort, environment: str | None) -> pd.DataFrame:
    """Adds what training would answer without an ECG, null where it lacks the like: ``majority_answer``, the most
    frequent answer of the template, and ``shortcut_answer``, that of the canonical question in the item's style."""
    rows = of_environment(cohort.items[cohort.items["split"] == "train"], environment)
    by = {"majority_answer": ["template_id"], "shortcut_answer": ["question_id", "style"]}
    return table.assign(**{name: _most_frequent(rows, table, columns) for name, columns in by.items()})


def _most_frequent(rows: pd.DataFrame, table: pd.DataFrame, columns: list[str]) -> pd.Series:
    counts: dict[tuple[str, ...], Counter[tuple[str, ...]]] = {}
    for key, answer in zip(rows[columns].itertuples(index=False, name=None), rows["answer"], strict=True):
        counts.setdefault(key, Counter())[tuple(sorted(answer))] += 1
    best = {key: list(min(c.items(), key=lambda pair: (-pair[1], pair[0]))[0]) for key, c in counts.items()}
    keys = table[columns].itertuples(index=False, name=None)
    return pd.Series([best.get(key) for key in keys], index=table.index, dtype=object)


def _record_items(out: Path, table: pd.DataFrame, severity: str | None) -> None:
    columns = [*(c for c in _KEPT_COLUMNS if c in table.columns), "majority_answer", "shortcut_answer"]
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
