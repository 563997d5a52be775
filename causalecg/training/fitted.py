"""What an arm learns from a cohort's tables, before it sees a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from adjusters.contract import Adjuster
from adjusters.registry import adjuster_class, option_names
from causalecg.cohort.batches import TableBatches
from causalecg.cohort.metadata import prompts
from causalecg.errors import InputError
from causalecg.training.arms import Arm
from causalecg.training.config import RunConfig
from causalecg.training.pairs import has_pairs, pair_column, pair_words, with_pairs
from causalecg.training.question_vectors import with_question_vectors
from causalecg.training.rows import Rows
from causalecg.training.tables import (
    refuse_test_rows,
    require_treatment,
    rows_of,
    with_further_splits,
    without_held_out,
)

if TYPE_CHECKING:
    import pandas as pd

    from causalecg.cohort.schema import Cohort
    from structural_models.estimand import Estimand


@dataclass(frozen=True)
class Fitted:
    """An arm that has learned from the tables.

    Attributes:
        adjuster, estimand: fitted, and what it estimates (``None``: nothing that is identified).
        train, valid: rows to learn from, rewritten, and to validate on, with the adjuster's columns and weights.
        learned: the rows to learn from, without those.
        severity_column, severity_words: of the cohort's scale; ``None`` and empty where it has none.
        further_answers: candidates that a rewrite added, e.g. an answer that abstains.
        texts: what an embedded tokenizer learns from.
    """

    adjuster: Adjuster
    estimand: Estimand | None
    train: Rows
    valid: Rows
    learned: pd.DataFrame
    severity_column: str | None
    severity_words: list[str]
    further_answers: list[str]
    texts: list[str]


def fit_arm(cohort: Cohort, arm: Arm, config: RunConfig, seeds: np.random.SeedSequence) -> Fitted:
    """Fit an arm's adjuster, rewrite its training rows, and weight them.

    Raises:
        InputError: no such rows, severity or topic, or test rows would be learned from.
        ContractError: the adjuster cannot work with this table or estimand.
        NotIdentified: the graph does not identify what the adjuster needs.
    """
    found, estimand, learned, valid, scale, words = _fitted(cohort, arm, config, seeds)
    further = _further_answers(cohort, learned)
    placebo_rng = np.random.default_rng(seeds.spawn(1)[0])
    train_rows, valid_rows = (_rows(cohort, found, arm, table, further, placebo_rng) for table in (learned, valid))
    texts = _texts(cohort, learned, words, further)
    return Fitted(found, estimand, train_rows, valid_rows, learned, scale, words, further, texts)


def _fitted(
    cohort: Cohort, arm: Arm, config: RunConfig, seeds: np.random.SeedSequence
) -> tuple[Adjuster, Estimand | None, pd.DataFrame, pd.DataFrame, str | None, list[str]]:
    """The adjuster, its estimand, the rows to learn from and to validate on, the severity's column and level words."""
    fit_rng, rewrite_rng = (np.random.default_rng(s) for s in seeds.spawn(2))
    scale, words = severity_column(cohort, config)
    tables = [
        rows_of(cohort, split, environment=config.environment, template_ids=config.template_ids) for split in arm.splits
    ]
    further = adjuster_class(arm.adjuster).card.further_splits
    tables[0] = with_further_splits(tables[0], cohort, further, config)
    tables = without_held_out(tables, config, cohort)
    if config.question_vectors is not None:
        tables = [with_question_vectors(table, config.question_vectors) for table in tables]
    require_treatment(tables[0], treatment_of(config, cohort))
    severity = scale
    if scale is not None and any(has_pairs(table, scale) for table in tables):
        tables = [with_pairs(table, scale, len(words)) for table in tables]
        severity, words = pair_column(scale), pair_words(words)
    found = _adjuster(arm, words)
    estimand = _estimand(found, config, cohort, severity)
    if severity is not None and "severity" in found.card.needs:
        _require_severity(tables, severity, str(arm))
    train_table, valid_table = tables
    refuse_test_rows(train_table, cohort, config)
    found.fit(train_table, estimand, rng=fit_rng)
    learned = found.rewrite(train_table, rng=rewrite_rng)
    for table in (learned, valid_table):
        refuse_test_rows(table, cohort, config)
    return found, estimand, learned, valid_table, scale, words


def severity_column(cohort: Cohort, config: RunConfig) -> tuple[str | None, list[str]]:
    """Column and level words (low to high) of the severity scale a run uses. InputError: no such scale."""
    scales: dict[str, list[str]] = cohort.meta["severity_scales"]
    if config.severity is None and not scales:
        return None, []
    name = config.severity or next(iter(scales))
    return cohort.severity_column(name), list(scales[name])


def _adjuster(arm: Arm, words: list[str]) -> Adjuster:
    named = words and "words" in option_names(adjuster_class(arm.adjuster))
    try:
        return arm.make(**({"words": words} if named else {}))
    except TypeError as error:
        raise InputError(f"arm {arm} has an option of the wrong type: {error}") from error


def _estimand(found: Adjuster, config: RunConfig, cohort: Cohort, severity: str | None) -> Estimand | None:
    from structural_models.errors import NotIdentified
    from structural_models.graph_files import load_graph
    from structural_models.identification import identify

    graph = load_graph(graph_of(config, cohort))
    columns = {"treatment": treatment_of(config, cohort)}
    if severity is not None:
        columns["severity"] = severity
    elif "severity" in graph.roles:
        graph = graph.with_latent(graph.node("severity"))
    try:
        return identify(graph, columns=columns)
    except NotIdentified:
        if found.card.estimands:
            raise
        return None


def treatment_of(config: RunConfig, cohort: Cohort) -> str:
    """Column of the treatment: the configuration's, else the cohort's, else "style"."""
    return str(config.treatment or cohort.meta.get("roles", {}).get("treatment", "style"))


def graph_of(config: RunConfig, cohort: Cohort) -> str:
    """The declared graph: the configuration's, else the cohort's, else :data:`DEFAULT_GRAPH`."""
    from structural_models.graph import DEFAULT_GRAPH

    return str(config.graph or cohort.meta.get("graph") or DEFAULT_GRAPH)


def _require_severity(tables: Sequence[pd.DataFrame], column: str, arm: str) -> None:
    without = sum(int((table[column] < 0).sum()) for table in tables if column in table.columns)
    if without:
        raise InputError(
            f"arm {arm} needs a severity, which is not defined for {without} of the items to learn from (their answer "
            "is the statements that it is made of); leave their templates out (template_ids in the configuration)"
        )


def _further_answers(cohort: Cohort, table: pd.DataFrame) -> list[str]:
    """Candidates that a rewrite added, e.g. an answer that abstains."""
    known = cohort.answer_vocabulary
    return sorted({name for names in table["candidates"] for name in names if name not in known})


def _rows(
    cohort: Cohort,
    found: Adjuster,
    arm: Arm,
    table: pd.DataFrame,
    further: Sequence[str],
    placebo_rng: np.random.Generator,
) -> Rows:
    weights = found.weights(table)
    given = found.columns(table)
    table = table.assign(**given)
    columns = tuple(given)
    if weights is not None:
        table = table.assign(weight=np.asarray(weights, dtype=np.float32))
        columns = (*columns, "weight")
    table = arm.dealt(table, columns, placebo_rng)
    return Rows(table, TableBatches(cohort, table, columns, further), arm.see, columns)


def _texts(cohort: Cohort, table: pd.DataFrame, words: list[str], further: Sequence[str]) -> list[str]:
    """What an embedded tokenizer learns from: training questions as put, answers, and the severity's sentences."""
    asked = sorted({text for text in prompts(table)[0] if text is not None})
    answers = [f" {answer}" for answer in (*cohort.meta["answer_vocabulary"], *further)]
    return [*asked, *answers, *(f"Severity: {word}." for word in words)]
