"""One cell of a leaderboard: an arm, a regime, a seed. One Parquet file, the same for every tier.

Rows are test items; columns ``item`` and ``patient`` (codes), ``donor_random`` and ``donor_opposite`` (codes of the
patients whose ECG was put in, -1 = none; left out where every donor is used once) and :data:`MEASURES`, float64, NaN
where an item does not count. What is said of the cell as a whole stands in the file's metadata. A cell that was refused
has no rows.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from causalecg.errors import InputError
from structural_models.json_values import plain

if TYPE_CHECKING:
    import pandas as pd

#: column -> what it is, per item.
MEASURES: dict[str, str] = {
    "correct_biased": "right, test as the law has it",
    "correct_unbiased": "right, style re-drawn at random",
    "correct_anti": "right, every style set to what the answer is not",
    "style_effect": "|p(F = 1) - p(F = 0)|",
    "style_signed": "p(F = 1) - p(F = 0)",
    "style_decision": "the decision changes with the style",
    "topic_effect": "|p(T = 1) - p(T = 0)|",
    "topic_signed": "p(T = 1) - p(T = 0)",
    "topic_decision": "the decision changes with the topic",
    "random_drop": "right with the own ECG, less right with a random patient's",
    "follow": "the answer is that of an opposite-answer donor",
    "twin_right": "right about both of two twins whose answers differ",
    "target_error": "|p - P(A = 1 | E, do(Q))|",
}
DONORS = {"random_drop": "donor_random", "follow": "donor_opposite"}
Tuning = Literal["no tuning", "no S", "S on validation", "oracle"]
Tier = Literal["t0", "t1", "t2"]
_KEY = b"causalecg.cell"


@dataclass(frozen=True)
class CellRecord:
    """A cell and what was found in it.

    Attributes:
        tier, regime, arm, seed: which cell.
        rho: of the regime; ``None`` where the cohort has none.
        tuning: what options were chosen by.
        refused: why the adjuster refused, one sentence; empty where it was trained.
        weighting: whether it was trained with weights that leave fewer than half of the rows effective, so that it is
            also held against the oracle of as few.
        truths: name -> what is exactly true of the law; empty where that is not known.
        training: how training went.
        certificate: verdict on the training rows; empty where none was made.
        items: (rows) per item; ``None`` where refused, or where only the rest was read.
    """

    tier: Tier
    regime: str
    arm: str
    seed: int
    rho: float | None
    tuning: Tuning = "no tuning"
    refused: str = ""
    weighting: bool = False
    truths: dict[str, float] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    certificate: str = ""
    items: pd.DataFrame | None = None

    def write(self, path: Path) -> None:
        """All of it or nothing: a killed run leaves no file that looks finished."""
        import pandas as pd
        import pyarrow as pa
        from pyarrow import parquet

        about = plain({k: v for k, v in asdict(self).items() if k != "items"})
        items = pd.DataFrame({"item": pd.Series(dtype="int64")}) if self.items is None else self.items
        table = pa.Table.from_pandas(items, preserve_index=False, nthreads=1)
        table = table.replace_schema_metadata({_KEY: json.dumps(about, sort_keys=True).encode()})
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        parquet.write_table(table, partial, compression="zstd")
        partial.replace(path)

    @classmethod
    def read(cls, path: Path, *, items: bool = True) -> CellRecord:
        """Raises InputError where the file is no cell."""
        from pyarrow import ArrowException, parquet

        from causalecg.parquet import read_parquet

        try:
            about = json.loads(parquet.read_schema(path).metadata[_KEY])
            table = read_parquet(path) if items and not about["refused"] else None
            return cls(**about, items=table)
        except (OSError, ValueError, KeyError, TypeError, ArrowException) as error:
            raise InputError(f"{path} is no cell of a leaderboard; remove it and run the same command again") from error


def cell_path(out: Path, regime: str, arm: str, seed: int) -> Path:
    """Where a cell is kept, e.g. ``cells/R1/backdoor-prior-marginal-seed0.parquet``."""
    name = re.sub(r"[^A-Za-z0-9_.]+", "-", arm).strip("-")
    return out / "cells" / regime / f"{name}-seed{seed}.parquet"
