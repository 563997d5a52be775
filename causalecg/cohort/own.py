"""``causalecg cohort import``: ECGs and questions of one's own, from two or three tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from causalecg.cohort.build import store_signals
from causalecg.cohort.metadata import require_fields, with_metadata
from causalecg.cohort.own_ecgs import read_ecgs
from causalecg.cohort.own_items import SHARES, UNKNOWN, read_items
from causalecg.cohort.own_wordings import own_wordings
from causalecg.cohort.signals import LEADS
from causalecg.cohort.store import require_new, write_cohort
from causalecg.cohort.waveforms import waveforms
from causalecg.errors import InputError

_SCALE = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
#: Endings of columns that are made of a scale's.
_TAKEN = ("_1", "_2", "_pair")


def import_cohort(
    out: str | Path,
    *,
    ecgs: str | Path,
    items: str | Path,
    wordings: str | Path | None = None,
    severity: Mapping[str, Sequence[str]] | None = None,
    split: Mapping[str, float] | None = None,
    name: str | None = None,
    metadata: Sequence[str] = (),
    rate_hz: float = 100.0,
    seconds: float = 10.0,
    seed: int = 0,
    processes: int = 2,
    progress: bool = True,
) -> Path:
    """Write a cohort of ECGs and questions of one's own; docs/your_own_data.md says what the tables hold.

    A record that cannot be read, and the items that need it, are skipped, with a reason in ``skipped.csv``.

    Args:
        out: folder to write; must not exist.
        ecgs, items: .csv, .jsonl or .parquet. Paths of records start from the folder of ``ecgs``.
        wordings: the same, of further wordings of the questions; without it only those that items use are known.
        severity: scale -> its words, low to high, for the columns ``severity_<scale>`` of the items.
        split: shares of patients in train, valid and test, where the items have no column ``split``; by default
            :data:`~causalecg.cohort.own_items.SHARES`. A patient's split is a hash of name and seed.
        name: of the cohort; by default that of ``out``.
        metadata: columns of the ECG table ("age", "sex") that every prompt tells before it asks.
        rate_hz, seconds: of the store; records are resampled, cropped and padded to these.
        seed: of the split.

    Raises InputError where a table cannot be understood, naming file, row and column, or no item is left.
    """
    out, ecg_table, item_table = Path(out), Path(ecgs), Path(items)
    wording_table = None if wordings is None else Path(wordings)
    require_new(out)
    require_fields(metadata)
    scales = {scale: list(words) for scale, words in (severity or {}).items()}
    _require_scales(scales)
    _require_shares(split)
    for path, what in ((ecg_table, "ECGs"), (item_table, "items"), (wording_table, "wordings")):
        if path is not None and not path.is_file():
            raise InputError(f"{path} does not exist; give a table of {what}")
    name = name or out.resolve().name
    known = read_ecgs(ecg_table, name)
    found = read_items(item_table, known, source=name, scales=scales, shares=split, salt=f"import/{seed}")
    asked = found.items
    words = own_wordings(asked, wording_table)
    with waveforms(
        ecg_table.parent,
        known,
        scratch=out.resolve().parent,
        rate_hz=rate_hz,
        seconds=seconds,
        processes=processes,
        progress=progress,
    ) as read:
        if read.ecgs.empty:
            _, first, reason = read.skipped.iloc[0]
            raise InputError(
                f"none of the {len(known):,} ECGs of {ecg_table} can be read; the first, {first}: {reason} "
                f"({ecg_table.parent / known['low'].iloc[0]})"
            )
        there = set(read.ecgs["ecg_id"])
        readable = pd.Series([there.issuperset(ids) for ids in asked["ecg_ids"]], index=asked.index, dtype=bool)
        lost = pd.DataFrame({"kind": "item", "id": asked.loc[~readable, "item_id"], "reason": "its ECG cannot be read"})
        kept = asked[readable].reset_index(drop=True)
        undefined = int(pd.DataFrame({s: kept[f"severity_{s}"] == UNKNOWN for s in scales}).any(axis=1).sum())
        return write_cohort(
            out,
            items=with_metadata(kept, read.ecgs, metadata),
            ecgs=read.ecgs.drop(columns=["low", "high", "rate_hz", "leads"]),
            wordings=words[words["question_id"].isin(kept["question_id"])],
            meta={
                "name": name,
                "severity_scales": scales,
                "items_without_severity": undefined,
                "roles": {"treatment": "style" if kept["style"].nunique() > 1 else "question_id"},
                "confounding": None,
                "selection": None,
                "made_with": {
                    "command": "cohort import",
                    "ecgs": ecg_table.name,
                    "items": item_table.name,
                    "wordings": None if wording_table is None else wording_table.name,
                    "split": found.shares,
                    "seed": seed,
                    "metadata": list(metadata),
                    "leads": list(LEADS),
                },
            },
            skipped=pd.concat([read.skipped, lost, found.skipped], ignore_index=True),
            write_signals=lambda folder: store_signals(folder, read.signals, rate_hz),
        )


def _require_scales(scales: Mapping[str, Sequence[str]]) -> None:
    for scale, words in scales.items():
        if not _SCALE.fullmatch(scale) or scale.endswith(_TAKEN):
            raise InputError(
                f"'{scale}' cannot name a severity; use letters, digits and _, not ending in {', '.join(_TAKEN)}"
            )
        if len(words) < 2 or len(set(words)) < len(words) or not all(words):
            raise InputError(
                f"severity '{scale}' has the words '{','.join(words)}'; give at least two different ones, low to high"
            )


def _require_shares(split: Mapping[str, float] | None) -> None:
    if split is None:
        return
    shares = list(split.values())
    if list(split) != list(SHARES) or not all(0 < share < 1 for share in shares) or abs(sum(shares) - 1) > 1e-6:
        told = ", ".join(f"{name} {share:g}" for name, share in split.items())
        raise InputError(
            f"the shares of patients are {told}; give three between 0 and 1 that sum to 1, for {', '.join(SHARES)}"
        )
