from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from causalecg.audits.result import EXIT_CODES
from causalecg.audits.score_set import ScoreSet
from causalecg.audits.suite import AUDITS, run_suite
from causalecg.audits.verdicts import overall
from causalecg.errors import InputError
from causalecg.reports.build import write_report


def verdicts(results) -> dict[str, str]:
    return {result.name: result.verdict for result in results}


def test_a_reader_passes_and_a_shortcut_fails(make_scores, readers) -> None:
    scores = make_scores(1500, {"sound": ("audited", readers["reads"]), "shortcut": ("audited", readers["guesses"])})
    sound, shortcut = (run_suite(scores, run_id=name) for name in ("sound", "shortcut"))
    assert verdicts(sound)["follow_rate"] == verdicts(sound)["adversarial_wording"] == "pass"
    assert overall(sound) == "pass"
    assert EXIT_CODES[overall(sound)] == 0
    assert verdicts(shortcut)["follow_rate"] == verdicts(shortcut)["adversarial_wording"] == "fail"
    assert verdicts(shortcut)["random_ecg"] == verdicts(shortcut)["no_ecg"] == "fail"
    assert overall(shortcut) == "fail"
    assert EXIT_CODES[overall(shortcut)] == 1


@pytest.mark.parametrize("rho", [0.5, 0.8, 0.99])
@pytest.mark.parametrize("n", [10, 50, 200])
def test_a_shortcut_never_passes_whatever_the_size(make_scores, readers, n: int, rho: float) -> None:
    # At rho = 1/2 a model that goes by the style follows an opposite donor half the time, by chance alone.
    for seed in range(10):
        scores = make_scores(n, {"shortcut": ("audited", readers["guesses"])}, rho=rho, seed=seed)
        found = verdicts(run_suite(scores, replicates=400))
        assert found["follow_rate"] != "pass"
        assert overall(run_suite(scores, replicates=400)) != "pass"


def test_a_constant_answer_does_not_pass(make_scores, readers) -> None:
    scores = make_scores(800, {"constant": ("audited", readers["constant"])})
    assert verdicts(run_suite(scores))["follow_rate"] == "fail"


def test_with_an_oracle_a_half_reader_fails(make_scores, readers) -> None:
    def half(ecg, style, rng):
        return np.where(rng.random(len(ecg)) < 0.5, readers["reads"](ecg, style, rng), style)

    scores = make_scores(2000, {"half": ("audited", half), "best": ("oracle", readers["reads"])})
    found = {result.name: result for result in run_suite(scores, run_id="half")}
    assert found["follow_rate"].verdict == found["random_ecg"].verdict == found["quadrants"].verdict == "fail"
    share = found["random_ecg"].table.set_index("what").loc["share"]
    # Half of the answers come from the ECG: the drop is half of the oracle's.
    assert share["low"] < 0.5 < share["high"]


def test_a_significant_but_small_drop_of_a_shortcut_does_not_pass(make_scores, readers) -> None:
    """The shortcut of a model that reads one ECG in twelve: the random ECG costs it accuracy beyond any doubt, and yet
    it is no reader."""

    def hardly(ecg, style, rng):
        return np.where(rng.random(len(ecg)) < 1 / 12, readers["reads"](ecg, style, rng), style)

    alone = make_scores(6000, {"hardly": ("audited", hardly)}, rho=0.5)
    both = make_scores(6000, {"hardly": ("audited", hardly), "best": ("oracle", readers["reads"])}, rho=0.5)
    for scores, verdict in ((alone, ("fail", "not assessed")), (both, ("fail",))):
        results = {r.name: r for r in run_suite(scores, run_id="hardly")}
        drop = results["random_ecg"]
        assert drop.p_value <= 1e-3 and drop.interval[0] > 0 and drop.estimate < 0.06
        assert drop.verdict in verdict and results["follow_rate"].verdict != "pass"
        assert overall(results.values()) != "pass"


def test_without_its_rows_an_audit_is_not_assessed_never_passed(make_scores, readers) -> None:
    scores = make_scores(300, {"sound": ("audited", readers["reads"])})
    only = scores.scores[scores.scores["intervention"] == "intact"]
    results = run_suite(type(scores)(scores.items, only, scores.runs))
    assert {r.verdict for r in results if len(AUDITS[r.name].needs) > 1} == {"not assessed"}
    assert EXIT_CODES[overall(results)] == 3


def test_few_patients_give_no_verdict(make_scores, readers) -> None:
    scores = make_scores(600, {"sound": ("audited", readers["reads"])}, per_patient=60)
    results = {r.name: r for r in run_suite(scores)}
    assert results["follow_rate"].verdict == results["accuracy"].verdict == "inconclusive"
    assert "Only 10 patients" in results["follow_rate"].note

    def nearly_blind(ecg, style, rng):
        return np.where(rng.random(len(ecg)) < 0.01, 1 - style, style)

    found = verdicts(run_suite(make_scores(600, {"blind": ("audited", nearly_blind)}, per_patient=60)))
    assert found["random_ecg"] == "inconclusive"
    assert found["no_ecg"] == "not assessed"


def test_numbers_are_those_counted_by_hand(make_scores, readers) -> None:
    scores = make_scores(500, {"sound": ("audited", readers["reads"]), "twin": ("unadjusted", readers["guesses"])})
    table = scores.scores.merge(scores.items[["item_id", "answer"]], on="item_id")
    mine = table[table["run_id"] == "sound"]
    right = mine["answer_given"].map(tuple) == mine["answer"].map(tuple)
    results = {r.name: r for r in run_suite(scores, run_id="sound")}
    assert results["accuracy"].estimate == pytest.approx(right[mine["intervention"] == "intact"].mean(), abs=1e-12)
    swapped = mine[mine["intervention"] == "other_patient[answer=opposite]"]
    follows = swapped["answer_given"].map(tuple) == swapped["answer_expected"].map(tuple)
    assert results["follow_rate"].estimate == pytest.approx(follows.mean(), abs=1e-12)
    drop = right[mine["intervention"] == "intact"].mean() - right[mine["intervention"] == "wording[held_out]"].mean()
    assert results["adversarial_wording"].estimate == pytest.approx(drop, abs=1e-12)
    assert "twin" in set(results["accuracy"].table["who"])


def test_same_seed_same_numbers(make_scores, readers) -> None:
    scores = make_scores(200, {"sound": ("audited", readers["reads"])})
    first, second = (([r.to_dict() for r in run_suite(scores, seed=3)]) for _ in range(2))
    assert first == second


def test_unknown_suites_and_runs_are_one_sentence(make_scores, readers) -> None:
    scores = make_scores(50, {"a": ("oracle", readers["reads"]), "b": ("oracle", readers["reads"])})
    with pytest.raises(InputError, match="no audit or suite is called 'nothing'"):
        run_suite(scores, "nothing", run_id="a")
    with pytest.raises(InputError, match="no run is called 'c'"):
        run_suite(scores, run_id="c")
    with pytest.raises(InputError, match="name one with --run"):
        run_suite(scores)
    assert [r.name for r in run_suite(scores, "accuracy,no_ecg", run_id="a")] == ["accuracy", "no_ecg"]
    assert set(AUDITS) >= {"accuracy", "follow_rate", "random_ecg", "adversarial_wording"}


@pytest.mark.parametrize("rho", [0.5, 0.99])
@pytest.mark.parametrize("share", [0.3, 0.5, 1.0])
@pytest.mark.parametrize("n", [50, 1000, 4000])
def test_a_partial_shortcut_never_passes(make_scores, readers, n: int, share: float, rho: float) -> None:
    """On an unbiased test (rho = 1/2) rewording turns as many answers right as wrong: the net loss shows nothing."""

    def partly(ecg, style, rng):
        return np.where(np.random.default_rng(9).random(len(ecg)) < share, style, readers["reads"](ecg, style, rng))

    for seed in range(10 if n == 50 else 2):
        scores = make_scores(n, {"partly": ("audited", partly)}, rho=rho, seed=seed)
        found = run_suite(scores, "accuracy,follow_rate,adversarial_wording", replicates=400)
        assert overall(found) != "pass"
        if n > 50:
            assert verdicts(found)["adversarial_wording"] == "fail"


@pytest.mark.parametrize(("share", "verdict"), [(0.01, "pass"), (0.06, "inconclusive")])
def test_a_sound_model_may_change_a_few_answers(make_scores, readers, share: float, verdict: str) -> None:
    def shaky(ecg, style, rng):
        return np.where(np.random.default_rng(9).random(len(ecg)) < share, style, readers["reads"](ecg, style, rng))

    scores = make_scores(2000, {"shaky": ("audited", shaky)}, rho=0.5)
    assert verdicts(run_suite(scores))["adversarial_wording"] == verdict


def test_answers_that_change_with_any_wording_are_taken_off_where_scored(make_scores, readers) -> None:
    scores = make_scores(2000, {"shaky": ("audited", readers["reads"])})
    rows = scores.scores
    turned = np.random.default_rng(3).random(2000) < 0.08
    flip = {"yes": ["no"], "no": ["yes"]}

    def shaken(rows):
        given = [flip[g[0]] if t else g for g, t in zip(rows["answer_given"], turned, strict=True)]
        return rows.assign(answer_given=given)

    held_out = rows[rows["intervention"] == "wording[held_out]"]
    seen = held_out.assign(intervention="wording[seen]")
    other = held_out.assign(intervention="wording[style=other]")
    rest = rows[rows["intervention"] != "wording[held_out]"]
    without = type(scores)(scores.items, pd.concat([rest, shaken(held_out)]), scores.runs)
    both = type(scores)(scores.items, pd.concat([rest, shaken(held_out), shaken(seen), shaken(other)]), scores.runs)
    assert verdicts(run_suite(without))["adversarial_wording"] == "fail"
    audit = {r.name: r for r in run_suite(both, "full")}
    assert "has been taken off" in audit["adversarial_wording"].note
    assert audit["style_effect"].verdict == "pass"
    assert audit["style_effect"].estimate == 0.0


def test_a_chosen_subset_never_passes_overall(make_scores, readers) -> None:
    scores = make_scores(1500, {"sound": ("audited", readers["reads"])})
    some = run_suite(scores, "accuracy")
    assert some[0].verdict == "pass"
    assert overall(some) == "not assessed"
    assert EXIT_CODES[overall(some)] == 3
    assert overall(run_suite(scores, "accuracy,follow_rate,adversarial_wording")) == "pass"


def test_few_donors_give_no_verdict(make_scores, readers) -> None:
    scores = make_scores(600, {"sound": ("audited", readers["reads"])})
    donors = pd.Series([[f"d{i % 12}"] for i in range(600)])
    swapped = scores.scores["intervention"].str.startswith("other_patient").to_numpy()
    named = [donors[i % 600] if s else None for i, s in enumerate(swapped)]
    scores = type(scores)(scores.items, scores.scores.assign(donor_patient_ids=named), scores.runs)
    results = {r.name: r for r in run_suite(scores)}
    for name in ("follow_rate", "same_severity"):
        assert results[name].verdict == "inconclusive"
        assert "Only 12 donor patients" in results[name].note
    assert results["accuracy"].verdict == "pass"


def test_donors_are_found_through_their_ecgs_and_unknown_ones_are_said(make_scores, readers) -> None:
    scores = make_scores(400, {"sound": ("audited", readers["reads"])})
    plain = {r.name: r for r in run_suite(scores)}["follow_rate"]
    assert "donors of 400 items are not named" in plain.note
    items = scores.items.assign(ecg_ids=[[f"e{i}"] for i in range(400)])
    swapped = scores.scores["intervention"].str.startswith("other_patient").to_numpy()
    named = [[f"e{i % 30}"] if s else None for i, s in enumerate(swapped)]
    scores = type(scores)(items, scores.scores.assign(donor_ecg_ids=named), scores.runs)
    found = {r.name: r for r in run_suite(scores)}["follow_rate"]
    assert "not named" not in found.note
    assert "30 donor patients" in found.note
    width = [r.interval[1] - r.interval[0] for r in (plain, found)]
    assert width[1] > width[0]


def test_a_sound_reader_of_a_rare_finding_does_not_fail_without_its_ecg(make_scores, readers) -> None:
    scores = make_scores(2000, {"sound": ("audited", readers["reads"])})
    truth = np.random.default_rng(0).random(2000) < 0.03
    items = scores.items.assign(answer=[["yes"] if t else ["no"] for t in truth])
    rows = [
        pd.DataFrame(
            {"run_id": name, "item_id": items["item_id"], "intervention": what, "draw": 0, "status": "answered",
             "answer_given": given, "answer_expected": None}
        )
        for name, intact in (("reader", list(items["answer"])), ("blind", [["no"]] * 2000))
        for what, given in (("intact", intact), ("no_ecg", [["no"]] * 2000))
    ]  # fmt: skip
    runs = {"reader": {"role": "audited"}, "blind": {"role": "audited"}}
    scores = type(scores)(items, pd.concat(rows, ignore_index=True), runs)
    assert verdicts(run_suite(scores, "no_ecg", run_id="reader"))["no_ecg"] == "not assessed"
    assert verdicts(run_suite(scores, "no_ecg", run_id="blind"))["no_ecg"] == "fail"


def test_those_it_is_held_against_stand_beside_it(make_scores, readers) -> None:
    models = {
        "mine": ("audited", readers["reads"]), "words": ("question_only", readers["guesses"]),
        "ref": ("reference", readers["reads"]),
    }  # fmt: skip
    results = {r.name: r for r in run_suite(make_scores(600, models), run_id="mine")}
    worded = results["adversarial_wording"].table
    assert list(worded["who"]) == ["mine", "majority answer per template", "question_only (words)", "reference (ref)"]
    assert set(worded["items"]) == {600}
    random = set(results["random_ecg"].table["what"])
    assert {"drop of the question_only (words)", "drop of the reference (ref)"} <= random
    for name in ("follow_rate", "random_ecg", "quadrants", "twins"):
        assert "reference (ref)" in results[name].threshold and "oracle" not in results[name].threshold


def test_a_baseline_is_compared_on_the_items_both_were_asked(make_scores, readers) -> None:
    scores = make_scores(400, {"mine": ("audited", readers["reads"]), "words": ("unadjusted", readers["guesses"])})
    rows = scores.scores
    few = rows[(rows["run_id"] == "mine") | rows["item_id"].isin([f"i{i}" for i in range(100)])]
    found = run_suite(type(scores)(scores.items, few, scores.runs), "accuracy", run_id="mine")[0].table.set_index("who")
    right = rows.merge(scores.items[["item_id", "answer"]], on="item_id")
    right = right[(right["intervention"] == "intact") & right["item_id"].isin([f"i{i}" for i in range(100)])]
    hit = (right["answer_given"].map(tuple) == right["answer"].map(tuple)).groupby(right["run_id"]).mean()
    assert found.loc["words", "items"] == 100
    assert found.loc["words", "gain"] == pytest.approx(hit["mine"] - hit["words"])


@pytest.mark.parametrize("split", ["train", "valid", "train_oracle", "Training", "validation", "val", "dev"])
def test_what_models_learn_from_gives_no_verdict(make_scores, readers, split: str) -> None:
    scores = make_scores(400, {"m": ("audited", readers["reads"])})
    tested = {result.name: result for result in run_suite(scores)}
    learned = ScoreSet(scores.items.assign(split=split), scores.scores, scores.runs)
    found = run_suite(learned)
    assert {result.verdict for result in found} == {"not assessed"}
    for result in found:
        assert result.estimate == pytest.approx(tested[result.name].estimate, nan_ok=True)
        assert (result.interval is None) or result.note.startswith(f"Models learn from split {split}")
    assert tested["accuracy"].verdict == "pass"


def test_one_who_ignores_the_ecg_is_seen_where_the_raw_numbers_hide_it(make_scores, readers, tmp_path) -> None:
    models = {"reads": ("audited", readers["reads"]), "constant": ("audited", readers["constant"])}
    scores = make_scores(600, models)
    found = [result for name in scores.runs for result in run_suite(scores, run_id=name)]
    by = {(result.run_id, result.name): result for result in found}
    assert by["constant", "follow_rate"].estimate == pytest.approx(0.5, abs=0.06)
    write_report(tmp_path / "r", score_set=scores, results=found)
    rows = {row["label"]: row for row in json.loads((tmp_path / "r" / "report.json").read_text())["arms"]}
    assert rows["constant"]["follow_excess"]["estimate"] == 0.0
    assert rows["reads"]["follow_excess"]["estimate"] > 0.7
    assert "above what it answered anyway" in (tmp_path / "r" / "report.md").read_text()
    said = "not clearly better with the ECG than without"
    assert said in by["constant", "mirage"].note and said not in by["reads", "mirage"].note
