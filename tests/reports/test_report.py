from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from causalecg.audits.result import AuditResult
from causalecg.audits.score_set import ScoreSet
from causalecg.audits.suite import run_suite
from causalecg.reports.audit_figures import audit_figures
from causalecg.reports.build import write_report
from causalecg.reports.figures import balance_figure, forest_figure, graph_figure
from causalecg.reports.paper import ecg_paper
from structural_models.graph import PRESETS, preset

NASTY = '<script>alert("x")</script><img src=x onerror=alert(1)>&"\'|`$_{a}^ \\x [l](u) ![i](u) *b*_c_\r\n# h'


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


def test_markdown_shows_text_from_data_literally(page: str, tmp_path) -> None:
    text = (tmp_path / "r" / "report.md").read_text()
    assert "\r" not in text
    assert not any(line.startswith("# h") for line in text.splitlines())
    for mark in ("[l]", "![i]", "*b*", "_c_", '&"', "<img", " |`"):
        assert mark not in text
    assert r"\[l\](u)" in text and r"\*b\*\_c\_" in text and "&amp;" in text


def many_runs(count: int) -> tuple[ScoreSet, list]:
    first = score_set("judged")
    parts = [first]
    for i in range(count):
        other = score_set(f"other{i}")
        parts.append(ScoreSet(other.items, other.scores, {f"other{i}": {"role": "unadjusted"}}))
    scores = ScoreSet.concat(parts)
    results = run_suite(scores, run_id="judged", replicates=50)
    for i in range(count):
        results += [replace(result, run_id=f"other{i}", note="n" * 500) for result in results[:7]]
    return scores, results


def test_a_page_over_budget_leaves_out_details_and_says_so(tmp_path) -> None:
    scores, results = many_runs(60)
    page = write_report(tmp_path / "r", score_set=scores, results=results).read_text()
    assert len(page.encode()) <= 300_000
    assert "Left out to keep this page small: the audits of runs that are not judged" in page
    assert "judged: follow_rate" in page and "other3: follow_rate" not in page
    record = json.loads((tmp_path / "r" / "report.json").read_text())
    assert any(audit["run_id"] == "other3" for audit in record["audits"])


def test_the_worst_judged_run_heads_the_page_and_each_is_named(tmp_path) -> None:
    good, bad, placebo = score_set("good"), score_set("bad"), score_set("shuffled")
    flipped = [["no"] if a == ["yes"] else ["yes"] for a in bad.scores["answer_given"]]
    bad = ScoreSet(bad.items, bad.scores.assign(answer_given=flipped), bad.runs)
    runs = {"shuffled": {"role": "audited", "arm": "placebo:backdoor"}}
    placebo = ScoreSet(placebo.items, placebo.scores.assign(answer_given=flipped), runs)
    for order, verdict in (([placebo, good, bad], "fail"), ([placebo, good], "pass")):
        scores = ScoreSet.concat(order)
        results = [r for run in scores.runs for r in run_suite(scores, run_id=run, replicates=100)]
        page = write_report(tmp_path / verdict, score_set=scores, results=results).read_text()
        record = json.loads((tmp_path / verdict / "report.json").read_text())
        assert record["verdict"]["verdict"] == verdict
        assert "shuffled" not in record["verdict"]["runs"]
        assert "good passes" in page
        assert ("bad fails" in page) == (verdict == "fail")


def test_numbers_that_are_none_are_null_and_not_drawn(tmp_path) -> None:
    nothing = {"estimate": 0.5, "low": float("nan"), "high": float("nan")}
    forest_figure([{"label": "a", "test": nothing}, {"label": "b", "test": None}], {"test": "t"})
    forest_figure([{"label": "a", "test": dict.fromkeys(nothing)}], {"test": "t"})
    scores = score_set("m")
    results = run_suite(scores, replicates=50)
    broken = [replace(r, interval=(float("nan"), float("inf")), p_value=float("nan")) for r in results]
    json.dumps([r.to_dict() for r in broken], allow_nan=False)
    page = write_report(tmp_path / "r", score_set=scores, results=broken).read_text()
    assert "(– to –)" in page and "nan" not in page
    json.loads((tmp_path / "r" / "report.json").read_text(), parse_constant=lambda name: pytest.fail(name))


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


def test_the_ladder_and_the_quadrants_are_drawn() -> None:
    rungs = pd.DataFrame({"rung": ["no_ecg", "ecg[flat]"], "drop": [0.4, 0.3], "low": [0.3, 0.2], "high": [0.5, 0.4]})
    name = "ideal: consistent, reliant"
    squares = pd.DataFrame(
        {"what": [name, name], "who": ["m", "oracle"], "estimate": [0.7, 0.9], "low": 0.6, "high": 0.9}
    )
    results = [
        AuditResult(kind, "?", "m", 0.4, (0.3, 0.5), "drop", None, "", "pass", False, table)
        for kind, table in (("ecg_ladder", rungs), ("quadrants", squares), ("accuracy", rungs))
    ]
    ladder, quadrants = audit_figures(results)
    assert "Drop in accuracy" in ladder["title"] and all(rung in ladder["svg"] for rung in ("no_ecg", "ecg[flat]"))
    assert name in quadrants["svg"] and "oracle" not in quadrants["svg"]
    assert audit_figures(results[2:]) == []
