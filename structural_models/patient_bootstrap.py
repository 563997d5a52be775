"""Bootstrap weights of rows that belong to patients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from structural_models.errors import TableError


@dataclass(frozen=True)
class PatientBootstrap:
    """Every pass over it gives the same ``replicates`` weight vectors, (rows,) float64.

    Patients are drawn with replacement; a row weighs as often as its patient was drawn, a row of several patients the
    product over them (dyadic). Conservative there, as in Owen & Eckles 2012.

    Attributes:
        members: (rows, some) patient codes from 0, -1 = none; a row without any is drawn for itself.
        replicates: how many.
        seed: of the draws.
    """

    members: np.ndarray
    replicates: int
    seed: int

    @classmethod
    def of(cls, groups: np.ndarray | None, rows: int, replicates: int, *, rng: np.random.Generator) -> PatientBootstrap:
        """``groups`` as :func:`structural_models.stratified_independence.checked_groups` gives them; None = every row
        is a patient of its own. Raises TableError for fewer than 100 replicates."""
        if replicates < 100:
            raise TableError(f"an interval needs at least 100 bootstrap replicates, not {replicates}")
        members = np.full((rows, 1), -1, dtype=np.int64) if groups is None else groups.copy()
        alone = (members < 0).all(axis=1)
        members[alone, 0] = members.max(initial=-1) + 1 + np.arange(int(alone.sum()))
        # A patient named twice in a row counts once.
        members = np.sort(members, axis=1)
        members[:, 1:][members[:, 1:] == members[:, :-1]] = -1
        return cls(members, replicates, int(rng.integers(2**63)))

    def __iter__(self) -> Iterator[np.ndarray]:
        rng = np.random.default_rng(self.seed)
        patients = int(self.members.max()) + 1
        counts = np.ones(patients + 1)
        for _ in range(self.replicates):
            counts[:patients] = np.bincount(rng.integers(0, patients, patients), minlength=patients)
            yield counts[self.members].prod(axis=1)
