"""Cells of tier T0: the law's own evidence, a scorer that trains in seconds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from causalecg.benchmark.effective_rows import leaves_few
from causalecg.benchmark.leaderboard.record import CellRecord, cell_path
from causalecg.benchmark.regimes import REGIMES
from causalecg.benchmark.regimes import regime as find_regime
from causalecg.benchmark.tuned import tuning_of

if TYPE_CHECKING:
    from causalecg.benchmark.law import Law, World
    from causalecg.benchmark.t0.scorer import Fit
    from structural_models.estimand import Estimand

#: Positivity of the certificate. rho = .99 asks for P(F | S) = .005, which the usual bar of .01 would always refuse.
POSITIVITY = 0.001
#: The declared graph of every regime; whatever a law does but R9's is allowed by it.
GRAPH = "topic_and_style"


@dataclass(frozen=True)
class EvidencePlan:
    """What all cells of a T0 leaderboard have in common.

    Attributes:
        rho: of the regimes that are defined for any.
        items, valid, test: patients to learn from, to validate on, and to test on.
        fit: of the scorer.
        estimand: what adjusters are asked for.
    """

    rho: float | None
    items: int
    valid: int
    test: int
    fit: Fit
    estimand: Estimand


def declared_estimand() -> Estimand:
    """P(A | E, T, do(F)) by the recorded severity."""
    from causalecg.benchmark.t0.tables import SEVERITY
    from structural_models.graph import preset
    from structural_models.identification import identify

    return identify(preset(GRAPH), columns={"severity": SEVERITY, "treatment": "style"})


def run_evidence_cell(plan: EvidencePlan, out: Path, regime: str, arm: str, seed: int) -> Path:
    """Train and measure one cell, and write it. A refusal is a result; anything else that fails is raised."""
    import torch

    from adjusters.contract import ContractError
    from adjusters.registry import adjuster_class
    from causalecg.benchmark.t0.arms import EvidenceArm
    from causalecg.benchmark.t0.evaluation import measured, reader_of, truths
    from causalecg.benchmark.t0.training import NoRows, train

    law, path = law_of(plan, regime), cell_path(out, regime, arm, seed)
    for twin in regimes_alike(plan, regime):
        if cell_path(out, twin, arm, seed).exists():
            replace(CellRecord.read(cell_path(out, twin, arm, seed)), regime=regime, truths=truths(law)).write(path)
            return path
    parsed = EvidenceArm.parse(arm)
    card = adjuster_class(parsed.adjuster).card
    adjusts = "severity" in card.needs and not parsed.placebo
    refused, training, items, weighting = "", {}, None, False
    verdict = certificate(law, plan.items, plan.valid, seed) if adjusts else ""
    torch.set_num_threads(1)
    if adjusts and not meant_to_be_adjusted(law) and verdict.startswith("not"):
        refused = f"certificate: {verdict}"
    else:
        try:
            trained = train(
                law, parsed, seed=seed, estimand=plan.estimand, items=plan.items, valid=plan.valid, fit=plan.fit
            )
            training = {**trained.to_dict(), "fit": plan.fit}
            weighting = leaves_few(trained.effective, plan.items)
            items = measured(reader_of(trained.yes), _world(law, plan.test))
        except (ContractError, NoRows) as error:
            refused = str(error)
    record = CellRecord(
        tier="t0",
        regime=regime,
        arm=arm,
        seed=seed,
        rho=find_regime(regime).require_rho(plan.rho if find_regime(regime).rho is None else None),
        tuning=tuning_of(arm),
        refused=refused,
        weighting=weighting,
        truths=truths(law),
        training=training,
        certificate=verdict,
        items=None if items is None else items.rename_axis("item").reset_index(),
    )
    record.write(path)
    return path


def regimes_alike(plan: EvidencePlan, regime: str) -> list[str]:
    """Other regimes whose patients and questions are the same at this tier, which does not know in whose words a topic
    is told (kappa): their cells are the same too."""
    found = {name: replace(law_of(plan, name), kappa=None) for name in REGIMES}
    return [name for name, law in found.items() if name != regime and law == found[regime]]


def law_of(plan: EvidencePlan, regime: str) -> Law:
    """The law of a regime, at the plan's rho where the regime leaves a choice."""
    found = find_regime(regime)
    return found.law(plan.rho if found.rho is None else None)


def meant_to_be_adjusted(law: Law) -> bool:
    """Whether a law is there to show what adjusting for the severity does. Where style causes the answer, or what
    drives it is hidden, it is there to be refused, and is, by the certificate on the training rows alone."""
    return not (law.style_effect or law.hidden)


@lru_cache(maxsize=16)
def certificate(law: Law, items: int, valid: int, seed: int) -> str:
    """Verdict of the adjustability certificate on the training rows, were the style no cause of the answer."""
    import pandas as pd

    from causalecg.benchmark.t0.training import training_world
    from structural_models.adjustability import certify

    world = training_world(law, items, valid, seed)
    columns = {"style": world.style_code, "answer": world.answer, "severity": world.severity_observed}
    table = pd.DataFrame({**columns, "topic": world.topic}).iloc[:items]
    return certify(
        table,
        "style",
        "answer",
        "severity",
        within=["topic"],
        treatment_causes_outcome=False,
        rng=np.random.default_rng([seed, 3]),
        threshold=POSITIVITY,
        permutations=999,
        replicates=200,
    ).verdict


@lru_cache(maxsize=2)
def _world(law: Law, items: int) -> World:
    from causalecg.benchmark.t0.evaluation import patients_to_test

    return patients_to_test(law, items)
