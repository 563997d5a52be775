"""Cohorts drawn from every regime: items, truth beside them, twins, and what training may not touch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from causalecg.benchmark import exact
from causalecg.benchmark.cohort import RATE_MIDPOINT, RATE_SLOPE, simulate_cohort
from causalecg.benchmark.regimes import REGIMES, regime
from causalecg.benchmark.truth import Truth
from causalecg.benchmark.twins import group_accuracy
from causalecg.cli import build_app
from causalecg.cohort.certificates import training_certificates
from causalecg.cohort.schema import TEST_SPLITS, Cohort
from causalecg.cohort.simulate import INFERIOR_ST, LEAD_MATRIX
from causalecg.errors import InputError
from causalecg.training.config import RunConfig
from causalecg.training.tables import refuse_test_rows

BIASED = ("train", "valid", "test")


def simulate(folder: Path, name: str, **more) -> tuple[Cohort, Truth]:
    options = {"items": 600, "test_items": 150, "rate_hz": 50, "seconds": 1, "seed": 5, "progress": False}
    simulate_cohort(folder, regime=name, **{**options, **more})
    cohort = Cohort.open(folder)
    return cohort, Truth.open(cohort)


@pytest.fixture(scope="module")
def r3(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cohort, Truth]:
    folder = tmp_path_factory.mktemp("r3") / "c"
    return simulate(folder, "R3", rho=0.9, twins=40, anti=True, seconds=4, items=200)


@pytest.mark.parametrize(
    ("name", "rho", "digest"),
    [
        ("R1", 0.9, "fa6ce6d30a85274096748c8d1012ebe0121d45fad3cad92f418b4478937710ba"),
        ("R8", 0.5, "93d5203304277ac65152a27f5019fd7b05e26eb9412b197c7f96909737294c39"),
    ],
)
def test_the_first_cohorts_are_still_drawn_item_by_item(tmp_path, name: str, rho: float, digest: str) -> None:
    """Published results hold for these items: the digests were taken before the law had more than two regimes."""
    cohort, _ = simulate(tmp_path / "c", name, rho=rho, items=300, test_items=100, seed=3)
    columns = ["item_id", "ecg_ids", "question", "answer", "finding", "severity_simulated"]
    drawn = cohort.items[columns].to_json(orient="values")
    assert hashlib.sha256(drawn.encode()).hexdigest() == digest


@pytest.mark.parametrize("name", REGIMES)
def test_items_follow_the_truth_and_do_not_hold_it(tmp_path, name: str) -> None:
    cohort, truth = simulate(tmp_path / "c", name, twins=10, anti=name != "R9")
    law = regime(name).law()
    assert truth.law == law
    items, told = cohort.items, truth.items
    assert list(told["item_id"]) == list(items["item_id"])
    assert np.array_equal(items["answer"].str[0] == "yes", told["answer"] == 1)
    # Of the truth, items hold the severity as recorded, and the finding where it is the answer.
    assert not {"p_yes", "site", "evidence_finding", "answer_if_finding_1"} & set(items.columns)
    assert ("finding" in items.columns) == law.answer_is_finding
    if not law.answer_is_finding:
        assert not cohort.ecgs["labels"].str.len().any()
    wrong = (items["severity_simulated"] != told["severity"]).mean()
    assert wrong == 0 if law.severity_error == 0 else abs(wrong - 0.1) < 5 * np.sqrt(0.09 / len(cohort.ecgs))
    # Words say the style, and only the style.
    spoken = items["style"].str.split("+")
    assert np.array_equal(spoken.str[0] == "urgent", told["style_1"] == 1)
    if name == "R6":
        assert items["style"].nunique() == 8
        assert np.array_equal(spoken.str[1] == "ward", told["style_2"] == 1)
        assert np.array_equal(spoken.str[2] == "form", told["style_3"] == 1)
        assert items["question"].str.startswith("From the ward.").equals(spoken.str[1] == "ward")
    if name == "R7":
        assert items["style"].nunique() == 4 and items["topic"].nunique() == 1
        assert np.array_equal(spoken.str[1] == "any", told["topic"] == 1)
    if name == "R3":
        assert items["style"].nunique() == 2 and items["question_id"].nunique() == 2
        assert np.array_equal(items["topic"].str.startswith("any"), told["topic"] == 1)
    words = cohort.wordings.set_index(["question_id", "wording_id"])
    asked = words.loc[list(zip(items["question_id"], items["wording_id"], strict=True))]
    assert list(asked["question"]) == list(items["question"])
    assert list(asked["style"]) == list(items["style"]) and not asked["held_out"].any()
    for question in cohort.wordings["question_id"].unique():
        one = cohort.wordings[cohort.wordings["question_id"] == question]
        used = {word for text in one.loc[~one["held_out"], "question"] for word in text.split()}
        assert all(set(text.split()) <= used for text in one.loc[one["held_out"], "question"])
    biased = told[items["split"].isin(BIASED)]
    n, rho = len(biased), exact.answer_agreement(law)
    assert abs((biased["answer"] == biased["style_1"]).mean() - rho) <= 4.5 * np.sqrt(rho * (1 - rho) / n) + 1e-12
    redrawn = told[items["split"].isin([f"{s}_oracle" for s in ("train", "valid")])]
    free = 0.5 * (1 + exact.style_effect(law))
    assert abs((redrawn["answer"] == redrawn["style_1"]).mean() - free) < 4.5 * np.sqrt(0.25 / len(redrawn))
    if name != "R9":
        anti = told[items["split"] == "test_anti"]
        assert len(anti) == 150
        assert all((anti[c] == 1 - anti["answer"]).all() for c in anti.columns if c.startswith("style_"))


def test_the_target_is_calibrated(tmp_path) -> None:
    """Among unbiased items, the answer given p_yes is yes with probability p_yes: sums agree within each fifth."""
    _, truth = simulate(tmp_path / "c", "R3", items=3000, dials={"eta": 0.05, "d_prime_severity": 1.0})
    rows = truth.items[truth.items["item_id"].str.startswith("train_oracle")]
    for _, part in rows.groupby(pd.qcut(rows["p_yes"], 5), observed=True):
        p = part["p_yes"]
        assert abs(part["answer"].sum() - p.sum()) < 4 * np.sqrt((p * (1 - p)).sum())


def test_twins_share_all_noise_and_differ_in_one_thing(r3) -> None:
    cohort, truth = r3
    items = cohort.items.assign(**truth.items.drop(columns=["item_id", "topic", "finding"]), about=truth.items["topic"])
    items["found"] = truth.items["finding"]
    twins = items[items["split"] == "twins"]
    assert len(twins) == 40 * 4
    base = twins[twins["twin_of"].isna()].set_index("item_id")
    others = {name: twins[twins["item_id"].str.startswith(f"twins-{name}")] for name in ("finding", "style", "topic")}
    for name, part in others.items():
        first = base.loc[part["twin_of"]]
        assert len(part) == 40
        same = {"finding": "found", "style": "style_1", "topic": "about"}
        for other, column in same.items():
            assert np.array_equal(part[column].to_numpy() != first[column].to_numpy(), np.full(40, other == name))
        # The potential answers of the one are the answers of the other.
        told = [
            row[f"answer_if_{name}_{value}"] for (_, row), value in zip(first.iterrows(), part[same[name]], strict=True)
        ]
        assert told == list(part["answer"])
        ecgs = part["ecg_ids"].str[0].to_numpy() == first["ecg_ids"].str[0].to_numpy()
        assert ecgs.all() if name != "finding" else not ecgs.any()
        assert (part["patient_ids"].str[0].to_numpy() == first["patient_ids"].str[0].to_numpy()).all()
    assert (others["style"]["p_yes"].to_numpy() == base.loc[others["style"]["twin_of"], "p_yes"].to_numpy()).all()
    apart = np.abs(others["topic"]["p_yes"].to_numpy() - base.loc[others["topic"]["twin_of"], "p_yes"].to_numpy())
    assert np.allclose(apart, 0.4)


def test_finding_twins_differ_by_the_st_dipole_and_nothing_else(r3) -> None:
    """Electrode noise, beats and wander cancel: what is left lies along one direction of the eight leads."""
    cohort, truth = r3
    part = cohort.items[cohort.items["item_id"].str.startswith("twins-finding")]
    place = dict(zip(cohort.items["item_id"], cohort.items["ecg_ids"].str[0], strict=True))
    own = cohort.signals.read([cohort.ecg_rows[ids[0]] for ids in part["ecg_ids"]])
    first = cohort.signals.read([cohort.ecg_rows[place[item]] for item in part["twin_of"]])
    independent = [cohort.signals.leads.index(lead) for lead in ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")]
    moved = (own - first)[:, independent].astype(np.float64)
    direction = LEAD_MATRIX @ INFERIOR_ST
    direction /= np.linalg.norm(direction)
    along = np.einsum("nlt,l->nt", moved, direction)
    beside = moved - direction[:, None] * along[:, None, :]
    # Both are stored in whole microvolts.
    assert np.abs(beside).max() < 0.003 < 0.05 < np.abs(along).max(1).min()
    found = truth.items.set_index("item_id").loc[part["item_id"], "finding"].to_numpy()
    assert np.array_equal(along[np.arange(len(along)), np.abs(along).argmax(1)] > 0, found == 1)


def test_the_oracle_on_same_noise_twins(tmp_path) -> None:
    """2 Phi(d'/2) - 1, from the evidence in the truth."""
    _, truth = simulate(tmp_path / "c", "R1", items=8, test_items=1, twins=1500, rate_hz=50)
    rows = truth.items.set_index("item_id")
    base = [i for i in rows.index if i.startswith("twins-0")]
    other = [i.replace("twins-", "twins-finding-") for i in base]
    right = [
        (rows.loc[ids, "p_yes"] > 0.5).to_numpy() == (rows.loc[ids, "answer"] == 1).to_numpy() for ids in (base, other)
    ]
    expected = 2 * exact.accuracy(truth.law, "oracle", "unbiased") - 1
    assert abs(group_accuracy(*right) - expected) < 4 * np.sqrt(expected * (1 - expected) / 1500)


def test_severity_shows_in_the_heart_rate_as_strongly_as_said(tmp_path) -> None:
    """The rate read off the signal (autocorrelation of lead II) is that of the evidence, and separates severities."""
    cohort, truth = simulate(tmp_path / "c", "R2", rho=0.9, items=400, test_items=8, rate_hz=100, seconds=10)
    rows = cohort.split("train")
    told = truth.items.set_index("item_id").loc[rows["item_id"]]
    signals = cohort.signals.read([cohort.ecg_rows[ids[0]] for ids in rows["ecg_ids"]])
    two = signals[:, cohort.signals.leads.index("II")]
    spectrum = np.abs(np.fft.rfft(two - two.mean(1, keepdims=True), 4096)) ** 2
    correlation = np.fft.irfft(spectrum)[:, 40:150]
    read = np.log(60 * 100 / (40 + correlation.argmax(1)))
    meant = np.log(RATE_MIDPOINT) + RATE_SLOPE * told["evidence_severity"].to_numpy()
    inside = np.abs(read - meant) < 0.1
    assert inside.mean() > 0.95
    assert np.std((read - meant)[inside]) < 0.25 * RATE_SLOPE
    severe = told["severity"].to_numpy() == 1
    gap = (meant[severe].mean() - meant[~severe].mean()) / RATE_SLOPE
    assert abs(gap - 2) < 4 * np.sqrt(4 / len(rows))


def test_training_refuses_twins_and_the_anti_test(r3) -> None:
    cohort, _ = r3
    assert {"twins", "test_anti"} <= set(TEST_SPLITS)
    train = cohort.split("train")
    refuse_test_rows(train, cohort, RunConfig())
    for split in ("twins", "test_anti"):
        rows = cohort.split(split)
        with pytest.raises(InputError, match="to learn from are test rows"):
            refuse_test_rows(pd.concat([train, rows], ignore_index=True), cohort, RunConfig())
        with pytest.raises(InputError, match="which is in the test"):
            refuse_test_rows(rows.assign(split="train"), cohort, RunConfig())


@pytest.mark.parametrize(
    ("name", "graph", "decision"),
    [
        ("R9", "finding_mediated", "not adjustable"),
        ("R9", "topic_and_style", "not testable"),
        ("R4", "finding_mediated", "not adjustable"),
        ("R5", "finding_mediated", "not adjustable"),
        ("R3", "finding_mediated", "adjustable"),
        ("R6", "finding_mediated", "adjustable"),
    ],
)
def test_the_certificate_on_simulated_cohorts(tmp_path, name: str, graph: str, decision: str) -> None:
    rho = None if name == "R5" else 0.8
    cohort, _ = simulate(tmp_path / "c", name, rho=rho, items=3000, test_items=8)
    (found,) = training_certificates(cohort, graph=graph, permutations=199)["certificates"]
    assert found["decision"] == decision, found["verdict"]


@pytest.mark.parametrize(
    ("name", "rho", "decision"),
    [
        ("R1", 0.9, "adjustable"),
        ("R9", 0.9, "not adjustable"),
        ("R5", 1.0, "not adjustable"),
        ("R8", 0.5, "nothing to adjust"),
    ],
)
def test_the_certificate_on_drawn_tables(name: str, rho: float, decision: str) -> None:
    from structural_models.adjustability import certify

    world = regime(name).law(rho).draw(4000, np.random.default_rng(0))
    table = pd.DataFrame({"style": world.style, "answer": world.answer, "severity": world.severity_observed})
    for causes in (False, True):
        found = certify(
            table, "style", "answer", "severity",
            treatment_causes_outcome=causes, rng=np.random.default_rng(1), permutations=199, replicates=100,
        )  # fmt: skip
        assert found.decision == decision if not causes else found.decision != "adjustable"


def test_sites_are_environments_and_levels_have_words(tmp_path) -> None:
    cohort, truth = simulate(
        tmp_path / "c", "R1", rho=0.8, items=3000, dials={"q": (0.6, 0.75, 0.95), "levels": 4}, test_items=8
    )
    assert cohort.meta["severity_scales"] == {"simulated": ["very low", "low", "high", "very high"]}
    assert truth.law.site_q == (0.6, 0.75, 0.95)
    rows = cohort.split("train")
    told = truth.items.set_index("item_id").loc[rows["item_id"]]
    agree = (told["style_1"] == (told["severity"] >= 2)).groupby(rows["environment"].to_numpy()).mean()
    assert list(agree.index) == ["site 1", "site 2", "site 3"] and agree.is_monotonic_increasing
    assert not cohort.meta["confounding"]["shortcut_curve_holds"]


def test_the_truth_of_other_items_is_refused(r3, tmp_path) -> None:
    cohort, _ = r3
    (tmp_path / "c").mkdir()
    for name in ("truth.parquet", "truth.json"):
        (tmp_path / "c" / name).write_bytes((cohort.path / name).read_bytes())
    strange = Cohort(tmp_path / "c", cohort.items.iloc[1:], cohort.ecgs, cohort.wordings, cohort.meta)
    with pytest.raises(InputError, match="is not about the items"):
        Truth.open(strange)
    (tmp_path / "c" / "truth.json").unlink()
    with pytest.raises(InputError, match="its truth is not known"):
        Truth.open(strange)


def test_on_the_command_line(tmp_path) -> None:
    def run(*more: str, code: int = 0) -> str:
        command = ["cohort", "simulate", "--items", "60", "--test-items", "20", "--rate", "50", "--processes", "1"]
        result = CliRunner().invoke(build_app(), [*command, *more, "--out", str(tmp_path / "c")])
        assert (result.exit_code == 0) == (code == 0), result.output
        return result.output if result.exception is None else str(result.exception)

    for wrong, says in (
        (["--sites", "0.9,much"], "--sites takes probabilities"), (["--levels", "6"], "words for 2 to 5 levels"),
        (["--regime", "R9", "--anti"], "no test with F = not A"), (["--tau", "1.5"], "tau must lie between"),
        (["--shortcuts", "5"], "words for 3 shortcuts"), (["--regime", "R5", "--rho", "0.9"], r"rho = 1.0 only"),
    ):  # fmt: skip
        assert says in run(*wrong, code=2)
        assert list(tmp_path.iterdir()) == []
    said = run(
        "--regime", "R3", "--rho", "0.8", "--tau", "0.6", "--eta", "0.05", "--levels", "3", "--d-prime-severity", "1",
        "--severity-error", "0.1", "--sites", "0.8,0.9", "--twins", "5", "--anti",
    )  # fmt: skip
    assert "test_anti 20" in said and "twins 20" in said
    record = json.loads((tmp_path / "c" / "truth.json").read_text())
    assert record["law"]["tau"] == 0.6 and record["law"]["q"] == [0.8, 0.9]
    assert record["topic_effect"] == pytest.approx(0.6 * 0.9)
