from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from causalecg.cli import scm
from causalecg.errors import InputError
from structural_models.errors import NotIdentified
from structural_models.graph import PRESETS


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    app = typer.Typer()
    scm.register(app)
    return app


@pytest.mark.parametrize("name", PRESETS)
def test_show_prints_every_preset(app: typer.Typer, name: str) -> None:
    result = CliRunner().invoke(app, ["scm", "show", "--graph", name])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{name}: ")
    assert "← severity →" in result.stdout
    record = json.loads(CliRunner().invoke(app, ["scm", "show", "--graph", name, "--json"]).stdout)
    assert record["name"] == name


def test_identify_prints_formula_assumptions_and_columns(app: typer.Typer) -> None:
    result = CliRunner().invoke(app, ["scm", "identify", "--graph", "reference_paper", "--severity", "burden"])
    assert "P(A | E, do(Q)) = Σ_s P(A | E, Q, s) P(s | E)" in result.stdout
    assert "simplifies to Σ_s P(A | E, Q, s) P(s)" in result.stdout
    assert "severity = severity_burden" in result.stdout


def test_identify_as_json(app: typer.Typer) -> None:
    record = json.loads(CliRunner().invoke(app, ["scm", "identify", "--json"]).stdout)
    assert record["graph"]["name"] == "severity_visible"
    assert record["estimand"]["adjustment"] == ["severity"]


def test_what_is_not_identified_is_raised_for_main(app: typer.Typer) -> None:
    result = CliRunner().invoke(app, ["scm", "identify", "--graph", "latent_severity"])
    assert isinstance(result.exception, NotIdentified)


def test_the_cohort_names_the_severity_column(monkeypatch: pytest.MonkeyPatch) -> None:
    from causalecg.cohort.schema import Cohort

    scales = {"one": ("simulated",), "two": ("burden", "acuity"), "bare": ()}
    declares = {"graph": "topic_and_style", "roles": {"treatment": "question_id"}}
    meta = {"one": {}, "two": declares, "bare": {}}
    monkeypatch.setattr(Cohort, "open", lambda path: SimpleNamespace(severity_scales=scales[path], meta=meta[path]))

    def columns(cohort: str, severity: str | None = None) -> dict[str, str]:
        return scm.declared_on("severity_visible", cohort, severity)[1]

    assert columns("one") == {"severity": "severity_simulated", "treatment": "style"}
    assert columns("two", "acuity") == {"severity": "severity_acuity", "treatment": "question_id"}
    assert scm.declared_on(None, "two", "acuity")[0].name == "topic_and_style"
    assert scm.declared_on(None, "one", None)[0].name == scm.declared_on(None, None, None)[0].name == "severity_visible"
    with pytest.raises(InputError, match="several severity scales; name one of burden, acuity"):
        columns("two")
    with pytest.raises(InputError, match="no severity scale 'simulated'"):
        columns("two", "simulated")
    with pytest.raises(InputError, match="no severity scale 'acuity'; it has none"):
        columns("bare", "acuity")


def test_in_a_cohort_without_a_scale_the_severity_is_unmeasured_and_the_open_path_is_named(
    monkeypatch: pytest.MonkeyPatch, app: typer.Typer
) -> None:
    from causalecg.cohort.schema import Cohort

    monkeypatch.setattr(Cohort, "open", lambda path: SimpleNamespace(severity_scales=(), meta={}))
    result = CliRunner().invoke(app, ["scm", "identify", "--cohort", "bare"])
    assert isinstance(result.exception, NotIdentified)
    assert "question ← severity → answer" in str(result.exception)
