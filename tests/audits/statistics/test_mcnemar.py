from __future__ import annotations

from itertools import product
from math import comb

import numpy as np
import pytest

from causalecg.audits.statistics.mcnemar import mcnemar


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (3, 8), (10, 2), (6, 6), (0, 9)])
def test_against_enumeration(b: int, c: int) -> None:
    first = np.array([1] * b + [0] * c + [1, 0, 1], dtype=bool)
    second = np.array([0] * b + [1] * c + [1, 0, 1], dtype=bool)
    found = mcnemar(first, second)
    n = b + c
    weights = [comb(n, k) / 2**n for k in range(n + 1)]
    at_least = [w for k, w in enumerate(weights) if weights[k] <= weights[b] + 1e-15 and k != b and k != n - b]
    at = weights[b] * (2 if b != c else 1)
    assert found.exact == pytest.approx(min(1.0, sum(at_least) + at))
    assert found.mid_p == pytest.approx(min(1.0, sum(at_least) + at / 2) if b != c else 1.0)


def test_size_of_the_mid_p_test_by_enumeration() -> None:
    # All 2^10 tables of 10 discordant pairs, equally likely under the null.
    rejected = 0
    for signs in product((False, True), repeat=10):
        first = np.array(signs)
        rejected += mcnemar(first, ~first).mid_p < 0.05
    assert rejected / 2**10 <= 0.05


@pytest.mark.parametrize("k", [0, 1, 4, 40])
def test_nearly_all_of_a_thousand_pairs_on_one_side_is_still_a_probability(k: int) -> None:
    first = np.arange(1075) < k
    found = mcnemar(first, ~first)
    exact = 2 * sum(comb(1075, j) for j in range(k)) + comb(1075, k)  # over 2^1075
    assert 0 <= found.mid_p <= 1
    assert found.mid_p == pytest.approx(exact / 2**1075, rel=1e-6, abs=1e-300)
    assert 0 <= found.exact <= 1
