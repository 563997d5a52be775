from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from adjusters.contract import Batch

WIDTH, DIM = 5, 3


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
        fold = [zlib.crc32(names[0].encode()) % folds for names in self.table["patient_ids"]]
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


class Law:
    """All of a population, row by row: an answer, a style that agrees with it in 90 %, and evidence that depends on the
    answer alone; two topics, of which one has 30 % yes and the other 70 % (``topics="alike"``: both half).

    ``truth``: (topics, levels of evidence) P(yes | E, T), which is also P(yes | E, T, do(F)).
    """

    LEVELS = np.array([[4, 3, 2, 1], [1, 2, 3, 4]]) / 10  # P(E | no), P(E | yes)
    TOPICS, STYLES = ("infarction", "fibrillation"), ("calm", "urgent")

    def __init__(self, topics: str = "differ") -> None:
        shares = (0.3, 0.7) if topics == "differ" else (0.5, 0.5)
        rows, evidence = [], []
        for name, yes in zip(self.TOPICS, shares, strict=True):
            for a in (0, 1):
                for f in (0, 1):
                    for e in range(4):
                        count = 1000 * (yes if a else 1 - yes) * (0.9 if a == f else 0.1) * self.LEVELS[a, e]
                        rows += [(name, self.STYLES[f], ("no", "yes")[a])] * round(count)
                        evidence += [e] * round(count)
        self.evidence = np.array(evidence)
        self.table = pd.DataFrame(rows, columns=["topic", "style", "answer"]).assign(kind="one")
        self.table["answer"] = [[a] for a in self.table["answer"]]
        self.table["candidates"] = [["yes", "no"]] * len(self.table)
        self.table["question"] = self.table["style"] + " " + self.table["topic"]
        self.table["patient_ids"] = [[f"p{i}"] for i in range(len(self.table))]
        odds = [yes / (1 - yes) * self.LEVELS[1] / self.LEVELS[0] for yes in shares]
        self.truth = np.array([o / (1 + o) for o in odds])

    def batch(self, **columns: np.ndarray) -> Batch:
        n = len(self.table)
        ecg = torch.zeros(n, 2, 1, 1)
        ecg[:, 0, 0, 0] = torch.from_numpy(self.evidence).float()
        answer = torch.tensor([a == ["yes"] for a in self.table["answer"]])
        return Batch(
            rows=torch.arange(n),
            ecg=ecg,
            ecg_present=torch.tensor([[True, False]] * n),
            question=tuple(self.table["question"]),
            candidates=(("yes", "no"),) * n,
            candidate_ids=torch.tensor([[0, 1]] * n),
            answer=torch.stack([answer, ~answer], dim=1),
            kind="one",
            columns={k: torch.from_numpy(v) for k, v in columns.items()},
            topic=tuple(self.table["topic"]),
        )

    def learned(self, adjuster: Any, iterations: int = 400) -> np.ndarray:
        """(topics, styles, levels) P(yes) as the adjuster's objective predicts it, trained to convergence."""
        adjuster.fit(self.table, None, rng=np.random.default_rng(0))
        weights = adjuster.weights(self.table)
        columns = dict(adjuster.columns(self.table)) | ({} if weights is None else {"weight": weights})
        objective = adjuster.attach(
            Tabular(), new_scorer=lambda variant: Tabular(variant), rng=np.random.default_rng(0)
        ).double()
        batch = self.batch(**columns)
        for stage in adjuster.stages():
            features = {}
            with torch.no_grad():
                for name in stage.wants:
                    features[name.partition(":")[2]] = objective.wanted(batch, name)
            objective.begin(stage, None, features, {})
            for part in stage.trains:
                self._minimise(objective, part, batch, iterations)
        with torch.no_grad():
            yes = torch.softmax(objective(batch), dim=1)[:, 0].numpy()
        found = np.zeros((2, 2, 4))
        for t, topic in enumerate(self.TOPICS):
            for f, style in enumerate(self.STYLES):
                for e in range(4):
                    here = (self.table["topic"] == topic) & (self.table["style"] == style) & (self.evidence == e)
                    found[t, f, e] = yes[np.flatnonzero(here)[0]]
        return found

    @staticmethod
    def _minimise(objective: Any, part: str, batch: Batch, iterations: int) -> None:
        parameters = list(objective.parameters_of(part))
        search = torch.optim.LBFGS(
            parameters, max_iter=iterations, tolerance_grad=1e-10, tolerance_change=0, line_search_fn="strong_wolfe"
        )

        def closure() -> torch.Tensor:
            search.zero_grad()
            torch.manual_seed(0)
            total = objective.loss(batch, part, progress=1.0).total
            total.backward()
            return total

        search.step(closure)


class Tabular(nn.Module):
    """A free number for every question, level of evidence and answer: whatever can be said, it can."""

    def __init__(self, variant: str = "same") -> None:
        super().__init__()
        self.variant = variant
        self.scores = nn.Parameter(torch.zeros(5, 5, 2, dtype=torch.float64))

    def _at(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        place = {f"{f} {t}": 2 * i + j for i, t in enumerate(Law.TOPICS) for j, f in enumerate(Law.STYLES)}
        question = torch.tensor([place.get(q or "", 4) for q in batch.question])
        seen = batch.ecg_present[:, 0] & (self.variant != "question_only")
        return question, torch.where(seen, batch.ecg[:, 0, 0, 0].long(), 4)

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.scores[self._at(batch)]

    def features(self, batch: Batch, view: str) -> torch.Tensor:
        question, level = self._at(batch)
        found = nn.functional.one_hot(question, 5).double()
        return found if view == "question" else torch.cat([found, nn.functional.one_hot(level, 5).double()], 1)

    def feature_dim(self, view: str) -> int:
        return 5 if view == "question" else 10


@pytest.fixture(scope="module")
def law() -> Law:
    return Law()


@pytest.fixture(scope="module")
def alike() -> Law:
    return Law("alike")
