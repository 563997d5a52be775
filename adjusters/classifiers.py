"""The part of an adjuster that a scikit-learn classifier can use: rewritten rows and weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from adjusters.contract import Adjuster, ContractError

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from structural_models.estimand import Estimand

_NEEDS_A_SCORER = ("objective", "predict", "batches")


def fit_classifier(
    adjuster: Adjuster,
    classifier: Any,
    table: pd.DataFrame,
    features: Callable[[pd.DataFrame], np.ndarray],
    estimand: Estimand | None = None,
    *,
    rng: np.random.Generator,
) -> Any:
    """Fit a classifier on the rows and weights an adjuster gives.

    Args:
        adjuster: one that changes rows or weights only.
        classifier: anything with ``fit(X, y, sample_weight=...)``, or a scikit-learn pipeline that ends in one.
        table: training rows of kind "one", with the column ``answer``.
        features: rows -> (rows, dim) float, e.g. of the ECG and the question.
        estimand: what is to be estimated.
        rng: of the adjuster.

    Returns the fitted classifier; its classes are the answers.

    Raises ContractError for an adjuster that needs an objective, a prediction rule or batches of its own, a classifier
    that takes no weights, or rows with several answers.
    """
    name = type(adjuster).__name__
    needed = [use for use in _NEEDS_A_SCORER if use in adjuster.card.uses]
    if needed:
        raise ContractError(
            f"{name} changes the {' and the '.join(needed)}, which a classifier with fit(X, y, sample_weight) has not; "
            "use an adjuster of weights or rows, such as ipw, or a torch scorer"
        )
    learned = adjuster.fit(table, estimand, rng=rng).rewrite(table, rng=rng)
    if not all(len(answer) == 1 for answer in learned["answer"]):
        raise ContractError(f"{name}: a classifier needs exactly one answer per row")
    answers = np.array([answer[0] for answer in learned["answer"]])
    given = _weights_argument(classifier, adjuster.weights(learned))
    return classifier.fit(features(learned), answers, **given)


def _weights_argument(classifier: Any, weights: np.ndarray | None) -> dict[str, np.ndarray]:
    """The keyword under which a classifier, or the last step of a pipeline, takes weights."""
    from sklearn.pipeline import Pipeline
    from sklearn.utils.validation import has_fit_parameter

    if weights is None:
        return {}
    prefix, last = "", classifier
    while isinstance(last, Pipeline):
        step, last = last.steps[-1]
        prefix += f"{step}__"
    if not has_fit_parameter(last, "sample_weight"):
        raise ContractError(f"{type(last).__name__} takes no sample_weight, so it cannot be adjusted by weights")
    return {f"{prefix}sample_weight": weights}
