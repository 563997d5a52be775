"""The report, from a score set and its audits: report.html (one offline file), report.json, report.md, and arms.svg,
the figure of the arms by itself, for papers and pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from causalecg import __version__
from causalecg.audits.checks.accuracy import accuracy_by_split
from causalecg.audits.checks.follow import EXCESS
from causalecg.audits.result import AuditResult
from causalecg.audits.suite import judged_runs
from causalecg.audits.verdicts import overall, worst
from causalecg.errors import InputError
from causalecg.reports.audit_figures import audit_figures
from causalecg.reports.declared import path_texts
from causalecg.reports.figures import balance_figure, forest_figure, graph_figure
from causalecg.reports.folder import FIGURE, refuse_other_folder, replace_report
from causalecg.reports.page import LARGEST, environment, interval, unmarked
from causalecg.reports.strips import swapped_item
from causalecg.reports.training_curves import training_curves_figure
from structural_models.json_values import plain

if TYPE_CHECKING:
    from causalecg.audits.score_set import ScoreSet
    from causalecg.cohort.schema import Cohort
    from structural_models.estimand import Estimand
    from structural_models.graph import CausalGraph

PANELS = {
    "test": "accuracy, test as it is",
    "test_unbiased": "accuracy, unbiased test",
    "test_natural": "accuracy, natural test",
    "test_answer_balanced": "accuracy, answers balanced",
    "test_versus_none": "accuracy less that of none",
    "random_ecg_drop": "drop with a random ECG",
    "follow_rate": "follow rate",
    "follow_excess": "follow rate, above what it answered anyway",
    "wording_drop": "drop when reworded",
    "zero_shot": "accuracy, topics held out",
    "recovery": "recovery",
}
SENTENCES = {
    "pass": "{model} passes: its answers follow the ECG, and survive rewording.",
    "fail": "{model} fails: {failed}.",
    "inconclusive": "{model}: inconclusive. No required audit fails, but these data do not show that all would pass.",
    "not assessed": "{model}: not assessed. A required audit was not made, lacks rows, or is of rows that models learn "
    "from.",
}


#: What a page does without where it would be too large, in this order, and what that is called.
_LEFT_OUT = {
    "curves_svg": "the losses by epoch (report.json has them, too)",
    "item": "the ECGs",
    "audit_svgs": "the audits' figures",
    "balance_svgs": "the balance",
    "forest_svg": f"the figure of the arms ({FIGURE})",
}


def write_report(
    out: str | Path,
    *,
    score_set: ScoreSet,
    results: Sequence[AuditResult],
    cohort: Cohort | None = None,
    balance: Mapping[str, pd.DataFrame] | pd.DataFrame | None = None,
    graph: CausalGraph | None = None,
    estimand: Estimand | None = None,
    comparison: dict[str, Any] | None = None,
    title: str = "Does it read the ECG?",
    judged: Sequence[str] | None = None,
    seed: int = 0,
) -> Path:
    """Write the files into ``out`` and return the page.

    Args:
        out: folder; report files in it are replaced.
        score_set, results: what was scored, and every audit of every run (of one or of several).
        cohort: for the two ECGs on paper.
        balance: tables of :func:`structural_models.balance.balance_table`, by arm.
        graph, estimand: what was assumed.
        comparison: record of :func:`causalecg.benchmark.comparison.summarise`, for the table of arms.
        title: of the page.
        judged: runs whose verdict heads the page; by default those of role "audited" that are no placebo.
        seed: of the bootstrap of the accuracies in the table of runs.
    """
    out = Path(out)
    refuse_other_folder(out)
    arms = _arms_compared(comparison) if comparison is not None else _runs_compared(score_set, results, seed)
    record = plain(_record(score_set, results, graph, estimand, comparison, title, arms, judged))
    tables = {"": balance} if isinstance(balance, pd.DataFrame) else dict(balance or {})
    panels = _panels(record["arms"])
    drawn = {key: PANELS[key] for key in panels if key != "test_versus_none"}
    forest = forest_figure(record["arms"], drawn) if record["arms"] else None
    curves = [curve for curve in (comparison or {}).get("curves", []) if curve["epochs"]]
    page = _small_page(
        {
            "record": record,
            "panels": panels,
            "titles": PANELS,
            "graph_svg": None if graph is None else graph_figure(graph),
            "forest_svg": forest,
            "curves_svg": training_curves_figure(curves) if curves else None,
            "audit_svgs": audit_figures(results),
            "balance_svgs": [balance_figure(table, arm) for arm, table in tables.items() if len(table)],
            "item": None if cohort is None else swapped_item(score_set, cohort),
        }
    )
    figures = {} if forest is None else {FIGURE: forest}
    return replace_report(out, page, record, _markdown(record), figures)


def _small_page(parts: dict[str, Any]) -> str:
    """The page; what takes most room and is in report.json or a file beside it is left out as far as it must be."""
    template = environment().get_template("report.html.jinja")
    record = parts["record"]
    runs = list(dict.fromkeys(audit["run_id"] for audit in record["audits"]))
    judged = [run for run in runs if record["verdict"] and run in record["verdict"]["runs"]]
    none = "the audits (report.json has them)"
    smaller: list[tuple[list[str], dict[str, None], str]] = [
        (runs, {}, ""),
        (judged, {}, "the audits of runs that are not judged (report.json has them)"),
        ([], {}, none),
    ]
    there = [name for name in _LEFT_OUT if parts[name]]
    for number in range(1, len(there) + 1):
        first = there[:number]
        smaller.append(([], dict.fromkeys(first), ", ".join([none, *(_LEFT_OUT[name] for name in first)])))
    for detailed, change, left_out in smaller:
        page = str(template.render(**{**parts, **change}, detailed=detailed, left_out=left_out))
        if len(page.encode("utf-8")) <= LARGEST:
            break
    return page


def _panels(arms: Sequence[Mapping[str, Any]]) -> list[str]:
    """Measures there are. With an unbiased test, that is what arms are compared on."""
    found = [key for key in PANELS if any(row.get(key) for row in arms)]
    instead = {"test_answer_balanced", "test_versus_none"} if "test_unbiased" in found else set()
    return [key for key in found if key not in instead]


def _record(
    score_set: ScoreSet,
    results: Sequence[AuditResult],
    graph: CausalGraph | None,
    estimand: Estimand | None,
    comparison: dict[str, Any] | None,
    title: str,
    arms: list[dict[str, Any]],
    judged: Sequence[str] | None,
) -> dict[str, Any]:
    runs = list(dict.fromkeys(result.run_id for result in results))
    verdicts = []
    for run in runs:
        mine = [result for result in results if result.run_id == run]
        verdict = overall(mine)
        failed = "; ".join(f"no to “{r.question}”" for r in mine if r.required and r.verdict == "fail")
        about = score_set.runs[run]
        verdicts.append(
            {
                "run": run,
                "role": about.get("role", "audited"),
                "verdict": verdict,
                "sentence": SENTENCES[verdict].format(model=run, failed=failed),
                "audits": {r.name: {"verdict": r.verdict, "required": r.required} for r in mine},
            }
        )
    paths = [] if graph is None else path_texts(graph)
    return {
        "title": title,
        "verdict": _headline(verdicts, _judged(score_set, runs) if judged is None else judged),
        "verdicts": verdicts,
        "arms": arms,
        "seeds": None if comparison is None else comparison["seeds"],
        "remarks": _remarks(comparison),
        "comparison": comparison,
        "graph": None if graph is None else {**graph.to_dict(), "open_backdoor_paths": paths},
        "estimand": None if estimand is None else {**estimand.to_dict(), "text": str(estimand)},
        "audits": [result.to_dict() for result in results],
        "notes": {name: about.get("notes", []) for name, about in score_set.runs.items() if about.get("notes")},
        "runs": score_set.runs,
        "made_with": f"causalecg {__version__}",
    }


def _judged(score_set: ScoreSet, runs: Sequence[str]) -> list[str]:
    try:
        return [run for run in judged_runs(score_set) if run in runs]
    except InputError:
        return []


def _headline(verdicts: Sequence[Mapping[str, Any]], judged: Sequence[str]) -> dict[str, Any] | None:
    """The worst verdict of the judged runs, and a sentence for each; ``None`` where none is judged."""
    mine = [row for row in verdicts if row["run"] in judged]
    if not mine:
        return None
    verdict = worst([row["verdict"] for row in mine])
    return {
        "verdict": verdict,
        "run": next(row["run"] for row in mine if row["verdict"] == verdict),
        "runs": [row["run"] for row in mine],
        "sentence": " ".join(row["sentence"] for row in mine),
    }


def _arms_compared(comparison: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"label": row["arm"], **row} for row in comparison["arms"]]


def _runs_compared(score_set: ScoreSet, results: Sequence[AuditResult], seed: int) -> list[dict[str, Any]]:
    """Rows of the table of runs: accuracy on every split that was asked, and what the audits of each run found."""
    runs = list(dict.fromkeys(result.run_id for result in results))
    rows: dict[str, dict[str, Any]] = {run: {"label": run} for run in runs}
    for run, splits in accuracy_by_split(score_set, runs, seed=seed).items():
        rows[run] |= {split: interval.as_dict() for split, interval in splits.items() if split in PANELS}
    measures = {"random_ecg": "random_ecg_drop", "follow_rate": "follow_rate", "adversarial_wording": "wording_drop"}
    for result in results:
        key = measures.get(result.name)
        if key is not None and result.interval is not None:
            low, high = result.interval
            rows[result.run_id][key] = {"estimate": result.estimate, "low": low, "high": high}
            if key == "follow_rate":  # beside it: one who always answers the same follows half of the donors
                rows[result.run_id]["follow_excess"] = _row(result, EXCESS)
    return [row for row in rows.values() if len(row) > 1]


def _row(result: AuditResult, what: str) -> dict[str, float]:
    found = result.table.set_index("what").loc[what]
    return {name: float(found[name]) for name in ("estimate", "low", "high")}


def _remarks(comparison: dict[str, Any] | None) -> list[str]:
    if comparison is None:
        return []
    from causalecg.benchmark.comparison import remarks

    return remarks(comparison)


def _markdown(record: dict[str, Any]) -> str:
    lines = [f"# {unmarked(record['title'])}", ""]
    if record["verdict"]:
        lines += [f"**{unmarked(record['verdict']['sentence'])}**", ""]
    keys = _panels(record["arms"])
    if keys:
        lines += ["| arm | " + " | ".join(PANELS[key] for key in keys) + " |", "|---" * (len(keys) + 1) + "|"]
        for row in record["arms"]:
            lines.append(f"| {unmarked(row['label'])} | " + " | ".join(interval(row.get(key)) for key in keys) + " |")
        lines.append("")
    lines += [f"- {unmarked(line)}" for line in record["remarks"]] + [""]
    lines += ["| run | audit | estimate | verdict | threshold |", "|---|---|---|---|---|"]
    for audit in record["audits"]:
        limits = audit["interval"]
        shown = limits and {"estimate": audit["estimate"], "low": limits[0], "high": limits[1]}
        value = interval(shown)
        cells = (audit["run_id"], audit["name"], f"{value} {audit['measure']}", audit["verdict"], audit["threshold"])
        lines.append("| " + " | ".join(unmarked(cell) for cell in cells) + " |")
    if record["estimand"]:
        lines += ["", "```", record["estimand"]["text"].replace("```", ""), "```"]
    return "\n".join([*lines, "", record["made_with"], ""])
