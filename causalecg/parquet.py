"""Reading Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd


def read_parquet(path: str | Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The table of one Parquet file, read by the calling thread alone. Raises OSError and ValueError, as pandas would.

    pandas.read_parquet starts Arrow's thread pools, which now and then abort a process that ends soon after
    (https://github.com/apache/arrow/issues/34314): an exit code would be lost.
    """
    from pyarrow import BufferReader
    from pyarrow.parquet import ParquetFile

    file = ParquetFile(BufferReader(Path(path).read_bytes()))
    table = file.read(None if columns is None else list(columns), use_threads=False)
    return table.to_pandas(use_threads=False)
