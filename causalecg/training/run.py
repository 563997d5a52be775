"""One run: an arm, a seed, a cohort, in a folder that can be resumed and read back.

config.json  run.json  metrics.jsonl  adjuster.json  balance.parquet  patients.parquet  model/
objective.safetensors
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from adjusters.contract import Adjuster, Objective
from adjusters.registry import load_adjuster
from adjusters.valid_scores import check_first_scores
from causalecg import __version__
from causalecg.cohort.ecg_format import ECGFormat
from causalecg.errors import InputError
from causalecg.only_writer import only_writer
from causalecg.parquet import read_parquet
from causalecg.processes import processes
from causalecg.records import read_record, require_room, write_record
from causalecg.training.arms import Arm
from causalecg.training.beginnings import begun_from, require_beginning, write_patients
from causalecg.training.builds import Build, fresh, require_build, require_no_model
from causalecg.training.config import RunConfig
from causalecg.training.fitted import fit_arm, graph_of
from causalecg.training.learned import Learned
from causalecg.training.loop import Loop, restore
from causalecg.training.progress import training_bar
from causalecg.training.scorers import TrainedScorer, composite_builder, new_scorer, require_readable, seed_of
from causalecg.training.sharding import check_launch

if TYPE_CHECKING:
    import pandas as pd

    from causalecg.cohort.schema import Cohort
    from structural_models.estimand import Estimand

PACKAGES = ("torch", "transformers", "numpy", "pandas", "accelerate")


def train(
    cohort: Cohort,
    arm: str | Arm,
    config: RunConfig | None = None,
    *,
    seed: int,
    out: str | Path,
    scorer: Build | None = None,
    progress: bool = True,
) -> Run:
    """Train one arm, or go on with a run that was interrupted.

    Args:
        cohort: learned from are its splits ``train`` and ``valid`` (``*_oracle`` for the arm "oracle"), and what splits
            the adjuster's card asks for besides.
        arm: e.g. ``"backdoor?prior=marginal"``.
        config: of the run; defaults throughout when ``None``.
        seed: of initial weights, batch order and whatever else is random.
        out: run folder; a finished run is returned as it is.
        scorer: builds a fresh scorer (any ``nn.Module`` that scores a batch) from a seed, which torch's global
            generator is given too; ``None`` = the composite that ``config.model`` describes.
        progress: show a bar.

    Raises:
        InputError: ``out`` is a run of something else or is being trained by another process, what it begins with may
            have learned of a topic that is held out or has learned from a patient of the test or from ECGs of another
            rate or length, a severity scale or column is missing, test rows would be learned from, the encoder reads
            ECGs of another rate or length, or ``scorer`` is none, or comes with a ``config.model``.
        ContractError: the adjuster cannot work with this table, estimand or scorer, or what that gives are no scores.
        NotIdentified: the graph does not identify what the adjuster needs.
    """
    arm = Arm.parse(arm) if isinstance(arm, str) else arm
    config = config or RunConfig()
    out = Path(out)
    about = {
        "arm": str(arm),
        "seed": seed,
        "cohort": cohort.meta["name"],
        "cohort_hash": cohort.hash,
        "scorer": "composite" if scorer is None else _name_of(scorer),
    }
    check_launch()
    if scorer is not None:
        require_build(scorer)
        require_no_model(config)
    require_beginning(cohort, config)
    taking_part = processes()
    begins = not (out / "run.json").exists()
    taking_part.wait_for_everyone()
    with only_writer(out, among=taking_part.is_main_process):
        with taking_part.main_process_first():
            record = _claim(out, about, config)
        if record["status"] == "done":
            return Run.open(out)
        threads = torch.get_num_threads()
        torch.set_num_threads(config.threads)
        try:
            with torch.enable_grad():
                _train(cohort, arm, config, seed, out, scorer, progress and taking_part.is_main_process, record)
                taking_part.wait_for_everyone()
        except Exception:
            if begins and taking_part.is_main_process and not (out / "checkpoint").exists():
                shutil.rmtree(out)  # it failed before it began: nothing is there to go on with
            raise
        finally:
            torch.set_num_threads(threads)
    return Run.open(out)


@dataclass(frozen=True)
class Run:
    """A finished run."""

    path: Path
    arm: Arm
    config: RunConfig
    record: dict[str, Any]

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Raises InputError where there is no run, or an unfinished one."""
        folder = Path(path)
        if not (folder / "run.json").is_file():
            raise InputError(f"{folder} is not a run: it has no run.json; make one with 'causalecg train'")
        record = _read_record(folder)
        if record["status"] != "done":
            raise InputError(f"the run in {folder} was interrupted; give the same train command again to finish it")
        return cls(folder, Arm.parse(record["arm"]), RunConfig.read(folder / "config.json"), record)

    @property
    def severity_column(self) -> str | None:
        """Column of the items table (of two ECGs, the maximum); ``None`` where the cohort has no severity scale."""
        found: str | None = self.record["severity_column"]
        return found

    @property
    def graph(self) -> str:
        """Preset or file of the causal graph it was trained under."""
        from structural_models.graph import DEFAULT_GRAPH

        return str(self.record.get("graph") or self.config.graph or DEFAULT_GRAPH)

    @property
    def estimand(self) -> Estimand | None:
        from structural_models.estimand import Estimand

        found = self.record["estimand"]
        return None if found is None else Estimand.from_dict(found)

    def balance(self) -> pd.DataFrame | None:
        """Balance of the confounder before and after, where the adjuster changes it."""
        path = self.path / "balance.parquet"
        return read_parquet(path) if path.exists() else None

    def scorer(self, build: Build | None = None, *, trust_remote_code: bool = False) -> TrainedScorer:
        """What was trained, for prediction.

        Args:
            build: as given to :func:`train`, for a run of a scorer that is not the composite.
            trust_remote_code: run Python code that comes with the language model. Whatever the run says of it is not
                heeded.

        Raises InputError when ``build`` is needed and missing.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        composite = self.record["scorer"] == "composite"
        if not composite and build is None:
            raise InputError(
                f"the run in {self.path} trained {self.record['scorer']}; name the function that builds it (--build on "
                "the command line)"
            )
        found = load_adjuster(self.path)
        if composite:
            from causalecg.models.pretrained import build_model, from_pretrained

            read = from_pretrained(self.path / "model", trust_remote_code=trust_remote_code)
            main: nn.Module = read
            leads, texts = int(self.record["leads"]), list(self.record["texts"])
            # A folder may not decide that code it names is run: whoever reads it does.
            # Further models have the shapes of what was trained, wherever that began; their weights are read below.
            begun = self.config.model.start is not None or not self.config.model.train_encoder
            shapes = {"start": str(self.path / "model") if begun else None, "revision": read.config.revision}
            parts = self.config.model.model_copy(update={"trust_remote_code": trust_remote_code, **shapes})
            if begun:  # a configuration that was read says all sizes, those that nobody gave too
                parts = parts.model_copy(update={"embedded": read.config.embedded})
            build = lambda seed: build_model(parts, texts=texts, leads=leads, seed=seed)  # noqa: E731
        else:
            assert build is not None
            require_build(build)
            main = fresh(build, self.record["seed"])
        streams = np.random.SeedSequence(self.record["seed"]).spawn(4)
        objective = found.attach(
            main, new_scorer=new_scorer(main, build, streams[1]), rng=np.random.default_rng(streams[2])
        )
        try:
            state = load_file(self.path / "objective.safetensors")
        except (OSError, SafetensorError) as error:
            raise InputError(f"{self.path / 'objective.safetensors'} cannot be read: {error}; train again") from error
        restore(objective, state)
        of, learned, kinds = ECGFormat.of_record(self.record), Learned.of_folder(self.path), self.record.get("kinds")
        return TrainedScorer(objective, self.arm, found, ecg_format=of, learned=learned, kinds=kinds).eval()


def _train(
    cohort: Cohort,
    arm: Arm,
    config: RunConfig,
    seed: int,
    out: Path,
    build: Build | None,
    progress: bool,
    record: dict[str, Any],
) -> None:
    streams = np.random.SeedSequence(seed).spawn(4)
    fitted = fit_arm(cohort, arm, config, streams[3])
    build = build or composite_builder(cohort, config, fitted.texts)
    main = fresh(build, seed_of(streams[0]))
    _require_same_base(out, record, main)
    objective = fitted.adjuster.attach(
        main, new_scorer=new_scorer(main, build, streams[1]), rng=np.random.default_rng(streams[2])
    )
    check_first_scores(main)
    record |= {
        "processes": processes().num_processes,
        "severity_column": fitted.severity_column,
        "severity_words": fitted.severity_words,
        "graph": graph_of(config, cohort),
        "further_answers": fitted.further_answers,
        "estimand": None if fitted.estimand is None else fitted.estimand.to_dict(),
        "rows": {"train": len(fitted.train.table), "valid": len(fitted.valid.table)},
        **config.held_out,
        "kinds": _kinds(fitted.learned, config),
        **ECGFormat.of(cohort.signals).record(),
        "parameters": {
            "all": sum(p.numel() for p in objective.parameters()),
            "trained": sum(p.numel() for p in objective.parameters() if p.requires_grad),
        },
        "texts": fitted.texts,
    }
    with training_bar(str(arm), progress) as report:
        loop = Loop(
            objective,
            fitted.adjuster,
            fitted.train,
            fitted.valid,
            config,
            seed=seed_of(streams[0]),
            folder=out,
            report=report,
        )
        loop.run()
    if loop.accelerator.is_main_process:
        write_patients(out, cohort, config, [fitted.learned, fitted.valid.table])
        _finish(out, objective, fitted.adjuster, fitted.learned, record)


def _require_same_base(out: Path, record: dict[str, Any], main: nn.Module) -> None:
    """Note what a named language model is when a run begins. InputError where it is another when the run goes on: of
    frozen weights, a checkpoint holds none."""
    base = getattr(getattr(main, "language_model", None), "loaded_from", None)
    if base is None:
        return
    if record.setdefault("language_model", base) != base:
        raise InputError(
            f"the run in {out} was begun with another state of its language model than is there now; put that one "
            "back, or choose another --out"
        )
    if processes().is_main_process:
        write_record(out / "run.json", record)


def _kinds(learned: pd.DataFrame, config: RunConfig) -> list[str] | None:
    """Kinds of questions learned from, in this run or what it begins with; ``None`` where of that it is not known."""
    before: list[str] | None = []
    if config.model.start is not None:
        start = begun_from(config.model.start)
        if (start / "run.json").is_file():
            before = read_record(start / "run.json").get("kinds")
        elif not (start / "pretraining.json").is_file():
            before = None
    return None if before is None else sorted({*before, *learned["kind"]})


def check_arm(cohort: Cohort, arm: Arm, config: RunConfig) -> None:
    """Raise what :func:`train` would before it builds a model: InputError, ContractError or NotIdentified."""
    require_readable(cohort, config.model)
    fit_arm(cohort, arm, config, np.random.SeedSequence(0))


def _finish(out: Path, objective: Objective, found: Adjuster, table: pd.DataFrame, record: dict[str, Any]) -> None:
    from safetensors.torch import save_file

    from causalecg.models.pretrained import save_pretrained

    state = objective.state_dict()
    if record["scorer"] == "composite":
        save_pretrained(objective.scorer, out / "model")  # type: ignore[arg-type]
        state = {name: value for name, value in state.items() if not name.startswith("scorer.")}
    save_file({n: v.detach().cpu().clone().contiguous() for n, v in state.items()}, out / "objective.safetensors")
    found.save(out)
    balance = found.balance(table)
    if balance is not None:
        balance.to_parquet(out / "balance.parquet", index=False)
    write_record(out / "run.json", {**record, "status": "done"})
    shutil.rmtree(out / "checkpoint", ignore_errors=True)


def _claim(out: Path, about: dict[str, Any], config: RunConfig) -> dict[str, Any]:
    """The run's record: of the run that is there already, or a fresh one. InputError when it is of something else."""
    path = out / "run.json"
    if path.exists():
        found = _read_record(out)
        differs = [name.replace("_", " ") for name, value in about.items() if found.get(name) != value]
        # Compared as read: a configuration of an earlier version lacks what it did not know.
        recorded = RunConfig.read(out / "config.json")
        if recorded != config:
            differs.append(f"configuration ({config.differing(recorded.model_dump())})")
        if differs:
            raise InputError(f"{out} holds a run with another {differs[0]}; choose another --out")
        return found
    require_room(out, "run")
    record = {**about, "versions": versions(), "status": "training"}
    write_record(out / "config.json", config.model_dump(mode="json"))
    write_record(path, record)
    return record


def _read_record(folder: Path) -> dict[str, Any]:
    """``run.json``. InputError where it is damaged."""
    found = read_record(folder / "run.json")
    if {"arm", "seed", "status", "cohort_hash"} <= found.keys():
        return found
    raise InputError(f"{folder / 'run.json'} is damaged; remove the folder and train again")


def versions() -> dict[str, str]:
    """Of this package and of those that shape a result."""
    return {"causalecg": __version__, **{name: version(name) for name in PACKAGES}}


def _name_of(build: Build) -> str:
    return f"{getattr(build, '__module__', '?')}:{getattr(build, '__qualname__', type(build).__qualname__)}"
