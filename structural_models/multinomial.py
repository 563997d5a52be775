"""Multinomial logistic regression on counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from structural_models.errors import PositivityError

#: A fitted probability below it is a sign of separation: the likelihood has no maximum.
_DETERMINED = 1e-8
_MAX_ITERATIONS = 5000


@dataclass(frozen=True)
class Multinomial:
    """log P(class | z) = intercept + coefficients . z, up to a constant.

    Attributes:
        coefficients: (classes, features).
        intercepts: (classes,), -inf for a class without rows.
    """

    coefficients: np.ndarray
    intercepts: np.ndarray

    @classmethod
    def fit(cls, design: np.ndarray, counts: np.ndarray, about: str, *, penalty: float = 0.0) -> Multinomial:
        """Maximum likelihood.

        Args:
            design: (rows, features) without an intercept.
            counts: (rows, classes) how often each class was seen at each row; need not be whole numbers.
            about: what is modelled, for the error, e.g. "propensity of 'style'".
            penalty: half of it times the squared coefficients is taken from the log-likelihood, which then always has
                a maximum.

        Raises PositivityError where the likelihood has no maximum.
        """
        classes = counts.shape[1]
        present = np.flatnonzero(counts.sum(axis=0))
        coefficients, intercepts = np.zeros((classes, design.shape[1])), np.full(classes, -np.inf)
        if len(present) == 1 or design.shape[1] == 0:
            intercepts[present] = np.log(counts.sum(axis=0)[present])
            return cls(coefficients, intercepts)
        from sklearn.linear_model import LogisticRegression

        at, seen = np.nonzero(counts)
        weight = counts[at, seen].astype(np.float64)
        model = LogisticRegression(C=1 / penalty if penalty else np.inf, tol=1e-10, max_iter=_MAX_ITERATIONS)
        model.fit(design[at], seen, sample_weight=weight)
        smallest = float(model.predict_proba(design[at]).min())
        if int(np.max(model.n_iter_)) >= _MAX_ITERATIONS or (smallest < _DETERMINED and not penalty):
            raise PositivityError(
                f"the multinomial {about} does not converge: some value is (almost) determined by the covariates; "
                "use the saturated model with smoothing, or merge levels"
            )
        if len(present) == 2:
            coefficients[present[1]], intercepts[present] = model.coef_[0], (0.0, float(model.intercept_[0]))
        else:
            coefficients[present], intercepts[present] = model.coef_, model.intercept_
        return cls(coefficients, intercepts)

    def probabilities(self, design: np.ndarray) -> np.ndarray:
        """(rows, classes) float64."""
        scores = design @ self.coefficients.T + self.intercepts
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True), dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, as Python writes infinity; read back by :meth:`from_dict`."""
        return {"coefficients": self.coefficients.tolist(), "intercepts": self.intercepts.tolist()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Multinomial:
        intercepts = np.asarray(record["intercepts"], dtype=np.float64)
        return cls(np.asarray(record["coefficients"], dtype=np.float64).reshape(len(intercepts), -1), intercepts)
