"""``causalecg cohort build``: ECGs of PTB-XL or MIMIC-IV-ECG with ECG-QA's questions about them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from causalecg.cohort.ecgqa import EcgQa, Form, fill, has_every_slot, pattern_of, read_ecgqa
from causalecg.cohort.metadata import require_fields, with_metadata
from causalecg.cohort.mimic import read_mimic
from causalecg.cohort.ptbxl import read_ptbxl
from causalecg.cohort.question_severity import UNDEFINED, with_severity
from causalecg.cohort.severity import SCALES, VERSION, severity
from causalecg.cohort.signals import LEADS, SignalWriter
from causalecg.cohort.source import EcgSource
from causalecg.cohort.splitting import joint_split
from causalecg.cohort.store import require_new, write_cohort
from causalecg.cohort.waveforms import waveforms
from causalecg.errors import InputError

OFFICIAL, DEVELOPMENT = "official", "development"
#: Development split of templates that have no test items at hand: by patient.
DEVELOPMENT_SHARES = {"train": 0.6, "valid": 0.15, "test": 0.25}
HELD_OUT_WORDINGS = 2
ANY_STYLE = "any"


def build_cohort(
    out: str | Path,
    *,
    ecgqa: str | Path,
    ptbxl: str | Path | None = None,
    mimic: str | Path | None = None,
    form: Form = "paraphrased",
    scales: Sequence[str] = tuple(SCALES),
    metadata: Sequence[str] = (),
    rate_hz: float = 100.0,
    seed: int = 0,
    processes: int = 2,
    progress: bool = True,
) -> Path:
    """Write a cohort of real ECGs and real questions.

    An item's severity leaves out the statements its question is about; see :mod:`causalecg.cohort.question_severity`.

    A template keeps ECG-QA's split (environment "official"), unless it has only training items at hand: it then gets
    a split by patient (environment "development"): two of its wordings are held out for the test, and an item
    whose wording is on the wrong side of that border is put into another one, marked ``reworded``.

    ``metadata`` names columns of the ECG table ("age", "sex") that every prompt tells before it asks.

    Questions whose ECG is not among the records are skipped, which is normal where the records are a part of the data
    set. All records of ``ptbxl`` are read and kept; of ``mimic``, which has 800,000, those that are asked about.

    Raises InputError where a folder is not what it should be, not one of the two sources is given, or nothing is left.
    """
    out = Path(out)
    require_new(out)
    require_scales(scales)
    require_fields(metadata)
    if (ptbxl is None) == (mimic is None):
        raise InputError("give the folder of PTB-XL or that of MIMIC-IV-ECG, and not both")
    source = read_ptbxl(ptbxl) if ptbxl is not None else read_mimic(str(mimic))
    found = read_ecgqa(ecgqa, form)
    wanted = source.ecgs
    if mimic is not None:
        asked = {ecg_id for ids in found.questions["ecg_ids"] for ecg_id in ids}
        wanted = wanted[wanted["ecg_id"].isin(asked)].reset_index(drop=True)
    scratch = out.resolve().parent
    with waveforms(
        source.folder, wanted, scratch=scratch, rate_hz=rate_hz, seconds=10.0, processes=processes, progress=progress
    ) as read:
        questions, lost = _with_ecgs(found, set(read.ecgs["ecg_id"]))
        if questions.empty:
            raise InputError(f"none of the {len(found.questions)} questions in {ecgqa} has its ECGs in {source.folder}")
        items, wordings = _items(questions, read.ecgs, seed)
        gone = questions.loc[~questions["sample"].isin(items["item_id"]), "sample"]
        straddling = pd.DataFrame({"kind": "question", "id": gone, "reason": "its two patients are in two splits"})
        items = with_severity(items, read.ecgs, source, scales).drop(columns="attribute")
        items = with_metadata(items, read.ecgs, metadata)
        undefined = int((items[f"severity_{scales[0]}"] == UNDEFINED).sum())
        used = {ecg_id for ids in items["ecg_ids"] for ecg_id in ids}
        kept = read.ecgs[read.ecgs["ecg_id"].isin(used)]

        return write_cohort(
            out,
            items=items,
            ecgs=read.ecgs.drop(columns=["fold", "low", "high"], errors="ignore"),
            wordings=wordings,
            meta={
                "name": f"ECG-QA on {source.name}, {form}",
                "severity_scales": {name: list(SCALES[name]) for name in scales},
                "severity_version": VERSION,
                "items_without_severity": undefined,
                "roles": {"treatment": "question_id"},
                "confounding": None,
                "selection": selection(source.ecgs, kept, source, scales),
                "made_with": {
                    "command": "cohort build",
                    "form": form,
                    "seed": seed,
                    "metadata": list(metadata),
                    "leads": list(LEADS),
                },
            },
            skipped=pd.concat([source.skipped, read.skipped, found.skipped, lost, straddling], ignore_index=True),
            write_signals=lambda folder: store_signals(folder, read.signals, rate_hz),
        )


def store_signals(folder: Path, signals: np.ndarray, rate_hz: float) -> None:
    """Write (ecgs, 12, samples) int16 microvolts as a cohort's signal store."""
    with SignalWriter(folder, len(signals), signals.shape[2], rate_hz) as writer:
        for start in range(0, len(signals), 1000):
            writer.map[start : start + 1000] = signals[start : start + 1000]


def require_scales(scales: Sequence[str]) -> None:
    unknown = [name for name in scales if name not in SCALES]
    if unknown or not scales:
        raise InputError(f"unknown severity scale '{', '.join(unknown)}'; known are {', '.join(SCALES)}")


def _with_ecgs(found: EcgQa, have: set[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    there = np.array([have.issuperset(ids) for ids in found.questions["ecg_ids"]])
    lost = found.questions.loc[~there, "sample"]
    table = pd.DataFrame({"kind": "question", "id": lost, "reason": "ECG is not among the records"})
    return found.questions[there].reset_index(drop=True), table


def _items(questions: pd.DataFrame, ecgs: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    patient = dict(zip(ecgs["ecg_id"], ecgs["patient_id"], strict=True))
    items = questions.assign(
        pattern=[pattern_of(q, a) for q, a in zip(questions["question"], questions["attribute"], strict=True)],
        environment=OFFICIAL,
        reworded=False,
    )
    patients = [[patient[i] for i in ids] for ids in questions["ecg_ids"]]
    items["patient_ids"] = pd.Series(patients, index=items.index, dtype=object)
    items["pool"] = _pools(items)
    names = _wording_names(items)
    parts, held_out = [], {}
    for template in sorted(items["template_id"].unique()):
        of_template = items[items["template_id"] == template]
        rng = np.random.default_rng([seed, int(template)])
        official = set(of_template["split"]) != {"train"}
        for pool, rows in of_template.groupby("pool", sort=True):
            if official:
                learned = set(rows.loc[rows["split"] != "test", "pattern"])
                held_out[str(pool)] = set(rows["pattern"]) - learned if learned else set()
                parts.append(rows)
                continue
            patterns = sorted(rows["pattern"].unique())
            hidden = set(patterns[-HELD_OUT_WORDINGS:]) if len(patterns) > HELD_OUT_WORDINGS else set()
            held_out[str(pool)] = hidden
            parts.append(_development(rows, patterns, hidden, rng))
    items = pd.concat(parts).sort_index().reset_index(drop=True)
    items["wording_id"] = [names[t, p] for t, p in zip(items["pool"], items["pattern"], strict=True)]
    items["style"] = ANY_STYLE
    items["topic"] = items["attribute_type"]
    items["source"] = "ECG-QA"
    items["item_id"] = items["sample"]
    wordings = _wordings(items, names, held_out)
    kept = [
        "item_id", "source", "split", "patient_ids", "ecg_ids", "template_id", "question_id", "question_type", "topic",
        "style", "wording_id", "question", "candidates", "kind", "answer", "environment", "reworded",
        "attribute",
    ]  # fmt: skip
    return items[kept], wordings


def _pools(items: pd.DataFrame) -> pd.Series:
    """Which questions share their wordings: all of a template, where its wordings say nothing but the template.

    Where something that is asked about stays in the text (no attribute is known, or a wording does not name it), a
    wording of one question would turn another into it: there, only a question's own leads share its wordings.
    """
    pools = items["template_id"].copy()
    for template, rows in items.groupby("template_id"):
        named = map(has_every_slot, rows["pattern"], rows["attribute"])
        if rows["asked"].nunique() > 1 and not (all(named) and rows["attribute"].map(len).nunique() == 1):
            pools[rows.index] = [f"{template}/{asked}" for asked in rows["asked"]]
    return pools


def _wording_names(items: pd.DataFrame) -> dict[tuple[str, str], str]:
    """(pool, pattern) -> name of the wording, numbered in alphabetical order."""
    names = {}
    for pool, rows in items.groupby("pool"):
        for number, pattern in enumerate(sorted(rows["pattern"].unique())):
            names[str(pool), pattern] = f"{pool}-{number:02d}"
    return names


def _development(rows: pd.DataFrame, patterns: list[str], hidden: set[str], rng: np.random.Generator) -> pd.DataFrame:
    """Patients by hash; the test in hidden wordings, the rest in the others. Pairs that straddle two splits go."""
    split = [joint_split(ids, DEVELOPMENT_SHARES, DEVELOPMENT) for ids in rows["patient_ids"]]
    rows = rows[[where is not None for where in split]]
    split = [where for where in split if where is not None]
    pattern: list[str] = []
    question: list[str] = []
    for where, own, asked, attribute in zip(split, rows["pattern"], rows["question"], rows["attribute"], strict=True):
        right = [p for p in patterns if (p in hidden) == (where == "test" and bool(hidden))]
        stays = own in right
        pattern.append(own if stays else right[int(rng.integers(len(right)))])
        question.append(asked if stays else fill(pattern[-1], asked, attribute))
    moved = rows["pattern"].to_numpy() != np.array(pattern, dtype=object)
    side = np.array(split, dtype=object)
    return rows.assign(split=side, environment=DEVELOPMENT, pattern=pattern, question=question, reworded=moved)


def _wordings(items: pd.DataFrame, names: dict[tuple[str, str], str], held_out: dict[str, set[str]]) -> pd.DataFrame:
    """Every wording of a pool, filled in for every canonical question that shares it."""
    rows = []
    first = items.drop_duplicates("question_id")
    by_pool: dict[str, list[tuple[str, str]]] = {}
    for (pool, pattern), name in names.items():
        by_pool.setdefault(pool, []).append((pattern, name))
    columns = (first[name] for name in ("question_id", "pool", "question", "attribute"))
    for question_id, pool, question, attribute in zip(*columns, strict=True):
        for pattern, name in by_pool[pool]:
            rows.append(
                {
                    "question_id": question_id,
                    "wording_id": name,
                    "style": ANY_STYLE,
                    "held_out": pattern in held_out[pool],
                    "question": fill(pattern, question, attribute),
                }
            )
    return pd.DataFrame(rows)


def selection(known: pd.DataFrame, kept: pd.DataFrame, source: EcgSource, scales: Sequence[str]) -> dict[str, Any]:
    """Kept against all known records, as ECGs: numbers, age, sex, label source, mean severity (no topic left out).

    ``known_likelihoods`` is the share of PTB-XL's original rows, in which more is known than the set of codes.
    """

    original = source.with_likelihoods

    def of(table: pd.DataFrame) -> dict[str, Any]:
        levels = {
            scale: float(np.mean([severity(codes, scale, source.statements) for codes in table["labels"]]))
            for scale in scales
        }
        return {
            "ecgs": len(table),
            "patients": int(table["patient_id"].nunique()),
            "mean_age": float(table["age"].mean()),
            "female": float((table["sex"] == "female").mean()),
            **({} if original is None else {"known_likelihoods": float(table["ecg_id"].isin(original).mean())}),
            **{f"mean_severity_{scale}": value for scale, value in levels.items()},
        }

    return {"population": "ECGs", "known": of(known), "kept": of(kept)}
