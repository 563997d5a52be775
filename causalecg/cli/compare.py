"""``causalecg compare``: arms over seeds, side by side, on a cohort or on the benchmark's regimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    @app.command()
    def compare(
        arms: Annotated[
            str, typer.Option(help="Comma-separated, e.g. none,backdoor,placebo:ipw,oracle; of a benchmark also all.")
        ],
        out: Annotated[Path, typer.Option(help="Folder for what is made; goes on where it stopped.")],
        cohort: Annotated[
            Path | None, typer.Option(help="Cohort folder; with --benchmark t2 one of statements.")
        ] = None,
        benchmark: Annotated[str | None, typer.Option(help="Fill a leaderboard: t0, t1 or t2.")] = None,
        regimes: Annotated[str, typer.Option(help="Of t0 and t1: R0,R1,... or all.")] = "all",
        rho: Annotated[float | None, typer.Option(help="Of t0 and t1: P(finding = style).")] = None,
        items: Annotated[int, typer.Option(min=100, help="Of t0 and t1: training items.")] = 4000,
        test_items: Annotated[int, typer.Option(min=100, help="Of t0 and t1: test items.")] = 20_000,
        fit: Annotated[str, typer.Option(help="Of t0: spline, or linear (misspecified).")] = "spline",
        seeds: Annotated[int, typer.Option(min=1, help="Seeds 0 to N-1 for every arm.")] = 5,
        config: Annotated[Path | None, typer.Option(help="Run configuration, TOML or JSON; not of t0.")] = None,
        build: Annotated[
            str | None,
            typer.Option(help="package.module:function, from a seed to a module of your own; not of --benchmark."),
        ] = None,
        processes: Annotated[int, typer.Option(min=1, help="Processes of one thread each.")] = 2,
        audit_items: Annotated[int, typer.Option(min=1, help="Items put through the interventions; not of t0.")] = 2000,
        as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    ) -> None:
        """Train, score and audit every arm with every seed, and write one report, or one leaderboard."""
        import json

        from causalecg.errors import InputError

        names = [name.strip() for name in arms.split(",") if name.strip()]
        if names == ["all"]:
            if benchmark is None:
                raise InputError("--arms all is of the benchmark; name the arms to be compared on a cohort")
            from causalecg.benchmark.tuned import every_arm

            names = list(every_arm())
        if benchmark is not None and build is not None:
            raise InputError("--build is of a comparison on a cohort; leave it out, or --benchmark")
        if benchmark is not None:
            from causalecg.benchmark.leaderboard.page import heading, remarks, write_leaderboard
            from causalecg.benchmark.leaderboard.summary import summarise

            of_cells = {"processes": processes, "progress": not as_json}
            of_runs = {**of_cells, "config": config, "audit_items": audit_items}
            grid, settings = _filled(
                benchmark, cohort, regimes, {"rho": rho, "items": items, "test_items": test_items}, fit, of_cells,
                of_runs, out=out, arms=names, seeds=seeds,
            )  # fmt: skip
            board = summarise(out, settings, grid)
            page = write_leaderboard(out, board)
            if as_json:
                typer.echo((out / "leaderboard.json").read_text(), nl=False)
                return
            _print(board, [heading(board), *remarks(board)])
            typer.echo(f"leaderboard: {page}")
            return
        if cohort is None:
            raise InputError("compare needs a cohort (--cohort) or a tier of the benchmark (--benchmark t0)")
        from causalecg.benchmark.compare import run_comparison
        from causalecg.benchmark.comparison import print_comparison, report_comparison
        from causalecg.cohort.schema import Cohort
        from causalecg.training.config import RunConfig

        opened = Cohort.open(cohort)
        chosen = RunConfig() if config is None else RunConfig.read(config)
        cells = run_comparison(
            opened, names, seeds, chosen, out, build=build, processes=processes, audit_items=audit_items,
            progress=not as_json,
        )  # fmt: skip
        page, comparison = report_comparison(opened, cells, out, seed=0)
        if as_json:
            typer.echo(json.dumps(comparison, indent=2))
            return
        print_comparison(comparison)
        typer.echo(f"report: {page}")


def _filled(
    tier: str,
    cohort: Path | None,
    regimes: str,
    sizes: dict[str, Any],
    fit: str,
    of_cells: dict[str, Any],
    of_runs: dict[str, Any],
    *,
    out: Path,
    arms: list[str],
    seeds: int,
) -> tuple[Any, dict[str, Any]]:
    """The grid of a leaderboard whose cells are all there, and its settings."""
    from causalecg.benchmark.leaderboard.run import chosen_regimes, fill_evidence, settings_of
    from causalecg.errors import InputError

    if tier not in ("t0", "t1", "t2"):
        raise InputError(f"the benchmark has the tiers t0, t1 and t2, not '{tier}'")
    if (cohort is not None) != (tier == "t2"):
        raise InputError(
            "tier t2 needs a cohort of statements (--cohort), made by 'causalecg cohort statements'"
            if tier == "t2"
            else f"tier {tier} makes its own cohorts; leave --cohort out"
        )
    if tier == "t0":
        grid, _ = fill_evidence(out, chosen_regimes(regimes), arms, seeds, fit=fit, **sizes, **of_cells)
    else:
        from causalecg.benchmark.leaderboard.trained import fill_simulated, fill_statements

        if tier == "t1":
            grid = fill_simulated(out, chosen_regimes(regimes), arms, seeds, **sizes, **of_runs)
        else:
            assert cohort is not None
            grid = fill_statements(out, cohort, arms, seeds, **of_runs)
    return grid, settings_of(out)


def _print(board: dict[str, Any], lines: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    from causalecg.benchmark.leaderboard.page import cell

    table = Table(title=lines[0])
    table.add_column("arm")
    for regime in board["regimes"]:
        table.add_column(regime, justify="right")
    for arm in (each["arm"] for each in board["arms"]):
        shown = {row["regime"]: cell(row)["text"] for row in board["rows"] if row["arm"] == arm}
        table.add_row(arm, *(shown[regime] for regime in board["regimes"]))
    Console(width=30 + 26 * len(board["regimes"])).print(table)
    for line in lines[1:]:
        typer.echo(line)
