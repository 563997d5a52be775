"""Worlds of the law as tables that adjusters see, and as batches that the scorer sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from adjusters.contract import Batch
from causalecg.benchmark.law import World
from causalecg.benchmark.t0.scorer import CHANNELS, NO, YES
from causalecg.benchmark.t0.wording import TOPICS, rendered, style_name
from causalecg.errors import InputError

#: The severity that adjusters may use: as recorded.
SEVERITY = "severity_recorded"
_ANSWERS = ((NO,), (YES,))


def items_of(world: World, rows: np.ndarray, split: str) -> pd.DataFrame:
    """One row per patient at these positions of a world, with what a cohort's items table has. Severity is the
    recorded one; of the world's truth nothing else is told than the answer."""
    topic, styles = world.topic[rows], world.styles[rows]
    names = {key: style_name(key) for key in {tuple(row) for row in styles.tolist()}}
    table: dict[str, Any] = {
        "item_id": [f"{split}-{i:06d}" for i in rows],
        "source": "tier T0",
        "split": split,
        "patient_ids": [[f"p{i:06d}"] for i in rows],
        "ecg_ids": [[f"e{i:06d}"] for i in rows],
        "template_id": "single-verify",
        "question_id": [TOPICS[t] for t in topic],
        "question_type": "single-verify",
        "topic": [TOPICS[t] for t in topic],
        "style": [names[tuple(row)] for row in styles.tolist()],
        "wording_id": [names[tuple(row)] for row in styles.tolist()],
        "question": rendered(topic, styles),
        "candidates": [[YES, NO] for _ in rows],
        "kind": "one",
        "answer": [list(_ANSWERS[a]) for a in world.answer[rows]],
        SEVERITY: world.severity_observed[rows].astype(np.int64),
    }
    if len(world.law.site_q) > 1:
        table["environment"] = [f"site {i}" for i in world.site[rows]]
    return pd.DataFrame(table)


@dataclass(frozen=True)
class EvidenceBatches:
    """Makes batches of a table's rows, whose ECGs are found by their ids: (ecgs, 2) ``evidence``.

    An ECG that is not among them, such as one of the test, is an InputError.
    """

    evidence: np.ndarray

    def __call__(self, table: pd.DataFrame, positions: np.ndarray, columns: Sequence[str] = ()) -> Batch:
        part = table.iloc[positions]
        row = np.full((len(part), 2), -1, dtype=np.int64)
        for i, ids in enumerate(part["ecg_ids"]):
            for j, ecg_id in enumerate(ids):
                row[i, j] = int(ecg_id[1:])
                if row[i, j] >= len(self.evidence):
                    raise InputError(f"training row {part['item_id'].iloc[i]} holds ECG {ecg_id}, which is of the test")
        extra = {name: torch.from_numpy(np.ascontiguousarray(part[name].to_numpy())) for name in columns}
        texts = [None if question is None else str(question) for question in part["question"]]
        candidates = [tuple(names) for names in part["candidates"]]
        width = max(map(len, candidates))
        vocabulary = {YES: 0, NO: 1}
        ids = np.full((len(part), width), -1, dtype=np.int64)
        answer = np.zeros((len(part), width), dtype=bool)
        for i, (names, true) in enumerate(zip(candidates, part["answer"], strict=True)):
            for j, name in enumerate(names):
                ids[i, j], answer[i, j] = vocabulary.setdefault(name, len(vocabulary)), name in true
        evidence = self.evidence[row] * (row >= 0)[:, :, None]
        return _batch(
            evidence, row >= 0, positions, texts, candidates, ids, answer, extra, tuple(map(str, part["topic"]))
        )


def asked(evidence: np.ndarray, topic: np.ndarray, styles: np.ndarray) -> Batch:
    """Patients with (n, 2) evidence asked about (n,) topics in (n, shortcuts) styles, for prediction: no answers."""
    n = len(evidence)
    return _batch(
        np.stack([evidence, np.zeros_like(evidence)], axis=1),
        np.tile([True, False], (n, 1)),
        np.arange(n),
        rendered(topic, styles),
        [(YES, NO)] * n,
        np.tile([0, 1], (n, 1)),
        np.zeros((n, 2), dtype=bool),
        {},
        tuple(TOPICS[t] for t in topic),
    )


def _batch(
    evidence: np.ndarray,
    present: np.ndarray,
    rows: np.ndarray,
    questions: Sequence[str | None],
    candidates: Sequence[tuple[str, ...]],
    ids: np.ndarray,
    answer: np.ndarray,
    columns: dict[str, torch.Tensor],
    topics: tuple[str, ...],
) -> Batch:
    """(n, 2 ECGs, 2 channels) evidence as a batch: its channels stand where leads do, one sample each."""
    return Batch(
        rows=torch.from_numpy(np.asarray(rows, dtype=np.int64)),
        ecg=torch.from_numpy(evidence.astype(np.float32).reshape(len(evidence), 2, CHANNELS, 1)),
        ecg_present=torch.from_numpy(present),
        question=tuple(questions),
        candidates=tuple(candidates),
        candidate_ids=torch.from_numpy(ids),
        answer=torch.from_numpy(answer),
        kind="one",
        columns=columns,
        topic=topics,
    )
