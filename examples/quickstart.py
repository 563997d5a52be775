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
# # Quickstart: does the model read the ECG?
#
# Severity of illness drives both how a question is worded and what its answer is. A model can then answer from the
# wording alone. This notebook makes a cohort in which that is known to be so, trains the same small
# encoder-projector-LLM twice, with and without back-door adjustment, and asks both whether they look at the ECG.
#
# Set `CAUSALECG_SMOKE=1` for a run of seconds that shows the path and proves nothing.

# %%
import os
import tempfile
from pathlib import Path

from causalecg import Cohort, RunConfig, ScoreSet, run_suite, score, train, write_report
from causalecg.benchmark.cohort import simulate_cohort
from structural_models import identify, open_backdoor_paths, preset

smoke = os.environ.get("CAUSALECG_SMOKE") == "1"
items, epochs, rho = (200, 1, 0.9) if smoke else (4000, 8, 0.99)
folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## What is assumed, and what it identifies
#
# The graph is declared, not learned. DoWhy finds the adjustment set; the target conditions on the ECG.

# %%
graph = preset("severity_visible")
for path in open_backdoor_paths(graph):
    print("open back-door path:", graph.path_text(path))
print(identify(graph, columns={"severity": "severity_simulated"}))

# %% [markdown]
# ## A cohort with known truth
#
# The finding and the style of the wording agree in 99 % of the items. The finding is seen in the ECG with d' = 2.56, so
# that the best reader of the ECG is right in 90 %.

# %%
cohort = Cohort.open(simulate_cohort(folder / "cohort", rho=rho, items=items, test_items=items // 2, progress=False))
cohort.items[["split", "style", "question", "answer", "severity_simulated"]].head(4)

# %%
cohort.items.groupby("split").apply(
    lambda rows: ((rows["style"] == "urgent") == (rows["answer"].str[0] == "yes")).mean(), include_groups=False
).rename("P(answer agrees with style)").to_frame()

# %% [markdown]
# ## The same model, twice
#
# Adjusters are named, as on the command line. `backdoor` tells the model the severity while it trains and sums it out
# with P(s | E) when it predicts.

# %%
for arm in ("none", "backdoor"):
    run = train(cohort, arm, RunConfig(epochs=epochs), seed=0, out=folder / arm, progress=False)
    for split in ("test", "test_unbiased"):
        score(
            run.scorer(), cohort, split=split, run_id=arm, run={"role": run.arm.role, "arm": arm, "seed": 0},
            out=folder / "scores", severity=run.severity_column, progress=False,
        )  # fmt: skip

# %% [markdown]
# ## The audits
#
# Everything below is a function of the table of answers; the models are not run again. The *follow rate* is the share
# of items whose answer becomes the donor's once the ECG of a patient with the opposite answer is put in.

# %%
import pandas as pd

scores = ScoreSet.open(folder / "scores")
results = [result for arm in ("none", "backdoor") for result in run_suite(scores, run_id=arm)]
pd.DataFrame(
    [
        {
            "run": r.run_id,
            "audit": r.name,
            "what": r.measure,
            "estimate": round(r.estimate, 3),
            "95 %": None if r.interval is None else tuple(round(x, 3) for x in r.interval),
            "verdict": r.verdict,
        }
        for r in results
    ]
)

# %% [markdown]
# One seed: these intervals are over patients only. `causalecg compare --seeds 5` adds training runs.

# %%
from IPython.display import SVG

from causalecg.reports.figures import forest_figure

rows = []
for arm in ("none", "backdoor"):
    found = {r.name: r for r in results if r.run_id == arm and r.interval is not None}
    names = {"accuracy": "test", "follow_rate": "follow_rate", "adversarial_wording": "wording_drop"}
    rows.append(
        {"label": arm}
        | {
            key: {"estimate": found[name].estimate, "low": found[name].interval[0], "high": found[name].interval[1]}
            for name, key in names.items()
            if name in found
        }
    )
panels = {"test": "accuracy, biased test", "follow_rate": "follow rate", "wording_drop": "drop when reworded"}
SVG(forest_figure(rows, panels))

# %% [markdown]
# ## The report
#
# One file, offline, with the graph, the audits, and an item's ECG beside the one that was put in its place.

# %%
page = write_report(folder / "report", score_set=scores, results=results, cohort=cohort, graph=graph)
print(page.name, page.stat().st_size // 1000, "kB")
