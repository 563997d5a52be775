"""``causalecg scm effects``: how far what is seen is from what asking would do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from causalecg.cli.scm import GraphOption, JsonOption

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Rows of the printed table; the rest is in effects.json.
_SHOWN = 20


def register(group: typer.Typer) -> None:
    @group.command()
    def effects(
        cohort: Annotated[Path, typer.Option(help="Cohort folder.")],
        graph: GraphOption = None,
        severity: Annotated[
            str | None, typer.Option(help="Severity scales, comma-separated; by default all of the cohort.")
        ] = None,
        split: Annotated[str, typer.Option(help="Split whose items are used.")] = "train",
        method: Annotated[
            str, typer.Option(help="g-formula, ipw, overlap, entropy, augmented, stratification or bayes.")
        ] = "g-formula",
        interval: Annotated[str | None, typer.Option(help="influence, bootstrap, or posterior (bayes).")] = None,
        seed: Annotated[int, typer.Option(min=0, help="Of cross-fitting, bootstrap and posterior.")] = 0,
        out: Annotated[
            Path | None, typer.Option(help="Folder for effects.json and tables; 'causalecg report' reads it.")
        ] = None,
        as_json: JsonOption = False,
    ) -> None:
        """P(A | Q), P(A | do(Q)) and the confounding bias per question, wording and answer, from data alone."""
        import json

        from causalecg.cohort.confounding import confounder_effects
        from causalecg.cohort.effects_folder import write_effects
        from causalecg.cohort.schema import Cohort
        from structural_models.graph import DEFAULT_GRAPH
        from structural_models.graph_files import load_graph

        opened = Cohort.open(cohort)
        record = confounder_effects(
            opened,
            load_graph(graph or opened.meta.get("graph") or DEFAULT_GRAPH),
            scales=[] if severity is None else [name.strip() for name in severity.split(",")],
            split=split,
            method=method,
            interval=interval,  # type: ignore[arg-type]
            seed=seed,
            progress=not as_json,
        )
        if out is not None:
            write_effects(out, record)
        if as_json:
            typer.echo(json.dumps(record, indent=2, ensure_ascii=False))
            return
        for line in lines(record):
            typer.echo(line)
        if out is not None:
            typer.echo(f"written to {out}; 'causalecg report {out}' makes the page")


def lines(record: dict[str, Any]) -> Iterator[str]:
    """The record in short: the largest biases of every scale and effect."""
    yield f"{record['cohort']}, split {record['split']}: {record['method']}, graph {record['graph']['name']}"
    for scale in record["scales"]:
        yield f"\nseverity scale {scale['scale']}: {scale['estimand']['formula']}"
        for found in scale["effects"]:
            yield from _effect_lines(found)
        if scale["severity"]:
            yield from _severity_lines(scale["severity"])
        for reason in scale["left_out"]:
            yield f"  not estimated: {reason}"


def _effect_lines(found: dict[str, Any]) -> Iterator[str]:
    rows = [row for row in found["table"] if row["bias"] is not None]
    clear = [row for row in rows if row["p_bias_holm"] is not None and row["p_bias_holm"] < 0.05]
    yield (
        f"  effect of the {found['effect']} ({found['treatment']}): {found['items']:,} items, {found['patients']:,} "
        f"patients; {len(clear)} of {len(rows)} biases differ from zero (Holm, 5 %)"
    )
    for warning in found["warnings"]:
        yield f"    {warning}"
    if not rows:
        return
    arms: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        arms.setdefault(tuple(str(row[name]) for name in (*found["within"], "arm")), []).append(row)
    # Of two answers one says it all.
    rows = [row for group in arms.values() for row in (group[1:] if len(group) == 2 else group)]
    rows.sort(key=lambda row: -abs(row["bias"]))
    names = [", ".join(str(row[name]) for name in (*found["within"], "arm", "outcome")) for row in rows[:_SHOWN]]
    width = max(map(len, names))
    yield f"    {'':{width}}  {'P(A | Q)':>8}  {'do(Q)':>6}  bias (95 % interval)"
    for name, row in zip(names, rows, strict=False):
        limits = "no interval" if row["bias_low"] is None else f"{row['bias_low']:+.3f} to {row['bias_high']:+.3f}"
        yield (
            f"    {name:{width}}  {row['associated']:8.3f}  {row['interventional']:6.3f}  {row['bias']:+.3f} ({limits})"
        )
    if len(rows) > _SHOWN:
        yield f"    ... the {len(rows) - _SHOWN} smaller ones are in the JSON"


def _severity_lines(found: dict[str, Any]) -> Iterator[str]:
    from statistics import median

    rows = [row for row in found["table"] if row["effect"] == "natural indirect" and row["share"] is not None]
    if rows:
        shares = [row["share"] for row in rows]
        yield (
            f"  severity against {found['reference']}: of its effect on the answer, {median(shares):.0%} (median of "
            f"{len(shares)} comparisons; {min(shares):.0%} to {max(shares):.0%}) runs through {found['treatment']}"
        )
    if found["left_out"]:
        yield f"    {len(found['left_out'])} comparison(s) left out, e.g. {found['left_out'][0]}"
