"""The adjustability certificate of a cohort's training split, for every severity scale and environment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from structural_models.stratified_independence import PERMUTATIONS

if TYPE_CHECKING:
    import pandas as pd

    from causalecg.cohort.schema import Cohort
    from structural_models.adjustability import Certificate

TREATMENTS = ("style", "wording_id")
QUESTION = "question_id"
#: Topics on whose answers severity has almost no path: adjusting for it should change nothing.
NEGATIVE_CONTROLS = ("noise", "numeric_feature")
_ANSWER, _SEVERITY = "answer", "severity"


def training_certificates(
    cohort: Cohort,
    *,
    graph: str | None = None,
    seed: int = 0,
    permutations: int = PERMUTATIONS,
    progress: bool = False,
) -> dict[str, Any]:
    """Certify the split "train" of every environment under every severity scale.

    The treatment is the style, or the wording where styles are not distinguished, within the canonical question; the
    answer is the set of answers; severity is the pair where an item has two ECGs. Items without one are left out.

    Args:
        graph: preset or file; by default the cohort's, else :data:`DEFAULT_GRAPH`. Where it has a way from treatment to
            outcome, sufficiency is not testable.
        seed: of permutations and bootstraps.

    Returns:
        A JSON-able record: ``graph``, ``treatment_causes_outcome``, ``certificates`` (one per environment and scale:
        environment, scale, items, items_without_severity, decision, verdict, p_sufficiency_holm, and the rest of
        :meth:`structural_models.adjustability.Certificate.to_dict`), and ``negative_controls`` (environment, scale,
        topic, items, and the test of the answer on severity within the question: p, df, chi2).

    ``decision`` allows for the several tests of sufficiency (Holm); those of the dependence on severity are taken as
    they are, since nothing is claimed by rejecting them.
    """
    import networkx as nx
    from rich.console import Console
    from rich.progress import track

    from structural_models.graph import DEFAULT_GRAPH
    from structural_models.graph_files import load_graph
    from structural_models.multiplicity import holm

    declared = load_graph(graph or cohort.meta.get("graph") or DEFAULT_GRAPH)
    causes = bool(nx.has_path(declared.graph, declared.node("treatment"), declared.node("outcome")))
    parts = list(_parts(cohort))
    found: list[tuple[dict[str, Any], Certificate | None]] = []
    controls: list[dict[str, Any]] = []
    shown = track(
        parts, "certifying the training split", console=Console(stderr=True), disable=not progress, transient=True
    )
    for number, (where, scale, rows, without) in enumerate(shown):
        rng = np.random.default_rng([seed, number])
        about = {"environment": where, "scale": scale, "items": len(rows), "items_without_severity": without}
        found.append((about, _certificate(rows, causes, permutations, rng)))
        controls += [{**about, **test} for test in _negative_controls(rows, permutations, rng)]
    adjusted = holm([float("nan") if c is None else c.p_sufficiency for _, c in found])
    records = []
    for (about, certificate), p in zip(found, adjusted, strict=True):
        if certificate is None:
            reason = "no question has several wordings" if about["items"] else "no item has a severity"
            decision = "nothing to adjust" if about["items"] else "not testable"
            records.append({**about, "decision": decision, "verdict": f"{decision}: {reason}", "warnings": []})
            continue
        decided = certificate.with_adjusted_p(certificate.p_dependence, float(p))
        records.append({**about, **decided.to_dict(), "p_sufficiency_holm": None if np.isnan(p) else float(p)})
    return {
        "graph": declared.name,
        "treatment_causes_outcome": causes,
        "seed": seed,
        "permutations": permutations,
        "certificates": records,
        "negative_controls": controls,
    }


def _parts(cohort: Cohort) -> Iterator[tuple[str, str, pd.DataFrame, int]]:
    """(environment, scale, training items with a severity, how many had none)."""
    import pandas as pd

    from causalecg.training.pairs import has_pairs

    items = cohort.items[cohort.items["split"] == "train"]
    environment = items["environment"] if "environment" in items.columns else pd.Series("all", index=items.index)
    for where, rows in items.groupby(environment, sort=True):
        for scale in cohort.severity_scales:
            column = cohort.severity_column(scale)
            known = rows[rows[column] >= 0]
            if has_pairs(known, column):
                level = known[[f"{column}_1", f"{column}_2"]].astype(str).agg(" then ".join, axis=1)
            else:
                level = known[column].astype(str)
            table = known[[*TREATMENTS, QUESTION, "topic", "patient_ids"]].assign(
                **{_SEVERITY: level, _ANSWER: known["answer"].map(lambda a: ", ".join(sorted(a)))}
            )
            yield str(where), scale, table.reset_index(drop=True), len(rows) - len(known)


def _certificate(rows: pd.DataFrame, causes: bool, permutations: int, rng: np.random.Generator) -> Certificate | None:
    from structural_models.adjustability import certify

    treatment = next((name for name in TREATMENTS if rows[name].nunique() > 1), None)
    if treatment is None:
        return None
    return certify(
        rows,
        treatment,
        _ANSWER,
        _SEVERITY,
        within=[QUESTION],
        groups=item_patients(rows),
        treatment_causes_outcome=causes,
        rng=rng,
        permutations=permutations,
    )


def _negative_controls(rows: pd.DataFrame, permutations: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    from structural_models.stratified_independence import independence_test

    records = []
    for topic in NEGATIVE_CONTROLS:
        part = rows[rows["topic"] == topic].reset_index(drop=True)
        if part.empty:
            continue
        test = independence_test(
            part, _ANSWER, _SEVERITY, [QUESTION], rng=rng, groups=item_patients(part), permutations=permutations
        )
        records.append(
            {
                "topic": topic,
                "items": len(part),
                "chi2": test.statistic,
                "df": test.df,
                "p": test.p_value if test.made else None,
                "exchanged": test.exchanged,
            }
        )
    return records


def item_patients(rows: pd.DataFrame) -> np.ndarray:
    """(rows, most patients of an item) codes, -1 = none."""
    import pandas as pd

    width = max(map(len, rows["patient_ids"]))
    names = [[*ids, *[None] * (width - len(ids))] for ids in rows["patient_ids"]]
    codes = pd.factorize(np.array(names, dtype=object).ravel())[0]
    return np.asarray(codes, dtype=np.int64).reshape(len(rows), width)
