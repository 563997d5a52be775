"""A small torch module that knows nothing of causalecg: adjusted, audited and reported. Run: python own_model.py OUT"""

import sys
from pathlib import Path

import torch
from torch import nn

from causalecg import Cohort, RunConfig, ScoreSet, run_suite, score, train, write_report
from causalecg.benchmark.cohort import simulate_cohort
from structural_models import preset


class TheirModel(nn.Module):
    """A convolution over the ECG, a bag of words over any text, and a score for each pair of them."""

    def __init__(self):
        super().__init__()
        self.ecg = nn.Sequential(nn.Conv1d(12, 32, 15, 4), nn.GELU(), nn.Conv1d(32, 64, 9, 4), nn.GELU())
        self.words = nn.EmbeddingBag(4096, 64, mode="sum")
        self.fuse = nn.Sequential(nn.Linear(192, 128), nn.GELU(), nn.Linear(128, 64))

    def read(self, texts):
        tokens = [[sum(map(ord, word)) * 31 % 4096 for word in text.lower().split()] or [0] for text in texts]
        starts = torch.tensor([0, *map(len, tokens)]).cumsum(0)[:-1]
        return self.words(torch.tensor([token for row in tokens for token in row]), starts)

    def answer_scores(self, ecg, questions, answers):
        maps = self.ecg(ecg)
        fused = self.fuse(torch.cat([maps.mean(-1), maps.amax(-1), self.read(questions)], dim=1))
        return torch.stack([(fused * self.read(names)).sum(1) for names in zip(*answers, strict=True)], dim=1)


class Scorer(TheirModel):
    """The adapter: a batch of items in, one score per candidate answer out. This is all causalecg asks for."""

    def forward(self, batch):
        return self.answer_scores(batch.ecg[:, 0], [text or "" for text in batch.question], batch.candidates)


def build(seed):
    torch.manual_seed(seed)
    return Scorer()


def main(out, items=4000, rho=0.99):
    cohort = Cohort.open(simulate_cohort(out / "cohort", rho=rho, items=items, test_items=items // 2))
    for arm in ("none", "backdoor", "oracle"):
        run = train(cohort, arm, RunConfig(), seed=0, out=out / arm, scorer=build)
        about = {"role": run.arm.role, "arm": arm, "seed": 0}
        told = {"run_id": arm, "run": about, "severity": run.severity_column}
        score(run.scorer(build), cohort, split="test", out=out / "scores", **told)
    scores = ScoreSet.open(out / "scores")
    results = [result for arm in scores.runs for result in run_suite(scores, run_id=arm)]
    graph = preset("severity_visible")
    print("report:", write_report(out / "report", score_set=scores, results=results, cohort=cohort, graph=graph))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
