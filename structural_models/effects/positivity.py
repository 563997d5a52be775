"""Arms that some stratum (almost) lacks: what they would do there, the data do not say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from structural_models.effects.cells import Cells, Part


def lacking(cells: Cells, threshold: float) -> np.ndarray:
    """(strata, arms) bool: does the arm not occur in the stratum, or for less than ``threshold`` of its rows?

    Of an arm that fewer than half of all rows have, the threshold is that much lower: with seventy arms each has a
    fair share of .014. So a stabilised weight P(arm) / P(arm | stratum) above 1 / (2 threshold) always is a failure.
    """
    share = cells.by_arm / cells.by_stratum[:, None]
    overall = cells.by_arm.sum(axis=0) / cells.rows
    return np.asarray((share < threshold * np.minimum(1.0, 2 * overall)) | (cells.by_arm == 0))


def positivity_failures(parts: Sequence[Part], within: Sequence[str], threshold: float) -> pd.DataFrame:
    """One row per stratum and arm that :func:`lacking` names: the columns of ``within`` and of the covariates, ``arm``,
    ``rows``, ``stratum_rows``, ``propensity``."""
    found = []
    for part in parts:
        cells = part.cells
        stratum, arm = np.nonzero(lacking(cells, threshold))
        rows, size = cells.by_arm[stratum, arm], cells.by_stratum[stratum]
        held = {name: [value] * len(stratum) for name, value in zip(within, part.held, strict=True)}
        columns = {name: cells.strata[name].to_numpy()[stratum] for name in cells.strata.columns}
        found.append(
            pd.DataFrame(
                {
                    **held,
                    **columns,
                    "arm": cells.arms.values[arm],
                    "rows": rows.astype(np.int64),
                    "stratum_rows": size.astype(np.int64),
                    "propensity": rows / size,
                }
            )
        )
    return pd.concat(found, ignore_index=True)
