"""The distance between the answers of two styles: its size, its standard error, and items of one patient."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causalecg.audits.checks.dependence import _distance, _influence, _strata
from causalecg.audits.score_set import ScoreSet
from causalecg.audits.suite import run_suite

from .conftest import goes_by_style, reads


@pytest.mark.parametrize(("model", "rho"), [(goes_by_style, 0.8), (goes_by_style, 0.99)])
def test_a_reader_of_the_style_fails_however_rare_one_of_them_is(world, model, rho: float) -> None:
    found = run_suite(world(4000, {"m": ("audited", model)}, rho=rho), "dependence", run_id="m", replicates=200)[0]
    assert found.verdict == "fail" and found.estimate > 0.8


def test_with_hardly_any_rare_rows_there_is_no_verdict(world) -> None:
    """About ten rows of either kind in each of the two strata: the interval is too wide to pass a reader of the ECG."""
    found = run_suite(world(2000, {"m": ("audited", reads)}, rho=0.98), "dependence", run_id="m", replicates=200)[0]
    assert found.verdict == "inconclusive"
    few = run_suite(world(400, {"m": ("audited", reads)}, rho=0.99), "dependence", run_id="m", replicates=200)[0]
    assert few.verdict == "not assessed" and "10 times in each of two styles" in few.note


def drawn(rng: np.random.Generator, shares: list[list[float]], sizes: list[int]):
    style = np.repeat(np.arange(len(sizes)), sizes)
    answer = np.concatenate([rng.choice(len(p), n, p=p) for p, n in zip(shares, sizes, strict=True)])
    return _strata(np.zeros(len(style), dtype=int), style, answer)[0]


def test_the_standard_error_is_that_of_the_difference_of_shares() -> None:
    stratum = drawn(np.random.default_rng(0), [[0.7, 0.3], [0.4, 0.6]], [200, 100])
    first, second = stratum.table / stratum.table.sum(1, keepdims=True)
    assert _distance(stratum.table[None])[0] == pytest.approx(abs(first[0] - second[0]))
    variance = first[0] * first[1] / 200 + second[0] * second[1] / 100
    assert (_influence(stratum) ** 2).sum() == pytest.approx(variance)


def test_the_standard_error_of_three_styles_and_answers_is_that_of_many_samples() -> None:
    shares, sizes = [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.3, 0.1, 0.6]], [150, 80, 300]
    rng = np.random.default_rng(1)
    made = [drawn(rng, shares, sizes) for _ in range(2000)]
    spread = np.std([_distance(one.table[None])[0] for one in made])
    linear = np.mean([(_influence(one) ** 2).sum() for one in made]) ** 0.5
    # A standard deviation of 2,000 has a relative error of 1/63; four of them, and the curvature of order 1/n.
    assert linear == pytest.approx(spread, rel=4 / 63 + 0.02)


def test_items_of_one_patient_are_resampled_together(world) -> None:
    """Every item twice: as two patients' the interval is narrower by the root of two than as one patient's."""

    def mixed(seen):
        return np.where(seen.rng.random(len(seen.style)) < 0.3, goes_by_style(seen), reads(seen))

    once = world(1500, {"m": ("audited", mixed)})
    widths = {}
    for patients in ("own", "same"):
        again = once.items.assign(item_id=once.items["item_id"] + "b")
        if patients == "own":
            again["patient_ids"] = [[f"{name}b" for name in names] for names in again["patient_ids"]]
        scores = [once.scores, once.scores.assign(item_id=once.scores["item_id"] + "b")]
        twice = ScoreSet(
            pd.concat([once.items, again], ignore_index=True), pd.concat(scores, ignore_index=True), once.runs
        )
        low, high = run_suite(twice, "dependence", run_id="m", replicates=2000)[0].interval
        widths[patients] = high - low
    # A bootstrap's standard error of 2,000 draws has a relative error of 1/63.
    assert widths["same"] / widths["own"] == pytest.approx(2**0.5, rel=4 * 2**0.5 / 63)
