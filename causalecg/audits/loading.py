"""A model to score, from what the command line names: a run, a saved model, or a function that makes a scorer."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adjusters.contract import Scorer
from causalecg.errors import InputError

if TYPE_CHECKING:
    from causalecg.cohort.schema import Cohort


@dataclass(frozen=True)
class Model:
    """A scorer and what is known of it. ``severity`` is a column; ``about`` goes into ``runs.json``."""

    name: str
    scorer: Scorer
    about: dict[str, Any]
    severity: str | None
    environment: str | None
    template_ids: tuple[str, ...] = ()


def load_model(text: str, cohort: Cohort, *, severity: str | None = None, environment: str | None = None) -> Model:
    """Load ``RUN``, ``MODEL_FOLDER`` or ``package.module:factory``.

    A factory is called without arguments and returns a scorer of the contract: a callable that maps a batch to
    (batch, candidates) scores. It is looked for in the current folder too.

    Raises InputError where there is nothing, or no such severity scale.
    """
    folder = Path(text)
    if folder.is_dir():
        if (folder / "run.json").exists():
            return _run(folder, cohort, environment)
        from causalecg.models.pretrained import from_pretrained

        found = from_pretrained(folder)
        return Model(folder.name, found, {"role": "audited"}, _column(cohort, severity), environment)
    if ":" not in text:
        raise InputError(f"'{text}' is neither a folder nor package.module:factory")
    return Model(text, _made_by(text), {"role": "audited"}, _column(cohort, severity), environment)


def _run(folder: Path, cohort: Cohort, environment: str | None) -> Model:
    from causalecg.training.run import Run

    run = Run.open(folder)
    if run.record["cohort_hash"] != cohort.hash:
        raise InputError(f"the run in {folder} was trained on another cohort than {cohort.path}")
    own = run.config.environment
    if environment is not None and own is not None and environment != own:
        raise InputError(
            f"the run in {folder} was trained in environment {own}, and may have learned from test patients of "
            f"{environment}; leave --environment out"
        )
    balance = run.balance()
    estimand = run.estimand
    about = {
        "role": run.arm.role,
        "arm": str(run.arm),
        "seed": run.record["seed"],
        "graph": _graph(run.graph),
        "estimand": None if estimand is None else estimand.to_dict(),
        "balance": None if balance is None else json.loads(balance.to_json(orient="records", double_precision=15)),
    }
    return Model(
        folder.resolve().name,
        run.scorer(),
        about,
        run.severity_column,
        environment or run.config.environment,
        run.config.template_ids,
    )


def _graph(name_or_file: str) -> dict[str, Any] | None:
    """The graph itself, so that it can be drawn without its file; ``None`` where that has gone."""
    from structural_models.errors import GraphError
    from structural_models.graph_files import load_graph

    try:
        return load_graph(name_or_file).to_dict()
    except GraphError:
        return None


def _made_by(text: str) -> Scorer:
    module, _, name = text.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        factory = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"'{text}' cannot be imported: {error}") from error
    finally:
        sys.path.pop(0)
    scorer = factory()
    if not callable(scorer):
        raise InputError(f"'{text}' returned a {type(scorer).__name__}, which is not a scorer: it cannot be called")
    return scorer


def _column(cohort: Cohort, severity: str | None) -> str | None:
    scales = cohort.severity_scales
    if severity is not None and severity not in scales:
        raise InputError(f"cohort {cohort.path} has no severity scale '{severity}'; it has {', '.join(scales)}")
    chosen = severity or (scales[0] if scales else None)
    return None if chosen is None else f"severity_{chosen}"
