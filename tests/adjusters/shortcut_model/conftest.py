from __future__ import annotations

import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from adjusters.contract import Batch
from adjusters.shortcut_model.bias_view import Codes

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "oracle" / "adjusters"))

WIDTH, DIM = 4, 3


class Fixed(nn.Module):
    """Scores and fused features of fixed numbers by row; question features, and a score per word of an answer, of
    fixed numbers by text."""

    def __init__(self, rows: int, variant: str = "same", seed: int = 0) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.table = nn.Parameter(torch.randn(rows, WIDTH, generator=draw, dtype=torch.float64))
        self.fused = torch.randn(rows, DIM, generator=draw, dtype=torch.float64)
        self.sharpness = nn.Parameter(torch.ones((), dtype=torch.float64))
        self.variant, self.calls = variant, 0

    def forward(self, batch: Batch) -> torch.Tensor:
        self.calls += len(batch)
        if self.variant == "question_only" or not bool(batch.ecg_present.any()):
            scores = torch.zeros(batch.candidate_ids.shape, dtype=torch.float64)
            for i, (question, names) in enumerate(zip(batch.question, batch.candidates, strict=True)):
                for j, name in enumerate(names):
                    scores[i, j] = number(f"{question}|{name}")
            scores = scores * self.sharpness
        else:
            scores = self.table[batch.rows, : batch.candidate_ids.shape[1]] + batch.ecg.double().sum((1, 2, 3))[:, None]
        return scores.masked_fill(batch.padding, float("-inf"))

    def features(self, batch: Batch, view: str) -> torch.Tensor:
        if view == "fused":
            return self.fused[batch.rows]
        return torch.tensor([[number(f"{text}{d}") for d in range(DIM)] for text in batch.question]).double()

    def feature_dim(self, view: str) -> int:
        return DIM


def number(text: str) -> float:
    """In [-2, 2)."""
    return zlib.crc32(text.encode()) % 4000 / 1000 - 2


class Items:
    """A table of items of both kinds, two topics each, three styles, several items per patient."""

    def __init__(self) -> None:
        rng = np.random.default_rng(7)
        n = 120
        topic = rng.choice(["axis", "infarction", "leads", "rhythm"], n)
        style = rng.choice(["calm", "plain", "urgent"], n, p=[0.5, 0.35, 0.15])
        pools = {
            "axis": ["left", "normal", "right"], "infarction": ["yes", "no"],
            "leads": ["I", "II", "V1", "none"], "rhythm": ["sinus", "other", "none"],
        }  # fmt: skip
        rows: list[dict[str, Any]] = []
        for i in range(n):
            names = pools[topic[i]]
            kind = "one" if topic[i] in ("axis", "infarction") else "set"
            if topic[i] in ("axis", "leads") and rng.random() < 0.4:
                names = names[:-1]
            lean = 0.75 if style[i] == "urgent" else 0.3
            if kind == "one":
                answer = [names[0] if rng.random() < lean else names[int(rng.integers(1, len(names)))]]
            else:
                answer = [c for c in names if rng.random() < lean]
            rows.append(
                {
                    "item_id": f"i{i}", "patient_ids": [f"p{i // 3}"], "kind": kind, "topic": topic[i],
                    "style": style[i], "question": f"{style[i]}: {topic[i]}?", "question_type": kind,
                    "template_id": topic[i] + style[i][0], "candidates": list(names), "answer": answer,
                }
            )  # fmt: skip
        self.table = pd.DataFrame(rows)

    def __len__(self) -> int:
        return len(self.table)

    def of(self, kind: str) -> np.ndarray:
        return np.flatnonzero(self.table["kind"] == kind)

    def batch(self, positions: Sequence[int] | np.ndarray, **columns: np.ndarray) -> Batch:
        """Items of one kind; ``columns`` are of the whole table."""
        part = self.table.iloc[positions]
        n, width = len(part), max(map(len, part["candidates"])) + 1  # a column of padding
        ids, answer = np.full((n, width), -1), np.zeros((n, width), dtype=bool)
        for i, (names, true) in enumerate(zip(part["candidates"], part["answer"], strict=True)):
            ids[i, : len(names)] = range(len(names))
            answer[i, : len(names)] = [name in true for name in names]
        return Batch(
            rows=torch.as_tensor(np.asarray(positions)),
            ecg=torch.zeros(n, 2, 2, 5),
            ecg_present=torch.tensor([[True, False]] * n),
            question=tuple(part["question"]),
            candidates=tuple(map(tuple, part["candidates"])),
            candidate_ids=torch.from_numpy(ids),
            answer=torch.from_numpy(answer),
            kind=part["kind"].iloc[0],
            columns={name: torch.from_numpy(values[positions]) for name, values in columns.items()},
            topic=tuple(part["topic"]),
        )

    def plain(self, view: str, folds: int, within: str | None = "topic") -> list[dict[str, Any]]:
        """Rows as the equations take them."""
        fold = Codes([], folds).folds_of(self.table)
        return [
            {
                "kind": row.kind, "topic": row.topic if within else "", "view": getattr(row, view), "fold": int(f),
                "candidates": row.candidates, "answer": row.answer,
            }
            for row, f in zip(self.table.itertuples(), fold, strict=True)
        ]  # fmt: skip

    def scores(self, scorer: Fixed, positions: np.ndarray) -> list[list[float]]:
        sizes = self.table["candidates"].map(len).to_numpy()
        return [scorer.table[i, : sizes[i]].tolist() for i in positions]


@pytest.fixture(scope="module")
def items() -> Items:
    return Items()


@pytest.fixture
def scorers(items):
    """(scorer, new_scorer); ``new_scorer.made`` keeps what it made."""

    def make(variant: str) -> Fixed:
        made.append(Fixed(len(items), variant, seed=len(made) + 1))
        return made[-1]

    made: list[Fixed] = []
    make.made = made  # type: ignore[attr-defined]
    return Fixed(len(items)), make
