"""Tables are read back as they were written, without threads that could outlive the interpreter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from causalecg.parquet import read_parquet


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "item_id": [f"i{i}" for i in range(50)],
            "answer": [["yes"], ["no", "none"]] * 25,
            "severity": pd.array([1, None] * 25, dtype="Int64"),
            "score": [0.25, float("nan")] * 25,
        }
    )


def test_the_table_is_that_of_pandas(tmp_path: Path) -> None:
    table().to_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "t.parquet"), pd.read_parquet(tmp_path / "t.parquet"))
    assert list(read_parquet(tmp_path / "t.parquet", columns=["score"]).columns) == ["score"]


def test_a_file_that_is_none_is_a_value_error(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 but no table")
    with pytest.raises(ValueError, match="[Pp]arquet"):
        read_parquet(tmp_path / "t.parquet")
    with pytest.raises(FileNotFoundError, match="none.parquet"):
        read_parquet(tmp_path / "none.parquet")


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc, which Linux has")
def test_reading_starts_no_thread(tmp_path: Path) -> None:
    table().to_parquet(tmp_path / "t.parquet")
    code = (
        "import os, pandas, pyarrow.parquet\n"
        "from causalecg.parquet import read_parquet\n"
        "before = set(os.listdir('/proc/self/task'))\n"
        "read_parquet('t.parquet')\n"
        "started = set(os.listdir('/proc/self/task')) - before\n"
        "print([open(f'/proc/self/task/{t}/comm').read().strip() for t in started])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.strip() == "[]"
