"""``cohort split``: the prior changes, the answers and the patients' borders do not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cli import build_app
from causalecg.cohort.changed_prior import changed_prior_cohort
from causalecg.cohort.patient_sides import choose_patients
from causalecg.cohort.schema import Cohort
from causalecg.errors import InputError


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    folder = tmp_path_factory.mktemp("source") / "c"
    simulate_cohort(folder, items=600, test_items=60, seed=3, rate_hz=50, seconds=1, progress=False)
    return Cohort.open(folder)


@pytest.fixture(scope="module")
def changed(source: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return Cohort.open(changed_prior_cohort(tmp_path_factory.mktemp("changed") / "c", source.path, seed=1))


def priors_by_hand(cohort: Cohort) -> dict[tuple[str, str], dict[str, float]]:
    """(question, split) -> answer -> share, in a plain loop."""
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for row in cohort.items.itertuples():
        name = ", ".join(sorted(row.answer)) or "(none)"
        cell = counts.setdefault((row.question_id, row.split), {})
        cell[name] = cell.get(name, 0) + 1
    return {key: {a: n / sum(cell.values()) for a, n in cell.items()} for key, cell in counts.items()}


def test_the_frequent_answer_in_training_is_rare_in_the_test(changed: Cohort) -> None:
    found = priors_by_hand(changed)
    for record in changed.meta["priors"]["questions"]:
        train, test = found[record["id"], "train"], found[record["id"], "test"]
        top = max(train, key=lambda answer: train[answer])
        assert record["most_frequent_in_train"] == top
        distance = sum(abs(train.get(a, 0) - test.get(a, 0)) for a in {*train, *test}) / 2
        assert record["total_variation"]["test"] == pytest.approx(distance)
        for split, told in record["prior"].items():
            assert {a: p for a, p in told.items() if p} == pytest.approx(found[record["id"], split], abs=1e-6)
        assert record["reversed"] and test[top] < 0.2 and train[top] > 0.5
        # Validation has the prior of training: half an item of each cell, and no more, is lost to rounding.
        assert record["total_variation"]["valid"] < 0.05


def test_no_patient_is_in_two_splits_and_no_answer_is_touched(source: Cohort, changed: Cohort) -> None:
    owner: dict[str, str] = {}
    for row in changed.items.itertuples():
        for patient in row.patient_ids:
            assert owner.setdefault(patient, row.split) == row.split
    before = source.items.set_index("item_id")
    for row in changed.items.itertuples():
        assert list(row.answer) == list(before.loc[row.item_id, "answer"])
        assert row.question_id == before.loc[row.item_id, "question_id"]
    assert changed.items["item_id"].is_unique
    assert (changed.path / "signals.npy").read_bytes() == (source.path / "signals.npy").read_bytes()


def test_training_has_no_held_out_words(changed: Cohort) -> None:
    held = changed.wordings[changed.wordings["held_out"]]
    assert not set(held["wording_id"]) & set(changed.items["wording_id"])


def test_same_seed_same_bytes_another_seed_others(source: Cohort, changed: Cohort, tmp_path: Path) -> None:
    again = Cohort.open(changed_prior_cohort(tmp_path / "again", source.path, seed=1))
    other = Cohort.open(changed_prior_cohort(tmp_path / "other", source.path, seed=2))
    assert again.hash == changed.hash != other.hash
    assert (again.path / "items.parquet").read_bytes() == (changed.path / "items.parquet").read_bytes()


def test_no_single_patient_moved_to_the_other_side_is_nearer_to_the_aim() -> None:
    rng = np.random.default_rng(0)
    for seed in range(20):
        owner, cell = rng.integers(0, 10, 40), rng.integers(0, 3, 40)
        size = np.bincount(cell, minlength=3)
        wanted = np.rint(size * np.array([0.9, 0.1, 0.5]))
        sides = choose_patients([(f"p{p}",) for p in owner], cell, wanted, rng=np.random.default_rng(seed))
        assert not sides.lost.any()
        assert all(len(set(sides.chosen[owner == p])) <= 1 for p in range(10))

        def cost(chosen: np.ndarray, cell=cell, wanted=wanted, size=size) -> float:
            return float(((np.bincount(cell[chosen], minlength=3) - wanted) ** 2 / size).sum())

        moved = [cost(np.where(owner == p, ~sides.chosen, sides.chosen)) for p in range(10)]
        assert cost(sides.chosen) <= min(moved) + 1e-12


def test_an_item_of_two_patients_on_two_sides_is_lost() -> None:
    patients = [("a",), ("b",), ("a", "b")]
    sides = choose_patients(patients, np.array([0, 1, 2]), np.array([1.0, 0.0, 0.0]), rng=np.random.default_rng(0))
    assert sides.chosen.tolist() == [True, False, False] and sides.lost.tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"test_share": 0.0}, "test_share must lie above 0"),
        ({"valid_share": 1.0}, "valid_share must lie above 0"),
        ({"keep": 0.5}, "keep must be at least 0 and below 0.5"),
        ({"by": "style"}, "question_id or template_id"),
        ({"environment": "north"}, "no environment 'north'"),
        ({"template_ids": ["t99"]}, "no template t99"),
    ],
)
def test_bad_options_are_one_sentence_and_nothing_is_written(source: Cohort, tmp_path: Path, options, says) -> None:
    with pytest.raises(InputError, match=says):
        changed_prior_cohort(tmp_path / "c", source.path, **options)
    assert not (tmp_path / "c").exists()


def test_on_the_command_line(source: Cohort, tmp_path: Path) -> None:
    run = CliRunner().invoke(build_app(), ["cohort", "split", str(source.path), "--out", str(tmp_path / "c")])
    assert run.exit_code == 0, run.output
    assert "total variation from the training prior: test 0." in run.output
    shares = [line.split("' ")[1].split(";")[0].split(", ") for line in run.output.splitlines() if "' 0." in line]
    assert shares and all(float(train) > 0.5 > 0.2 > float(test) for train, _, test in shares)
    run = CliRunner().invoke(build_app(), ["cohort", "split", str(source.path), "--out", str(tmp_path / "d"), "--json"])
    assert json.loads(run.stdout)["by"] == "question_id"
