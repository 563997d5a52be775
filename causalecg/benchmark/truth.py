"""The truth of a benchmark cohort, in files of its own beside the items: ``truth.parquet`` and ``truth.json``.

Training reads ``items.parquet`` and never these. One row per item, in the order of the items:

severity, finding, topic, site, style_1 ...      as they are; the recorded severity and the words are in the items
evidence_finding, evidence_severity              what the ECG shows, in units of its noise
answer, answer_if_<finding|style|topic>_<0|1>    0 or 1; potential answers with the same noise
p_yes                                            P(A = 1 | E, do(Q)) of the question as asked: the target
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from causalecg.benchmark import dial, exact
from causalecg.benchmark.law import Law, World
from causalecg.errors import InputError
from structural_models.json_values import plain

if TYPE_CHECKING:
    from causalecg.cohort.schema import Cohort

TABLE, RECORD = "truth.parquet", "truth.json"


@dataclass(frozen=True)
class Truth:
    """``items``: one row per item of the cohort, same order; ``record``: what holds of the whole."""

    items: pd.DataFrame
    record: dict[str, Any]

    @classmethod
    def open(cls, cohort: Cohort) -> Truth:
        """Raises InputError where the cohort has no truth, or that of other items."""
        from causalecg.parquet import read_parquet

        table, record = cohort.path / TABLE, cohort.path / RECORD
        if not table.is_file() or not record.is_file():
            raise InputError(f"cohort {cohort.path} has no {TABLE} with {RECORD}: its truth is not known")
        try:
            found, about = read_parquet(table), json.loads(record.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"the truth of {cohort.path} cannot be read: {str(error).splitlines()[0]}") from error
        if list(found.get("item_id", [])) != list(cohort.items["item_id"]):
            raise InputError(f"{table} is not about the items of {cohort.path}; make the cohort again")
        return cls(found, about)

    @property
    def law(self) -> Law:
        """The law a simulated cohort was drawn from. Raises InputError where there is none."""
        if "law" not in self.record:
            raise InputError("the cohort's signals are real: it was not drawn from a law")
        dials = dict(self.record["law"])
        dials["q"] = tuple(dials["q"]) if isinstance(dials["q"], list) else dials["q"]
        return Law(**dials)


def write_truth(folder: Path, items: pd.DataFrame, record: dict[str, Any]) -> None:
    """Into a cohort's folder, while it is made."""
    items.reset_index(drop=True).to_parquet(folder / TABLE, index=False)
    (folder / RECORD).write_text(json.dumps(plain(record), indent=2, sort_keys=True) + "\n")


def item_truth(world: World) -> pd.DataFrame:
    """One row per patient of a world; the columns of this module, without ``item_id``."""
    potential = {
        f"answer_if_{name}_{value}": world.do(**{name: value}).answer
        for name in ("finding", "style", "topic")
        for value in (0, 1)
    }
    return pd.DataFrame(
        {
            "severity": world.severity,
            "finding": world.finding,
            "topic": world.topic,
            "site": world.site,
            **{f"style_{place + 1}": world.styles[:, place] for place in range(world.law.shortcuts)},
            "evidence_finding": world.evidence[:, 0],
            "evidence_severity": world.evidence[:, 1],
            "answer": world.answer,
            **potential,
            "p_yes": exact.interventional(world.law, world.evidence, world.style_code, world.topic),
        }
    )


def law_truth(law: Law) -> dict[str, Any]:
    """Dials of a law and what holds of it exactly: agreements, effective shares, effects, and how well the optimal
    readers do. JSON-able."""
    tests = ("unbiased", "biased") if law.style_effect else ("unbiased", "biased", "anti")
    rho_a = exact.answer_agreement(law)
    return {
        "law": asdict(law),
        "rho_d": exact.finding_agreement(law),
        "rho_a": rho_a,
        "information_bits": dial.information(rho_a),
        "weighting_share": exact.weighting_share(law),
        "weighting_share_recorded": exact.weighting_share(law, severity="recorded"),
        "group_share": exact.group_share(law),
        "topic_effect": exact.topic_effect(law),
        "topic_decision_effect": exact.topic_decision_effect(law),
        "style_effect": exact.style_effect(law),
        **{
            reader: {
                **{f"accuracy_{test}": exact.accuracy(law, reader, test) for test in tests},  # type: ignore[arg-type]
                "accuracy_random_swap": exact.random_swap_accuracy(law, reader, "biased"),
                "follow_rate": exact.follow_rate(law, reader),
            }
            for reader in ("oracle", "shortcut")
        },
    }
