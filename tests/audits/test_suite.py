from __future__ import annotations

import numpy as np
import pytest

from causalecg.audits.result import EXIT_CODES, overall
from causalecg.audits.suite import AUDITS, run_suite
from causalecg.errors import InputError


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


def test_without_its_rows_an_audit_is_not_assessed_never_passed(make_scores, readers) -> None:
    scores = make_scores(300, {"sound": ("audited", readers["reads"])})
    only = scores.scores[scores.scores["intervention"] == "intact"]
    results = run_suite(type(scores)(scores.items, only, scores.runs))
    assert {r.verdict for r in results if r.name != "accuracy"} == {"not assessed"}
    assert EXIT_CODES[overall(results)] == 3


def test_few_patients_give_no_verdict(make_scores, readers) -> None:
    scores = make_scores(600, {"sound": ("audited", readers["reads"])}, per_patient=60)
    results = {r.name: r for r in run_suite(scores)}
    assert results["follow_rate"].verdict == results["accuracy"].verdict == "inconclusive"
    assert "Only 10 patients" in results["follow_rate"].note


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
