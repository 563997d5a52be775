"""``causalecg cohort split``: the same questions, with another prior of the answers in the test than in training.

As in VQA-CP and SLAKE-CP: what is frequent among the answers to a question in training is rare in the test, so that a
model that goes by the question alone does badly there. Which answer an item has is not touched; patients are chosen for
one side or the other.

Within a question (or template) the answers are ranked by how frequent they are. The test takes the rare ones first, all
but the share ``keep`` of each (at least one item), until it holds ``test_share`` of the question's items; of every
other answer it takes ``keep``, and of the most frequent one never more, so the test is smaller where the rare answers
are few. Validation is drawn from the patients left, with the prior of training.

Source: Agrawal et al. 2018, "Don't just assume; look and answer" (VQA-CP).
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from causalecg.cohort.patient_sides import choose_patients
from causalecg.cohort.schema import Cohort
from causalecg.cohort.store import require_new, write_cohort
from causalecg.errors import InputError

By = Literal["question_id", "template_id"]
SPLITS = ("train", "valid", "test")
#: Columns that say something of the cohort an item comes from and not of the new one.
_OF_THE_SOURCE = ("environment", "keep_probability", "twin_of", "partner")
_ANSWER, _CELL = "answer asked for", "cell"


def changed_prior_cohort(
    out: str | Path,
    source: str | Path,
    *,
    by: By = "question_id",
    test_share: float = 0.3,
    valid_share: float = 0.15,
    keep: float = 0.05,
    environment: str | None = None,
    template_ids: Sequence[str] = (),
    seed: int = 0,
) -> Path:
    """Write a changed-prior cohort of the items in the splits train, valid and test of another cohort.

    No patient is in two splits. Where an item has two ECGs, its patients may have to be on different sides: such items
    are left out, and listed in ``skipped.csv`` like the questions that have one answer throughout, or no second answer
    that occurs twice. All wordings of the new cohort's items are ones that are not held out: an item in held-out words
    is put into another wording of its style (marked ``reworded``), so that what changes is the prior and not the words.

    Args:
        out: folder, must not exist. Signals are hard-linked where the file system can, else copied.
        source: a cohort folder.
        by: within what the prior is changed.
        test_share: of a question's items, at most.
        valid_share: of the training side's items.
        keep: share of a question's most frequent answers that goes to the test, and of its rare ones that stays.
        environment, template_ids: only items of these; by default all environments together, which are split anew.
        seed: of the order in which patients are moved; same seed, same bytes.

    ``cohort.json`` has under "priors", per question, the prior of every split and what was aimed at in the test, the
    total-variation distances from training, and whether the most frequent answer changed.

    Raises InputError for shares out of range, an unknown environment or template, or where nothing is left to change.
    """
    _require_shares(test_share, valid_share, keep)
    if by not in ("question_id", "template_id"):
        raise InputError(f"the prior can be changed by question_id or template_id, not by '{by}'")
    out = Path(out)
    require_new(out)
    cohort = Cohort.open(source)
    items = _chosen(cohort, environment, template_ids)
    items[_ANSWER] = items["answer"].map(lambda names: ", ".join(sorted(names)) or "(none)")
    items, left_out = _changeable(items, by)
    if items.empty:
        raise InputError(f"no question of cohort {cohort.path} has two answers that occur; there is no prior to change")
    wanted = _wanted(items, by, test_share, keep)
    rng = np.random.default_rng(seed)
    items["split"] = _split(items, wanted, valid_share, rng)
    lost = items.loc[items["split"].isna(), "item_id"]
    items = items[items["split"].notna()].reset_index(drop=True)
    _require_all_splits(items, cohort, lost)
    priors = _priors(items, by, wanted, len(lost))
    items, wordings = _in_known_words(items, cohort.wordings, rng)
    copies = sorted(set(cohort.items["split"]) - set(SPLITS))
    scales = cohort.severity_scales
    undefined = int((items[cohort.severity_column(scales[0])] < 0).sum()) if scales else 0
    return write_cohort(
        out,
        items=items.drop(columns=[_ANSWER, _CELL, *(name for name in _OF_THE_SOURCE if name in items.columns)]),
        ecgs=cohort.ecgs,
        wordings=wordings,
        meta={
            **{key: value for key, value in cohort.meta.items() if key in ("roles", "graph", "severity_version")},
            "severity_scales": cohort.meta["severity_scales"],
            "name": f"{cohort.meta['name']}, changed prior",
            "items_without_severity": undefined,
            "confounding": None,
            "selection": None,
            "priors": priors,
            "made_with": {
                "command": "cohort split",
                "source": cohort.meta["name"],
                "source_hash": cohort.hash,
                "by": by,
                "test_share": test_share,
                "valid_share": valid_share,
                "keep": keep,
                "environment": environment,
                "template_ids": list(template_ids),
                "seed": seed,
            },
        },
        skipped=pd.concat(
            [
                left_out,
                pd.DataFrame({"kind": "item", "id": lost, "reason": "its two patients are in two splits"}),
                pd.DataFrame({"kind": "split", "id": copies, "reason": "the style re-drawn, or another sample"}),
            ],
            ignore_index=True,
        ),
        write_signals=lambda folder: _link_signals(cohort.path, folder),
    )


def _require_shares(test_share: float, valid_share: float, keep: float) -> None:
    for name, value in (("test_share", test_share), ("valid_share", valid_share)):
        if not 0 < value <= 0.9:
            raise InputError(f"{name} must lie above 0 and not above 0.9, not at {value}")
    if not 0 <= keep < 0.5:
        raise InputError(f"keep must be at least 0 and below 0.5, not {keep}")


def _chosen(cohort: Cohort, environment: str | None, template_ids: Sequence[str]) -> pd.DataFrame:
    from causalecg.training.tables import of_environment, require_environment

    items = cohort.items[cohort.items["split"].isin(SPLITS)]
    if environment is not None:
        require_environment(cohort, environment)
        items = of_environment(items, environment)
    if template_ids:
        unknown = sorted(set(template_ids) - set(items["template_id"]))
        if unknown:
            have = tuple(sorted(items["template_id"].unique()))
            raise InputError(f"cohort {cohort.path} has no template {', '.join(unknown)}; it has {', '.join(have)}")
        items = items[items["template_id"].isin(list(template_ids))]
    if items.empty:
        raise InputError(f"cohort {cohort.path} has no items in {', '.join(SPLITS)}; there is nothing to split")
    return items.reset_index(drop=True)


def _changeable(items: pd.DataFrame, by: By) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Items of questions whose prior can be changed, with their cell, and the questions left out, with the reason."""
    gone: list[tuple[str, str, str]] = []
    for name, rows in items.groupby(by, sort=True):
        counts = rows[_ANSWER].value_counts().to_numpy()
        if len(counts) == 1:
            gone.append(("question", str(name), f"one answer throughout ({len(rows)} items)"))
        elif counts[1] < 2:
            gone.append(("question", str(name), f"no second answer that occurs twice ({len(rows)} items)"))
    left_out = pd.DataFrame(gone, columns=["kind", "id", "reason"])
    kept = items[~items[by].isin(left_out["id"])].reset_index(drop=True)
    kept[_CELL] = kept.groupby([by, _ANSWER], sort=True).ngroup().astype(np.int64)
    return kept, left_out


def _wanted(items: pd.DataFrame, by: By, test_share: float, keep: float) -> np.ndarray:
    """(cells,) numbers of test items aimed at."""
    wanted = np.zeros(int(items[_CELL].max()) + 1)
    for _, rows in items.groupby(by, sort=True):
        counts = rows[_CELL].value_counts().sort_index()
        cells, n = counts.index.to_numpy(), counts.to_numpy()
        rarest_first = np.lexsort((cells, n))
        # An answer that occurs once stays in training.
        take = np.where(n > 1, np.maximum(1, np.rint(keep * n)), 0)
        room = round(test_share * n.sum()) - take.sum()
        for at in rarest_first[:-1]:
            most = n[at] - max(1, math.ceil(keep * n[at]))
            more = min(max(room, 0), most - take[at])
            if more > 0:
                take[at] += more
                room -= more
        wanted[cells] = take
    return wanted


def _split(items: pd.DataFrame, wanted: np.ndarray, valid_share: float, rng: np.random.Generator) -> np.ndarray:
    """(items,) split, None where an item's patients are in two."""
    cell = items[_CELL].to_numpy()
    patients = [tuple(ids) for ids in items["patient_ids"]]
    sides = choose_patients(patients, cell, wanted, rng=rng)
    split = np.full(len(items), None, dtype=object)
    split[sides.chosen] = "test"
    rest = np.flatnonzero(~sides.chosen & ~sides.lost)
    if len(rest):
        left = np.bincount(cell[rest], minlength=len(wanted))
        found = choose_patients([patients[i] for i in rest], cell[rest], valid_share * left, rng=rng)
        split[rest[found.chosen]] = "valid"
        split[rest[~found.chosen & ~found.lost]] = "train"
    return split


def _require_all_splits(items: pd.DataFrame, cohort: Cohort, lost: pd.Series) -> None:
    missing = [name for name in SPLITS if name not in set(items["split"])]
    if missing:
        raise InputError(
            f"no item of cohort {cohort.path} is left for {' and '.join(missing)} ({len(lost)} items have patients in "
            "two splits); raise test_share or valid_share, or take more questions"
        )


def _priors(items: pd.DataFrame, by: By, wanted: np.ndarray, lost: int) -> dict[str, Any]:
    """Per question the prior of every split, and how far it is from training's."""
    records: list[dict[str, Any]] = []
    for name, rows in items.groupby(by, sort=True):
        counts = pd.crosstab(rows[_ANSWER], rows["split"]).reindex(columns=list(SPLITS), fill_value=0)
        total = counts.sum()
        share = counts / total.where(total > 0)
        aim = rows.drop_duplicates(_CELL).set_index(_ANSWER)[_CELL].map(lambda c: wanted[c])
        aimed = (aim / aim.sum()).reindex(share.index)
        distance = {split: _total_variation(share["train"], share[split]) for split in ("valid", "test")}
        top = share["train"].idxmax() if total["train"] else None
        records.append(
            {
                "id": str(name),
                "items": {split: int(total[split]) for split in SPLITS},
                "prior": {
                    split: {str(a): _number(p) for a, p in share[split].items()} if total[split] else None
                    for split in SPLITS
                },
                "aimed_test_prior": {str(a): _number(p) for a, p in aimed.items()},
                "total_variation": distance,
                "aimed_total_variation": _total_variation(share["train"], aimed),
                "most_frequent_in_train": None if top is None else str(top),
                "reversed": bool(
                    top is not None and total["test"] and share["test"][top] < share["test"].max() - 1e-12
                ),
            }
        )

    def mean(split: str) -> float | None:
        told = [(r["total_variation"][split], r["items"][split]) for r in records]
        told = [(d, n) for d, n in told if d is not None and n]
        return float(np.average([d for d, _ in told], weights=[n for _, n in told])) if told else None

    return {
        "by": by,
        "questions": records,
        "total_variation": {split: mean(split) for split in ("valid", "test")},
        "reversed_questions": sum(r["reversed"] for r in records),
        "lost_items": lost,
    }


def _total_variation(first: pd.Series, second: pd.Series) -> float | None:
    """Half the summed distance of two priors; None where a split has no item."""
    if first.isna().any() or second.isna().any():
        return None
    return float((first - second).abs().sum() / 2)


def _number(value: float) -> float:
    return round(float(value), 6)


def _in_known_words(
    items: pd.DataFrame, wordings: pd.DataFrame, rng: np.random.Generator
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Items in wordings that are not held out, and the wordings with what is held out after that."""
    held = wordings.set_index(["question_id", "wording_id"])["held_out"].to_dict()
    known: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for row in wordings[~wordings["held_out"]].itertuples():
        known.setdefault((str(row.question_id), str(row.style)), []).append((str(row.wording_id), str(row.question)))
    changed = items[["wording_id", "question"]].copy()
    reworded = (
        items["reworded"].to_numpy(dtype=bool).copy() if "reworded" in items else np.zeros(len(items), dtype=bool)
    )
    still: set[tuple[str, str]] = set()
    rows = zip(items["question_id"], items["wording_id"], items["style"], strict=True)
    for at, (question_id, wording_id, style) in enumerate(rows):
        if not held.get((question_id, wording_id), False):
            continue
        choice = known.get((question_id, style), [])
        if not choice:
            still.add((question_id, wording_id))
            continue
        name, text = choice[int(rng.integers(len(choice)))]
        changed.iloc[at] = [name, text]
        reworded[at] = True
    flags = [
        bool(h) and (q, w) not in still
        for q, w, h in zip(wordings["question_id"], wordings["wording_id"], wordings["held_out"], strict=True)
    ]
    items = items.assign(wording_id=changed["wording_id"], question=changed["question"], reworded=reworded)
    asked = set(items["question_id"])
    return items, wordings.assign(held_out=flags)[wordings["question_id"].isin(asked)].reset_index(drop=True)


def _link_signals(source: Path, folder: Path) -> None:
    for name in ("signals.npy", "signals.json"):
        try:
            os.link(source / name, folder / name)
        except OSError:
            shutil.copyfile(source / name, folder / name)
