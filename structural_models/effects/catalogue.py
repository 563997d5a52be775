"""Estimators by name, each with its defaults."""

from __future__ import annotations

from collections.abc import Callable

from structural_models.effects.augmented import Augmented
from structural_models.effects.bayesian import BayesianGFormula
from structural_models.effects.entropy_balancing import EntropyBalancing
from structural_models.effects.g_formula import GFormula, Stratification
from structural_models.effects.method import Method
from structural_models.effects.weighting import InverseProbability, Overlap
from structural_models.errors import TableError

METHODS: dict[str, Callable[[], Method | BayesianGFormula]] = {
    "g-formula": GFormula,
    "ipw": InverseProbability,
    "overlap": Overlap,
    "entropy": EntropyBalancing,
    "augmented": Augmented,
    "stratification": Stratification,
    "bayes": BayesianGFormula,
}


def method_named(name: str) -> Method | BayesianGFormula:
    """The estimator of this name. Raises TableError for an unknown one."""
    if name not in METHODS:
        raise TableError(f"no estimator is called '{name}'; use {', '.join(METHODS)}")
    return METHODS[name]()
