"""Interchangeable strategies that remove a spurious question-answer association from any scorer.

Nothing heavy is imported until a public name is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {
    "Adjuster": "adjusters.contract",
    "Batch": "adjusters.contract",
    "Card": "adjusters.contract",
    "ContractError": "adjusters.contract",
    "LossTerms": "adjusters.contract",
    "Objective": "adjusters.contract",
    "Scorer": "adjusters.contract",
    "Stage": "adjusters.contract",
    "adjuster": "adjusters.registry",
    "available": "adjusters.registry",
    "card": "adjusters.registry",
    "load_adjuster": "adjusters.registry",
    "register": "adjusters.registry",
    "check_adjuster": "adjusters.testing",
    "fit_classifier": "adjusters.classifiers",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'adjusters' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
