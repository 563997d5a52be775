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


FRONT_DOOR = """
edges: [question -> reading -> answer, habit -> question, habit -> answer]
roles: {treatment: question, outcome: answer}
latent: [habit]
"""


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf", "dot", "gml", "yaml"])
def test_show_draws_or_writes_by_suffix(app: typer.Typer, suffix: str, tmp_path) -> None:
    from structural_models.graph import preset
    from structural_models.graph_files import read_graph

    file = tmp_path / f"g.{suffix}"
    result = CliRunner().invoke(app, ["scm", "show", "--graph", "latent_severity", "--out", str(file)])
    assert result.exit_code == 0, result.exception
    assert [found.name for found in tmp_path.iterdir()] == [file.name]
    starts = {"svg": b"<svg", "png": b"\x89PNG", "pdf": b"%PDF"}
    if suffix in starts:
        assert file.read_bytes().startswith(starts[suffix])
    else:
        assert read_graph(file).to_dict() == preset("latent_severity").to_dict()


def test_show_says_where_it_cannot_write(app: typer.Typer, tmp_path) -> None:
    for out, says in (("g.txt", "neither a drawing nor a graph file"), ("no/g.svg", "a folder that does not exist")):
        result = CliRunner().invoke(app, ["scm", "show", "--out", str(tmp_path / out)])
        assert isinstance(result.exception, InputError)
        assert says in str(result.exception) and "\n" not in str(result.exception)


def test_show_counts_the_paths_left_open(app: typer.Typer) -> None:
    said = CliRunner().invoke(app, ["scm", "show", "--given", "severity"]).stdout
    assert "no open back-door path given severity" in said
    shown = CliRunner().invoke(app, ["scm", "show", "--graph", "topic_and_style", "--given", "severity, ecg", "--json"])
    record = json.loads(shown.stdout)
    assert record["given"] == ["severity", "ecg"]
    assert record["open_backdoor_paths"] == ["style ← topic → answer"]


def test_identify_by_every_method(app: typer.Typer, tmp_path) -> None:
    def asked(method: str, graph: str = "reference_paper") -> dict:
        result = CliRunner().invoke(app, ["scm", "identify", "--graph", graph, "--method", method, "--json"])
        assert result.exit_code == 0, result.exception
        return json.loads(result.stdout)

    assert asked("minimal")["estimand"]["formula"] == asked("auto")["law"]["formula"]
    assert any(text.startswith("Efficiency") for text in asked("efficient")["estimand"]["assumptions"])
    assert asked("complete")["law"]["strategy"] == "ID"
    (tmp_path / "door.yaml").write_text(FRONT_DOOR)
    assert asked("auto", str(tmp_path / "door.yaml"))["law"]["through"] == ["reading"]
    text = (
        CliRunner().invoke(app, ["scm", "identify", "--graph", str(tmp_path / "door.yaml"), "--method", "auto"]).stdout
    )
    assert "P(A | do(Q)) = Σ_reading P(reading | Q) Σ_q P(A | reading, q) P(q)" in text
    refused = CliRunner().invoke(app, ["scm", "identify", "--graph", str(tmp_path / "door.yaml")]).exception
    assert isinstance(refused, NotIdentified)
    assert "identified by the front-door through reading" in str(refused)
    assert CliRunner().invoke(app, ["scm", "identify", "--method", "all"]).exit_code == 2
