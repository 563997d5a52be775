"""The ladder and the quadrants as pictures: a row per rung or quadrant, a panel per run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from causalecg.audits.checks.quadrants import QUADRANTS
from causalecg.audits.result import AuditResult
from causalecg.reports.figures import forest_figure

#: As many runs stand side by side.
MOST = 4
_TITLES = {
    "ecg_ladder": "Drop in accuracy, by what was done to the ECG",
    "quadrants": "Share of the items: the answer stays in other words (consistent), moves with the ECG (reliant)",
}


def audit_figures(results: Sequence[AuditResult]) -> list[dict[str, str]]:
    """``title`` and ``svg`` of each picture there are numbers for, of the first :data:`MOST` runs."""
    found = []
    for name, title in _TITLES.items():
        mine = [result for result in results if result.name == name and len(result.table)][:MOST]
        rows: dict[str, dict[str, Any]] = {}
        for result in mine:
            for label, value in _values(result):
                rows.setdefault(label, {"label": label})[result.run_id] = value
        if rows:
            found.append(
                {"title": title, "svg": forest_figure(list(rows.values()), {r.run_id: r.run_id for r in mine})}
            )
    return found


def _values(result: AuditResult) -> Iterator[tuple[str, dict[str, Any]]]:
    for row in result.table.to_dict("records"):
        limits = {"low": row["low"], "high": row["high"]}
        if result.name == "ecg_ladder":
            yield str(row["rung"]), {"estimate": row["drop"], **limits}
        elif row["what"] in QUADRANTS and row["who"] == result.run_id:
            yield str(row["what"]), {"estimate": row["estimate"], **limits}
