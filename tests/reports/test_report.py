from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from causalecg.audits.score_set import ScoreSet
from causalecg.audits.suite import run_suite
from causalecg.reports.build import write_report
from causalecg.reports.figures import balance_figure, forest_figure, graph_figure
from causalecg.reports.paper import ecg_paper
from structural_models.graph import PRESETS, preset

NASTY = '<script>alert("x")</script><img src=x onerror=alert(1)>&"\'|`'


def score_set(name: str) -> ScoreSet:
    n = 80
    truth = np.arange(n) % 2
    words = ("yes", "no")
    items = pd.DataFrame(
        {
            "item_id": [f"{NASTY}{i}" for i in range(n)], "split": "test", "patient_ids": [[f"p{i}"] for i in range(n)],
            "question_id": NASTY, "template_id": NASTY, "style": "any", "topic": NASTY,
            "answer": [[words[t]] for t in truth], "question": NASTY,
        }
    )  # fmt: skip
    shown = {"intact": truth, "other_patient[answer=opposite]": 1 - truth, "wording[held_out]": truth}
    rows = [
        pd.DataFrame(
            {
                "run_id": name, "item_id": items["item_id"], "intervention": what, "draw": 0, "status": "answered",
                "answer_given": [[words[t]] for t in ecg], "donor_ecg_ids": None,
                "answer_expected": [[words[t]] for t in ecg] if "other" in what else None,
            }
        )
        for what, ecg in shown.items()
    ]  # fmt: skip
    return ScoreSet(items, pd.concat(rows, ignore_index=True), {name: {"role": "audited", "notes": [NASTY]}})


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attributes) -> None:
        self.seen.append((tag, dict(attributes)))


@pytest.fixture
def page(tmp_path) -> str:
    scores = score_set(NASTY)
    balance = pd.DataFrame({"covariate": [NASTY], "level": [NASTY], "smd_before": [0.9], "smd_after": [0.01]})
    out = write_report(
        tmp_path / "r", score_set=scores, results=run_suite(scores), graph=preset("severity_visible"),
        balance={NASTY: balance}, title=NASTY,
    )  # fmt: skip
    return out.read_text()


def test_text_from_data_is_escaped_and_nothing_is_fetched(page: str, tmp_path) -> None:
    tags = Tags()
    tags.feed(page)
    names = {tag for tag, _ in tags.seen}
    assert names.isdisjoint({"script", "img", "iframe", "link", "object", "embed"})
    for _, attributes in tags.seen:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("href", "src", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert not re.search(r"url\((?!#)", page)
    assert "&lt;script&gt;" in page
    assert len(page.encode()) < 300_000
    record = json.loads((tmp_path / "r" / "report.json").read_text())
    assert record["title"] == NASTY
    assert "<script>" not in (tmp_path / "r" / "report.md").read_text()


def test_the_verdict_is_that_of_the_audits(page: str, tmp_path) -> None:
    record = json.loads((tmp_path / "r" / "report.json").read_text())
    assert record["verdict"]["verdict"] == "pass"
    assert {a["name"]: a["verdict"] for a in record["audits"]}["no_ecg"] == "not assessed"
    assert record["graph"]["open_backdoor_paths"]


def test_same_input_same_bytes(tmp_path) -> None:
    pages = []
    for name in ("a", "b"):
        scores = score_set("m")
        out = write_report(
            tmp_path / name, score_set=scores, results=run_suite(scores), graph=preset("reference_paper")
        )
        pages.append(out.read_bytes())
    assert pages[0] == pages[1]


def test_ecg_paper_is_to_scale() -> None:
    """A 1 mV step at 2 s in lead II: 10 mm up, 50 mm from the start of the rhythm strip."""
    signal = np.zeros((12, 1000))
    signal[1, 200:700] = 1.0
    svg = ecg_paper(signal, ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"), 100.0, NASTY)
    assert 'width="260mm"' in svg and "<script>" not in svg
    path = re.findall(r'class="trace"[^>]*d="M(-?\d+) (-?\d+)l([^"]*)"', svg)[-1]
    steps = np.array([list(map(int, pair)) for pair in re.findall(r"(-?\d+) (-?\d+)", path[2])])
    x = (int(path[0]) + np.cumsum(steps[:, 0])) / 100
    y = (int(path[1]) + np.cumsum(steps[:, 1])) / 100
    up = int(np.argmin(steps[:, 1]))
    assert steps[up, 1] / 100 == pytest.approx(-10.0)
    assert x[up] - int(path[0]) / 100 == pytest.approx(50.0, abs=0.01)
    assert x[-1] - int(path[0]) / 100 == pytest.approx(249.75, abs=0.01)
    assert y.max() - y.min() == pytest.approx(10.0)


@pytest.mark.parametrize("name", PRESETS)
def test_figures_are_svg(name: str) -> None:
    import xml.etree.ElementTree as ElementTree

    row = {"label": "a & b", "test": {"estimate": 0.5, "low": 0.4, "high": 0.6}}
    balance = pd.DataFrame({"covariate": ["s"], "level": ["1"], "smd_before": [0.9], "smd_after": [0.01]})
    for svg in (graph_figure(preset(name)), forest_figure([row], {"test": "t"}), balance_figure(balance, "x < y")):
        assert ElementTree.fromstring(svg).tag.endswith("svg")


def test_the_back_door_path_is_red() -> None:
    assert graph_figure(preset("severity_visible")).count("#c0392b") > 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
@pytest.mark.parametrize("width", [390, 1100])
def test_a_browser_shows_the_page_without_scrolling_sideways(page: str, tmp_path, width: int) -> None:
    probe = page.replace("</body>", "<script>document.title = document.documentElement.scrollWidth</script></body>")
    (tmp_path / "probe.html").write_text(probe)
    shown = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={max(width, 500)},900", "--dump-dom",
         (tmp_path / "probe.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = re.search(r"<title>(\d+)</title>", shown.stdout)
    assert found and int(found.group(1)) <= max(width, 500)
