"""A cohort of known causal truth and a scorer small enough to train in a second, for testing adjusters.

Severity S is a fair coin; the finding D agrees with it with probability q, and so does the style F of the question; the
answer is D. Then P(A = F) = rho = (1 + (2q - 1)^2) / 2. The "ECG" is noise, shifted along one fixed direction by D: who
reads it optimally is right with probability Phi(d' / 2) when the style is re-drawn, while the best user of the style
falls to half in the limit rho -> 1.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from adjusters.contract import Batch, View
from structural_models.estimand import CONDITIONAL, Estimand

SEVERITY = "severity_simulated"
ANSWERS = ("yes", "no")
_WORDINGS = {
    "plain": ("Does this ECG show {}?", "Is {} present?"),
    "urgent": ("Quick, can you see {} here?", "Emergency, tell me about {} now!"),
}

ESTIMAND = Estimand(
    name=CONDITIONAL,
    treatment="style",
    outcome="answer",
    adjustment=("severity",),
    conditioning=("ecg", "topic"),
    roles={
        "severity": SEVERITY,
        "treatment": "style",
        "topic": "topic",
        "ecg": "ecg_ids",
        "outcome": "answer",
        "patient": "patient_ids",
    },
    formula="P(A | E, T, do(F)) = Σ_s P(A | E, T, F, s) P(s | E, T)",
    assumptions=("severity is observed without error",),
)


@dataclass(frozen=True)
class ToyCohort:
    """``items``: one row per item, all splits; ``signals``: (ecgs, leads, samples) float32, ecg_id "e5" is row 5."""

    items: pd.DataFrame
    signals: np.ndarray

    def split(self, *names: str) -> pd.DataFrame:
        return self.items[self.items["split"].isin(names)].reset_index(drop=True)

    def batch(self, table: pd.DataFrame, positions: np.ndarray, columns: Sequence[str] = ()) -> Batch:
        """The items at these row positions of ``table``; ``columns`` go to ``Batch.columns``."""
        part = table.iloc[positions]
        n = len(part)
        row = np.full((n, 2), -1, dtype=np.int64)
        for i, ids in enumerate(part["ecg_ids"]):
            row[i, : len(ids)] = [int(name[1:]) for name in ids]
        ecg = np.where((row >= 0)[:, :, None, None], self.signals[row], np.float32(0.0))
        vocabulary = sorted({name for names in self.items["candidates"] for name in names})
        vocabulary += sorted({name for names in table["candidates"] for name in names} - set(vocabulary))
        width = max(map(len, part["candidates"]))
        ids = np.full((n, width), -1, dtype=np.int64)
        answer = np.zeros((n, width), dtype=bool)
        for i, (names, true) in enumerate(zip(part["candidates"], part["answer"], strict=True)):
            ids[i, : len(names)] = [vocabulary.index(name) for name in names]
            answer[i, : len(names)] = [name in set(true) for name in names]
        extra = {name: torch.from_numpy(np.ascontiguousarray(part[name].to_numpy())) for name in columns}
        return Batch(
            rows=torch.from_numpy(np.asarray(positions, dtype=np.int64)),
            ecg=torch.from_numpy(ecg),
            ecg_present=torch.from_numpy(row >= 0),
            question=tuple(part["question"]),
            candidates=tuple(map(tuple, part["candidates"])),
            candidate_ids=torch.from_numpy(ids),
            answer=torch.from_numpy(answer),
            kind=part["kind"].iloc[0],
            columns={**extra, "ecg_row": torch.from_numpy(row)},
            topic=tuple(part["topic"]),
        )


def toy_cohort(
    *,
    rho: float = 0.99,
    train: int = 4000,
    valid: int = 1000,
    test: int = 4000,
    separation: float = 2.56,
    samples: int = 32,
    severity_visible: float = 0.0,
    topics: Sequence[str] = ("infarction",),
    twins: bool = False,
    seed: int = 0,
) -> ToyCohort:
    """Draw a cohort with splits train, valid, test, and the same with the style re-drawn: train_oracle and so on.

    Args:
        rho: P(answer agrees with style) in the biased splits, in [1/2, 1].
        separation: d' of the finding in the signal; ``severity_visible``: the same for severity, on its own.
        samples: signal length; one lead.
        twins: also a split train_twins, every training item once more with the other finding: same noise, same words.

    The unbiased splits are train_oracle, valid_oracle and test_unbiased: same ECGs and answers as their namesakes.
    """
    draw = np.random.default_rng(seed)
    q = (1 + np.sqrt(2 * rho - 1)) / 2
    n = train + valid + test
    severity = draw.integers(0, 2, n)
    finding = np.where(draw.random(n) < q, severity, 1 - severity)
    style = np.where(draw.random(n) < q, severity, 1 - severity)
    signals = draw.standard_normal((n, 1, samples)).astype(np.float32)
    signals[:, 0, 0] += separation * (finding - 0.5)
    signals[:, 0, 1] += severity_visible * (severity - 0.5)
    turn = np.linalg.qr(np.random.default_rng(12345).standard_normal((samples, samples)))[0].astype(np.float32)
    signals = signals @ turn
    frame = pd.DataFrame(
        {
            "split": ["train"] * train + ["valid"] * valid + ["test"] * test,
            "patient_ids": [[f"p{i}"] for i in range(n)],
            "ecg_ids": [[f"e{i}"] for i in range(n)],
            "topic": draw.choice(np.asarray(topics, dtype=object), n),
            "style": np.asarray(list(_WORDINGS), dtype=object)[style],
            SEVERITY: severity.astype(np.int64),
            "candidates": [list(ANSWERS)] * n,
            "kind": "one",
            "answer": [[ANSWERS[1 - d]] for d in finding],
            "source": "toy",
            "template_id": "verify",
            "question_type": "single-verify",
            "environment": np.asarray(["site 0", "site 1"], dtype=object)[
                np.random.default_rng([seed, 1]).integers(0, 2, n)
            ],
        }
    ).assign(question_id=lambda rows: rows["topic"])
    redrawn = frame.assign(
        split=frame["split"].map({"train": "train_oracle", "valid": "valid_oracle", "test": "test_unbiased"}),
        style=np.asarray(list(_WORDINGS), dtype=object)[draw.integers(0, 2, n)],
    )
    items = pd.concat([frame, redrawn], ignore_index=True)
    which = draw.integers(0, 2, len(items))
    items["question"] = [
        _WORDINGS[f][w].format(t) for f, w, t in zip(items["style"], which, items["topic"], strict=True)
    ]
    items["wording_id"] = [f"{f}-{w}" for f, w in zip(items["style"], which, strict=True)]
    items.insert(0, "item_id", [f"i{i}" for i in range(len(items))])
    if twins:
        own = items.iloc[:train]
        flipped = own.assign(
            split="train_twins",
            item_id=own["item_id"].str.replace("i", "t"),
            twin_of=own["item_id"],
            ecg_ids=own["ecg_ids"].map(lambda ids: [f"e{n + int(ids[0][1:])}"]),
            answer=own["answer"].map(lambda answer: [name for name in ANSWERS if name not in answer]),
        )
        items = pd.concat([items, flipped], ignore_index=True)
        change = separation * (1 - 2 * finding[:train, None, None]) * turn[0]
        signals = np.concatenate([signals, signals[:train] + change.astype(np.float32)])
    return ToyCohort(items, signals)


class ToyScorer(nn.Module):
    """A perceptron encoder, a bag-of-words reader and a perceptron on both; scores any candidate texts.

    It has features, their sizes, joint features and the parts "encoder" and "answer_head".
    """

    def __init__(self, samples: int = 32, width: int = 64, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = nn.Sequential(nn.Linear(2 * samples, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
            self.words = nn.EmbeddingBag(509, width, mode="sum")
            self.fuse = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
            self.answer_head = nn.Linear(width, width)
            self.answers = nn.EmbeddingBag(509, width, mode="sum")
            nn.init.normal_(self.words.weight, std=0.3)
            nn.init.normal_(self.answers.weight, std=0.3)
        self.width = width

    def forward(self, batch: Batch) -> Tensor:
        return self._scores(batch, self.features(batch, "ecg"))

    def features(self, batch: Batch, view: View) -> Tensor:
        if view == "question":
            return _read(self.words, batch.question)
        ecg = cast(Tensor, self.encoder((batch.ecg * batch.ecg_present[:, :, None, None]).flatten(1)))
        return ecg if view == "ecg" else self._fused(batch, ecg)

    def feature_dim(self, view: View) -> int:
        return self.width

    def scores_and_features(self, batch: Batch, view: View) -> tuple[Tensor, Tensor]:
        features = self.features(batch, view)
        ecg = features if view == "ecg" else self.features(batch, "ecg")
        return self._scores(batch, ecg), features

    def part(self, name: str) -> nn.Module:
        return {"encoder": self.encoder, "answer_head": self.answer_head}[name]

    def _fused(self, batch: Batch, ecg: Tensor) -> Tensor:
        return cast(Tensor, self.fuse(torch.cat([ecg, _read(self.words, batch.question)], dim=1)))

    def _scores(self, batch: Batch, ecg: Tensor) -> Tensor:
        hidden = self.answer_head(self._fused(batch, ecg))
        texts = sorted({name for names in batch.candidates for name in names})
        at = {name: i for i, name in enumerate(texts)}
        width = batch.candidate_ids.shape[1]
        index = torch.tensor([[at[name] for name in names] + [0] * (width - len(names)) for names in batch.candidates])
        scores = torch.einsum("nd,ncd->nc", hidden, _read(self.answers, texts)[index])
        return scores.masked_fill(batch.padding, float("-inf"))


def _read(bag: nn.EmbeddingBag, texts: Sequence[str | None]) -> Tensor:
    """(texts, width) summed word vectors; a withheld text is zero."""
    index = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    tokens = [
        [zlib.crc32(word.strip("?!,.:").lower().encode()) % 509 for word in (text or "").split()] for text in index
    ]
    offsets = np.cumsum([0, *map(len, tokens)])[:-1]
    flat = torch.tensor([token for each in tokens for token in each], dtype=torch.long)
    vectors = bag(flat, torch.from_numpy(offsets))
    return cast(Tensor, vectors[torch.tensor([index[text] for text in texts])])


def accuracy(scorer: object, cohort: ToyCohort, split: str) -> float:
    """Share of items of a split whose answer is right."""
    table = cohort.split(split)
    batch = cohort.batch(table, np.arange(len(table)))
    with torch.no_grad():
        scores = scorer(batch)  # type: ignore[operator]
    given = scores.argmax(1)
    return float(batch.answer[torch.arange(len(batch)), given].double().mean())
