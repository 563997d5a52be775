"""causalecg: train, adjust and audit ECG language models so that they answer from the ECG, and prove it.

Nothing heavy is imported until a public name is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Cohort": "causalecg.cohort.schema",
    "SignalWriter": "causalecg.cohort.signals",
    "import_cohort": "causalecg.cohort.own",
    "write_cohort": "causalecg.cohort.store",
    "InputError": "causalecg.errors",
    "ModelConfig": "causalecg.models.config",
    "EncoderProjectorLLM": "causalecg.models.composite",
    "answer": "causalecg.models.answering",
    "build_model": "causalecg.models.pretrained",
    "Arm": "causalecg.training.arms",
    "Run": "causalecg.training.run",
    "RunConfig": "causalecg.training.config",
    "prepare": "causalecg.training.prepared",
    "train": "causalecg.training.run",
    "ScoreSet": "causalecg.audits.score_set",
    "score": "causalecg.audits.scoring",
    "run_suite": "causalecg.audits.suite",
    "write_report": "causalecg.reports.build",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'causalecg' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
