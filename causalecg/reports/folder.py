"""A report's folder: report.html, report.json, report.md and perhaps a figure; replaced whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from causalecg.errors import InputError

FIGURE = "arms.svg"


def refuse_other_folder(out: Path) -> None:
    """InputError where ``out`` is a file, or the folder of something else."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; give a folder for the report")
    for made in ("cohort.json", "run.json", "runs.json", "compare.json"):
        if (out / made).exists():
            raise InputError(f"{out} holds other things ({made}); choose another folder for the report")


def replace_report(
    out: Path, page: str, record: Mapping[str, Any], markdown: str, figures: Mapping[str, str] | None = None
) -> Path:
    """Write the files into ``out``, each whole or not at all, and return the page.

    Args:
        figures: file name -> SVG; :data:`FIGURE` of an earlier report is removed.
    """
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
    files = {"report.html": page, "report.json": text + "\n", "report.md": markdown, **(figures or {})}
    partial = out.parent / f".{out.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, content in files.items():
        (partial / name).write_text(content, encoding="utf-8")
    out.mkdir(parents=True, exist_ok=True)
    (out / FIGURE).unlink(missing_ok=True)
    for path in partial.iterdir():
        path.replace(out / path.name)
    partial.rmdir()
    return out / "report.html"
