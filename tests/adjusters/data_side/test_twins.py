from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from adjusters.contract import ContractError
from adjusters.data_side import twins
from adjusters.data_side.twins import Twins
from adjusters.reference_loop import variants
from adjusters.registry import adjuster
from adjusters.toy import ToyCohort, toy_cohort


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def toy() -> ToyCohort:
    return toy_cohort(train=60, valid=10, test=10, twins=True, seed=4)


def check_parity(toy: ToyCohort, equation, fixed_scores) -> None:
    table, ours = toy.split("train", "train_twins"), Twins()
    rows = ours.fit(table, rng=rng()).rewrite(table, rng=rng())
    scorer = fixed_scores(len(toy.signals), 2)
    objective = ours.attach(scorer, new_scorer=variants(lambda: scorer), rng=rng())
    found = objective.loss(toy.batch(rows, np.arange(len(rows))), "main", progress=0.0).total
    numbers = scorer.numbers.detach().numpy()
    plain = {}
    for split in ("train", "train_twins"):
        part = toy.split(split)
        ecgs = [int(ids[0][1:]) for ids in part["ecg_ids"]]
        right = [names.index(a[0]) for names, a in zip(part["candidates"], part["answer"], strict=True)]
        plain[split] = numbers[ecgs].tolist(), right
    wanted = equation("twins").loss(
        plain["train"][0], plain["train_twins"][0], plain["train"][1], plain["train_twins"][1]
    )
    assert float(found.detach()) == pytest.approx(wanted, abs=1e-6)


def test_the_loss_is_that_of_the_equation(toy, equation, fixed_scores) -> None:
    check_parity(toy, equation, fixed_scores)


def test_the_parity_check_sees_a_mutation(toy, equation, fixed_scores, monkeypatch) -> None:
    whole = twins.pairs
    monkeypatch.setattr(twins, "pairs", lambda table: (whole(table)[1], whole(table)[1]))
    with pytest.raises(AssertionError):
        check_parity(toy, equation, fixed_scores)


def test_rows_of_pairs_copies_and_the_unpaired(toy) -> None:
    table = toy.split("train", "train_twins")
    some = table[(table["split"] == "train") | (table.index % 2 == 0)].sample(frac=1, random_state=0)
    ours = Twins().fit(some, rng=rng())
    rows = ours.rewrite(some, rng=rng())
    assert ours.pairs_ == 30 and len(rows) == 60 and rows["item_id"].is_unique
    own, other = rows.iloc[:30].reset_index(drop=True), rows.iloc[30:].reset_index(drop=True)
    assert list(other["twin_of"]) == list(own["item_id"]) and list(other["question"]) == list(own["question"])
    assert all(a != b for a, b in zip(own["answer"], other["answer"], strict=True))
    # As many yes as no under each style, exactly.
    yes = rows["answer"].str[0] == "yes"
    assert (yes.groupby(rows["style"]).mean() == 0.5).all()
    copies = Twins(twin="copy").fit(some, rng=rng()).rewrite(some, rng=rng())
    assert len(copies) == 60 and copies["item_id"].is_unique
    assert list(copies["ecg_ids"].iloc[30:]) == list(copies["ecg_ids"].iloc[:30])
    assert len(Twins(unpaired=True).fit(some, rng=rng()).rewrite(some, rng=rng())) == 60 + 30


def test_what_is_no_set_of_twins_is_refused(toy) -> None:
    table = toy.split("train", "train_twins")
    with pytest.raises(ContractError, match="real patients have no twins: use ecg_swap"):
        Twins().fit(toy.split("train"), rng=rng())
    with pytest.raises(ContractError, match="row t0 is a twin of i0, which is not among the training rows"):
        Twins().fit(table.iloc[1:], rng=rng())
    with pytest.raises(ContractError, match="row t0 is not asked in the words of i0"):
        Twins().fit(table.assign(question=["?", *table["question"].iloc[1:]]), rng=rng())
    for options, says in (({"twin": "other"}, "twin or copy, not 'other'"), ({"unpaired": 2}, "true or false, not 2")):
        with pytest.raises(ContractError, match=says):
            adjuster("twins", **options)


# ---------------------------------------------------------------- the split train_twins, from simulation to training


def simulated(folder, **more):
    from causalecg.benchmark.cohort import simulate_cohort
    from causalecg.cohort.schema import Cohort

    given = {"items": 60, "test_items": 10, "rho": 0.9, "rate_hz": 50, "seconds": 2, "progress": False, **more}
    return Cohort.open(simulate_cohort(folder, **given))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return simulated(tmp_path_factory.mktemp("twins") / "c", train_twins=20, twins=3)


def test_simulated_training_twins_differ_in_the_finding_alone(cohort, tmp_path) -> None:
    own, other = cohort.split("train").iloc[:20], cohort.split("train_twins")
    assert list(other["twin_of"]) == list(own["item_id"])
    for name in ("question", "style", "wording_id", "severity_simulated", "patient_ids", "topic"):
        assert list(own[name]) == list(other[name])
    assert (own["finding"].to_numpy() == 1 - other["finding"].to_numpy()).all()
    rows = cohort.ecg_rows
    one, two = (cohort.signals.read(np.array([rows[e[0]] for e in t["ecg_ids"]])) for t in (own, other))
    change = np.abs(one - two)
    # In lead II 0.2 mV of ST at J + 60 ms and somewhat more at its peak. Each beat's and electrode's noise is the same:
    # between beats nothing is left but rounding to microvolts, twice.
    assert ((change[:, 1].max(1) > 0.2) & (change[:, 1].max(1) < 0.27)).all()
    assert np.quantile(change, 0.2, axis=2).max() < 0.0021
    plain = simulated(tmp_path / "plain", twins=3)
    assert plain.items.equals(cohort.items[cohort.items["split"] != "train_twins"].reset_index(drop=True))
    first = np.arange(len(plain.ecgs))
    assert np.array_equal(plain.signals.read(first), cohort.signals.read(first))


def test_twins_of_more_than_there_are_items_are_refused(tmp_path) -> None:
    from causalecg.errors import InputError

    with pytest.raises(InputError, match="twins of 0 to 60 training items, not of 61"):
        simulated(tmp_path / "c", train_twins=61)


def test_the_command_line_makes_them(tmp_path) -> None:
    from causalecg.cli import build_app
    from causalecg.cohort.schema import Cohort

    given = ["--items", "10", "--test-items", "2", "--train-twins", "4", "--rate", "50", "--processes", "1"]
    done = CliRunner().invoke(build_app(), ["cohort", "simulate", "--out", str(tmp_path / "c"), *given])
    assert done.exit_code == 0, done.output
    assert len(Cohort.open(tmp_path / "c").split("train_twins")) == 4


def test_the_trainer_hands_them_to_those_who_ask_only(cohort, tmp_path, monkeypatch) -> None:
    from causalecg.training.arms import Arm
    from causalecg.training.config import RunConfig
    from causalecg.training.fitted import fit_arm
    from causalecg.training.run import check_arm

    seen: dict[str, pd.DataFrame] = {}

    def fitted(arm: str) -> pd.DataFrame:
        seen[arm] = fit_arm(cohort, Arm.parse(arm), RunConfig(), np.random.SeedSequence(0)).learned
        return seen[arm]

    assert set(fitted("twins")["split"]) == {"train", "train_twins"} and len(seen["twins"]) == 40
    for arm in ("none", "oracle", "ipw", "placebo:ecg_swap"):
        assert "train_twins" not in set(fitted(arm)["split"])
    with pytest.raises(ContractError, match="needs rows of split 'train_twins'"):
        check_arm(simulated(tmp_path / "c"), Arm.parse("twins"), RunConfig())


def test_test_twins_are_never_learned_from(cohort, monkeypatch) -> None:
    from dataclasses import replace

    from causalecg.errors import InputError
    from causalecg.training import run
    from causalecg.training.arms import Arm
    from causalecg.training.config import RunConfig

    monkeypatch.setattr(Twins, "card", replace(Twins.card, further_splits=("train_twins", "twins")))
    with pytest.raises(InputError, match="are test rows"):
        run.check_arm(cohort, Arm.parse("twins?unpaired=true"), RunConfig())


def test_tier_t0_hands_them_to_those_who_ask_only() -> None:
    from causalecg.benchmark.leaderboard.evidence import declared_estimand
    from causalecg.benchmark.regimes import regime
    from causalecg.benchmark.t0.arms import EvidenceArm
    from causalecg.benchmark.t0.training import train, training_tables, training_world, with_twins

    law = regime("R3").law()
    world = training_world(law, 50, 20, 0)
    table, _ = training_tables(law, EvidenceArm.parse("twins"), world, 50)
    both, evidence = with_twins(table, world)
    flipped = world.do(finding=1 - world.finding)
    at = [int(ids[0][1:]) for ids in both["ecg_ids"]]
    assert np.array_equal(evidence[at], np.concatenate([world.evidence[:50], flipped.evidence[:50]]))
    assert [a[0] == "yes" for a in both["answer"].iloc[50:]] == list(flipped.answer[:50] == 1)
    assert list(both["question"].iloc[:50]) == list(both["question"].iloc[50:])
    for arm, rows in (("none", 300), ("twins", 600), ("placebo:twins", 600)):
        given = {"seed": 0, "estimand": declared_estimand(), "items": 300, "valid": 50}
        assert train(law, EvidenceArm.parse(arm), **given).rows == rows


@pytest.mark.slow
def test_recovery_at_tier_t0() -> None:
    """R1: the oracle's accuracy (20,000 patients, standard error .002); R0: none of the way, since twins leave what
    severity does to the answer past the finding; the placebo is where the unadjusted model is."""
    from causalecg.benchmark import exact
    from causalecg.benchmark.leaderboard.evidence import declared_estimand
    from causalecg.benchmark.regimes import regime
    from causalecg.benchmark.t0.arms import EvidenceArm
    from causalecg.benchmark.t0.evaluation import measured, patients_to_test, reader_of
    from causalecg.benchmark.t0.training import train

    def unbiased(name: str, arm: str) -> float:
        law = regime(name).law()
        trained = train(law, EvidenceArm.parse(arm), seed=0, estimand=declared_estimand())
        return float(measured(reader_of(trained.yes), patients_to_test(law, 20_000))["correct_unbiased"].mean())

    law = regime("R1").law()
    assert unbiased("R1", "twins") == pytest.approx(exact.accuracy(law, "oracle", "unbiased"), abs=0.01)
    assert unbiased("R1", "placebo:twins") == pytest.approx(exact.accuracy(law, "shortcut", "unbiased"), abs=0.03)
    assert unbiased("R0", "twins") == pytest.approx(unbiased("R0", "none"), abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["twins", "placebo:twins", "ecg_swap", "modality_dropout", "canonical_text"])
def test_the_trainer_carries_rewritten_rows(cohort, tmp_path, arm: str) -> None:
    """A tiny model, one epoch: further answers, rows without an ECG and further splits go through, and it predicts."""
    import torch

    from causalecg.cohort.batches import TableBatches
    from causalecg.models.config import EmbeddedLanguageModel, ModelConfig
    from causalecg.training.config import RunConfig
    from causalecg.training.run import train

    model = ModelConfig(
        encoder_options={"widths": [8, 16]},
        embedded=EmbeddedLanguageModel(hidden=16, layers=1, heads=2, vocabulary=260),
    )
    run = train(cohort, arm, RunConfig(model=model, epochs=1), seed=0, out=tmp_path / "run", progress=False)
    batch = TableBatches(cohort, cohort.split("test"))(np.arange(10))
    with torch.no_grad():
        scores = run.scorer()(batch)
    assert scores.shape == (10, 2) and bool(torch.isfinite(scores).all())
