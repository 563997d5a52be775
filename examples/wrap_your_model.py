# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Wrap your model
#
# A model need not know of causalecg to be adjusted and audited. This notebook takes a small torch model, a convolution
# over the ECG and a GRU over the words, and trains it unadjusted and adjusted: first in the library's training, then in
# a plain torch loop of its own. At the end a table of predictions, as any other framework could write it, is audited
# without the model.
#
# Set `CAUSALECG_SMOKE=1` for a run of seconds that shows the path and proves nothing.

# %%
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from IPython.display import SVG
from torch import nn

from adjusters.contract import ContractError, HasFeatures, HasParts, Scorer
from adjusters.testing import check_adjuster
from causalecg import Cohort, InputError, RunConfig, ScoreSet, prepare, run_suite, score, train, write_report
from causalecg.benchmark.cohort import simulate_cohort
from causalecg.reports.figures import forest_figure
from structural_models import preset

smoke = os.environ.get("CAUSALECG_SMOKE") == "1"
items, epochs, rho = (200, 1, 0.9) if smoke else (2000, 10, 0.95)
folder = Path(tempfile.mkdtemp())
torch.set_num_threads(1)

# %% [markdown]
# ## A cohort with known truth
#
# In 95 % of the items finding and style of the wording agree, because severity drives both. The best reader of the ECG
# is right in 90 %.

# %%
cohort = Cohort.open(simulate_cohort(folder / "cohort", rho=rho, items=items, test_items=items // 2, progress=False))
cohort.items[["split", "style", "question", "candidates", "answer"]].head(3)

# %% [markdown]
# ## The model
#
# It maps ECGs, questions and answers to scores, and imports nothing of causalecg.


# %%
class TheirModel(nn.Module):
    """A convolution over the ECG, a GRU over the words, and a score for each pair of question and answer."""

    def __init__(self, words=4096, size=64):
        super().__init__()
        self.ecg = nn.Sequential(nn.Conv1d(12, 32, 15, 5), nn.GELU(), nn.Conv1d(32, size, 9, 5), nn.GELU())
        self.words = nn.Embedding(words, size)
        self.gru = nn.GRU(size, size, batch_first=True)
        self.fuse = nn.Sequential(nn.Linear(3 * size, 128), nn.GELU(), nn.Linear(128, size))

    def read(self, texts):
        tokens = [[sum(map(ord, word)) * 31 % 4096 for word in text.lower().split()] or [0] for text in texts]
        lengths = torch.tensor([len(row) for row in tokens])
        padded = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in tokens], batch_first=True)
        states, _ = self.gru(self.words(padded))
        return states[torch.arange(len(texts)), lengths - 1]

    def see(self, ecg):
        maps = self.ecg(ecg)
        return torch.cat([maps.mean(-1), maps.amax(-1)], dim=1)

    def answer_scores(self, ecg, questions, answers):
        fused = self.fuse(torch.cat([self.see(ecg), self.read(questions)], dim=1))
        names = [self.words(torch.tensor([sum(map(ord, name)) * 31 % 4096 for name in row])) for row in answers]
        return torch.einsum("id,icd->ic", fused, torch.stack(names))


# %% [markdown]
# ## What the contract asks
#
# One method: from a batch of items to one score per candidate answer. `batch.ecg` is (items, 2, leads, samples) in mV,
# `batch.question` are texts, or `None` where an audit withholds the question, `batch.candidates` are texts. With the
# adapter comes a function that builds a fresh model from a seed.


# %%
class TheirScorer(TheirModel):
    def forward(self, batch):
        return self.answer_scores(batch.ecg[:, 0], [text or "" for text in batch.question], batch.candidates)


def build(seed):
    torch.manual_seed(seed)
    return TheirScorer()


ready = prepare(cohort, "none", build(0))
batch = ready.batch(ready.stages[0], np.arange(3))
print("question:", batch.question[0], "| candidates:", batch.candidates[0], "| ECG:", tuple(batch.ecg.shape))
with torch.no_grad():
    print("scores:", ready.objective(batch).double().numpy().round(3).tolist())

# %% [markdown]
# `features(batch, view)` and `part(name)` are optional. `features` gives a representation of the "ecg", the "question"
# or both ("fused"), `part` one of "encoder", "projector", "language_model" and "answer_head". An adjuster that cannot
# do without says so before anything is trained. A scorer that gives something else than scores is refused before
# anything is written.

# %%
for protocol in (Scorer, HasFeatures, HasParts):
    print(f"{protocol.__name__}: {isinstance(build(0), protocol)}")
for arm in ("none", "ipw", "backdoor", "stratified", "group_dro", "rebias", "last_layer_refit"):
    try:
        prepare(cohort, arm, build)
        print(f"{arm}: works")
    except ContractError as error:
        print(f"{arm}: refused. {error}")
try:
    one_number = {"split": "test", "run_id": "wrong", "out": folder / "wrong", "interventions": ["intact"]}
    score(lambda batch: batch.ecg.mean((1, 2, 3)), cohort, **one_number)
except InputError as error:
    print(f"a mean of the ECG: refused. {error}")

# %% [markdown]
# The other side of the contract has a conformance kit: `adjusters.testing.check_adjuster` runs an adjuster of your own
# through every promise of it (docs/adding_an_adjuster.md), on a model without features, too.

# %%
check_adjuster("ipw")
print("ipw keeps to the contract")

# %% [markdown]
# ## Your model, the library's training
#
# The same model, unadjusted and with two adjusters. `backdoor` tells the model the severity while it trains and sums it
# out with P(s | E) when it predicts; this model has no features, so P(s | E) is learned by asking it for the severity
# in words. `stratified` exchanges wordings within a question.

# %%
arms = ("none", "backdoor", "stratified")
for arm in arms:
    run = train(cohort, arm, RunConfig(epochs=epochs), seed=0, out=folder / arm, scorer=build, progress=False)
    score(
        run.scorer(build), cohort, split="test", run_id=arm, run={"role": run.arm.role, "arm": arm, "seed": 0},
        out=folder / "scores", severity=run.severity_column, progress=False,
    )  # fmt: skip

# %% [markdown]
# ## Your model, your loop
#
# `prepare` fits the adjuster to the cohort and attaches it to the model. The loop is plain torch and serves every
# adjuster; a simpler one does for those that have one stage and one part (docs/adjust_my_model.md). This time the model
# has features of the ECG, so that `backdoor` learns P(s | E) by a head on them.


# %%
class ScorerWithFeatures(TheirScorer):
    def features(self, batch, view):
        if view != "ecg":
            raise NotImplementedError(view)
        return self.see(batch.ecg[:, 0])


torch.manual_seed(0)
ready = prepare(cohort, "backdoor", ScorerWithFeatures(), seed=0)
for stage in ready.stages:
    ready.begin(stage)
    parts = {name: [p for p in ready.objective.parameters_of(name) if p.requires_grad] for name in stage.trains}
    optimizers = {name: torch.optim.AdamW(chosen, lr=1e-3) for name, chosen in parts.items()}
    rounds = epochs if stage.epochs is None else stage.epochs
    losses = []
    for epoch in range(rounds if stage.trains else 0):
        for progress, batch in ready.batches(stage, 64, epoch=epoch, epochs=rounds):
            terms = {}
            for part in stage.trains:
                terms[part] = ready.objective.loss(batch, part, progress=progress)
                ready.objective.zero_grad()
                terms[part].total.backward()
                optimizers[part].step()
            ready.objective.after_step(batch, terms)
            losses.append(float(terms[stage.trains[0]].total))
    if losses:
        print(f"stage {stage.name}: loss {losses[0]:.3f} to {np.mean(losses[-5:]):.3f} in {len(losses)} steps")

own = "backdoor, own loop"
_ = score(
    ready.scorer(), cohort, split="test", run_id=own, run={"role": "audited", "arm": "backdoor", "seed": 0},
    out=folder / "scores", severity="simulated", progress=False,
)  # fmt: skip

# %% [markdown]
# ## The audits
#
# Every audit is a function of the table of answers. Shown are the three that the overall verdict needs: accuracy, the
# *follow rate* (the answer becomes the donor's when the ECG of a patient with the opposite answer is put in), and what
# is lost when the question is asked in words that training never used.

# %%
scores = ScoreSet.open(folder / "scores")
results = [result for run_id in scores.runs for result in run_suite(scores, run_id=run_id)]


def shown(results):
    return pd.DataFrame(
        [
            {
                "run": r.run_id,
                "audit": r.name,
                "estimate": round(r.estimate, 3),
                "95 %": None if r.interval is None else tuple(round(x, 3) for x in r.interval),
                "verdict": r.verdict,
            }
            for r in results
            if r.required
        ]
    )


shown(results)

# %%
names = {"accuracy": "accuracy, biased test", "follow_rate": "follow rate", "adversarial_wording": "drop when reworded"}
rows = []
for run_id in scores.runs:
    found = {r.name: r for r in results if r.run_id == run_id and r.interval is not None}
    limits = {name: (found[name].estimate, *found[name].interval) for name in names if name in found}
    rows.append(
        {"label": run_id} | {k: dict(zip(("estimate", "low", "high"), v, strict=True)) for k, v in limits.items()}
    )
SVG(forest_figure(rows, names))

# %% [markdown]
# Unadjusted, the model is right in 97 % of the biased test and follows the donor's ECG in 57 % of the swaps; reworded,
# it loses 36 points. Adjusted, it follows in 86 to 90 %, with intervals of about 5 points either way, and is right in
# 91 to 92 % of the biased test: what is missing there is what the shortcut paid. `backdoor` in the library's training
# still loses 5.5 points (4.1 to 7.2) when reworded and fails that audit; in the own loop, with a head for P(s | E), it
# loses 0.4. With one seed each this does not say which of the two ways is better: the intervals are over patients, not
# over training runs.
#
# ## The report

# %%
page = write_report(
    folder / "report", score_set=scores, results=results, cohort=cohort, graph=preset("severity_visible")
)
print(page.name, page.stat().st_size // 1000, "kB")

# %% [markdown]
# ## Predictions made elsewhere
#
# A model that cannot be run from here is audited from a table: one row per item and intervention
# (docs/answer_table.md). To have such a table, the answers of the unadjusted model are written down as sentences. The
# audit reads them, knows nothing of the model, and does not get the cohort.

# %%
few = scores.scores[
    (scores.scores["run_id"] == "none")
    & scores.scores["intervention"].isin(["intact", "other_patient[answer=opposite]", "wording[held_out]"])
]
table = few.merge(scores.items[["item_id", "candidates", "answer", "patient_ids"]], on="item_id")
elsewhere = pd.DataFrame(
    {
        "item_id": table["item_id"],
        "intervention": table["intervention"],
        "text": "The answer is " + table["answer_given"].str[0] + ".",
        "candidates": table["candidates"].str.join("|"),
        "answer": table["answer"].str[0],
        "patient_id": table["patient_ids"].str[0],
        "donor_patient_id": table["donor_patient_ids"].str[0],
        "answer_expected": table["answer_expected"].str[0],
    }
)
elsewhere.to_csv(folder / "answers.csv", index=False)
elsewhere.groupby("intervention").head(1)


# %%
def causalecg(*words):
    """What is printed on the command line, and the exit code."""
    done = subprocess.run([sys.executable, "-m", "causalecg", *words], cwd=folder, capture_output=True, text=True)
    print("$ causalecg", *words)
    print(done.stdout + f"exit code {done.returncode}")


causalecg("audit", "answers.csv", "--check")

# %%
causalecg("audit", "answers.csv", "--out", "answers-report")

# %% [markdown]
# From sentences alone the audit comes to the same three numbers as above. Exit code 1: a required audit failed, and a
# script can act on that. What was not asked of the model is "not assessed", never passed; the check says what to add.
