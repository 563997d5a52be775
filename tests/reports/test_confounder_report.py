"""The confounder-effect report: what it says is what the record says, and nothing from data escapes onto the page."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cli import build_app
from causalecg.cohort.effects_folder import read_effects
from causalecg.errors import InputError
from causalecg.reports.confounder_effects import write_confounder_report
from causalecg.reports.confounder_rows import Names, bias_table, contrast_table, of_two_answers_one, severity_name
from causalecg.reports.confounder_sentences import agreement, mean_distance, scale_summary
from structural_models.graph import preset

NASTY = '<script>alert("x")</script><img src=x onerror=alert(1)>&"\'|`$_{a}^ \\x [l](u) ![i](u) *b*_c_\r\n# h'


def bias_row(rng, arm: str, outcome: str, clear: bool, **held) -> dict:
    seen, done, reach = rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.9), rng.uniform(0.01, 0.2)
    row = {**held, "arm": arm, "outcome": outcome, "rows": int(rng.integers(5, 500))}
    for name, value in (("associated", seen), ("interventional", done), ("bias", seen - done)):
        row |= {name: value, f"{name}_low": value - reach, f"{name}_high": value + reach}
    return {**row, "p_bias": 0.001 if clear else 0.5, "p_bias_holm": 0.01 if clear else 1.0}


def contrast_row(rng, arm: str, reference: str, outcome: str, **held) -> dict:
    difference, ratio = rng.uniform(-0.5, 0.5), rng.uniform(0.3, 3)
    return {
        **held, "arm": arm, "reference": reference, "outcome": outcome,
        "difference": difference, "difference_low": difference - 0.1, "difference_high": difference + 0.1,
        "ratio": ratio, "ratio_low": ratio / 1.2, "ratio_high": ratio * 1.2, "p": 0.01, "p_holm": rng.uniform(0, 0.1),
    }  # fmt: skip


def made_up(
    scales=("acuity", "burden"),
    questions=("q1", "q2"),
    arms=("calm", "urgent"),
    outcomes=("no", "yes"),
    clear=True,
    text="",
    seed=0,
) -> dict:
    """A record of the right form; ``text`` is put into every place that data can reach."""
    rng = np.random.default_rng(seed)
    graph = preset("severity_visible").to_dict()
    graph |= {"name": graph["name"] + text, "description": graph["description"] + text}
    questions, arms, outcomes = ([name + text for name in names] for names in (questions, arms, outcomes))
    parts = ("total", "natural direct", "natural indirect", "pure indirect", "total direct")
    estimand = {
        "name": "P(A | do(Q))", "treatment": "question", "outcome": "answer", "adjustment": ["severity"], "conditioning": [],
        "roles": {"severity": "s", "treatment": "style", "outcome": "answer"}, "formula": "Σ_s P(A | Q, s) P(s)" + text,
        "assumptions": ["Consistency." + text], "treatment_given": ["severity"],
    }  # fmt: skip
    return {
        "kind": "confounder effects", "cohort": "made up" + text, "cohort_hash": "abc" + text, "confounding": None,
        "split": "train", "graph": graph, "method": "g-formula", "seed": 0, "versions": {"causalecg": "0" + text},
        "questions": {name: {"topic": "t" + text, "example": "How?" + text} for name in questions}, "wordings": {},
        "scales": [
            {
                "scale": scale + text, "levels": ["low" + text, "high" + text], "estimand": estimand,
                "left_out": ["no question can be compared" + text],
                "effects": [
                    {
                        "effect": "wording", "items": 4321, "items_without_severity": 17, "treatment": "style",
                        "adjustment": ["severity_level"], "within": ["question_id"], "population": "all rows",
                        "interval": "influence", "level": 0.95, "rows": 4321, "patients": 1234,
                        "table": [bias_row(rng, a, o, clear, question_id=q) for q in questions for a in arms for o in outcomes],
                        "contrasts": [
                            contrast_row(rng, a, arms[0], o, question_id=q) for q in questions for a in arms[1:] for o in outcomes
                        ],
                        "failures": [
                            {"question_id": q, "severity_level": "1", "arm": arms[0], "rows": 0, "stratum_rows": 8 + i, "propensity": 0.0}
                            for i, q in enumerate(questions)
                        ],
                        "warnings": ["some arms are not adjusted" + text],
                    }
                ],
                "severity": {
                    "treatment": "style", "within": ["question_id"], "reference": "0", "level": 0.95,
                    "table": [
                        {"question_id": q, "severity": "1", "reference": "0", "outcome": o, "effect": part,
                         "estimate": (value := rng.uniform(-0.9, 0.9)), "low": value - 0.1, "high": value + 0.1,
                         "share": rng.uniform()}
                        for q in questions for o in outcomes for part in parts
                    ],
                    "left_out": [f"severity {i}: too few" + text for i in range(7)],
                },
            }
            for scale in scales
        ],
    }  # fmt: skip


def written(folder: Path, record: dict) -> Path:
    folder.mkdir(parents=True)
    (folder / "effects.json").write_text(json.dumps(record))
    return folder


def report_of(tmp_path, record: dict) -> tuple[str, dict, str]:
    page = write_confounder_report(written(tmp_path / "effects", record))
    texts = [(page.parent / name).read_text() for name in ("report.html", "report.json", "report.md")]
    return texts[0], json.loads(texts[1], parse_constant=lambda name: pytest.fail(name)), texts[2]


class Page(HTMLParser):
    """Start tags, and the text of every cell of numbers."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.values: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag, attributes) -> None:
        self.tags.append((tag, dict(attributes)))
        self._inside = tag == "td" and dict(attributes).get("class") == "value"
        if self._inside:
            self.values.append("")

    def handle_endtag(self, tag) -> None:
        self._inside = self._inside and tag != "td"

    def handle_data(self, data) -> None:
        if self._inside:
            self.values[-1] += data


def numbers_in(record) -> list[float]:
    if isinstance(record, dict):
        return [one for value in record.values() for one in numbers_in(value)]
    if isinstance(record, list):
        return [one for value in record for one in numbers_in(value)]
    return [float(record)] if isinstance(record, (int, float)) and not isinstance(record, bool) else []


def test_from_a_cohort_to_its_page_by_two_commands(tmp_path) -> None:
    simulate_cohort(tmp_path / "c", rho=0.9, items=800, test_items=8, rate_hz=50, seconds=1.0, seed=1, progress=False)
    effects = str(tmp_path / "effects")
    for words in (["scm", "effects", "--cohort", str(tmp_path / "c"), "--out", effects], ["report", effects]):
        run = CliRunner().invoke(build_app(), words)
        assert run.exit_code == 0, run.output
    found, folder = read_effects(effects), tmp_path / "effects" / "report"
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json", "report.md"]
    record = json.loads((folder / "report.json").read_text())
    (scale,) = record["summaries"]
    assert scale["confounded"] and scale["effects"][0]["clear"] == scale["effects"][0]["tested"] == 2
    rows = {(row["arm"], row["outcome"]): row for row in found["scales"][0]["effects"][0]["table"]}
    for row in record["biases"][0]["rows"]:
        assert row["answer"] == "yes"
        assert row["scales"]["simulated"]["bias"] == rows[row["arm"], "yes"]["bias"]
    page = (folder / "report.html").read_text()
    assert found["cohort_hash"] in page and "numpy" in page and "inferior ST elevation" in page
    assert "causalecg scm effects --cohort COHORT --graph severity_visible --split train --method g-formula" in page
    assert "severity → answer" in page and "#c0392b" in page
    elsewhere = CliRunner().invoke(build_app(), ["report", effects, "--out", str(tmp_path / "r")])
    assert elsewhere.exit_code == 0
    for name in ("report.html", "report.json", "report.md"):
        assert (tmp_path / "r" / name).read_bytes() == (folder / name).read_bytes()


def test_the_order_of_the_page(tmp_path) -> None:
    page, _, _ = report_of(tmp_path, made_up())
    headings = [re.sub(r"<.*?>", "", one) for one in re.findall(r"<h2>(.*?)</h2>", page)]
    assert [one.split(":")[0] for one in headings] == [
        "Severity as acuity", "Severity as burden", "What is assumed", "What is seen, and what asking would do",
        "What a wording does, against another", "What a wording does, against another",
        "Severity's own effect on the answer, and how much of it runs through the wording", "What could not be adjusted",
        "How it was asked", "How it was made",
    ]  # fmt: skip
    assert "direct effect of severity" in page and "17 more have no severity" in page


@pytest.mark.parametrize("outcomes", [("no", "yes"), ("a", "b", "c")])
def test_every_number_shown_is_in_the_record_or_its_e_value(tmp_path, outcomes) -> None:
    """The E-value is RR + sqrt(RR (RR - 1)) of the ratio turned above one, written anew here."""
    made = made_up(outcomes=outcomes)
    page, record, _ = report_of(tmp_path, made)
    known = numbers_in(made)
    contrasts = [row for scale in made["scales"] for row in scale["effects"][0]["contrasts"]]
    for row in contrasts:
        ratios = [row["ratio"], row["ratio_low"] if row["ratio_low"] > 1 else row["ratio_high"]]
        turned = [max(one, 1 / one) for one in ratios]
        if row["ratio_low"] <= 1 <= row["ratio_high"]:
            turned[1] = 1.0
        known += [one + sqrt(one * (one - 1)) for one in turned]
    formats = {f"{abs(one):.3f}" for one in known} | {str(int(one)) for one in known if one == int(one)}
    shown = [one for cell in Page(page).values for one in re.findall(r"\d+(?:\.\d+)?", cell.replace("&lt;", "<"))]
    assert len(shown) > 100
    assert set(shown) <= formats
    signs = {f"{one:+.3f}" for one in known}
    assert {one for cell in Page(page).values for one in re.findall(r"[+-]\d\.\d{3}", cell)} <= signs
    # And what the page may leave out the record has.
    assert len(record["contrasts"][0]["rows"]) == len(contrasts) / 2 / (2 if len(outcomes) == 2 else 1)


def test_text_from_data_is_escaped_and_nothing_is_fetched(tmp_path) -> None:
    page, record, text = report_of(tmp_path, made_up(text=NASTY))
    tags = Page(page).tags
    assert {tag for tag, _ in tags}.isdisjoint({"script", "img", "iframe", "link", "object", "embed"})
    for _, attributes in tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("href", "src", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert not re.search(r"url\((?!#)|@import", page)
    assert "&lt;script&gt;" in page and record["cohort"] == "made up" + NASTY
    outside = re.sub(r"^```$.*?^```$", "", text, flags=re.M | re.S)
    assert "```" not in outside and "<script>" not in outside
    assert not any(line.startswith("# h") for line in outside.splitlines())


def test_same_input_same_bytes(tmp_path) -> None:
    first, second = (report_of(tmp_path / name, made_up()) for name in "ab")
    assert first == second


@pytest.mark.parametrize("p", [0.01, 1.0])
def test_only_what_is_clear_is_marked(tmp_path, p: float) -> None:
    made = made_up(clear=p < 0.05)
    page, record, text = report_of(tmp_path, made)
    clear = p < 0.05
    assert [one["confounded"] for one in record["summaries"]] == [clear, clear]
    assert ('<section class="fail">' in page) == clear
    assert any(cell.endswith("*") for cell in Page(page).values) == clear
    sentence = "4 of 4 biases are clear of zero" if clear else "none of 4 biases is clear of zero"
    assert sentence in page and sentence in text


def test_missing_numbers_are_dashes(tmp_path) -> None:
    made = made_up()
    for scale in made["scales"]:
        for rows in (scale["effects"][0]["table"], scale["effects"][0]["contrasts"], scale["severity"]["table"]):
            for row in rows[::2] if rows is scale["effects"][0]["table"] else rows:
                row |= {name: None for name, value in row.items() if isinstance(value, float)}
        for row in scale["effects"][0]["table"][1::2]:
            row |= {name: None for name in row if name.endswith(("_low", "_high")) or name.startswith("p_")}
    page, record, _ = report_of(tmp_path, made)
    assert "(– to –)" in page
    assert not re.search(r"\b(nan|None|inf)\b", re.sub(r"<style>.*?</style>", "", page, flags=re.S))
    assert record["summaries"][0]["effects"][0]["mean_distance_by_chance"] is None
    nothing = copy.deepcopy(made)
    for scale in nothing["scales"]:
        scale["effects"][0] |= {"table": [], "contrasts": [], "failures": []}
        scale["severity"] = None
    page, _, _ = report_of(tmp_path / "nothing", nothing)
    assert "nothing could be adjusted" in page


def test_nan_in_the_file_is_read_as_missing(tmp_path) -> None:
    path = written(tmp_path / "e", made_up()) / "effects.json"
    path.write_text(re.sub(r'"bias": [-\d.e]+', '"bias": NaN', path.read_text()))
    page = write_confounder_report(tmp_path / "e").read_text()
    assert "nan" not in page.lower().replace("nanum", "")


def broken(change) -> str:
    record = made_up()
    change(record)
    return json.dumps(record)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"kind": "other"}', "is no record of confounder effects"),
        (broken(lambda r: r.pop("scales")), "scales: Field required"),
        (broken(lambda r: r.update(scales=[])), "scales: List should have at least 1 item"),
        (broken(lambda r: r["scales"][1]["effects"][0]["table"][2].pop("bias")), r"scales\.1\.effects\.0\.table\.2\.bias"),
        (broken(lambda r: r["scales"][0]["effects"][0]["table"][0].pop("question_id")), "a row lacks question_id"),
        (broken(lambda r: r["scales"][0]["effects"][0]["contrasts"][0].update(ratio="x")), "ratio"),
        (broken(lambda r: r["scales"][0]["estimand"].pop("formula")), "formula"),
        (broken(lambda r: r["graph"]["edges"].append(["answer", "question"])), "cycle"),
    ],
)  # fmt: skip
def test_a_damaged_record_is_one_sentence(tmp_path, text: str, says: str) -> None:
    (tmp_path / "effects.json").write_text(text)
    run = CliRunner().invoke(build_app(), ["report", str(tmp_path)])
    assert run.exit_code != 0 and not (tmp_path / "report").exists()
    with pytest.raises(ValueError, match=says) as caught:
        write_confounder_report(tmp_path)
    assert "\n" not in str(caught.value)


def test_other_folders_are_not_written_into(tmp_path) -> None:
    written(tmp_path / "e", made_up())
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "cohort.json").write_text("{}")
    with pytest.raises(InputError, match="holds other things"):
        write_confounder_report(tmp_path / "e", tmp_path / "c")
    with pytest.raises(InputError, match="is a file"):
        write_confounder_report(tmp_path / "e", tmp_path / "e" / "effects.json")


def test_many_topics_and_answers_stay_small(tmp_path) -> None:
    made = made_up(
        ("acuity",),
        [f"q{i}" for i in range(70)],
        arms=("calm",),
        outcomes=[f"p duration, qt interval, {i}" for i in range(64)],
    )
    page, record, text = report_of(tmp_path, made)
    assert len(page.encode()) <= 300_000 and len(text.encode()) < 100_000
    assert "biases: clear ones before others" in page and "more are in report.json" in page
    assert len(record["biases"][0]["rows"]) == 70 * 64


def test_long_texts_are_met_with_fewer_rows(tmp_path) -> None:
    made = made_up(questions=[f"q{i}" for i in range(15)], text=" & long" * 120)
    page, record, _ = report_of(tmp_path, made)
    assert len(page.encode()) <= 300_000
    assert "Left out to keep this page small" in page
    assert len(record["biases"][0]["rows"]) == 30


def test_of_two_answers_one_and_of_more_all() -> None:
    rows = [{"q": q, "a": a} for q, answers in (("x", "ny"), ("y", "abc"), ("z", "n")) for a in answers]
    assert [(r["q"], r["a"]) for r in of_two_answers_one(rows, ["q"])] == [*zip("xyyyz", "yabcn", strict=True)]


def test_clear_biases_come_first_then_large_ones() -> None:
    made = made_up(questions=[f"q{i}" for i in range(9)], outcomes=("a", "b", "c"))
    for scale in made["scales"]:
        for i, row in enumerate(scale["effects"][0]["table"]):
            row["p_bias_holm"] = 0.01 if i % 7 == 0 else 0.9
    rows = bias_table(made, "wording", Names())
    clear = [any(one["clear"] for one in row["scales"].values()) for row in rows]
    assert clear == sorted(clear, reverse=True) and sum(clear) == 8
    sizes = [max(abs(one["bias"]) for one in row["scales"].values()) for row in rows]
    assert sizes[:8] == sorted(sizes[:8], reverse=True) and sizes[8:] == sorted(sizes[8:], reverse=True)


def test_mean_distance_is_total_variation_and_its_chance_value_that_of_normal_errors() -> None:
    """Two arms, 30 and 10 rows. Drawing normal errors of these widths gives the chance value, to 4 standard errors."""
    level_width = 2 * 1.959963984540054
    errors = {"x": (0.02, 0.02), "y": (0.1, 0.05, 0.07)}
    biases = {"x": (0.2, -0.2), "y": (0.1, 0.1, -0.2)}
    table = [
        {"arm": arm, "rows": 30 if arm == "x" else 10, "bias": bias, "bias_low": bias - level_width * se / 2,
         "bias_high": bias + level_width * se / 2}
        for arm in biases for bias, se in zip(biases[arm], errors[arm], strict=True)
    ]  # fmt: skip
    distance, chance = mean_distance({"level": 0.95, "within": [], "table": table})
    assert distance == pytest.approx(0.75 * 0.2 + 0.25 * 0.2)
    rng = np.random.default_rng(0)
    drawn = sum(
        share * np.abs(rng.normal(size=(200_000, len(errors[arm]))) * errors[arm]).sum(1) / 2
        for arm, share in (("x", 0.75), ("y", 0.25))
    )
    assert abs(drawn.mean() - chance) < 4 * drawn.std() / sqrt(len(drawn))
    sure = [{**row, "bias": 0.0, "bias_low": None, "bias_high": None} for row in table]
    assert mean_distance({"level": 0.95, "within": [], "table": sure}) == (0.0, 0.0)
    assert mean_distance({"level": 0.95, "within": [], "table": []}) == (None, None)


def test_scales_that_disagree_are_said_to() -> None:
    made = made_up()
    one, two = (scale["effects"][0]["table"] for scale in made["scales"])
    for first, second in zip(one, two, strict=True):
        second |= {"bias": abs(second["bias"]), "p_bias_holm": 0.01}
        first |= {"bias": abs(first["bias"]), "p_bias_holm": 0.01}
    told = agreement(bias_table(made, "wording", Names()), "wording", ["acuity", "burden"])
    assert told is not None and told.endswith("all have the same verdict.")
    # "yes" is shown: rows 1, 3, 5, 7.
    two[1]["p_bias_holm"], two[3]["bias"], two[4]["bias"], two[5]["bias"] = 1.0, -abs(two[3]["bias"]), None, None
    told = agreement(bias_table(made, "wording", Names()), "wording", ["acuity", "burden"])
    assert told is not None and "of 3 biases on every scale" in told and "2 have another verdict" in told
    assert "1 of them in opposite directions: the scales disagree" in told
    assert "1 could be adjusted on some scales only" in told
    assert agreement([], "wording", ["acuity"]) is None


def test_the_largest_is_the_largest_of_the_clear_ones() -> None:
    scale = made_up()["scales"][0]
    rows = scale["effects"][0]["table"]
    rows[1] |= {"bias": 0.9, "p_bias_holm": 1.0}
    rows[3] |= {"bias": -0.8}
    (found,) = scale_summary(scale, Names())["effects"]
    assert found["largest"]["bias"] == -0.8 and found["clear"] == 3 and found["tested"] == 4


def test_a_ratio_that_is_none_has_no_e_value() -> None:
    found = made_up(outcomes=("a", "b", "c"))["scales"][0]["effects"][0]
    found["contrasts"][0] |= {"ratio": None, "ratio_low": None, "ratio_high": None}
    found["contrasts"][1] |= {"ratio": 0.0, "ratio_low": 0.0, "ratio_high": None}
    rows = contrast_table(found, Names())
    assert sum(row["e_value"] is None and row["e_value_of_limit"] is None for row in rows) == 2


def test_severities_and_questions_in_words() -> None:
    assert severity_name("1", ["low", "high"]) == "high"
    assert severity_name("0 then 1", ["low", "high"]) == "low then high"
    assert severity_name("7", ["low", "high"]) == "7"
    names = Names.of({"a": {"topic": "block"}, "b": {"topic": "noise"}, "c": {"topic": "noise"}})
    assert [names.question(one) for one in "abcd"] == ["block", "noise b", "noise c", "d"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
@pytest.mark.parametrize("width", [500, 1100])
def test_a_browser_shows_the_page_without_scrolling_sideways(tmp_path, width: int) -> None:
    made = made_up(
        scales=("a", "b", "c"), questions=["q" * 60, "r"], outcomes=["p duration, " * 9 + str(i) for i in range(5)]
    )
    page, _, _ = report_of(tmp_path, made)
    probe = page.replace("</body>", "<script>document.title = document.documentElement.scrollWidth</script></body>")
    (tmp_path / "probe.html").write_text(probe)
    shown = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900", "--dump-dom",
         (tmp_path / "probe.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = re.search(r"<title>(\d+)</title>", shown.stdout)
    assert found and int(found.group(1)) <= width
