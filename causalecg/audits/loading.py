"""A model to score, from what the command line names: a run, a saved model, or a function that makes a scorer."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adjusters.contract import Scorer
from causalecg.errors import InputError
from causalecg.training.builds import imported

if TYPE_CHECKING:
    from causalecg.cohort.schema import Cohort
    from causalecg.training.run import Run


@dataclass(frozen=True)
class Model:
    """A scorer and what is known of it. ``severity`` is a column; ``about`` goes into ``runs.json``."""

    name: str
    scorer: Scorer
    about: dict[str, Any]
    severity: str | None
    environment: str | None
    template_ids: tuple[str, ...] = ()


def load_model(
    text: str,
    cohort: Cohort,
    *,
    severity: str | None = None,
    environment: str | None = None,
    build: str | None = None,
    trust_remote_code: bool = False,
) -> Model:
    """Load ``RUN``, ``MODEL_FOLDER`` or ``package.module:factory``.

    A factory is called without arguments and returns a scorer of the contract: a callable that maps a batch to
    (batch, candidates) scores. ``build``, ``package.module:function``, is the function from a seed to a fresh module
    that a run of a module of your own was trained with. Both are looked for in the current folder too.
    ``trust_remote_code`` runs Python code that comes with the language model of a run or a saved model.

    A run brings its severity, environment and templates. On another cohort than its own it brings of the first two what
    that cohort has, and is asked about every template.

    Raises InputError where there is nothing, no such severity scale, or an option that would do nothing.
    """
    folder = Path(text)
    if folder.is_dir() and (folder / "run.json").exists():
        return _run(folder, cohort, severity, environment, build, trust_remote_code)
    if build is not None:
        raise InputError(f"--build is for a run of your own module, and {text} is no run folder; leave it out")
    if folder.is_dir():
        from causalecg.cohort.ecg_format import require_known_format
        from causalecg.models.pretrained import from_pretrained
        from causalecg.training.scorers import require_readable

        found = from_pretrained(folder, trust_remote_code=trust_remote_code)
        require_readable(cohort, found.config)
        require_known_format(found, cohort.signals, f"cohort {cohort.path}")
        return Model(folder.name, found, {"role": "audited"}, _column(cohort, severity), environment)
    if trust_remote_code:
        raise InputError(f"--trust-remote-code is for runs and saved models, and {text} is none; leave it out")
    if ":" not in text:
        raise InputError(f"'{text}' is neither a folder nor package.module:factory")
    return Model(text, _made_by(text), {"role": "audited"}, _column(cohort, severity), environment)


def _run(
    folder: Path,
    cohort: Cohort,
    severity: str | None,
    environment: str | None,
    build: str | None,
    trust_remote_code: bool,
) -> Model:
    from causalecg.training.run import Run

    run = Run.open(folder)
    elsewhere = run.record["cohort_hash"] != cohort.hash
    if elsewhere:
        _require_readable(run, cohort)
    environment = _environment(run, cohort, environment, elsewhere)
    column = run.severity_column
    if elsewhere and column not in [f"severity_{scale}" for scale in cohort.severity_scales]:
        column = _column(cohort, severity)
    elif severity is not None and f"severity_{severity}" != column:
        raise InputError(f"the run in {folder} was trained by {column or 'no severity'}; leave --severity out")
    if build is not None and run.record["scorer"] == "composite":
        raise InputError(f"the run in {folder} trained the composite, which needs no --build; leave it out")
    balance = run.balance()
    estimand = run.estimand
    about = {
        "role": run.arm.role,
        "arm": str(run.arm),
        "seed": run.record["seed"],
        "graph": _graph(run.graph),
        "estimand": None if estimand is None else estimand.to_dict(),
        **run.config.held_out,
        "balance": None if balance is None else json.loads(balance.to_json(orient="records", double_precision=15)),
    }
    return Model(
        folder.resolve().name,
        run.scorer(None if build is None else imported(build), trust_remote_code=trust_remote_code),
        about,
        column,
        environment,
        () if elsewhere else run.config.template_ids,
    )


def _require_readable(run: Run, cohort: Cohort) -> None:
    """InputError where the ECGs of another cohort are not of the kind that a run has learned to read."""
    from causalecg.cohort.ecg_format import ECGFormat
    from causalecg.training.scorers import require_readable

    own = ECGFormat.of_record(run.record)
    own.require(ECGFormat.of(cohort.signals), f"the run in {run.path}", f"cohort {cohort.path}")
    if run.record["scorer"] == "composite":
        require_readable(cohort, run.config.model)


def _environment(run: Run, cohort: Cohort, asked: str | None, elsewhere: bool) -> str | None:
    """That of the run, where the cohort has it, else the one asked for. InputError where these are two."""
    from causalecg.training.tables import ALL, environments

    own = run.config.environment
    if elsewhere and own not in environments(cohort):
        return asked or (own if own == ALL else None)
    if asked is not None and own is not None and asked != own:
        why = f"which {cohort.path} has too" if elsewhere else f"and may have learned from test patients of {asked}"
        raise InputError(f"the run in {run.path} was trained in environment {own}, {why}; leave --environment out")
    return asked or own


def _graph(name_or_file: str) -> dict[str, Any] | None:
    """The graph itself, so that it can be drawn without its file; ``None`` where that has gone."""
    from structural_models.errors import GraphError
    from structural_models.graph_files import load_graph

    try:
        return load_graph(name_or_file).to_dict()
    except GraphError:
        return None


def _made_by(text: str) -> Scorer:
    factory = imported(text)
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise InputError(
            f"'{text}' cannot be called without arguments ({error}); name a function that returns a scorer, or score a "
            "run with --build"
        ) from None
    except ValueError:  # a callable without a signature, e.g. one written in C
        pass
    scorer: Scorer = factory()
    if not callable(scorer):
        raise InputError(f"'{text}' returned a {type(scorer).__name__}, which is not a scorer: it cannot be called")
    return scorer


def _column(cohort: Cohort, severity: str | None) -> str | None:
    chosen = severity or next(iter(cohort.severity_scales), None)
    return None if chosen is None else cohort.severity_column(chosen)
