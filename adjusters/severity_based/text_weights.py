"""Weights where the treatment is the text of the question: P(S | T) / P(S | question, T), the question as a vector.

By Bayes' rule this is P(question | T) / P(question | S, T), the stabilised weight, without a density of texts. Raw text
tells more of severity than its wording class does, and shows an apparent lack of overlap (Gui & Veitch 2022); hence few
dimensions, a linear logit with a small penalty, and cross-fitting.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from adjusters.contract import ContractError
from adjusters.severity_based.cells import Columns, cap_of, capped, level_keys
from adjusters.severity_based.question_embedding import QuestionEmbedding
from structural_models.errors import PositivityError
from structural_models.multinomial import Multinomial
from structural_models.tabulation import distinct_rows

QUESTION = "question"
#: Half of it times the squared coefficients of the standardised vector is taken from the log-likelihood, which has no
#: maximum otherwise where texts were asked at one severity only.
RIDGE = 0.1
#: A direction with less of the widest one's spread is rounding.
NEGLIGIBLE = 1e-6


def learn_text_weights(
    table: pd.DataFrame,
    columns: Columns,
    clip: float | None,
    *,
    embedding: QuestionEmbedding | str,
) -> dict[str, Any]:
    """Learn P(S | T) by shares and P(S | question, T) by multinomial logit on the vector and an indicator of T.

    Args:
        columns: S is the strata together, T the groups; the treatment is not used.
        clip: as for :func:`.cells.cell_weights`.
        embedding: of the questions, or a column that holds a vector per row.

    Returns:
        JSON-able, for :func:`text_weights`.

    Raises ContractError where the text (almost) determines the strata, or the column holds no vectors.
    """
    strata_at, stratum = distinct_rows(table, columns.strata)
    at, group = distinct_rows(table, columns.groups)
    levels, groups = len(strata_at), len(at)
    vectors = _vectors(table, embedding)
    middle = vectors.mean(axis=0)
    spread = vectors.std(axis=0)
    learned: dict[str, Any] = {
        "strata": list(columns.strata),
        "groups": list(columns.groups),
        "stratum_keys": level_keys(table.iloc[strata_at], columns.strata).tolist(),
        "group_keys": level_keys(table.iloc[at], columns.groups).tolist(),
        "embedding": embedding if isinstance(embedding, str) else embedding.to_dict(),
        "middle": middle.tolist(),
        "spread": np.where(spread > NEGLIGIBLE * spread.max(initial=0.0), spread, 0.0).tolist(),
    }
    share = np.bincount(group * levels + stratum, minlength=groups * levels).reshape(groups, levels)
    learned["shares"] = (share / share.sum(axis=1, keepdims=True)).tolist()
    points, row = np.unique(_design(learned, vectors, group), axis=0, return_inverse=True)
    row = row.reshape(-1)
    counts = np.bincount(row * levels + stratum, minlength=len(points) * levels).reshape(len(points), levels)
    about = f"model of {' and '.join(columns.strata)} given the question's text"
    try:
        fitted = Multinomial.fit(points, counts, about, penalty=RIDGE)
    except PositivityError as error:
        raise ContractError(f"{error}; or fewer dimensions") from error
    learned["logit"] = fitted.to_dict()
    raw = _raw(learned, table)
    learned["cap"] = cap_of(raw, clip)
    learned["mean"] = float(capped(raw, learned["cap"]).mean())
    return learned


def text_weights(learned: dict[str, Any], table: pd.DataFrame) -> np.ndarray:
    """(rows,) weights of mean one over the rows they were learned from; zero for strata or a group not among them."""
    return capped(_raw(learned, table), learned["cap"]) / learned["mean"]


def _raw(learned: dict[str, Any], table: pd.DataFrame) -> np.ndarray:
    stratum = pd.Index(learned["stratum_keys"]).get_indexer(pd.Index(level_keys(table, learned["strata"])))
    group = pd.Index(learned["group_keys"]).get_indexer(pd.Index(level_keys(table, learned["groups"])))
    known = np.flatnonzero((stratum >= 0) & (group >= 0))
    out = np.zeros(len(table))
    if not len(known):
        return out
    named = learned["embedding"]
    embedding = named if isinstance(named, str) else QuestionEmbedding.from_dict(named)
    design = _design(learned, _vectors(table.iloc[known], embedding), group[known])
    given = Multinomial.from_dict(learned["logit"]).probabilities(design)[np.arange(len(known)), stratum[known]]
    out[known] = np.asarray(learned["shares"])[group[known], stratum[known]] / given
    return out


def _design(learned: dict[str, Any], vectors: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(rows, features) standardised vector, and an indicator of every group but the first."""
    if vectors.shape[1] != len(learned["middle"]):
        raise ContractError(
            f"the embeddings have {vectors.shape[1]} dimensions here and had {len(learned['middle'])} in training"
        )
    spread = np.asarray(learned["spread"])
    z = (vectors - np.asarray(learned["middle"])) * np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    return np.hstack([z, (group[:, None] == np.arange(1, len(learned["group_keys"]))).astype(np.float64)])


def _vectors(table: pd.DataFrame, embedding: QuestionEmbedding | str) -> np.ndarray:
    """(rows, dim) float64."""
    column = embedding if isinstance(embedding, str) else QUESTION
    if column not in table.columns:
        raise ContractError(f"weights by the question's text need the column '{column}', which the table lacks")
    if not isinstance(embedding, str):
        return embedding.vectors([str(text) for text in table[QUESTION]])
    try:
        vectors = np.array([np.asarray(vector, dtype=np.float64) for vector in table[column]])
    except (ValueError, TypeError):
        vectors = np.zeros(0)
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise ContractError(f"column '{column}' must hold a vector of finite numbers, of the same length in every row")
    return vectors
