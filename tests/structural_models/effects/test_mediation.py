"""Severity's direct and indirect effects: against enumeration, against differences in the counts, and coverage."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from structural_models.effects.cells import tabulate
from structural_models.effects.mediation import DECOMPOSITION, _influence, _mean, severity_effects
from structural_models.errors import TableError

SEVERITY = np.array([0.5, 0.3, 0.2])
QUESTION = np.array([[0.6, 0.3, 0.1], [0.3, 0.4, 0.3], [0.1, 0.2, 0.7]])
ANSWER = np.array([[0.1, 0.2, 0.4], [0.3, 0.3, 0.6], [0.5, 0.7, 0.8]])


def truth(s: int, r: int) -> dict[str, float]:
    worlds = [float(QUESTION[b] @ ANSWER[a]) for a, b in ((s, s), (s, r), (r, s), (r, r))]
    return {effect: float(np.dot(factors, worlds)) for effect, factors in DECOMPOSITION.items()}


def drawn(rng: np.random.Generator, n: int) -> pd.DataFrame:
    s = rng.choice(3, n, p=SEVERITY)
    q = (rng.random(n)[:, None] > QUESTION.cumsum(1)[s, :2]).sum(1)
    return pd.DataFrame({"severity": s, "question": q, "answer": (rng.random(n) < ANSWER[s, q]).astype(int)})


def test_the_enumerated_truth() -> None:
    """A table in exact proportions."""
    rows = [
        (s, q, a)
        for s, q, a in np.ndindex(3, 3, 2)
        for _ in range(round(10_000 * SEVERITY[s] * QUESTION[s, q] * (ANSWER[s, q] if a else 1 - ANSWER[s, q])))
    ]
    table = pd.DataFrame(rows, columns=["severity", "question", "answer"])
    for reference in (None, 1):
        found = severity_effects(table, "severity", "question", "answer", reference=reference).table
        found = found[found["outcome"] == 1]
        for s, part in found.groupby("severity"):
            wanted = truth(s, reference or 0)
            estimates = part.set_index("effect")["estimate"]
            assert all(abs(estimates[effect] - value) < 1e-12 for effect, value in wanted.items())
            assert estimates["total"] == pytest.approx(estimates["natural direct"] + estimates["natural indirect"])
            assert estimates["total"] == pytest.approx(estimates["total direct"] + estimates["pure indirect"])
            share = part.set_index("effect")["share"]
            assert share["natural indirect"] == pytest.approx(wanted["natural indirect"] / wanted["total"])


def test_the_influence_is_the_derivative_in_the_counts() -> None:
    (part,) = tabulate(drawn(np.random.default_rng(0), 700), "question", "answer", ["severity"]).parts
    cells = part.cells
    severities = list(cells.strata["severity"])
    s, r = severities.index(2), severities.index(0)
    for a, b in ((s, s), (s, r), (r, s)):
        found = _influence(cells, a, b, 1, _mean(cells, a, b, 1))
        for i in range(len(cells)):
            unit = np.zeros(len(cells))
            unit[i] = 1e-4
            up, down = (_mean(cells.with_counts(cells.counts + sign * unit), a, b, 1) for sign in (1, -1))
            assert found[i] == pytest.approx((up - down) / 2e-4 * cells.rows, abs=1e-5)


def test_intervals_cover_it() -> None:
    """300 data sets of 2,000 patients, each with two rows alike (with 400, a cell of 8 rows spoils the linearisation): 95 % within three Monte-Carlo standard errors
    with patients as clusters; too seldom without."""
    rng = np.random.default_rng(1)
    wanted = truth(2, 0)
    inside, alone = dict.fromkeys(wanted, 0), 0
    for _ in range(300):
        table = pd.concat([drawn(rng, 2000)] * 2, ignore_index=True)
        found = severity_effects(table, "severity", "question", "answer", groups=np.tile(np.arange(2000), 2)).table
        rows = found[(found["severity"] == 2) & (found["outcome"] == 1)].set_index("effect")
        for effect, value in wanted.items():
            inside[effect] += rows.loc[effect, "low"] <= value <= rows.loc[effect, "high"]
        found = severity_effects(table, "severity", "question", "answer").table
        total = found[(found["severity"] == 2) & (found["outcome"] == 1) & (found["effect"] == "total")].iloc[0]
        alone += total["low"] <= wanted["total"] <= total["high"]
    error = 3 * np.sqrt(0.95 * 0.05 / 300)
    assert min(inside.values()) / 300 >= 0.95 - error
    assert alone / 300 < 0.95 - error


def test_questions_that_one_severity_lacks_are_left_out() -> None:
    table = drawn(np.random.default_rng(2), 500)
    table = table[(table["severity"] != 2) | (table["question"] != 0)]
    found = severity_effects(table, "severity", "question", "answer")
    assert set(found.table["severity"]) == {1}
    assert found.left_out == ("severity 2 against 0: they do not share all questions",)


def test_bad_input() -> None:
    table = drawn(np.random.default_rng(3), 50)
    with pytest.raises(TableError, match="needs two levels"):
        severity_effects(table.assign(severity=1), "severity", "question", "answer")
    with pytest.raises(TableError, match="'9' as reference"):
        severity_effects(table, "severity", "question", "answer", reference=9)
