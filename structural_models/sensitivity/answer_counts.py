"""Rows as counts of stratum x treatment x answer: all that bounds of P(A | do(Q)) need of a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from structural_models.errors import PositivityError, TableError
from structural_models.patient_bootstrap import PatientBootstrap


@dataclass(frozen=True)
class AnswerCells:
    """(rows,) int64 codes from 0 of the stratum, the treatment and the answer, and how many there are of each.

    Attributes:
        shape: strata, arms, answers; strata may have several axes (what is held fixed, severity), which ``stratum``
            numbers row by row.
    """

    stratum: np.ndarray
    arm: np.ndarray
    answer: np.ndarray
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        sizes = (int(np.prod(self.shape[:-2])), *self.shape[-2:])
        for name, size in zip(("stratum", "arm", "answer"), sizes, strict=True):
            codes = getattr(self, name)
            if codes.shape != self.stratum.shape or not len(codes) or codes.min() < 0 or codes.max() >= size:
                raise TableError(f"{name} codes must be one integer from 0 to {size - 1} per row, of one row or more")

    def counts(self, weights: np.ndarray | None = None) -> np.ndarray:
        """``shape`` float64 rows, or their summed weights."""
        arms, answers = self.shape[-2:]
        flat = (self.stratum * arms + self.arm) * answers + self.answer
        return np.bincount(flat, weights, minlength=int(np.prod(self.shape))).reshape(self.shape).astype(np.float64)

    def over_patients(self, statistic: Callable[[np.ndarray], np.ndarray], bootstrap: PatientBootstrap) -> np.ndarray:
        """(replicates, ...) of a statistic of the counts, patients drawn with replacement."""
        return np.stack([statistic(self.counts(weights)) for weights in bootstrap])


def checked_counts(counts: np.ndarray, axes: int = 3) -> np.ndarray:
    """float64. Raises TableError unless finite, at least zero, not all zero, with ``axes`` axes."""
    found = np.asarray(counts, dtype=np.float64)
    if found.ndim != axes or not np.isfinite(found).all() or (found < 0).any() or not found.any():
        names = ("held fixed", "severity", "treatment", "answer") if axes == 4 else ("stratum", "treatment", "answer")
        raise TableError(
            f"counts must be finite, at least zero and not all zero, with the axes {' x '.join(names)}; got shape "
            f"{found.shape}"
        )
    return found


def require_every_arm(counts: np.ndarray) -> None:
    """Raise PositivityError where an arm has no row in a stratum that has some. ``counts`` (strata, arms, answers)."""
    by_arm = counts.sum(-1)
    empty = (by_arm == 0) & (by_arm.sum(-1) > 0)[:, None]
    if empty.any():
        stratum, arm = (int(codes[0]) for codes in np.nonzero(empty))
        raise PositivityError(
            f"arm {arm} has no row in stratum {stratum} (and {int(empty.sum()) - 1} more such cells); leave these "
            "strata out, or merge some"
        )


def one_against_rest(counts: np.ndarray, arm: int) -> np.ndarray:
    """(..., 2, answers): all other arms together, then the arm, in the strata where both occur; others are zero."""
    own = counts[..., arm, :]
    two = np.stack([counts.sum(-2) - own, own], axis=-2)
    return np.where((two.sum(-1) > 0).all(-1)[..., None, None], two, 0.0)
