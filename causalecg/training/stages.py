"""Training in several stages, each of which begins with what the one before has learned: one file says them all.

    epochs = 4                       # of every stage that does not say otherwise; so is all else of a RunConfig
    [model]
    language_model = "smollm2"

    [[stages]]
    name = "encoder"
    task = "labels"                  # or "contrast": the encoder alone, on the labels of the training ECGs

    [[stages]]
    name = "alignment"               # what connects a pre-trained encoder with a frozen language model
    model.train_encoder = false

    [[stages]]
    name = "pretraining"             # de-biased: questions drawn whatever the severity
    arm = "question_randomised"
    cohort = "statements"

    [[stages]]
    name = "finetuning"
    arm = "backdoor"
    cohort = "ecgqa"                 # of the same split by patient: no stage tests what another has learned
    template_ids = ["26", "27"]

Every stage is a folder of its own, is resumed where it stopped, and is done once.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from causalecg.cohort.schema import Cohort
from causalecg.errors import InputError
from causalecg.processes import processes
from causalecg.records import read_record, require_room, write_record
from causalecg.training.beginnings import (
    refuse_other_formats,
    refuse_tested_patients,
    require_held_out_before,
    require_same_format,
)
from causalecg.training.config import RunConfig, read_configuration

RECORD = "stages.json"


class TrainingStage(BaseModel):
    """One stage.

    Attributes:
        name: of its folder.
        task: "questions", of which an arm is trained; "labels" or "contrast", on which the encoder alone is.
        arm: of a stage of questions.
        cohort: folder, from that of the file; ``None`` = the one given on the command line.
        config: of this stage: the file's, with what the stage says otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    task: Literal["questions", "labels", "contrast"] = "questions"
    arm: str | None = None
    cohort: str | None = None
    config: RunConfig


_OWN = ("name", "task", "arm", "cohort")


def has_stages(path: Path | None) -> bool:
    """Whether a configuration file names stages. InputError where it cannot be read."""
    return path is not None and path.suffix == ".toml" and "stages" in read_configuration(path)


def read_stages(path: Path) -> tuple[TrainingStage, ...]:
    """The stages of a TOML file. InputError, naming file, stage and key, for what is wrong in it."""
    record = read_configuration(path)
    listed = record.pop("stages")
    if not isinstance(listed, list) or not listed or not all(isinstance(one, dict) for one in listed):
        raise InputError(f"configuration {path}: stages are written as [[stages]] tables, and there must be one")
    found: list[TrainingStage] = []
    for number, given in enumerate(listed, start=1):
        where = f"configuration {path}, stage {given.get('name', number)}"
        own = {key: given[key] for key in _OWN if key in given}
        changes = {key: value for key, value in given.items() if key not in _OWN}
        config = RunConfig.of(_merged(record, changes), where)
        try:
            stage = TrainingStage(**{"name": None, **own}, config=config)
        except ValidationError as error:
            first = error.errors()[0]
            raise InputError(f"{where}, key '{first['loc'][0]}': {first['msg']}") from error
        if stage.task != "questions" and stage.arm is not None:
            raise InputError(f"{where}: task '{stage.task}' asks no questions, so no arm can adjust it; leave arm out")
        if config.model.start is not None and found:
            raise InputError(f"{where}: it begins with the stage before; name model.start in the first stage only")
        if stage.task != "questions" and any(before.task == "questions" for before in found):
            raise InputError(
                f"{where}: task '{stage.task}' trains an encoder alone and would lose what the stages of questions "
                "before it have learned; put it before them"
            )
        found.append(stage)
    names = [stage.name for stage in found]
    if len(set(names)) < len(names):
        raise InputError(f"configuration {path}: every stage needs a name of its own, not {', '.join(names)}")
    return tuple(found)


def train_stages(
    path: str | Path, *, out: str | Path, seed: int, cohort: str | Path | None = None, progress: bool = True
) -> Path:
    """Do the stages of a file, going on where an earlier attempt stopped. Returns the folder of the last one.

    Args:
        path: TOML file.
        out: folder; ``out/1-NAME``, ``out/2-NAME``, ...
        seed: of every stage.
        cohort: folder for stages that name none.

    Raises InputError as :func:`read_stages` and each stage's training do, and where ``out`` is of other stages.
    """
    from causalecg.training.arms import Arm
    from causalecg.training.encoder_pretraining import pretrain_encoder
    from causalecg.training.run import check_arm, train
    from causalecg.training.sharding import check_launch

    check_launch()
    path, out = Path(path), Path(out)
    stages = read_stages(path)
    cohorts = [_cohort_of(stage, path, cohort) for stage in stages]
    # All that can be refused is refused before anything is trained.
    for before, stage in pairwise(stages):
        require_held_out_before(stage.config, before.config, f"stage {before.name}")
    refuse_tested_patients(cohorts, [stage.config for stage in stages])
    _require_one_size(stages)
    require_same_format(cohorts[0], stages[0].config)
    refuse_other_formats(cohorts)
    for stage, its in zip(stages, cohorts, strict=True):
        if stage.task == "questions":
            check_arm(its, Arm.parse(stage.arm or "none"), stage.config)
    with processes().main_process_first():
        _claim(out, stages, cohorts, seed)
    folder: Path | None = None
    for number, (stage, its) in enumerate(zip(stages, cohorts, strict=True), start=1):
        start = stage.config.model.start if folder is None else str(folder.resolve())
        model = stage.config.model.model_copy(update={"start": start})
        config = stage.config.model_copy(update={"model": model})
        folder = out / f"{number}-{stage.name}"
        if stage.task == "questions":
            _follow(folder, config)
            train(its, stage.arm or "none", config, seed=seed, out=folder, progress=progress)
        else:
            pretrain_encoder(its, stage.task, config, seed=seed, out=folder, progress=progress)
    assert folder is not None
    return folder


def _follow(folder: Path, config: RunConfig) -> None:
    """Where the stages were moved since this one was begun, the stage before is where they are now."""
    path = folder / "config.json"
    if config.model.start is None or not path.is_file():
        return
    begun = RunConfig.read(path)
    here = begun.model_copy(update={"model": begun.model.model_copy(update={"start": config.model.start})})
    moved = begun.model.start is not None and Path(begun.model.start).name == Path(config.model.start).name
    if begun != config and here == config and moved and processes().is_main_process:
        write_record(path, config.model_dump(mode="json"))


def _require_one_size(stages: tuple[TrainingStage, ...]) -> None:
    """InputError where a stage gives the embedded language model another size than the stage of questions has that
    makes it. One that the first stage begins with is looked at when it is read."""
    asked = [stage for stage in stages if stage.task == "questions"]
    if not asked or stages[0].config.model.start is not None:
        return
    maker, *others = asked
    for stage in others:
        own, made = stage.config.model, maker.config.model.embedded
        said = own.embedded.model_fields_set if "embedded" in own.model_fields_set else set()
        differs = [key for key in sorted(said) if getattr(own.embedded, key) != getattr(made, key)]
        if differs and own.language_model == "embedded":
            raise InputError(
                f"stage {stage.name}: model.embedded.{differs[0]} is not that of stage {maker.name}, whose language "
                "model it goes on with; leave it out there"
            )


def _cohort_of(stage: TrainingStage, path: Path, given: str | Path | None) -> Cohort:
    if stage.cohort is not None:
        return Cohort.open(path.parent / stage.cohort)
    if given is None:
        raise InputError(f"configuration {path}, stage {stage.name}: it names no cohort; name one, or give --cohort")
    return Cohort.open(given)


def _claim(out: Path, stages: tuple[TrainingStage, ...], cohorts: list[Cohort], seed: int) -> None:
    record = {
        "seed": seed,
        "stages": [
            {"name": s.name, "task": s.task, "arm": s.arm, "cohort_hash": c.hash}
            for s, c in zip(stages, cohorts, strict=True)
        ],
    }
    path = out / RECORD
    if path.exists():
        if read_record(path) != record:
            raise InputError(f"{out} holds other stages, cohorts or another seed; choose another --out")
        return
    require_room(out, "stages")
    write_record(path, record)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Tables within tables are merged, anything else is replaced."""
    found = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(found.get(key), Mapping)
        found[key] = _merged(found[key], value) if both else value
    return found
