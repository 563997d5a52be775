"""``causalecg scm implications``: what a graph says about data, and whether a cohort contradicts it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from causalecg.cli.scm import CohortOption, GraphOption, JsonOption, SeverityOption, declared_on
from causalecg.errors import InputError

if TYPE_CHECKING:
    from structural_models.conditional_independence.testing import IndependenceTests
    from structural_models.falsification import Falsification, NodePermutations
    from structural_models.graph import CausalGraph
    from structural_models.implication_checks import CheckedImplication, ImplicationChecks
    from structural_models.implications import Implications


def register(group: typer.Typer) -> None:
    @group.command()
    def implications(
        graph: GraphOption = None,
        cohort: CohortOption = None,
        severity: SeverityOption = None,
        split: Annotated[str, typer.Option(help="Items of the cohort to test on.")] = "train",
        environment: Annotated[str | None, typer.Option(help="Only this one; by default each within itself.")] = None,
        embedding: Annotated[
            str | None,
            typer.Option(
                help="ECG embeddings: .npy (rows as in ecgs.parquet) or .parquet (with ecg_id); by default summaries "
                "of the signals."
            ),
        ] = None,
        permutations: Annotated[int, typer.Option(min=19, help="Of every test, and of nodes where not all.")] = 999,
        seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
        as_json: JsonOption = False,
    ) -> None:
        """The independences a graph implies; with a cohort, which of them it contradicts."""
        from structural_models.implications import implied_independences

        declared, columns = declared_on(graph, cohort, severity)
        if cohort is None:
            for name, value in (("split", split != "train"), ("environment", environment), ("embedding", embedding)):
                if value:
                    raise InputError(f"--{name} says which rows to test on; name their cohort with --cohort")
            implied = implied_independences(declared)
            if as_json:
                _print_json({"graph": declared.to_dict(), "implications": implied.to_dict()})
            else:
                _tell_implied(declared, implied)
            return

        import numpy as np

        from causalecg.cohort.node_observations import node_observations
        from causalecg.cohort.schema import Cohort
        from structural_models.conditional_independence.testing import IndependenceTests
        from structural_models.falsification import node_permutations
        from structural_models.implication_checks import check_implications, require_permutations

        require_permutations(declared, permutations)
        opened = Cohort.open(cohort)
        rows = node_observations(
            opened, declared, columns, split=split, environment=environment, embedding=embedding, progress=not as_json
        )
        of_tests, of_nodes = np.random.default_rng(seed).spawn(2)
        tests = IndependenceTests(rows.observations, rng=of_tests, permutations=permutations)
        exchanged = node_permutations(declared, held=rows.held, rng=of_nodes, draws=permutations)
        _run(tests, declared, exchanged, visible=not as_json)
        checks = check_implications(declared, tests)
        falsification = exchanged.judge(lambda independence: tests.result(independence).p_value)
        if as_json:
            record = {
                "graph": declared.to_dict(),
                "cohort": {"path": str(opened.path), "hash": opened.hash},
                "rows": {
                    "split": split,
                    "environment": environment,
                    "items": len(rows.observations.table),
                    "within": list(rows.observations.within),
                    "columns": dict(rows.observations.columns),
                    "notes": list(rows.notes),
                },
                "embedding": embedding or "signal summaries",
                "permutations": permutations,
                "seed": seed,
                "implications": checks.to_dict(),
                "falsification": falsification.to_dict(),
            }
            _print_json(record)
            return
        typer.echo(f"{declared.name} on {opened.meta['name']}, split {split}: {len(rows.observations.table):,} items")
        for note in rows.notes:
            typer.echo(f"  note: {note}")
        _tell_checked(checks)
        typer.echo(f"exchanging nodes: {_falsification_text(falsification)}")


def _run(tests: IndependenceTests, graph: CausalGraph, exchanged: NodePermutations, *, visible: bool) -> None:
    """Make every test that will be asked for, under a bar."""
    from rich.console import Console
    from rich.progress import track

    from structural_models.implications import implied_independences

    asked = dict.fromkeys((*implied_independences(graph).testable, *exchanged.asked()))
    for independence in track(
        asked, "testing independences", console=Console(stderr=True), disable=not visible, transient=True
    ):
        tests.result(independence)


def _print_json(record: dict[str, Any]) -> None:
    typer.echo(json.dumps(record, indent=2, ensure_ascii=False))


def _tell_implied(graph: CausalGraph, implied: Implications) -> None:
    typer.echo(f"{graph.name}: {graph.description}\n")
    typer.echo("implied" if implied.pairs else "nothing that measured nodes could show is implied")
    for independence in implied.testable:
        typer.echo(f"  {independence}")
    _tell_unseparated(implied.unseparated)


def _tell_unseparated(unseparated: tuple[Any, ...]) -> None:
    if unseparated:
        typer.echo("not testable")
    for pair in unseparated:
        typer.echo(f"  {pair.first}, {pair.second}: {pair.reason}")


def _tell_checked(checks: ImplicationChecks) -> None:
    if not checks.checks:
        typer.echo("nothing that measured nodes could show is implied")
    width = max((len(str(check.result.independence)) for check in checks.checks), default=0)
    for check in checks.checks:
        typer.echo(f"  {check.result.independence!s:{width}}  {check.verdict:16}  {_numbers(check)}")
    _tell_unseparated(checks.unseparated)


def _numbers(check: CheckedImplication) -> str:
    found = check.result
    if not found.made:
        return found.reason
    what = f"{'chi2' if found.method == 'permutation' else 'largest t'} {found.statistic:.1f}"
    return (
        f"{what}, p {found.p_value:.2g} (Holm {check.p_holm:.2g}); {found.rows:,} rows of {found.patients:,} patients"
    )


def _falsification_text(found: Falsification) -> str:
    if not found.tests:
        return f"{found.verdict}: no independence of the graph can be tested"
    count = f"{'all ' if found.exact else ''}{found.permutations:,} orders of {', '.join(found.nodes)}"
    same = f"{found.share_equivalent:.3f} of {count} imply the same"
    if found.verdict == "not informative" and found.share_equivalent > found.level:
        return f"{found.verdict}: {same}, more than {found.level}, so that no data could tell"
    return (
        f"{found.verdict}: {found.violations} of {found.tests} independences are violated; "
        f"{found.share_no_worse:.3f} of {count} fare no worse, {found.share_equivalent:.3f} imply the same"
    )
