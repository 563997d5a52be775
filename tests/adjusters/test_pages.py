"""docs/adjusters.md and the page of every adjuster say what the code says."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from adjusters.catalogue import markdown
from adjusters.contract import Adjuster
from adjusters.registry import BUILT_IN, available
from causalecg.benchmark.t0.arms import EvidenceArm

DOCS = Path(__file__).resolve().parents[2] / "docs"


def script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


PAGES = script(DOCS / "adjuster_pages.py")
PICTURES = script(DOCS.parent / "benchmarks" / "adjuster_pictures.py")


def test_the_overview_and_the_readme_hold_the_cards() -> None:
    for path, blocks in ((DOCS / "adjusters.md", PAGES.overview()), (DOCS.parent / "README.md", PAGES.short_table())):
        page = path.read_text()
        assert PAGES.filled(page, blocks) == page, "run python docs/adjuster_pages.py"


def test_the_tables_have_every_adjuster_and_survive_a_bar() -> None:
    whole, judged = markdown().split("\n\n")
    for name in available():
        (line,) = (line for line in whole.splitlines() if line.startswith(f"| `{name}` |"))
        assert len(re.findall(r"(?<!\\)\|", line)) == 7, line
        (line,) = (line for line in judged.splitlines() if line.startswith(f"| `{name}` |"))
        assert len(re.findall(r"(?<!\\)\|", line)) == 5, line


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_adjuster_has_a_page_that_says_what_its_code_says(name: str) -> None:
    page = (DOCS / "adjusters" / f"{name}.md").read_text()
    assert PAGES.filled(page, PAGES.blocks_of(name)) == page, "run python docs/adjuster_pages.py"
    assert page.startswith(f"# `{name}`\n") and "Begun by" not in page
    assert tuple(re.findall(r"^## (.*)$", page, re.MULTILINE)) == PAGES.HEADINGS
    sections = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    assert all(text.strip() for text in sections.values()), "a section is empty"
    assert sections["Formula"].count("```") == 2, "one formula"
    assert re.findall(r"!\[.*?\]\((.*?)\)", page) == [f"{name}.svg"], "one picture"
    written = re.findall(r"--arms? \"?([^\s\"]+)", sections["Arm"])
    arms = [EvidenceArm.parse(one) for arm in written for one in arm.split(",")]
    assert name in {arm.adjuster for arm in arms if not arm.special}


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_adjuster_has_a_picture_that_the_script_draws(name: str) -> None:
    text = (DOCS / "adjusters" / f"{name}.svg").read_text()
    assert text.startswith("<svg") and len(text) < 40_000
    arms = [PICTURES.arm_of(name), *(PICTURES.arm_of(name, there.options) for there in PICTURES.ELSEWHERE[name])]
    for arm in arms:
        EvidenceArm.parse(arm)
        assert all(f">{line}<" in text for line in re.split(r"[?&]", arm))
    assert all(f">{there.regime}: {there.says}<" in text for there in PICTURES.ELSEWHERE[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["none", "backdoor", "ipw"])
def test_a_picture_tells_what_the_adjuster_does_now(name: str) -> None:
    text = (DOCS / "adjusters" / f"{name}.svg").read_text()
    told = [float(share) for share in re.findall(r">(\.\d{3}) right<", text)]
    for there, share in zip(PICTURES.ELSEWHERE[name], told[-len(PICTURES.ELSEWHERE[name]) :], strict=True):
        law = PICTURES.law_of(there)
        found = PICTURES.accuracy(law, PICTURES.reader(law, PICTURES.arm_of(name, there.options)))
        assert found == pytest.approx(share, abs=0.002)


def test_there_is_no_page_and_no_picture_without_an_adjuster() -> None:
    for kind in ("md", "svg"):
        assert {path.stem for path in (DOCS / "adjusters").glob(f"*.{kind}")} == set(BUILT_IN)
    assert set(PICTURES.ELSEWHERE) == set(BUILT_IN) and set(PICTURES.OPTIONS) <= set(BUILT_IN)


def test_an_option_that_the_docstring_forgets_is_an_error() -> None:
    class Mine(Adjuster):
        """Mine.

        Args:
            told: what it
                does.
        """

        def __init__(self, told: int | None = None, untold: bool = False) -> None: ...

    assert PAGES.described(Mine) == {"told": "what it does."}
    with pytest.raises(ValueError, match="does not describe its option 'untold'"):
        PAGES.options_table(Mine)


def test_links_lead_somewhere() -> None:
    for path in (DOCS / "adjusters.md", *(DOCS / "adjusters").glob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
            assert (path.parent / link).exists(), f"{path.name}: {link}"
