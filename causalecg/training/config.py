"""How a run is trained."""

from __future__ import annotations

import difflib
import json
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from causalecg.cohort.schema import HELD_OUT
from causalecg.errors import InputError
from causalecg.models.config import EmbeddedLanguageModel, LowRank, ModelConfig


class RunConfig(BaseModel):
    """Everything that shapes a run, apart from cohort, arm and seed.

    Attributes:
        model: parts of the model.
        epochs: of every stage that does not say otherwise.
        batch_size: items per step.
        learning_rate, weight_decay: AdamW; the rate warms up over the first ``warmup`` share of a stage, then follows a
            cosine to zero.
        clip_norm: largest gradient norm of a part. A tight bound undoes weighting: it clips batches with heavy rows.
        patience: stop a stage after so many epochs without a better validation loss and go back to the best one;
            0 = never stop early.
        severity: severity scale of the cohort; ``None`` = its first.
        graph: preset or file of the causal graph; ``None`` = what the cohort says, else "severity_visible".
        treatment: column of the treatment; ``None`` = what the cohort says, else "style".
        environment: learn from items of this environment only.
        template_ids: learn from items of these templates only; empty = all.
        held_out_topics, held_out_templates: learn from and validate on no item about these topics, or of these
            templates. The test asks them all the same.
        question_vectors: "minilm", or the folder of another sentence encoder: its vector of every question is the
            column ``question_vector``, for adjusters that go by one
            (``ipw?propensity=embedding&embedding=question_vector``).
        threads: torch threads; results are exact for a fixed number.
        checkpoint_steps: also checkpoint every so many steps; 0 = at the end of each epoch only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelConfig = Field(default_factory=ModelConfig)
    epochs: int = Field(default=8, ge=1)
    batch_size: int = Field(default=64, ge=2)
    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    warmup: float = Field(default=0.1, ge=0, lt=1)
    clip_norm: float = Field(default=100.0, gt=0)
    patience: int = Field(default=0, ge=0)
    severity: str | None = None
    graph: str | None = None
    treatment: str | None = None
    environment: str | None = None
    template_ids: tuple[str, ...] = ()
    held_out_topics: tuple[str, ...] = ()
    held_out_templates: tuple[str, ...] = ()
    question_vectors: str | None = None
    threads: int = Field(default=1, ge=1)
    checkpoint_steps: int = Field(default=0, ge=0)

    @property
    def held_out(self) -> dict[str, list[str]]:
        """Key of what is held out -> names, as records of runs have it."""
        return {key: list(getattr(self, key)) for key in HELD_OUT.values()}

    def same_as(self, record: object) -> bool:
        """Whether it is what was recorded, by whichever version: keys that a record lacks have their defaults."""
        try:
            return isinstance(record, dict) and RunConfig(**record) == self
        except ValidationError:
            return False

    def differing(self, record: object) -> str:
        """The first key in which what was recorded, by whichever version, says otherwise, and both values; empty where
        none does, or it cannot be read."""
        try:
            there, here = (_flat(one.model_dump(mode="json")) for one in (RunConfig.of(record, "record"), self))
        except InputError:
            return ""
        key = next((key for key in (*here, *there) if there.get(key) != here.get(key)), None)
        return "" if key is None else f"{key}: {there.get(key)!r} there, {here.get(key)!r} here"

    @classmethod
    def read(cls, path: str | Path) -> RunConfig:
        """From TOML or JSON. Raises InputError naming the file and the key."""
        return cls.of(read_configuration(path), f"configuration {path}")

    @classmethod
    def of(cls, record: object, where: str) -> RunConfig:
        """From what was read. Raises InputError naming ``where`` and the key."""
        if not isinstance(record, dict):
            raise InputError(f"{where} holds no table of keys")
        try:
            return cls(**record)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            if first["type"] == "extra_forbidden":
                hint = "stages are read by 'causalecg train' alone, and from TOML" if key == "stages" else _hint(key)
                raise InputError(f"{where}: there is no key '{key}'; {hint}") from error
            raise InputError(f"{where}, key '{key}': {first['msg']}") from error


def read_configuration(path: str | Path) -> Any:
    """What a TOML or JSON file holds. Raises InputError naming the file."""
    path = Path(path)
    if path.suffix not in (".toml", ".json"):
        raise InputError(f"configuration {path} is neither .toml nor .json, the two that are read")
    try:
        text = path.read_text()
        return json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise InputError(f"configuration {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"configuration {path} is not valid {path.suffix[1:].upper()}: {error}") from error


#: Each table of a configuration, "" for what is in none, and what describes it.
_TABLES: dict[str, type[BaseModel]] = {
    "": RunConfig,
    "model": ModelConfig,
    "model.embedded": EmbeddedLanguageModel,
    "model.lora": LowRank,
}


def _hint(unknown: str) -> str:
    """What may have been meant by a key: one of that name in another table, else one of a like name, its own first."""
    table, _, name = unknown.rpartition(".")
    order = sorted(_TABLES, key=lambda other: other != table)
    keys = {key: f"{other}.{key}".lstrip(".") for other in reversed(order) for key in _TABLES[other].model_fields}
    if name in keys:
        home = keys[name].rpartition(".")[0]
        return f"it belongs {f'in the table [{home}]' if home else 'above all tables'}: {keys[name]}"
    near = difflib.get_close_matches(name, keys, n=1)
    return (
        f"did you mean '{keys[near[0]]}'?"
        if near
        else f"keys are {', '.join(_TABLES.get(table, RunConfig).model_fields)}"
    )


def _flat(record: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Keys of tables within tables, joined by dots."""
    found: dict[str, Any] = {}
    for key, value in record.items():
        found |= _flat(value, f"{before}{key}.") if isinstance(value, dict) else {before + key: value}
    return found
