"""``causalecg list`` prints names, JSON or Markdown."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from adjusters.catalogue import markdown
from adjusters.registry import describe
from causalecg.cli import build_app
from causalecg.cli.listing import LISTINGS

RUN = CliRunner()


def test_adjusters_as_markdown_are_their_cards() -> None:
    assert RUN.invoke(build_app(), ["list", "adjusters", "--markdown"]).output.rstrip("\n") == markdown()


@pytest.mark.parametrize("kind", sorted(set(LISTINGS) - {"adjusters"}))
def test_everything_else_is_a_table_of_names_and_lines(kind: str) -> None:
    names = json.loads(RUN.invoke(build_app(), ["list", kind, "--json"]).output)
    lines = RUN.invoke(build_app(), ["list", kind, "--markdown"]).output.splitlines()
    assert lines[:2] == ["| name | what it is |", "| --- | --- |"]
    assert [line.split("`")[1] for line in lines[2:]] == list(names)
    assert [line.split(" | ", 1)[1].removesuffix(" |").replace("\\|", "|") for line in lines[2:]] == list(
        names.values()
    )


def test_plain_lines_are_names_and_what_they_are() -> None:
    plain = RUN.invoke(build_app(), ["list", "adjusters"]).output.splitlines()
    assert [line.split(maxsplit=1)[0] for line in plain] == list(describe())


def test_two_formats_at_once_are_refused() -> None:
    failed = RUN.invoke(build_app(), ["list", "graphs", "--json", "--markdown"])
    assert failed.exit_code and "not both" in str(failed.exception)
