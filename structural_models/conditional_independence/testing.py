"""Which test an independence calls for, each made once.

Levels given levels: a permutation test, exact however thin the cells
(:func:`structural_models.stratified_independence.independence_test`), unless the rows of one patient resemble each
other. Then, and wherever a quantity or a vector is among the nodes, the covariance measure of residuals, with patients
as clusters: given levels the residuals are differences from the mean of the stratum; given anything else, from a
cross-fitted regression.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from structural_models.conditional_independence.covariance_measure import covariance_measure
from structural_models.conditional_independence.observations import Observations
from structural_models.conditional_independence.residuals import (
    centred,
    indicators,
    normal_scores,
    regressed,
)
from structural_models.errors import TableError
from structural_models.implications import Independence
from structural_models.json_values import plain
from structural_models.stratified_independence import (
    PERMUTATIONS,
    connected,
    independence_test,
    varies,
)
from structural_models.tabulation import coded, column_values, distinct_rows

#: Fewer patients than this among the rows compared say nothing; as for intervals over few clusters.
FEWEST_PATIENTS = 20
#: A regression must be able to leave out any patient, and all that others connect to that one, and keep so many rows.
_LARGEST_COMPONENT = 0.5
_FOLDS = 5
#: Of several nodes of levels at once: combinations with fewer rows are taken together.
_FEWEST_ROWS = 20


@dataclass(frozen=True)
class IndependenceResult:
    """One test.

    Attributes:
        independence: what was tested.
        p_value: NaN where no test could be made.
        statistic: chi-squared, or the largest absolute t of the covariance measure.
        method: "permutation" or "covariance"; empty where no test could be made.
        rows: that could be compared: in strata in which both sides vary.
        patients: that these rows belong to.
        reason: why no test could be made, or an empty text.
    """

    independence: Independence
    p_value: float = float("nan")
    statistic: float = float("nan")
    method: str = ""
    rows: int = 0
    patients: int = 0
    reason: str = ""

    @property
    def made(self) -> bool:
        return not self.reason

    def to_dict(self) -> dict[str, Any]:
        record: dict[str, Any] = plain(asdict(self))
        return {**record, "independence": str(self.independence)}


class IndependenceTests:
    """Tests independences on the same rows; asked again, it answers what it has found.

    Args:
        observations: the rows.
        rng: of permutations, signs and folds; what is found does not depend on the order of questions.
        permutations: of every test, and draws of signs.

    Raises TableError for fewer than 19 permutations, which cannot reject at a level of 5 %.
    """

    def __init__(
        self, observations: Observations, *, rng: np.random.Generator, permutations: int = PERMUTATIONS
    ) -> None:
        if permutations < 19:
            raise TableError(f"{permutations} permutations cannot reject at a level of 5 %; ask for at least 19")
        self.observations = observations
        self.permutations = permutations
        self._seed = int(rng.integers(2**63))
        self._found: dict[Independence, IndependenceResult] = {}

    def result(self, independence: Independence) -> IndependenceResult:
        if independence not in self._found:
            self._found[independence] = self._tested(independence)
        return self._found[independence]

    def _tested(self, independence: Independence) -> IndependenceResult:
        seen = self.observations
        conditions = [node for node in independence.given if seen.columns.get(node) not in seen.within]
        reason = seen.why_not((*independence.first, *independence.second, *conditions))
        if reason is not None:
            return IndependenceResult(independence, reason=reason)
        levels = [node for node in conditions if seen.has_levels(node)]
        strata = [*seen.within, *(seen.columns[node] for node in levels)]
        stratum = distinct_rows(seen.table, strata)[1]
        sides = [self._codes(side) for side in (independence.first, independence.second)]
        compared = varies(stratum, sides[0]) & varies(stratum, sides[1])
        patients = len(np.setdiff1d(seen.members[compared], [-1]))
        about = IndependenceResult(independence, rows=int(compared.sum()), patients=patients)
        if not patients:
            return replace(about, reason="nothing can be compared: one of the two does not vary within any stratum")
        if patients < FEWEST_PATIENTS:
            return replace(about, reason=f"only {patients} patients can be compared; {FEWEST_PATIENTS} are needed")
        rng = np.random.default_rng([self._seed, zlib.crc32(str(independence).encode())])
        rest = [node for node in conditions if node not in levels]
        if not rest and all(map(seen.has_levels, (*independence.first, *independence.second))):
            table = seen.table[strata].assign(**{"first side": sides[0], "second side": sides[1]})
            found = independence_test(
                table, "first side", "second side", strata, rng=rng, groups=seen.members, permutations=self.permutations
            )
            if found.exchanged == "rows":
                return replace(about, p_value=found.p_value, statistic=found.statistic, method="permutation")
        return self._covariance(about, stratum, strata, rest, compared, rng)

    def _covariance(
        self,
        about: IndependenceResult,
        stratum: np.ndarray,
        strata: Sequence[str],
        rest: Sequence[str],
        compared: np.ndarray,
        rng: np.random.Generator,
    ) -> IndependenceResult:
        members = self.observations.members[compared]
        first, second = (self._vector(side)[compared] for side in (about.independence.first, about.independence.second))
        inflation = None
        if rest:
            components = np.unique(connected(members), return_inverse=True)[1]
            largest = np.bincount(components).max() / len(components)
            if largest > _LARGEST_COMPONENT or components.max() + 1 < _FOLDS:
                reason = f"patients tie {largest:.0%} of the rows together, so no regression can leave them out"
                return replace(about, reason=reason)
            columns = [coded(self.observations.table, name)[0] for name in strata]
            on = np.hstack([*map(indicators, columns), self._vector(rest)])[compared]
            both = regressed(np.hstack([first, second]), on, components, folds=_FOLDS, rng=rng)
            first, second = both[:, : first.shape[1]], both[:, first.shape[1] :]
        else:
            inside = np.unique(stratum[compared], return_inverse=True)[1]
            size = np.bincount(inside)[inside]
            first, second = centred(first, inside), centred(second, inside)
            # A mean of m rows takes one of m degrees of freedom from their products.
            inflation = np.sqrt(size / (size - 1))
        found = covariance_measure(first, second, members, inflation=inflation, rng=rng, draws=self.permutations)
        if not found.components:
            return replace(about, reason="nothing is left to compare within the strata")
        return replace(about, p_value=found.p_value, statistic=found.statistic, method="covariance")

    def _codes(self, nodes: Sequence[str]) -> np.ndarray:
        """(rows,) int64: which rows are alike in all these nodes. Rows of a vector or a quantity never are."""
        seen = self.observations
        if not all(map(seen.has_levels, nodes)):
            return np.arange(len(seen.table))
        return distinct_rows(seen.table, [seen.columns[node] for node in nodes])[1]

    def _vector(self, nodes: Sequence[str]) -> np.ndarray:
        """(rows, dim) numbers: levels of all level nodes together as indicators (rare combinations are one), the
        rest as normal scores."""
        seen = self.observations
        levels = [node for node in nodes if seen.has_levels(node)]
        parts = []
        if levels:
            codes = self._codes(levels)
            rare = np.bincount(codes)[codes] < _FEWEST_ROWS
            if len(levels) > 1 and rare.any():
                codes = np.unique(np.where(rare, -1, codes), return_inverse=True)[1]
            parts.append(indicators(codes))
        for node in nodes:
            if node in seen.arrays:
                parts.append(normal_scores(np.asarray(seen.arrays[node], dtype=np.float64)))
            elif node not in levels:
                values = column_values(seen.table, seen.columns[node]).to_numpy(dtype=np.float64)
                parts.append(normal_scores(values[:, None]))
        return np.hstack(parts)
