from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cli import build_app
from causalecg.cohort.build import build_cohort
from causalecg.cohort.certificates import training_certificates
from causalecg.cohort.describe import describe_cohort
from causalecg.cohort.schema import Cohort


def simulated(folder: Path, regime: str, rho: float) -> Cohort:
    simulate_cohort(
        folder, regime=regime, items=800, test_items=40, rho=rho, seed=2, rate_hz=50, seconds=1, progress=False
    )
    return Cohort.open(folder)


@pytest.fixture(scope="module")
def confounded(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return simulated(tmp_path_factory.mktemp("confounded") / "c", "R1", 0.9)


def test_a_sound_severity_is_certified_and_a_mismeasured_one_warned_about(confounded) -> None:
    items = confounded.items.copy()
    wrong = np.random.default_rng(0).random(len(items)) < 0.1
    items["severity_recorded"] = np.where(wrong, 1 - items["severity_simulated"], items["severity_simulated"])
    meta = {**confounded.meta, "severity_scales": {**confounded.meta["severity_scales"], "recorded": ["low", "high"]}}
    both = replace(confounded, items=items, meta=meta)
    found = training_certificates(both, graph="finding_mediated", permutations=199)
    assert not found["treatment_causes_outcome"]
    sound, recorded = found["certificates"]
    assert (sound["scale"], sound["decision"], sound["warnings"]) == ("simulated", "adjustable", [])
    assert (recorded["scale"], recorded["decision"]) == ("recorded", "not adjustable")
    assert "severity does not suffice" in recorded["warnings"][0]
    assert sound["items"] == 800 and sound["patients"] == 800
    # Holm over two tests: the smaller p counts twice.
    assert recorded["p_sufficiency_holm"] == pytest.approx(2 * recorded["sufficiency"]["p_value"])
    assert sound["p_sufficiency_holm"] == sound["sufficiency"]["p_value"]


def test_a_graph_in_which_the_wording_may_act_leaves_it_untestable(confounded) -> None:
    (found,) = training_certificates(confounded, permutations=199)["certificates"]
    assert (found["decision"], found["decision_without_effect"]) == ("not testable", "adjustable")


def test_without_confounding_there_is_nothing_to_adjust(tmp_path) -> None:
    (found,) = training_certificates(simulated(tmp_path / "c", "R8", 0.5), permutations=199)["certificates"]
    assert found["decision"] == "nothing to adjust"


def test_items_without_a_severity_are_left_out_and_one_wording_is_said(confounded) -> None:
    items = confounded.items.copy()
    train = np.flatnonzero(items["split"] == "train")
    items.loc[train[:30], "severity_simulated"] = -1
    (found,) = training_certificates(replace(confounded, items=items), permutations=19)["certificates"]
    assert (found["items"], found["items_without_severity"]) == (770, 30)
    plain = replace(confounded, items=items.assign(style="any", wording_id="w"))
    (found,) = training_certificates(plain, permutations=19)["certificates"]
    assert found["verdict"] == "nothing to adjust: no question has several wordings"
    none = replace(confounded, items=items.assign(severity_simulated=-1))
    (found,) = training_certificates(none, permutations=19)["certificates"]
    assert found["verdict"] == "not testable: no item has a severity"


def test_real_questions_are_compared_by_wording_and_negative_controls_by_answer(
    small_ptbxl, small_ecgqa, tmp_path
) -> None:
    build_cohort(tmp_path / "c", ptbxl=small_ptbxl, ecgqa=small_ecgqa, processes=1, progress=False)
    built = Cohort.open(tmp_path / "c")
    found = describe_cohort(built, permutations=49)["adjustability"]
    assert [(row["environment"], row["scale"]) for row in found["certificates"]] == [
        (environment, scale) for environment in ("development", "official") for scale in ("acuity", "burden")
    ]
    # Of the three wordings of the noise questions two are held out.
    assert {(row["environment"], row.get("treatment")) for row in found["certificates"]} == {
        ("development", None),
        ("official", "wording_id"),
    }
    controls = {
        (row["environment"], row["topic"]): row for row in found["negative_controls"] if row["scale"] == "acuity"
    }
    assert set(controls) == {("development", "noise"), ("official", "numeric_feature")}
    train = built.items[(built.items["split"] == "train") & (built.items["environment"] == "development")]
    assert controls["development", "noise"]["items"] == len(train)
    json.dumps(found, allow_nan=False)


def test_the_command_line_prints_a_line_per_scale_and_json(confounded) -> None:
    run = CliRunner().invoke(build_app(), ["cohort", "describe", str(confounded.path), "--permutations", "99"])
    assert run.exit_code == 0
    (line,) = [line for line in run.stdout.splitlines() if "style on severity p" in line]
    assert "simulated" in line and "E-value" in line and "weights leave" in line
    assert "if style does not cause the answer: adjustable" in run.stdout
    arguments = [
        "cohort",
        "describe",
        str(confounded.path),
        "--json",
        "--graph",
        "finding_mediated",
        "--permutations",
        "99",
    ]
    record = json.loads(CliRunner().invoke(build_app(), arguments).stdout)
    assert record["adjustability"]["certificates"][0]["decision"] == "adjustable"
    again = json.loads(CliRunner().invoke(build_app(), arguments).stdout)
    assert again == record


def test_the_pair_of_two_ecgs_is_the_severity(confounded) -> None:
    """F depends on the second ECG's severity only; the maximum alone would not account for it."""
    rng = np.random.default_rng(0)
    n = 800
    first, second = rng.integers(0, 2, (2, n))
    pick = np.where(rng.random(n) < 0.9, second, 1 - second)
    items = confounded.items[confounded.items["split"] == "train"].reset_index(drop=True)
    items = items.assign(
        style=np.array(["calm", "urgent"])[pick],
        severity_simulated=np.maximum(first, second), severity_simulated_1=first, severity_simulated_2=second,
        answer=pd.Series([["yes"] if y else ["no"] for y in (rng.random(n) < np.where(second, 0.9, 0.1))], dtype=object),
    )  # fmt: skip
    (found,) = training_certificates(replace(confounded, items=items), graph="finding_mediated", permutations=199)[
        "certificates"
    ]
    assert found["decision"] == "adjustable" and found["positivity"]["strata"] == 4
    alone = items.drop(columns=["severity_simulated_1", "severity_simulated_2"])
    (found,) = training_certificates(replace(confounded, items=alone), graph="finding_mediated", permutations=199)[
        "certificates"
    ]
    assert found["decision"] == "not adjustable"
