"""``causalecg scm sensitivity``: how much it would take to change what a cohort says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from causalecg.cli.scm import CohortOption, GraphOption, JsonOption, SeverityOption, declared_on
from causalecg.errors import InputError

if TYPE_CHECKING:
    from causalecg.cohort.sensitivity import Linear, Marginal, Misclassified, Pairs, Sensitivity
    from structural_models.residual_association import RiskRatio
    from structural_models.sensitivity.refuters import Refutations

#: Contrasts that are printed; --json and --out have all.
SHOWN = 10


def register(group: typer.Typer) -> None:
    @group.command()
    def sensitivity(
        graph: GraphOption = None,
        cohort: CohortOption = None,
        severity: SeverityOption = None,
        split: Annotated[str, typer.Option(help="Split whose items are analysed.")] = "train",
        errors: Annotated[
            str, typer.Option(help="How severity may be recorded wrongly: uniform, or adjacent levels only.")
        ] = "uniform",
        simulations: Annotated[
            int, typer.Option(min=0, help="Draws of each of DoWhy's refuters; 0 leaves them out.")
        ] = 20,
        seed: Annotated[int, typer.Option(min=0, help="Of bootstrap, pairs and refuters.")] = 0,
        out: Annotated[Path | None, typer.Option(help="Folder for sensitivity.json and the figures.")] = None,
        as_json: JsonOption = False,
    ) -> None:
        """What unmeasured or misrecorded severity would have to be like to explain what is left after adjusting."""
        from causalecg.cohort.schema import Cohort
        from causalecg.cohort.sensitivity import cohort_sensitivity
        from structural_models.identification import identify

        if cohort is None:
            raise InputError("sensitivity is about data; name a cohort with --cohort")
        if errors not in ("uniform", "adjacent"):
            raise InputError(f"no errors are called '{errors}'; choose uniform or adjacent with --errors")
        if 0 < simulations < 5:
            raise InputError(f"{simulations} simulations have no spread; give 5 or more, or 0 for none")
        declared, columns = declared_on(graph, cohort, severity)
        held = [role for role in ("topic",) if role in declared.roles]
        estimand = identify(declared, columns=columns, conditioning=held)
        if "severity" not in columns:
            raise InputError(f"cohort {cohort} has no severity scale; there is nothing to adjust for")
        others = [name for name in estimand.adjustment if name != "severity"]
        if others:
            raise InputError(
                f"graph {declared.name} needs {' and '.join(others)} adjusted for too, and sensitivity adjusts for "
                "severity alone; name another graph with --graph"
            )
        with _progress() as step:
            found = cohort_sensitivity(
                Cohort.open(cohort),
                columns["severity"].removeprefix("severity_"),
                treatment=columns["treatment"],
                split=split,
                errors=errors,  # type: ignore[arg-type]
                simulations=simulations,
                seed=seed,
                step=step,
            )
        record = {"graph": declared.name, "estimand": estimand.to_dict(), **found.to_dict()}
        if out is not None:
            write_sensitivity(out, found, record)
        if as_json:
            typer.echo(json.dumps(record, indent=2, ensure_ascii=False))
            return
        typer.echo(f"{declared.name}: {estimand.formula.splitlines()[0]}")
        for line in sensitivity_lines(found):
            typer.echo(line)
        if out is not None:
            typer.echo(f"\n{out}: sensitivity.json and figures")


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A function to call with what is done next; shown on the error stream."""
    from rich.console import Console

    with Console(stderr=True).status("opening the cohort") as status:
        yield status.update


def write_sensitivity(out: Path, found: Sensitivity, record: dict[str, object]) -> None:
    """sensitivity.json and one SVG per analysis. The figures come first: the record says that all is there."""
    from causalecg.reports.sensitivity_figures import sensitivity_figures

    out.mkdir(parents=True, exist_ok=True)
    for name, svg in sensitivity_figures(found).items():
        (out / f"{name}.svg").write_text(svg)
    (out / "sensitivity.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def sensitivity_lines(found: Sensitivity) -> Iterator[str]:
    """The tables, line by line."""
    held = f" within {', '.join(found.within)}" if found.within else ""
    missing = f"; {found.without_severity:,} items without a severity left out" if found.without_severity else ""
    yield (
        f"split {found.split}: {found.items:,} items of {found.patients:,} patients; {found.treatment}{held}, adjusted "
        f"for {found.scale}{missing}"
    )
    yield ""
    yield from _ratio_lines(found)
    yield ""
    yield f"the strongest: {found.leading} ({found.kept:.1%} of items are where both sides occur)"
    if found.linear is not None:
        yield from _linear_lines(found.linear)
    yield from _marginal_lines(found.marginal)
    if found.pairs is not None:
        yield from _pair_lines(found.pairs)
    if found.misclassified is not None:
        yield from _misclassified_lines(found.misclassified)
    if found.refutations is not None:
        yield from _refutation_lines(found.refutations)
    for note in found.notes:
        yield f"  note: {note}"


def _ratio_lines(found: Sensitivity) -> Iterator[str]:
    from causalecg.cohort.sensitivity import contrast_name
    from causalecg.reports.figures import shortened as shortened

    shown = found.ratios[:SHOWN]
    names = [shortened(contrast_name(ratio, found.arms), 60) for ratio in shown]
    width = max(map(len, names))
    total = shown[0].contrasts
    yield f"standardised risks and E-values (limits hold for all {total} contrasts together)"
    yield f"  {'':{width}} {'risk':>6} {'other':>6} {'ratio':>8} {'limits':>16} {'E-value':>8} {'of limit':>9}"
    for name, ratio in zip(names, shown, strict=True):
        yield f"  {name:{width}} {_ratio_columns(ratio)}"
    if len(found.ratios) > len(shown):
        yield f"  and {len(found.ratios) - len(shown)} more"


def _ratio_columns(r: RiskRatio) -> str:
    limits = f"{_number(r.low)} to {_number(r.high)}"
    return (
        f"{r.risk:6.3f} {r.other:6.3f} {_number(r.adjusted):>8} {limits:>16} {_number(r.e_value):>8} "
        f"{_number(r.e_value_limit):>9}"
    )


def _linear_lines(linear: Linear) -> Iterator[str]:
    fit = linear.fit
    yield (
        f"  linear fit (strata weigh by overlap): difference {fit.estimate:.3f} (s.e. {fit.robust_error:.3f}); partial "
        f"R² {linear.partial_r2:.3f}; robustness value {linear.robustness_value:.3f}, of the 95 % limit "
        f"{linear.robustness_value_alpha:.3f}"
    )
    for bound in linear.bounds:
        # A line knows no limits; a difference of probabilities does.
        possible = abs(bound.estimate) <= 1
        where = f"{bound.estimate:.3f} ({bound.low:.3f} to {bound.high:.3f})" if possible else "any difference at all"
        yield f"    a confounder {bound.k_treatment:g} x as strong as severity may bring it to {where}"


def _marginal_lines(marginal: Marginal) -> Iterator[str]:
    start = float(marginal.low[0])
    reached = f"beyond {marginal.lambdas[-1]:.3g}"
    limit = reached if marginal.critical_limit is None else f"{marginal.critical_limit:.2f}"
    yield (
        f"  hidden choice of the question: difference {start:.3f}; its bounds hold zero from Λ = "
        f"{_number(marginal.critical)}, their 95 % limits from {limit}"
    )


def _pair_lines(pairs: Pairs) -> Iterator[str]:
    values = ", ".join(f"{p:.2g} at {gamma:g}" for gamma, p in zip(pairs.gammas, pairs.p_high, strict=True))
    yield (
        f"  matched pairs: {pairs.pairs:,}, {pairs.discordant:,} discordant, {pairs.favourable:,} of them one way; "
        f"largest p over Γ: {values}; Γ* = {pairs.sensitivity_value:.2f}"
    )


def _misclassified_lines(found: Misclassified) -> Iterator[str]:
    most = f"{found.rates[-1]:.0%}"
    tips = f"stays on its side of zero up to {most}" if found.tipping is None else f"is zero at {found.tipping:.1%}"
    possible = "nowhere" if found.possible is None else f"from {found.possible[0]:.1%} to {found.possible[1]:.1%}"
    yield (
        f"  severity recorded wrongly ({found.errors}): the difference {tips}; 95 % limits hold zero {possible} "
        f"(looked at up to {most})"
    )
    bias = "keeps its sign" if found.bias_tipping is None else f"is zero at {found.bias_tipping:.1%}"
    strained = found.rates[found.strained]
    against = f"; from {strained[0]:.1%} on over 1 % of rows contradict the rate" if len(strained) else ""
    yield f"    confounding bias of the arm: {found.bias[0]:.3f} as recorded; {bias}{against}"


def _refutation_lines(found: Refutations) -> Iterator[str]:
    yield f"  refuters (DoWhy): {found.estimate:.3f} on {found.rows:,} rows; arm 1 = the arm, arm 0 = the others"
    for result in found.results:
        should = {"zero": "should be 0", "unmoved": "should not move", "informative": "for information"}
        yield (
            f"    {result.name:52} {result.mean:7.3f} (sd {result.spread:.3f})  {should[result.expectation]}: "
            f"{result.verdict if result.expectation != 'informative' else 'not judged'}"
        )


def _number(value: float) -> str:
    return "inf" if value == float("inf") else f"{value:.2f}"
