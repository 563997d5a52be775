"""What a record of confounder effects must hold to be read."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from causalecg.errors import InputError

_Number = float | None


class _Row(BaseModel):
    """One with the columns of ``within`` besides, whatever they are called."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)


class _Bias(_Row):
    arm: Any
    outcome: Any
    rows: int
    associated: _Number
    associated_low: _Number
    associated_high: _Number
    interventional: _Number
    interventional_low: _Number
    interventional_high: _Number
    bias: _Number
    bias_low: _Number
    bias_high: _Number
    p_bias: _Number
    p_bias_holm: _Number


class _Contrast(_Row):
    arm: Any
    reference: Any
    outcome: Any
    difference: _Number
    difference_low: _Number
    difference_high: _Number
    ratio: _Number
    ratio_low: _Number
    ratio_high: _Number
    p: _Number
    p_holm: _Number


class _Failure(_Row):
    arm: Any
    rows: int
    stratum_rows: int
    propensity: _Number


class _Effect(BaseModel):
    effect: str
    items: int
    items_without_severity: int
    treatment: str
    adjustment: list[str]
    within: list[str]
    population: str
    interval: str
    level: float = Field(gt=0, lt=1)
    rows: int
    patients: int
    table: list[_Bias]
    contrasts: list[_Contrast]
    failures: list[_Failure]
    warnings: list[str]

    @model_validator(mode="after")
    def _rows_say_where(self) -> _Effect:
        _require(self.within, [*self.table, *self.contrasts])
        _require([*self.within, *self.adjustment], self.failures)
        return self


class _Mediated(_Row):
    severity: Any
    reference: Any
    outcome: Any
    effect: str
    estimate: _Number
    low: _Number
    high: _Number
    share: _Number


class _Severity(BaseModel):
    treatment: str
    within: list[str]
    reference: Any
    level: float = Field(gt=0, lt=1)
    table: list[_Mediated]
    left_out: list[str]

    @model_validator(mode="after")
    def _rows_say_where(self) -> _Severity:
        _require(self.within, self.table)
        return self


class _Estimand(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    treatment: str
    outcome: str
    adjustment: list[str]
    conditioning: list[str]
    roles: dict[str, str]
    formula: str
    assumptions: list[str]
    treatment_given: list[str] = []


class _Scale(BaseModel):
    scale: str
    levels: list[str]
    estimand: _Estimand
    effects: list[_Effect]
    severity: _Severity | None
    left_out: list[str]


class _Graph(BaseModel):
    name: str
    description: str
    nodes: list[str]
    edges: list[tuple[str, str]]
    roles: dict[str, str]
    latent: list[str]


class _Question(BaseModel):
    topic: str
    example: str


class _Record(BaseModel):
    cohort: str
    cohort_hash: str
    split: str
    graph: _Graph
    method: str
    seed: int
    scales: list[_Scale] = Field(min_length=1)
    # Records of version 0.1.0 may lack these.
    questions: dict[str, _Question] = {}
    wordings: dict[str, str] = {}
    versions: dict[str, str] = {}


def require_whole(record: Any, where: str) -> None:
    """InputError that names the first thing missing or of the wrong kind."""
    try:
        _Record.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{where} is damaged ({place}: {first['msg']}); make it again with 'causalecg scm effects --out'"
        ) from error


def _require(columns: list[str], rows: Any) -> None:
    for row in rows:
        missing = [name for name in columns if name not in (row.model_extra or {})]
        if missing:
            raise ValueError(f"a row lacks {missing[0]}")
