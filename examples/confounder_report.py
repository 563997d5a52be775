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
# # The confounder report: what a question gives away
#
# Before any model is trained, the data alone can say how far the wording of a question predicts its answer, and how
# much of that is due to severity. This notebook does so on simulated cohorts, where the truth is known and is printed
# beside every estimate. No model is trained, and no ECG is read except to test what the graph implies.
#
# Set `CAUSALECG_SMOKE=1` for a run of seconds that shows the path and proves nothing.

# %%
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import SVG

from causalecg import Cohort
from causalecg.benchmark.cohort import simulate_cohort
from causalecg.benchmark.exact import joint_law
from causalecg.benchmark.truth import Truth
from causalecg.benchmark.wordings import style_names, topics
from causalecg.cohort.confounding import confounder_effects
from causalecg.cohort.effects_folder import write_effects
from causalecg.cohort.node_observations import node_observations
from causalecg.cohort.sensitivity import cohort_sensitivity
from causalecg.reports.confounder_effects import write_confounder_report
from causalecg.reports.confounder_figures import bias_figure
from causalecg.reports.confounder_record import report_record
from causalecg.reports.figures import graph_figure
from causalecg.reports.sensitivity_figures import marginal_figure
from structural_models import IndependenceTests, check_implications, identify, open_backdoor_paths, preset

smoke = os.environ.get("CAUSALECG_SMOKE") == "1"
items = 400 if smoke else 4000
folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## A cohort with known truth
#
# Regime R3. Severity drives the finding and the style of the wording, which agree in 90 % of the items. There are two
# topics. The topic settles 40 % of the answers by right, the finding the others. The style settles none.

# %%
cohort = Cohort.open(
    simulate_cohort(folder / "cohort", regime="R3", rho=0.9, items=items, test_items=100, progress=False)
)
cohort.split("train")[["topic", "style", "question", "answer", "severity_simulated"]].head(4)

# %% [markdown]
# ## What is assumed
#
# The graph is declared, not learned. In this preset severity acts on the answer through the finding, which is not
# recorded by itself (dashed). The path from the style back over severity to the answer is open (red). Severity closes
# it.

# %%
graph = preset("finding_mediated")
SVG(graph_figure(graph))

# %%
for path in open_backdoor_paths(graph):
    print("open back-door path:", graph.path_text(path))
print("left given severity:", len(open_backdoor_paths(graph, [graph.node("severity")])))
print(identify(graph, columns={"treatment": "style", "severity": "severity_simulated"}))

# %% [markdown]
# ## What the graph implies, tested
#
# A graph that lacks an arrow says that something is independent of something else, and data can contradict that. Each
# implication is tested on the training items, with p-values corrected for their number (Holm). The ECG enters as a few
# summaries of its signals. Beside the preset stands one that is wrong here: `reference_paper` says that the ECG carries
# no trace of severity.

# %%
columns = {"treatment": "style", "severity": "severity_simulated"}
rows = []
for name in ("finding_mediated", "reference_paper"):
    observed = node_observations(cohort, preset(name), columns).observations
    tests = IndependenceTests(observed, rng=np.random.default_rng(0))
    for check in check_implications(preset(name), tests).checks:
        rows.append(
            {
                "graph": name,
                "implied": str(check.result.independence),
                "p, Holm": round(check.p_holm, 3),
                "verdict": check.verdict,
            }
        )
pd.DataFrame(rows)

# %% [markdown]
# "Not contradicted" does not mean true: the items may be too few, or the dependence of a kind that the test misses.
#
# ## What is seen, and what asking would do
#
# P(A | Q) is how often the answer is yes where a question was worded so. P(A | do(Q)) is how often it would be if the
# wording were chosen whatever the severity. The difference is the confounding bias. Both are estimated within the
# topic, with 95 % intervals over patients, and both are known exactly from the law that the cohort was drawn from.

# %%
record = confounder_effects(cohort, graph)
found = record["scales"][0]["effects"][0]
law = Truth.open(cohort).law


def exactly(law, randomised):
    """P(yes | style, question) of a law, as a table by question and style."""
    by_style_and_topic = joint_law(law, randomised=randomised).sum((0, 1))
    yes = by_style_and_topic[..., 1] / by_style_and_topic.sum(-1)
    return pd.DataFrame(yes[:, : len(topics(law))].T, index=list(topics(law)), columns=list(style_names(law)))


def limits(row, name):
    estimate, low, high = (row[name + suffix] for suffix in ("", "_low", "_high"))
    return f"{estimate:.3f} ({low:.3f} to {high:.3f})"


seen, done = exactly(law, False), exactly(law, True)
pd.DataFrame(
    [
        {
            "question": row["question_id"],
            "style": row["arm"],
            "P(yes | Q)": limits(row, "associated"),
            "P(yes | Q), truth": round(seen.loc[row["question_id"], row["arm"]], 3),
            "P(yes | do(Q))": limits(row, "interventional"),
            "P(yes | do(Q)), truth": round(done.loc[row["question_id"], row["arm"]], 3),
            "bias": limits(row, "bias"),
            "bias, truth": round((seen - done).loc[row["question_id"], row["arm"]], 3),
        }
        for row in found["table"]
        if row["outcome"] == "yes"
    ]
)

# %% [markdown]
# Calm and urgent wordings of one question go with very different answers; under do(Q) they are close to each other.
# Eleven of the twelve intervals hold the truth. The one that does not, P(yes | do(Q)) of the calm wording of the first
# question, shows what a thin cell does: few such questions are about severely ill patients, and all of these have the
# answer yes. A share of one has no spread of its own, so the interval is too narrow. The Bayesian g-formula gives such
# a cell a posterior, and its interval is wider.

# %%
train = cohort.split("train")
train["answer"].str[0].groupby([train["question_id"], train["style"], train["severity_simulated"]]).value_counts()

# %%
bayes = confounder_effects(cohort, graph, method="bayes")["scales"][0]["effects"][0]
thin = next(row for row in bayes["table"] if (row["arm"], row["outcome"]) == ("calm", "yes"))
print(thin["question_id"], thin["arm"], limits(thin, "interventional"), "posterior of P(yes | do(Q))")

# %% [markdown]
# ## The effect of the style, and of severity
#
# The contrast of the two styles under do(Q) is what the style itself does: nothing, in truth. Severity's own effect on
# the answer is split into the part that runs through the wording ("natural indirect") and the rest ("natural direct").

# %%
styles = [row for row in found["contrasts"] if row["outcome"] == "yes"]
pd.DataFrame(
    [
        {
            "question": row["question_id"],
            "contrast": f"{row['arm']} against {row['reference']}",
            "difference in P(yes | do(Q))": limits(row, "difference"),
            "truth": round(
                done.loc[row["question_id"], row["arm"]] - done.loc[row["question_id"], row["reference"]], 3
            ),
        }
        for row in styles
    ]
)

# %%
severity = record["scales"][0]["severity"]["table"]
total = (1 - law.tau) * (2 * law.p - 1)
true = {"total": total, "natural direct": total, "natural indirect": 0.0}
pd.DataFrame(
    [
        {
            "question": row["question_id"],
            "effect of severity": row["effect"],
            "on P(yes)": f"{row['estimate']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})",
            "truth": round(true[row["effect"]], 3),
        }
        for row in severity
        if row["outcome"] == "yes" and row["effect"] in true
    ]
)

# %% [markdown]
# No effect of the style is found; both intervals reach from about -.1 to above zero, so an effect of that size is not
# excluded. The thin cell shows here, too: the indirect effect of the first question is estimated off zero. The direct
# and indirect effect of the second question have wide intervals, since few calm questions are about severely ill
# patients.
#
# ## Where severity does not suffice
#
# Regime R9 breaks the assumption: for 20 % of the patients something unmeasured drives finding and wording instead of
# severity. And the wording does settle 20 % of the answers. Adjusting for severity then leaves a part of the bias.

# %%
hidden = Cohort.open(
    simulate_cohort(folder / "hidden", regime="R9", rho=0.9, items=items, test_items=100, progress=False)
)
hidden_law = Truth.open(hidden).law
effect = confounder_effects(hidden, preset("topic_and_style"))["scales"][0]["effects"][0]
truth = exactly(hidden_law, True)
print("effect of the style, estimated and true")
for row in effect["contrasts"]:
    if row["outcome"] == "yes":
        exact = truth[row["arm"]].iloc[0] - truth[row["reference"]].iloc[0]
        print(f"  {row['arm']} against {row['reference']}: {limits(row, 'difference')}, truth {exact:.3f}")
observed = node_observations(hidden, graph, columns).observations
for check in check_implications(graph, IndependenceTests(observed, rng=np.random.default_rng(0))).checks:
    if check.verdict == "contradicted":
        print(f"{check.result.independence}: {check.verdict} (p {check.p_holm:.3f}, Holm)")

# %% [markdown]
# The estimate is far above the truth, and its interval, which takes severity to be enough, does not hold it. The data
# give a sign: they contradict the graph of before. That style and answer go together given severity may be an effect of
# the style. That style and ECG do cannot be: something that was not measured is behind both.
#
# ## How strong would the unmeasured have to be?
#
# Data seldom say whether something is unmeasured. They can say how strong it would have to be to explain an effect
# away. The *E-value* is the risk ratio that it would need with both the wording and the answer; the value of the limit
# is the same for the end of the interval that is nearer to no effect. Λ is the factor by which something unmeasured
# would have to change the odds of a wording for the bounds of the effect to reach zero.

# %%
analysed = {
    "R3": cohort_sensitivity(cohort, "simulated", simulations=0),
    "R9": cohort_sensitivity(hidden, "simulated", simulations=0),
}
pd.DataFrame(
    [
        {
            "cohort": name,
            "contrast": one.leading,
            "risk ratio": f"{one.ratios[0].adjusted:.2f} ({one.ratios[0].low:.2f} to {one.ratios[0].high:.2f})",
            "E-value": round(one.ratios[0].e_value, 2),
            "of the limit": round(one.ratios[0].e_value_limit, 2),
            "Λ that reaches zero": round(one.marginal.critical, 2),
            "its limit": "none" if one.marginal.critical_limit is None else round(one.marginal.critical_limit, 2),
        }
        for name, one in analysed.items()
    ]
)

# %%
SVG(marginal_figure(analysed["R9"].marginal, f"R9, {analysed['R9'].leading}"))

# %% [markdown]
# In R3 the ratio's interval holds one: there is no effect to explain away, and the value of the limit is 1. In R9 it
# would take a lot to explain all of the effect away, and rightly so, for there is one. It does not follow that the
# estimate is right: about 70 % of it is due to what was not measured. A large E-value speaks against no effect, not
# against a smaller one.
#
# ## The report
#
# One file, offline: the graph, the biases and effects with their intervals, what could not be adjusted, how it was
# made. Its figure of biases:

# %%
write_effects(folder / "effects", record)
page = write_confounder_report(folder / "effects")
print(page.name, page.stat().st_size // 1000, "kB")
part = report_record(record)["biases"][0]
SVG(bias_figure(part["rows"], part["scales"], 0.95))

# %% [markdown]
# ## The same of your own cohort
#
# Everything above is on the command line. With PTB-XL and ECG-QA in folders of their own:
#
# ```
# causalecg cohort build --ptbxl PTBXL --ecgqa ECGQA/ptbxl --out ecgqa
# causalecg scm show --cohort ecgqa --severity acuity --out graph.svg
# causalecg scm identify --cohort ecgqa --severity acuity
# causalecg scm implications --cohort ecgqa --severity acuity
# causalecg scm effects --cohort ecgqa --out ecgqa-effects
# causalecg report ecgqa-effects
# causalecg scm sensitivity --cohort ecgqa --severity acuity --out ecgqa-sensitivity
# ```
#
# `scm effects` takes every severity scale of the cohort, since severity is defined there and not measured. `--graph
# mine.yaml` declares another graph (docs/causal_graphs.md). How to read the page: docs/confounders.md.
