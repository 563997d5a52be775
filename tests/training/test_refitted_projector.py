"""A projector refitted by last_layer_refit: all else is as the unadjusted run of the same seed left it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from adjusters.registry import adjuster
from adjusters.toy import ESTIMAND, ToyScorer, toy_cohort
from causalecg.training.run import train


def test_it_alone_differs_from_the_unadjusted_run(cohort, config, tmp_path: Path) -> None:
    plain, refitted = (
        train(cohort, arm, config, seed=0, out=tmp_path / arm.partition("?")[0], progress=False)
        for arm in ("none", "last_layer_refit?refit=projector&epochs=1")
    )
    before, after = (run.scorer().objective.scorer.state_dict() for run in (plain, refitted))
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all(name.startswith("projector.") for name in moved)


class Projecting(ToyScorer):
    def part(self, name: str) -> torch.nn.Module:
        return self.fuse if name == "projector" else super().part(name)


@pytest.mark.parametrize("balanced_by", ["wordings", "weights"])
def test_its_loss_by_plain_loops(balanced_by: str) -> None:
    """The mean over validation rows of -log P(answer) in the words drawn, or as asked with a group's weight."""
    toy = toy_cohort(rho=0.9, train=200, valid=60, test=2, seed=1)
    ours = adjuster("last_layer_refit", refit="projector", balanced_by=balanced_by)
    ours.fit(toy.split("train"), ESTIMAND, rng=np.random.default_rng(0))
    objective = ours.attach(Projecting(), new_scorer=None, rng=np.random.default_rng(0))
    table = toy.split("valid")
    table = table.assign(**ours.columns(table))
    batch = toy.batch(table, np.arange(60), tuple(ours.columns(table)))
    asked, weight = list(batch.question), np.ones(60)
    if balanced_by == "wordings":
        torch.manual_seed(7)
        train_rows = toy.split("train")
        for i, place in enumerate(torch.rand(60, dtype=torch.float64).tolist()):
            pool = sorted(train_rows.loc[train_rows["question_id"] == table["question_id"].iloc[i], "question"])
            asked[i] = pool[int(place * len(pool))]
    else:
        group = table["answer"].str[0] + table["style"]
        weight = 60 / (group.nunique() * group.map(group.value_counts()).to_numpy())
    scores = objective.scorer(batch.replace(question=tuple(asked))).detach().double().numpy()
    right = batch.answer.numpy()
    wanted = np.mean(weight * (np.log(np.exp(scores).sum(1)) - scores[right]))
    torch.manual_seed(7)
    terms = objective.loss(batch, "refit", progress=0.0)
    assert float(terms.total.detach()) == pytest.approx(wanted, abs=1e-5)
    mine = {id(p) for p in objective.parameters_of("refit")}
    assert mine == {id(p) for p in objective.scorer.fuse.parameters()}
