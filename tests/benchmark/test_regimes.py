from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from causalecg.benchmark import dial, exact
from causalecg.benchmark.regimes import REGIMES, describe, regime
from causalecg.benchmark.truth import law_truth
from causalecg.errors import InputError


def test_ten_regimes_and_what_each_turns() -> None:
    assert list(REGIMES) == [f"R{i}" for i in range(10)] == list(describe())
    q = dial.symmetric(0.99)
    law = {name: found.law() for name, found in REGIMES.items()}
    assert (law["R1"].p, law["R1"].q) == (q, q) and law["R1"].answer_is_finding
    assert law["R0"].p == 0.5 and law["R0"].direct == 0.5 and exact.finding_agreement(law["R0"]) == pytest.approx(0.5)
    assert law["R2"].d_prime_severity == 2 and law["R3"].tau == 0.4 and law["R4"].severity_error == 0.1
    assert law["R5"].p == law["R5"].q == 1 and law["R6"].shortcuts == 3 and law["R7"].kappa == 0.5
    assert (law["R8"].p, law["R8"].q) == (q, 0.5)
    assert law["R9"].style_effect > 0 and law["R9"].hidden > 0
    for name in ("R1", "R2", "R3", "R4", "R7", "R9"):
        assert exact.finding_agreement(law[name]) == pytest.approx(0.99), name
    assert regime("R3").law(0.9, tau=0.6).tau == 0.6


@pytest.mark.parametrize("levels", [3, 4, 5])
def test_every_regime_has_several_levels_of_severity(levels: int) -> None:
    for name, found in REGIMES.items():
        if found.rho == 1:
            continue
        law = found.law(None if name == "R8" else 0.8, levels=levels)
        yes = dial.probability_at(law.site_q[0], law.scores)
        assert (np.diff(yes) >= 0).all() and law.levels == levels
        if name in ("R1", "R2", "R3", "R4", "R9"):
            assert exact.finding_agreement(law) == pytest.approx(0.8)
        if name == "R6":
            assert exact.weighting_share(law) == pytest.approx(
                exact.weighting_share(regime("R1").law(0.8, levels=levels))
            )


def test_what_no_regime_has_is_refused() -> None:
    for name, rho, dials, says in (
        ("R1", 1.0, {}, "rho must be at least 0.5"), ("R8", 0.9, {}, r"rho = 0\.5 only"), ("R5", 0.9, {}, r"rho = 1\.0 only"),
        ("R1", 0.9, {"taw": 0.1}, "no dial 'taw'; the nearest is 'tau'"), ("R1", 0.99, {"levels": 5}, "rho is at most 0.9"),
        ("R1", 0.9, {"levels": 1}, "at least 2 levels"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=says):
            regime(name).law(rho, **dials)
    with pytest.raises(InputError, match="unknown regime 'R10'"):
        regime("R10")


def test_the_page_says_what_the_code_does() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "benchmark.md").read_text()
    for name, found in REGIMES.items():
        assert f"| {name} | {found.summary} |" in page
        told = law_truth(found.law())
        keys = (
            "rho_d",
            "rho_a",
            "weighting_share",
            "weighting_share_recorded",
            "group_share",
            "topic_effect",
            "style_effect",
        )
        numbers = [told[key] for key in keys] + [told[reader]["accuracy_unbiased"] for reader in ("oracle", "shortcut")]
        numbers += [told[reader]["follow_rate"] for reader in ("oracle", "shortcut")]
        row = next(line for line in page.splitlines() if line.startswith(f"| {name} | ") and line.count("|") == 13)
        printed = [float(cell) for cell in row.strip("| ").split("|")[1:]]
        assert printed == pytest.approx(numbers, abs=5.01e-4)
