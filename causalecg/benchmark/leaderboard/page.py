"""A leaderboard on paper: leaderboard.parquet, .json, .md, and .html, one offline page without a script."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from causalecg import __version__
from causalecg.benchmark.leaderboard.summary import COLUMNS
from causalecg.records import write_whole
from causalecg.reports.page import interval, unmarked
from structural_models.json_values import plain

#: Columns of the Markdown tables; the page and the other files have all of them.
SHORT = (
    "accuracy", "recovery", "recovery_ess", "points", "in_distribution", "style_effect", "topic_error", "follow_rate",
    "reliance",
)  # fmt: skip
_PANEL, _ROW, _HEAD, _PER_LINE = 170, 17, 24, 5


def write_leaderboard(out: Path, board: Mapping[str, Any]) -> Path:
    """Write the four files into ``out`` and return the page.

    Args:
        board: record of :func:`causalecg.benchmark.leaderboard.summary.summarise`.
    """
    record = {**plain(board), "made_with": f"causalecg {__version__}"}
    write_whole(out / "leaderboard.json", json.dumps(record, indent=2, allow_nan=False) + "\n")
    write_whole(out / "leaderboard.md", markdown(record))
    partial = out / ".leaderboard.parquet.partial"
    _flat(record["rows"]).to_parquet(partial, index=False)
    partial.replace(out / "leaderboard.parquet")
    page = out / "leaderboard.html"
    shown = [key for key in COLUMNS if any(row.get(key) for row in record["rows"])]
    write_whole(page, _template().render(record=record, columns=COLUMNS, shown=shown, cell=cell, figure=figure(record)))
    return page


def cell(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the overview says of a regime and arm: text, title, and where on the way to the oracle it stands, 0 to 1."""
    if row["refused"]:
        return {"text": "refused", "title": row["refused"], "share": None, "refused": True}
    if row.get("recovery"):
        value = row["recovery"]
        return {
            "text": interval(value),
            "title": f"recovery in {row['regime']}",
            "share": min(max(value["estimate"], 0.0), 1.0),
            "refused": False,
        }
    if row.get("points"):
        return {"text": _points(row["points"]), "title": row["recovery_note"], "share": None, "refused": False}
    return {"text": interval(row.get("accuracy")), "title": "unbiased accuracy", "share": None, "refused": False}


def _points(value: Mapping[str, float]) -> str:
    estimate, low, high = (100 * value[key] for key in ("estimate", "low", "high"))
    return f"{estimate:+.1f} points ({low:+.1f} to {high:+.1f})"


def heading(record: Mapping[str, Any]) -> str:
    seeds = record["seeds"]
    return f"Leaderboard, tier {record['tier']}, {seeds} {'seed' if seeds == 1 else 'seeds'}"


def remarks(record: Mapping[str, Any]) -> list[str]:
    """What one must know to read the tables."""
    lines = [
        "Recovery is (arm - none) / (oracle - none) of the unbiased accuracy, a ratio of means over seeds; where the "
        "gap's lower limit is under 5 points, or the test too small, points over none are given instead. Intervals are "
        "95 %, from resampling seeds and patients.",
    ]
    tunings = sorted({row["tuning"] for row in record["rows"]})
    lines.append(
        f"Tuning: {', '.join(tunings)} (no S: options chosen without the severity on validation patients of their own, "
        "by benchmarks/tuning.py; oracle: a default that was set after a look at test patients; no tuning: other "
        "defaults, or as written)."
    )
    if record["seeds"] == 1:
        lines.append("One seed: intervals are over patients only and say nothing about another training run.")
    stopped: dict[str, list[str]] = {}
    for row in record["rows"]:
        if row["unconverged"]:
            stopped.setdefault(row["arm"], []).append(row["regime"])
    if stopped:
        each = (f"{arm} in {', '.join(regimes)}" for arm, regimes in sorted(stopped.items()))
        lines.append(f"Not every stage had converged: {'; '.join(each)}.")
    if record.get("fit") == "linear":
        lines.append("The scorer is linear: misspecified wherever topic or severity acts otherwise than by adding.")
    return lines


def markdown(record: Mapping[str, Any]) -> str:
    arms = [arm["arm"] for arm in record["arms"]]
    rows = {(row["regime"], row["arm"]): row for row in record["rows"]}
    lines = [f"# {heading(record)}", ""]
    regimes = record["regimes"]
    lines += _table(["arm", *regimes], [[a, *(cell(rows[r, a])["text"] for r in regimes)] for a in arms])
    lines += ["", "## Arms", ""]
    lines += _table(
        ["arm", "worst regime's lower limit", "no harm: R8", "refused in"],
        [
            [
                arm["arm"],
                f"{arm['worst_recovery']:.3f} ({arm['worst_regime']})" if arm["worst_regime"] else arm["worst_note"],
                _points(arm["no_harm"]) if arm["no_harm"] else "–",
                ", ".join(arm["refused"]) or "–",
            ]
            for arm in record["arms"]
        ],
    )
    for regime in record["regimes"]:
        known = [row["truths"] for row in record["rows"] if row["regime"] == regime and row["truths"]]
        lines += ["", f"## {regime}", "", *([_truth(known[0]), ""] if known else [])]
        lines += _table(
            ["arm", *(COLUMNS[key] for key in SHORT)],
            [[a, *_short(rows[regime, a])] for a in arms],
        )
        notes = {row["recovery_note"] for row in record["rows"] if row["regime"] == regime and row.get("recovery_note")}
        lines += ["", *(f"- {unmarked(note)}" for note in sorted(notes))]
        verdicts = {row["certificate"] for row in record["rows"] if row["regime"] == regime and row["certificate"]}
        lines += [f"- certificate on the training rows: {unmarked(verdict)}" for verdict in sorted(verdicts)]
    return "\n".join([*lines, "", *(f"{line}" for line in remarks(record)), "", record["made_with"], ""])


def _short(row: Mapping[str, Any]) -> list[str]:
    return [f"refused: {row['refused']}"] if row["refused"] else [interval(row.get(key)) for key in SHORT]


def _truth(truth: Mapping[str, float]) -> str:
    return (
        f"Exactly: best unbiased accuracy {truth['oracle_accuracy']:.3f}, of the best user of the shortcut "
        f"{truth['shortcut_accuracy']:.3f}; topic effect {truth['topic_effect']:.3f}; style effect "
        f"{truth['style_effect']:.3f}; follow rates {truth['oracle_follow_rate']:.3f} and "
        f"{truth['shortcut_follow_rate']:.3f}; effective share of weights {truth['weighting_share']:.3f}."
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(unmarked(cell) for cell in [*cells, *[""] * (len(head) - len(cells))]) + " |"

    return [line(head), "|---" * len(head) + "|", *map(line, rows)]


def figure(record: Mapping[str, Any]) -> str:
    """SVG: unbiased accuracy of every arm with its interval, a panel per regime; lines at the best possible and at the
    best user of the shortcut. Its colours are the page's."""
    arms, regimes = [arm["arm"] for arm in record["arms"]], record["regimes"]
    rows = {(row["regime"], row["arm"]): row for row in record["rows"]}
    left = 8 + 6.4 * max(map(len, arms))
    height = _HEAD + _ROW * len(arms) + 22
    deep = -(-len(regimes) // _PER_LINE)
    wide = left + min(len(regimes), _PER_LINE) * _PANEL
    # Letters of a few panels must not grow to the width of the page.
    parts = [
        f'<svg role="img" aria-label="Unbiased accuracy by regime and arm" viewBox="0 0 {wide:.0f} {deep * height}" '
        f'class="panels" style="max-width: {1.2 * wide:.0f}px">'
    ]
    for number, regime in enumerate(regimes):
        x0, y0 = left + number % _PER_LINE * _PANEL, number // _PER_LINE * height
        shown = [rows[regime, arm] for arm in arms]
        low = min([0.45, *(row["accuracy"]["low"] for row in shown if row.get("accuracy"))])

        def place(value: float, x0: float = x0, low: float = low) -> float:
            return x0 + (_PANEL - 16) * (value - low) / (1 - low)

        bottom = y0 + _HEAD + _ROW * len(arms)
        parts.append(f'<text x="{x0:.1f}" y="{y0 + 13}" class="head">{escape(regime)}</text>')
        for name in ("shortcut_accuracy", "oracle_accuracy"):
            value = shown[0]["truths"].get(name)
            if value is not None:
                x = place(value)
                parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y0 + 18}" y2="{bottom}" class="{name}"/>')
        for tick in (0.5, 0.75, 1.0):
            parts.append(f'<text x="{place(tick):.1f}" y="{bottom + 12}" class="tick">{tick:g}</text>')
        for i, (arm, row) in enumerate(zip(arms, shown, strict=True)):
            y = y0 + _HEAD + _ROW * i + _ROW / 2
            if number % _PER_LINE == 0:
                parts.append(f'<text x="{left - 8:.1f}" y="{y + 4:.1f}" class="arm">{escape(arm)}</text>')
            value = row.get("accuracy")
            if row["refused"] or not value:
                parts.append(f'<text x="{x0:.1f}" y="{y + 4:.1f}" class="refused">refused</text>')
                continue
            a, b, x = (place(value[key]) for key in ("low", "high", "estimate"))
            parts.append(f'<line x1="{a:.1f}" x2="{b:.1f}" y1="{y:.1f}" y2="{y:.1f}" class="limits"/>')
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2"/>')
    return "".join([*parts, "</svg>"])


def _flat(rows: Sequence[Mapping[str, Any]]) -> Any:
    """One row per regime, arm and measure."""
    import pandas as pd

    records = []
    for row in rows:
        about = {key: row[key] for key in ("regime", "arm", "rho", "tuning", "refused")}
        values = {key: row[key] for key in COLUMNS if row.get(key)}
        records += [{**about, "measure": key, **value} for key, value in values.items()]
        if not values:
            records.append({**about, "measure": None, "estimate": None, "low": None, "high": None})
    return pd.DataFrame(records)


def _template() -> Any:
    from causalecg.reports.page import environment

    found = environment()
    found.globals |= {"heading": heading, "remarks": remarks, "truth": _truth, "points": _points}
    return found.get_template("leaderboard.html.jinja")
