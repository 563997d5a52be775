from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structural_models.errors import TableError
from structural_models.matching import match_rows


def rows_of(rng: np.random.Generator, n: int, levels: int, arms: int) -> pd.DataFrame:
    severity = rng.integers(0, levels, n)
    return pd.DataFrame(
        {"severity": severity, "style": (severity + rng.integers(0, arms, n) * rng.integers(0, 2, n)) % arms}
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 80), st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.booleans(), st.integers(0, 999))
def test_arms_of_a_stratum_weigh_the_same(n: int, levels: int, arms: int, ratio: int, replace: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = rows_of(rng, n, levels, arms)
    found = match_rows(table, "style", ["severity"], ratio=ratio, replace=replace, rng=rng)
    severity, style = table["severity"].to_numpy(), table["style"].to_numpy()
    assert (severity[found.heads] == severity[found.matches]).all()
    assert (style[found.heads] != style[found.matches]).all()
    for s in np.unique(severity):
        own = severity == s
        mass = [found.weights[own & (style == f)].sum() for f in np.unique(style[own])]
        sizes = [(own & (style == f)).sum() for f in np.unique(style[own])]
        wanted = own.sum() if replace else min(sizes) if len(sizes) > 1 else 0
        np.testing.assert_allclose(mass, wanted, atol=1e-9)
    if not replace:
        assert len(np.unique(found.matches)) == len(found.matches)
    for number in np.unique(found.sets[found.sets >= 0]):
        inside = found.sets == number
        assert inside[number] and len(set(severity[inside])) == 1
        for f in set(style[inside]) - {style[number]}:
            assert 1 <= (inside & (style == f)).sum() <= ratio
    if replace:
        for s in np.unique(severity):
            for f in np.unique(style[severity == s]):
                used = found.weights[(severity == s) & (style == f)] * ratio
                assert np.ptp(used) < len(np.unique(style)) + 1e-9  # dealt: to within one per other arm


def test_the_nearest_are_taken_and_ties_are_not_always_the_same() -> None:
    table = pd.DataFrame(
        {"style": list("aaabbbbb"), "age": [20.0, 50.0, 80.0, 21.0, 22.0, 52.0, 79.0, 79.0], "sex": list("mfmmffmm")}
    )
    found = match_rows(table, "style", [], near=["age", "sex"], rng=np.random.default_rng(0))
    pairs = dict(zip(found.heads.tolist(), found.matches.tolist(), strict=True))
    assert (pairs[0], pairs[1], pairs[3], pairs[5]) == (3, 5, 0, 1)
    seen = set()
    for seed in range(30):
        again = match_rows(table, "style", [], near=["age", "sex"], rng=np.random.default_rng(seed))
        seen.add(dict(zip(again.heads.tolist(), again.matches.tolist(), strict=True))[2])
    assert seen == {6, 7}
    once = match_rows(table, "style", [], near=["age"], replace=False, rng=np.random.default_rng(0))
    assert len(set(once.matches)) == 3 and once.weights.sum() == 6


def test_every_row_of_an_arm_is_a_match_as_often_as_chance_has_it() -> None:
    """The rng alone decides: over 400 seeds a row is each other's match within 4 standard errors of 1/4."""
    table = pd.DataFrame({"style": list("aabbbb")})
    first = [
        match_rows(table, "style", [], replace=False, rng=np.random.default_rng(seed)).matches.tolist()
        for seed in range(400)
    ]
    for row in range(2, 6):
        share = np.mean([matches[0] == row for matches in first])
        assert abs(share - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 400)


def test_refusals() -> None:
    table = pd.DataFrame({"style": ["a", "b"]})
    rng = np.random.default_rng(0)
    for call in (
        lambda: match_rows(table, "style", [], ratio=0, rng=rng),
        lambda: match_rows(table.head(0), "style", [], rng=rng),
        lambda: match_rows(table, "style", [], near=["age"], rng=rng),
        lambda: match_rows(table.assign(age=[1.0, np.nan]), "style", [], near=["age"], rng=rng),
    ):
        with pytest.raises(TableError):
            call()
