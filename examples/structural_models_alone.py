"""The ground floor by itself: what a graph identifies and implies, the effects of its questions, how fragile they are.

Nothing here knows of ECGs or of models: any table of treatments, outcomes and covariates will do. Run it with
    python examples/structural_models_alone.py
"""

from __future__ import annotations

import numpy as np

from structural_models import (
    Augmented,
    BayesianGFormula,
    CategoricalTable,
    IndependenceTests,
    Observations,
    StructuralCausalModel,
    bernoulli_logit,
    causal_graph,
    check_implications,
    e_value_of_limit,
    estimate_effects,
    identify,
    severity_effects,
)

GRAPH = causal_graph(
    ["severity -> question -> answer", "severity -> answer", "age -> severity", "age -> answer"],
    roles={"severity": "severity", "treatment": "question", "outcome": "answer"},
    name="with age",
)
#: A law to draw from; with a table of your own, leave it out.
LAW = StructuralCausalModel(
    GRAPH,
    {
        "age": CategoricalTable(("young", "old"), [0.6, 0.4]),
        "severity": CategoricalTable(("mild", "grave"), [[0.8, 0.2], [0.4, 0.6]], ("age",)),
        "question": CategoricalTable(
            ("plain", "urgent", "detailed"), [[0.6, 0.1, 0.3], [0.2, 0.6, 0.2]], ("severity",)
        ),
        "answer": bernoulli_logit(
            -1.5, {"severity": [0, 1.5], "question": [0, 0.3, 0.8], "age": [0, 0.7]}, levels=("no", "yes")
        ),
    },
)


def main(rows: int = 6000) -> None:
    rng = np.random.default_rng(0)
    print(f"{identify(GRAPH, conditioning=[])}\n")

    table = LAW.sample(rows, rng=rng)
    patients = np.arange(rows) // 2
    observed = Observations(table, {node: node for node in GRAPH.graph}, groups=patients)
    for check in check_implications(GRAPH, IndependenceTests(observed, rng=rng, permutations=199)).checks:
        print(f"{check.result.independence}: {check.verdict} (p {check.p_holm:.2f})")

    print("\nP(yes), seen and under do:      truth    g-formula             augmented             Bayesian")
    found = [
        estimate_effects(table, "question", "answer", columns, method=method, groups=groups, rng=rng)
        for method, columns, groups in (
            (None, ["severity"], patients),
            (Augmented("multinomial"), ["severity", "age"], patients),
            (BayesianGFormula(), ["severity"], None),
        )
    ]
    for arm in ("plain", "urgent", "detailed"):
        rows_of = [one.table.set_index(["arm", "outcome"]).loc[(arm, "yes")] for one in found]
        truth = LAW.probability({"answer": "yes"}, do={"question": arm})
        told = "   ".join(
            f"{row.interventional:.3f} ({row.interventional_low:.3f}, {row.interventional_high:.3f})" for row in rows_of
        )
        print(f"  {arm:9} {rows_of[0].associated:.3f}                 {truth:.3f}    {told}")

    contrasts = found[0].contrasts("plain")
    for row in contrasts[contrasts["outcome"] == "yes"].itertuples():
        e_value = e_value_of_limit(row.ratio_low, row.ratio_high)
        told = f"{row.difference:+.3f}, ratio {row.ratio:.2f}; E-value of the limit {e_value:.2f}"
        print(f"do({row.arm}) against do(plain): {told}")

    # Age ties severity to the answer, so the comparison is within it.
    through = severity_effects(
        table, "severity", "question", "answer", within=["age"], reference="mild", groups=patients
    ).table
    for row in through[through["outcome"] == "yes"].itertuples():
        print(f"{row.age}: severity's {row.effect} effect: {row.estimate:+.3f} ({row.low:+.3f} to {row.high:+.3f})")


if __name__ == "__main__":
    main()
