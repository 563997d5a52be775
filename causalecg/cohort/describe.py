"""What is in a cohort, whether the wording depends on the severity, and whether that can be adjusted for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from causalecg.cohort.certificates import training_certificates
from causalecg.cohort.schema import Cohort
from structural_models.stratified_independence import PERMUTATIONS


def describe_cohort(
    cohort: Cohort,
    *,
    graph: str | None = None,
    seed: int = 0,
    permutations: int = PERMUTATIONS,
    progress: bool = False,
) -> dict[str, Any]:
    """Counts, quality flags, answers, a chi-squared test of wording (or style) against each severity scale, and the
    adjustability certificate of the training split (:func:`causalecg.cohort.certificates.training_certificates`, which
    takes the options).

    The test sums Pearson's statistic and its degrees of freedom over groups of a split: where there are several styles,
    style within each canonical question; otherwise wording within all questions that share their wordings. A ratio
    near one says: within a group, the wording does not depend on severity. Items without a severity are left out.
    """
    items = cohort.items
    environment = items["environment"] if "environment" in items.columns else pd.Series("all", index=items.index)
    groups = []
    for (where, split), rows in items.groupby([environment, items["split"]], sort=True):
        answers = rows["answer"].map(lambda a: ", ".join(sorted(a)) or "(none)").value_counts(normalize=True)
        groups.append(
            {
                "environment": str(where),
                "split": str(split),
                "items": len(rows),
                "patients": len({p for ids in rows["patient_ids"] for p in ids}),
                "ecgs": len({e for ids in rows["ecg_ids"] for e in ids}),
                "questions": int(rows["question_id"].nunique()),
                "wordings": int(rows["wording_id"].nunique()),
                "most_frequent_answer": str(answers.index[0]),
                "its_share": float(answers.iloc[0]),
                "wording_on_severity": {s: _independence(rows, f"severity_{s}") for s in cohort.severity_scales},
            }
        )
    flags = cohort.ecgs["quality"].explode().dropna().map(lambda flag: str(flag).partition(":")[0]).value_counts()
    return {
        "name": cohort.meta["name"],
        "path": str(cohort.path),
        "hash": cohort.hash,
        "counts": cohort.meta["counts"],
        "severity_scales": cohort.meta["severity_scales"],
        "signals": {"rate_hz": cohort.signals.rate_hz, "samples": cohort.signals.samples, "ecgs": len(cohort.signals)},
        "quality": {str(k): int(v) for k, v in flags.items()},
        "groups": groups,
        "adjustability": training_certificates(
            cohort, graph=graph, seed=seed, permutations=permutations, progress=progress
        ),
        "priors": cohort.meta.get("priors"),
        "items_without_severity": cohort.meta.get("items_without_severity", 0),
        "selection": cohort.meta.get("selection"),
        "confounding": cohort.meta.get("confounding"),
    }


def _independence(rows: pd.DataFrame, column: str) -> dict[str, Any]:
    """Wording, or style where there are several, against severity; ``p`` is ``None`` where nothing can be compared."""
    from scipy.stats import chi2

    rows = rows[rows[column] >= 0]
    styles = rows["style"].nunique() > 1
    tested = rows["style"] if styles else rows["wording_id"]
    # A wording's id is the name of its pool of wordings and a number.
    within = rows["question_id"] if styles else rows["wording_id"].str.rpartition("-")[0]
    statistic, freedom = 0.0, 0
    for _, part in rows.groupby(within):
        table = pd.crosstab(tested[part.index], part[column]).to_numpy(dtype=np.float64)
        if min(table.shape) < 2:
            continue
        expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
        statistic += float(((table - expected) ** 2 / expected).sum())
        freedom += (table.shape[0] - 1) * (table.shape[1] - 1)
    return {
        "tested": "style" if styles else "wording",
        "within": "question" if styles else "questions that share their wordings",
        "chi2": statistic,
        "df": freedom,
        "p": float(chi2.sf(statistic, freedom)) if freedom else None,
    }
