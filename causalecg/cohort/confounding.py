"""What confounds a cohort's answers, from the data alone: no model is asked."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from causalecg import __version__
from causalecg.cohort.certificates import QUESTION, TREATMENTS
from causalecg.cohort.treated_items import ANSWER, SEVERITY, TreatedItems, treated_items
from causalecg.errors import InputError

if TYPE_CHECKING:
    from causalecg.cohort.schema import Cohort
    from structural_models.effects.result import IntervalKind
    from structural_models.estimand import Estimand
    from structural_models.graph import CausalGraph

#: effect -> column of the treatment.
EFFECTS = {"wording": TREATMENTS[0], "question": QUESTION}
KIND = "confounder effects"
PACKAGES = ("numpy", "pandas", "scipy", "dowhy")


def confounder_effects(
    cohort: Cohort,
    graph: CausalGraph,
    *,
    scales: Sequence[str] = (),
    split: str = "train",
    method: str = "g-formula",
    interval: IntervalKind | None = None,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """P(A | Q), P(A | do(Q)) and the confounding bias between them, for wordings and for questions; and severity's
    effect on the answer, straight and through the wording.

    Args:
        graph: says what is adjusted for; conditional on the topic where it has one. The ECG is averaged over.
        scales: severity scales; by default all of the cohort, since none of them is a measurement.
        split: whose items.
        method: a name of :data:`structural_models.effects.catalogue.METHODS`.
        interval: as for :func:`structural_models.effects.estimate.estimate_effects`.
        seed: of cross-fitting, bootstrap and posterior.

    Returns:
        A JSON-able record: ``kind``, ``cohort``, ``cohort_hash``, ``split``, ``graph``, ``method``, ``seed``,
        ``versions``, ``questions`` (topic and an example of each), ``wordings`` (an example of each), and
        ``scales``: one per scale with ``scale``, ``levels``, ``estimand``, ``effects`` (one per effect that can be
        estimated: ``effect``, ``items``, ``items_without_severity`` and the rest of
        :meth:`structural_models.effects.result.Effects.to_dict`), ``severity``
        (:meth:`structural_models.effects.mediation.SeverityEffects.to_dict`, or None) and ``left_out``, why the others
        cannot.

    Raises:
        InputError: no such scale or split, or nothing at all can be compared.
        NotIdentified: the graph does not allow it.
    """
    from rich.console import Console
    from rich.progress import track

    chosen = list(scales) or list(cohort.severity_scales)
    if not chosen:
        raise InputError(f"cohort {cohort.path} has no severity scale; nothing can be adjusted for")
    shown = track(chosen, "estimating effects", console=Console(stderr=True), disable=not progress, transient=True)
    records = [_of_scale(cohort, graph, scale, split, method, interval, seed) for scale in shown]
    if not any(record["effects"] for record in records):
        raise InputError("; ".join(dict.fromkeys(line for record in records for line in record["left_out"])))
    return {
        "kind": KIND,
        "cohort": cohort.meta["name"],
        "cohort_hash": cohort.hash,
        "confounding": cohort.meta.get("confounding"),
        "split": split,
        "graph": graph.to_dict(),
        "method": method,
        "seed": seed,
        "versions": {"causalecg": __version__, **{name: version(name) for name in PACKAGES}},
        **_in_words(cohort, split),
        "scales": records,
    }


def _in_words(cohort: Cohort, split: str) -> dict[str, Any]:
    """What each question is about and how it was put, the first time it was."""
    items = cohort.split(split)
    asked = items.drop_duplicates(QUESTION).set_index(QUESTION)
    put = items.drop_duplicates("wording_id").set_index("wording_id")["question"]
    return {
        "questions": {
            str(name): {"topic": str(row["topic"]), "example": str(row["question"])} for name, row in asked.iterrows()
        },
        "wordings": {str(name): str(text) for name, text in put.items()},
    }


def _of_scale(
    cohort: Cohort,
    graph: CausalGraph,
    scale: str,
    split: str,
    method: str,
    interval: IntervalKind | None,
    seed: int,
) -> dict[str, Any]:
    from structural_models.effects.catalogue import method_named
    from structural_models.effects.estimate import estimate_effects
    from structural_models.effects.mediation import severity_effects

    declared = cohort.meta.get("roles", {}).get("treatment", "style")
    column = cohort.severity_column(scale)
    estimand = _identified(graph, column, declared)
    adjusted = [SEVERITY if name == column else name for name in estimand.adjustment_columns]
    others = tuple(name for name in adjusted if name != SEVERITY)
    found, left_out, severity = [], [], None
    for number, (effect, treatment) in enumerate(EFFECTS.items()):
        try:
            rows = treated_items(cohort, split, scale, treatment, others=others)
        except InputError as error:
            left_out.append(str(error))
            continue
        result = estimate_effects(
            rows.table,
            rows.treatment,
            ANSWER,
            adjusted,
            within=rows.within,
            method=method_named(method),
            groups=rows.patients,
            interval=interval,
            rng=np.random.default_rng([seed, number]),
        )
        found.append({"effect": effect, **_counted(rows), **result.to_dict()})
        if effect == "wording":
            severity = severity_effects(
                rows.table, SEVERITY, rows.treatment, ANSWER, within=rows.within, groups=rows.patients
            ).to_dict()
    return {
        "scale": scale,
        "levels": list(cohort.meta["severity_scales"][scale]),
        "estimand": estimand.to_dict(),
        "effects": found,
        "severity": severity,
        "left_out": left_out,
    }


def _identified(graph: CausalGraph, severity: str, treatment: str) -> Estimand:
    """P(A | do(Q)), within the topic where the graph has one."""
    from structural_models.identification import identify

    columns = {"treatment": treatment} | ({"severity": severity} if "severity" in graph.roles else {})
    return identify(graph, columns=columns, conditioning=[role for role in ("topic",) if role in graph.roles])


def _counted(rows: TreatedItems) -> dict[str, int]:
    return {"items": len(rows.table), "items_without_severity": rows.without_severity}
