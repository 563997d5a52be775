from __future__ import annotations

import numpy as np
import pytest

from causalecg.benchmark import dial
from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cohort.schema import Cohort
from causalecg.errors import InputError


def simulate(folder, **more) -> Cohort:
    options = {"items": 3000, "test_items": 1200, "rho": 0.9, "rate_hz": 50, "seconds": 1, "progress": False}
    simulate_cohort(folder, **{**options, **more})
    return Cohort.open(folder)


def test_same_seed_same_bytes_whatever_the_processes(tmp_path) -> None:
    one, two = (simulate(tmp_path / f"{n}", processes=n) for n in (1, 2))
    assert one.hash == two.hash
    assert simulate(tmp_path / "other", seed=1).hash != one.hash


@pytest.mark.parametrize(("regime", "rho"), [("R1", 0.9), ("R8", 0.5)])
def test_the_law_is_the_regimes(tmp_path, regime: str, rho: float) -> None:
    cohort = simulate(tmp_path / "c", regime=regime, rho=rho)
    p, q = (dial.symmetric(0.99), 0.5) if regime == "R8" else (dial.symmetric(rho),) * 2
    for split, twin in (("train", "train_oracle"), ("test", "test_unbiased")):
        rows, other = cohort.split(split), cohort.split(twin)
        severity, finding = rows["severity_simulated"].to_numpy(), rows["finding"].to_numpy()
        style = (rows["style"] == "urgent").to_numpy()
        error = 4 * 0.5 / np.sqrt(len(rows))
        assert abs((finding == severity).mean() - p) < error
        assert abs((style == severity).mean() - q) < error
        assert abs((style == finding).mean() - rho) < error
        assert ((rows["answer"].str[0] == "yes") == (finding == 1)).all()
        assert rows["ecg_ids"].map(tuple).equals(other["ecg_ids"].map(tuple))
        assert abs(((other["style"] == "urgent").to_numpy() == finding).mean() - 0.5) < error


def test_the_finding_is_in_the_ecg_as_strongly_as_said(tmp_path) -> None:
    """A matched filter on the simulated ST segment separates the classes with about the d' that was asked for.

    The reader is fitted on the training ECGs (ridge on one averaged beat's worth of samples is not needed: the ST shift
    is a change of the mean level of II, III and aVF), and scored on the test; it cannot beat Phi(d'/2) by more than its
    standard error.
    """
    cohort = simulate(tmp_path / "c", rate_hz=100, seconds=10, items=1500, test_items=1500)
    inferior = [cohort.signals.leads.index(lead) for lead in ("II", "III", "aVF")]

    def measure(split: str) -> tuple[np.ndarray, np.ndarray]:
        rows = cohort.split(split)
        signals = cohort.signals.read([cohort.ecg_rows[ids[0]] for ids in rows["ecg_ids"]])[:, inferior]
        # Area over the record relative to its median: noise and QRS average out, the ST segment does not.
        return (signals - np.median(signals, axis=2, keepdims=True)).mean((1, 2)), rows["finding"].to_numpy()

    level, finding = measure("train")
    cut = (level[finding == 0].mean() + level[finding == 1].mean()) / 2
    level, finding = measure("test")
    accuracy = ((level > cut) == (finding == 1)).mean()
    best = dial.oracle_accuracy(2.56)
    assert 0.6 < accuracy < best + 4 * np.sqrt(best * (1 - best) / len(level))


def test_what_cannot_be_simulated_is_said(tmp_path) -> None:
    for change, says in (
        ({"rho": 1.0}, "rho must be"), ({"regime": "R11"}, "unknown regime 'R11'"), ({"regime": "R8", "rho": 0.9}, r"rho = 0\.5 only"),
        ({"items": 2}, "at least 8 training items"), ({"d_prime": 0}, "d' must be positive"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=says):
            simulate(tmp_path / "c", **change)
    assert list(tmp_path.iterdir()) == []
