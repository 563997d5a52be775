"""Interventions beyond the default suite, on rows and on what a scorer is given."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from causalecg.audits.interventions import FURTHER, KNOWN, OF_PAIRS, intervene, parse, parts_of
from causalecg.audits.score_set import ScoreSet
from causalecg.audits.scoring import score
from causalecg.audits.suite import run_suite
from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cohort.schema import Cohort
from causalecg.errors import InputError


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Cohort:
    folder = tmp_path_factory.mktemp("c") / "c"
    simulate_cohort(folder, items=60, test_items=60, rho=0.9, rate_hz=50, seconds=2, progress=False)
    return Cohort.open(folder)


def done(name: str, cohort: Cohort, table: pd.DataFrame | None = None, **options):
    rows = cohort.split("test") if table is None else table
    return intervene(name, rows, cohort, severity="severity_simulated", seed=3, **options)


def test_parts_are_applied_in_turn_with_their_own_draws(cohort: Cohort) -> None:
    swapped = done("other_patient[answer=any]", cohort).table
    both = done("other_patient[answer=any]+no_question", cohort).table
    assert both["donor_ecg_ids"].tolist() == swapped["donor_ecg_ids"].tolist()
    assert both["question"].isna().all() and swapped["question"].notna().all()
    assert [part.name for part in parts_of("no_ecg+no_metadata")] == ["no_ecg", "no_metadata"]
    with pytest.raises(InputError, match="did you mean 'no_question'"):
        parse("no_ecg+no_questoin")


def test_every_intervention_is_the_same_twice_and_changes_what_it_says(cohort: Cohort) -> None:
    plain = cohort.split("test")
    for name in KNOWN:
        if name == "wording[user]":
            continue
        one, two = done(name, cohort).table, done(name, cohort).table
        pd.testing.assert_frame_equal(one, two)
        if one.empty:
            assert name in ("no_metadata", "other_topic", *OF_PAIRS)  # one ECG, one topic, no metadata
            continue
        before = plain.set_index("item_id").loc[one["item_id"]].reset_index()
        moved = [
            c for c in ("question", "ecg_ids", "candidates") if list(map(str, one[c])) != list(map(str, before[c]))
        ]
        if one["signal_change"].notna().any():
            moved.append("signal")
        said = {"wording": ["question"], "no_question": ["question"], "option_order": ["candidates"], "ecg": ["signal"]}
        kind = name.partition("[")[0]
        assert moved == said.get(kind, [] if name == "intact" else ["ecg_ids"]), name


def test_of_two_ecgs_one_or_the_order(cohort: Cohort) -> None:
    base = cohort.split("test")
    ids, who = list(base["ecg_ids"].str[0]), list(base["patient_ids"].str[0])
    pairs = base.assign(
        ecg_ids=[[a, b] for a, b in zip(ids, ids[1:] + ids[:1], strict=True)],
        patient_ids=[[a, b] for a, b in zip(who, who[1:] + who[:1], strict=True)],
    )
    own = dict(zip(pairs["item_id"], pairs["ecg_ids"], strict=True))
    for name, kept in ((OF_PAIRS[0], 1), (OF_PAIRS[1], 0)):
        rows = done(name, cohort, pairs).table
        assert len(rows) == len(pairs)
        for row in rows.itertuples():
            assert row.ecg_ids[kept] == own[row.item_id][kept]
            assert row.ecg_ids[1 - kept] == row.donor_ecg_ids[0] not in own[row.item_id]
    assert [row.ecg_ids == own[row.item_id][::-1] for row in done(OF_PAIRS[2], cohort, pairs).table.itertuples()]
    assert done(OF_PAIRS[2], cohort).table.empty


def test_another_topic_has_the_same_candidates_and_says_its_truth(cohort: Cohort) -> None:
    base = cohort.split("test")
    half = len(base) // 2
    other = base.iloc[:half].assign(
        item_id=[f"x{i}" for i in range(half)], question_id="q2", topic="another", answer=[["no"]] * half
    )
    words = cohort.wordings.assign(question_id="q2", question="And what about the other?")
    both = Cohort(cohort.path, cohort.items, cohort.ecgs, pd.concat([cohort.wordings, words]), cohort.meta)
    table = pd.concat([base, other], ignore_index=True)
    rows = intervene("other_topic", table, both, severity=None, seed=0).table
    assert len(rows) == len(table)
    first = rows[rows["item_id"].isin(base["item_id"])]
    assert set(first["question"]) == {"And what about the other?"}
    assert [row is not None for row in first["answer_expected"]] == [True] * half + [False] * (len(base) - half)


def test_your_own_wordings(cohort: Cohort) -> None:
    text = cohort.split("test")["question"].iloc[0]
    rows = done("wording[user]", cohort, user_wordings={text: ["In my own words?"]}).table
    assert set(rows["question"]) == {"In my own words?"}
    with pytest.raises(InputError, match="give their file with --wordings"):
        done("wording[user]", cohort)


def test_wordings_of_questions_that_nobody_asks_are_refused_or_counted(cohort: Cohort, tmp_path) -> None:
    text, topic = cohort.split("test")[["question", "question_id"]].iloc[0]
    told = {"split": "test", "run_id": "m", "interventions": ("intact", "wording[user]"), "progress": False}
    with pytest.raises(InputError, match=r"none of the 1 questions of your wordings is asked here, such as .*nearest"):
        score(Sees(), cohort, out=tmp_path / "s", user_wordings={f"{text}?": ["Otherwise?"]}, **told)
    assert not (tmp_path / "s").exists()
    mine = {text: ["Otherwise?"], topic: ["By its id?"], "Is it Tuesday?": ["Tuesday?"]}
    found = ScoreSet.open(score(Sees(), cohort, out=tmp_path / "s", user_wordings=mine, **told))
    said = "test: 2 of the 3 questions of your wordings are asked; 'Is it Tuesday?' is not"
    assert said in found.runs["m"]["notes"]


class Sees:
    """Remembers what it is shown; scores by the place in the list and the first lead's mean square."""

    def __init__(self) -> None:
        self.batches: list = []

    def __call__(self, batch) -> torch.Tensor:
        self.batches.append(batch)
        power = batch.ecg[:, 0, 0].square().mean(1, keepdim=True)
        listed = torch.arange(batch.candidate_ids.shape[1], dtype=torch.float32)[None]
        return (power - listed).masked_fill(batch.padding, float("-inf"))


def scored(cohort: Cohort, out, scorer, **options) -> ScoreSet:
    told = {"split": "test", "progress": False, "severity": "simulated", "run_id": "m"} | options
    return ScoreSet.open(score(scorer, cohort, out=out, **told))


def test_spoilt_signals_reach_the_scorer_and_do_not_depend_on_the_batch(cohort: Cohort, tmp_path) -> None:
    seen = Sees()
    names = ("intact", "ecg[zeros]", "ecg[gaussian]")
    found = scored(cohort, tmp_path / "a", seen, interventions=names).scores
    other = scored(cohort, tmp_path / "b", Sees(), interventions=names, batch_size=7).scores
    zero = found[found["intervention"] == "ecg[zeros]"]
    assert all(values[0] == 0 for values in zero["log_likelihood"])
    assert any((b.ecg == 0).all() and b.ecg_present[:, 0].all() for b in seen.batches)
    key = ["intervention", "item_id"]
    a, b = (f.sort_values(key)["log_likelihood"].tolist() for f in (found, other))
    assert np.allclose(np.stack(a), np.stack(b), atol=1e-6)


def test_likelihoods_come_back_in_the_items_own_order(cohort: Cohort, tmp_path) -> None:
    scores = scored(cohort, tmp_path / "s", Sees(), interventions=("intact", "option_order"))
    table = scores.scores.set_index(["intervention", "item_id"])
    for item in scores.items["item_id"]:
        plain, turned = table.loc[("intact", item)], table.loc[("option_order", item)]
        assert list(turned["candidate_order"]) == [1, 0]
        assert np.allclose(plain["log_likelihood"][::-1], turned["log_likelihood"])
        assert list(plain["answer_given"]) != list(turned["answer_given"])
    assert run_suite(scores, "option_order", replicates=100)[0].estimate == 1.0


def test_generated_text_is_parsed(cohort: Cohort, tmp_path) -> None:
    said = ["Yes.", "The answer is no.", "probably a yes", "", "I cannot tell without an ECG."]
    scores = scored(
        cohort, tmp_path / "s", lambda batch: [said[i % 5] for i in range(len(batch))], interventions=("intact",)
    )
    table = scores.scores
    assert table["status"].iloc[:5].tolist() == ["answered", "answered", "unparsed", "empty", "abstained"]
    assert [list(a) for a in table["answer_given"].iloc[:3]] == [["yes"], ["no"], []]
    assert table["text"].iloc[:3].tolist() == said[:3]
    audit = run_suite(scores, "answers", replicates=100)[0]
    assert audit.verdict == "fail" and audit.estimate == pytest.approx(0.6)
    assert {"no answer: empty", "no answer: unparsed", "no answer: abstained"} <= set(audit.table["given"])
    assert "probably a yes" in audit.note
    with pytest.raises(InputError, match="1 texts for"):
        scored(cohort, tmp_path / "t", lambda batch: ["yes"])


class Declines(Sees):
    """Says that it cannot tell wherever there is no ECG."""

    def abstains(self, batch):
        return ~batch.ecg_present.any(1)


def test_a_scorer_that_declines_is_recorded_as_abstaining_beside_its_likelihoods(cohort: Cohort, tmp_path) -> None:
    names = ("intact", "no_ecg")
    scores = scored(cohort, tmp_path / "s", Declines(), interventions=names)
    plain = scored(cohort, tmp_path / "p", Sees(), interventions=names).scores
    table = scores.scores
    blind = table["intervention"] == "no_ecg"
    assert set(table.loc[blind, "status"]) == {"abstained"} and set(table.loc[~blind, "status"]) == {"answered"}
    assert all(len(given) == 0 for given in table.loc[blind, "answer_given"])
    assert np.array_equal(np.stack(table["log_likelihood"]), np.stack(plain["log_likelihood"]))
    (audit,) = run_suite(scores, "mirage", replicates=100)
    rate = next(row for row in audit.table.to_dict("records") if "mirage rate" in str(row))
    assert 0.0 in rate.values()


def test_an_answer_that_the_prompt_gives_away_is_found(cohort: Cohort, tmp_path) -> None:
    """Sex goes with the answer in four items of five, and the scorer goes by the sex, or says no."""
    rng = np.random.default_rng(0)
    told = [(a[0] == "yes") == (rng.random() < 0.8) for a in cohort.items["answer"]]
    known = replace(cohort, items=cohort.items.assign(metadata=["Male." if male else "Female." for male in told]))

    def goes_by_sex(batch):
        return ["yes" if (question or "").startswith("Male.") else "no" for question in batch.question]

    wanted = ("intact", "no_ecg", "no_ecg+no_metadata", "no_metadata")
    scores = scored(known, tmp_path / "s", goes_by_sex, interventions=wanted)
    (found,) = run_suite(scores, "prompt_leak", replicates=500)
    test = known.split("test")
    truth = np.array([a[0] == "yes" for a in test["answer"]])
    by_sex = (test["metadata"] == "Male.").to_numpy()
    assert found.estimate == pytest.approx((by_sex == truth).mean() - (~truth).mean())
    assert found.verdict == "fail"
    (found,) = run_suite(scored(known, tmp_path / "b", lambda b: ["no"] * len(b), interventions=wanted), "prompt_leak")
    assert found.verdict != "fail" and found.estimate == 0


def test_draws_and_interventions_may_be_added(cohort: Cohort, tmp_path) -> None:
    swap = "other_patient[answer=any]"
    first = scored(cohort, tmp_path / "s", Sees(), interventions=("intact", swap))
    more = scored(
        cohort, tmp_path / "s", Sees(), interventions=("intact", swap, "ecg[flat]"), draws={swap: 3}, further_items=20
    )
    counts = more.scores.groupby(["intervention", "draw"]).size().to_dict()
    assert counts == {("intact", 0): 60, (swap, 0): 60, (swap, 1): 20, (swap, 2): 20, ("ecg[flat]", 0): 20}
    assert len(first.scores) == 120
    assert more.outcomes("test").draws("m", swap) == [0, 1, 2]
    donors = more.scores[more.scores["intervention"] == swap].groupby("draw")["donor_ecg_ids"].first().map(tuple)
    assert donors.nunique() > 1
    assert more.complete("m", "test", swap)
    assert FURTHER[swap] >= 20


@pytest.mark.slow
def test_two_processes_score_every_row_once(cohort: Cohort, tmp_path, monkeypatch) -> None:
    script = tmp_path / "ask.py"
    script.write_text(
        "import sys, torch\n"
        "import causalecg.audits.scoring as scoring\n"
        "from causalecg.cohort.schema import Cohort\n"
        "scoring._PART = 13\n"
        "def scorer(batch):\n"
        "    return batch.ecg[:, 0, 0, :2].masked_fill(batch.padding, float('-inf'))\n"
        "scoring.score(scorer, Cohort.open(sys.argv[1]), split='test', run_id='m', out=sys.argv[2], severity='simulated',\n"
        "              progress=False)\n"
        "import accelerate\n"
        "state = accelerate.PartialState()\n"
        "print(f'process {state.process_index} of {state.num_processes}')\n"
    )
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",  # with --cpu, accelerate without MPI starts one process
        "--num_processes",
        "2",
        "--num_machines",
        "1",
    ]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    several = subprocess.run(
        [*launch, str(script), str(cohort.path), str(tmp_path / "two")], capture_output=True, text=True, timeout=250,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
    )  # fmt: skip
    assert several.returncode == 0, several.stderr[-2000:]
    assert all(f"process {number} of 2" in several.stdout for number in (0, 1))
    subprocess.run([sys.executable, str(script), str(cohort.path), str(tmp_path / "one")], check=True, timeout=200)
    one, two = (ScoreSet.open(tmp_path / name) for name in ("one", "two"))
    keys = ["intervention", "draw", "item_id"]
    assert not two.scores.duplicated(["run_id", *keys]).any()
    a, b = (s.scores.sort_values(keys).reset_index(drop=True) for s in (one, two))
    pd.testing.assert_frame_equal(a, b)
    assert one.runs == two.runs
