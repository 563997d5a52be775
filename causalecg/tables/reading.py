"""A file as a table."""

from __future__ import annotations

import warnings
from pathlib import Path

import pandas as pd

from causalecg.errors import InputError
from causalecg.parquet import read_parquet
from causalecg.tables.text_files import require_plain_text


def read_table(path: Path) -> pd.DataFrame:
    """A .csv (as texts), .jsonl or .parquet file. InputError where it cannot be read."""
    suffix = path.suffix.lower()
    if suffix in (".csv", ".jsonl", ".ndjson") and path.is_file():
        require_plain_text(path, commas=suffix == ".csv")
    try:
        if suffix == ".csv":
            with warnings.catch_warnings():
                # Rows longer than the header would otherwise be cut, or their first cell taken for an index.
                warnings.simplefilter("error", pd.errors.ParserWarning)
                return pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False)
        if suffix in (".jsonl", ".ndjson"):
            return pd.read_json(path, lines=True, dtype=False, convert_dates=False)
        if suffix == ".parquet":
            return read_parquet(path)
    except pd.errors.ParserWarning as error:
        raise InputError(f"{path} has rows with more cells than its header; quote cells that hold a comma") from error
    except (ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    raise InputError(f"{path} is no table this reads; use .csv, .jsonl or .parquet")
