"""What a cohort has observed of the nodes of a causal graph, as independence tests read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from causalecg.cohort.certificates import QUESTION, TREATMENTS, answer_sets, patient_codes, severity_levels
from causalecg.cohort.ecg_embedding import ecg_embedding
from causalecg.cohort.schema import Cohort
from causalecg.cohort.severity import SCALES
from causalecg.errors import InputError

if TYPE_CHECKING:
    from structural_models.conditional_independence.observations import Observations
    from structural_models.graph import CausalGraph

_SEVERITY, _ANSWER, _ECGS = "severity level", "answer given", "number of ECGs"
_LEVELS = {"topic": "topic", "finding": "finding"}


@dataclass(frozen=True)
class NodeObservations:
    """Attributes:
    observations: of the graph's measured nodes.
    split: of the cohort.
    held: nodes that are held fixed in every test.
    notes: what a reader must know of the rows, in sentences.
    """

    observations: Observations
    split: str
    held: tuple[str, ...]
    notes: tuple[str, ...]


def node_observations(
    cohort: Cohort,
    graph: CausalGraph,
    columns: Mapping[str, str],
    *,
    split: str = "train",
    environment: str | None = None,
    embedding: str | Path | None = None,
    progress: bool = False,
) -> NodeObservations:
    """The items of a split as observations of the graph's nodes.

    Severity on a scale of SCP statements leaves out the statement asked about, so it is another variable for every
    question: the question is then held fixed in every test, and its wording (style, or wording where styles are not
    distinguished) stands for the treatment. The ECG is :func:`~causalecg.cohort.ecg_embedding.ecg_embedding`; of two
    ECGs, both. Severity of two ECGs is the pair. A node without a role is the column of that name of the items, or of
    the item's first ECG (age, sex).

    Args:
        columns: role -> column, at least of the treatment; of the severity where it is measured.
        split: of items, one of the cohort's.
        environment: only this one; by default all, each compared within itself.
        embedding: file of embeddings.

    Raises InputError for a split, an environment or a file that is not there, or where no item is left.
    """
    from structural_models.conditional_independence.observations import Observations

    rows, notes = _rows(cohort, split, environment), []
    scale = columns.get("severity", "").removeprefix("severity_")
    severity = graph.roles.get("severity")
    if severity in graph.observed and scale:
        rows, told = _with_severity(cohort, rows, cohort.severity_column(scale))
        notes += told
    fixed = scale in SCALES
    names: dict[str, str] = {}
    untestable: dict[str, str] = {}
    for node in sorted(graph.observed):
        role = graph.role_of(node)
        if role == "severity":
            names[node] = _SEVERITY
        elif role == "outcome":
            rows = rows.assign(**{_ANSWER: answer_sets(rows)})
            names[node] = _ANSWER
        elif role == "treatment":
            names[node] = _treatment(rows, columns["treatment"]) if fixed else columns["treatment"]
            if fixed:
                notes.append(
                    f"{node} is how a question is worded ({names[node]}); which question it is is held fixed, since "
                    "severity leaves out what the question is about"
                )
        elif role == "topic" and fixed:
            names[node] = QUESTION
            untestable[node] = f"{node} is held fixed in every test: severity leaves it out, so it differs by {node}"
        elif role in _LEVELS:
            names[node] = _LEVELS[role]
        elif role is None:
            rows = _with_column(cohort, rows, node)
            names[node] = node
    rows, told = _complete(rows, [name for name in names.values() if name in rows.columns])
    notes += told
    rows = rows.assign(**{_ECGS: rows["ecg_ids"].map(len)})
    within = [QUESTION] if fixed else []
    within += [name for name in ("environment", _ECGS) if name in rows.columns and rows[name].nunique() > 1]
    ecg = graph.roles.get("ecg")
    arrays = {ecg: _embedded(cohort, rows, embedding, progress)} if ecg in graph.observed else {}
    used = sorted({*within, *(name for name in names.values() if name in rows.columns)})
    observations = Observations(rows[used], names, arrays, patient_codes(rows), tuple(within), untestable)
    return NodeObservations(observations, split, tuple(untestable), tuple(notes))


def _rows(cohort: Cohort, split: str, environment: str | None) -> pd.DataFrame:
    rows = cohort.split(split)
    if environment is None:
        return rows
    have = sorted(map(str, rows["environment"].unique())) if "environment" in rows.columns else []
    if environment not in have:
        raise InputError(
            f"cohort {cohort.path} has no environment '{environment}' in split {split}; it has "
            f"{', '.join(have) or 'none'}"
        )
    return rows[rows["environment"] == environment].reset_index(drop=True)


def _with_severity(cohort: Cohort, rows: pd.DataFrame, column: str) -> tuple[pd.DataFrame, list[str]]:
    known = rows[rows[column] >= 0].reset_index(drop=True)
    if known.empty:
        raise InputError(
            f"no item of cohort {cohort.path} in this split has a severity in {column}; name another scale"
        )
    lost = len(rows) - len(known)
    told = [f"{lost:,} items without a severity are left out"] if lost else []
    return known.assign(**{_SEVERITY: severity_levels(known, column)}), told


def _treatment(rows: pd.DataFrame, declared: str) -> str:
    """The declared column where it varies within questions, else style, else wording."""
    candidates = [name for name in dict.fromkeys((declared, *TREATMENTS)) if name in rows.columns]
    varying = [name for name in candidates if (rows.groupby(QUESTION)[name].nunique() > 1).any()]
    return (varying or candidates)[0]


def _with_column(cohort: Cohort, rows: pd.DataFrame, name: str) -> pd.DataFrame:
    if name in rows.columns or name not in cohort.ecgs.columns:
        return rows
    at = [cohort.ecg_rows[ids[0]] for ids in rows["ecg_ids"]]
    return rows.assign(**{name: cohort.ecgs[name].to_numpy()[at]})


def _complete(rows: pd.DataFrame, names: list[str]) -> tuple[pd.DataFrame, list[str]]:
    complete = rows[rows[names].notna().all(axis=1)].reset_index(drop=True)
    if complete.empty:
        raise InputError(f"no item has a value in all of {', '.join(names)}; leave one of these nodes out of the graph")
    lost = len(rows) - len(complete)
    return complete, [f"{lost:,} items with a gap in {', '.join(names)} are left out"] if lost else []


def _embedded(cohort: Cohort, rows: pd.DataFrame, file: str | Path | None, progress: bool) -> np.ndarray:
    """(rows, dim): the first ECG's, then the second's where any item has two; zero where there is none."""
    used = sorted({ecg_id for ids in rows["ecg_ids"] for ecg_id in ids})
    values = ecg_embedding(cohort, used, file, progress=progress)
    values = np.vstack([values, np.zeros(values.shape[1])])
    place = {ecg_id: at for at, ecg_id in enumerate(used)}
    width = int(rows[_ECGS].max())
    at = np.array([[*(place[i] for i in ids), *[len(used)] * (width - len(ids))] for ids in rows["ecg_ids"]])
    return np.hstack([values[at[:, column]] for column in range(width)])
