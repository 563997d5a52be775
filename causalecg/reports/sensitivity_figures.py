"""Sensitivity as pictures: E-values, contours of a linear fit, hidden choice, misrecorded severity, refuters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from causalecg.reports.figures import as_svg, house_style, new_figure, shortened
from causalecg.reports.palette import GOOD, GREY, INK, OPEN, SECOND

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from causalecg.cohort.sensitivity import Linear, Marginal, Misclassified, Sensitivity
    from structural_models.sensitivity.refuters import Refutations

#: As many contrasts are drawn.
MOST = 12
_GRID = "#e3e7eb"


def sensitivity_figures(found: Sensitivity) -> dict[str, str]:
    """File stem -> SVG, of what was analysed."""
    name = found.leading
    figures = {"e_values": e_value_figure(found), "hidden_choice": marginal_figure(found.marginal, name)}
    if found.linear is not None:
        figures["contours"] = contour_figure(found.linear, name)
    if found.misclassified is not None:
        figures["misrecorded_severity"] = misclassification_figure(found.misclassified, name)
    if found.refutations is not None:
        figures["refuters"] = refuter_figure(found.refutations, name)
    return figures


def e_value_figure(found: Sensitivity) -> str:
    """E-value of every contrast, and of the limit of its risk ratio."""
    from causalecg.cohort.sensitivity import contrast_name

    rows = found.ratios[:MOST]
    largest = max([r.e_value for r in rows if np.isfinite(r.e_value)] + [r.e_value_limit for r in rows] + [1.5]) * 1.1
    with house_style():
        figure = new_figure(6.4, 1.3 + 0.32 * len(rows))
        axes = figure.subplots()
        for place, ratio in enumerate(rows):
            to = min(ratio.e_value, largest)
            axes.plot([ratio.e_value_limit, to], [place, place], color="#cfd6dd", linewidth=3, zorder=1)
            axes.plot(ratio.e_value_limit, place, "|", color=GOOD, markersize=13, markeredgewidth=2.5, zorder=2)
            axes.plot(to, place, "o" if np.isfinite(ratio.e_value) else ">", color=INK, markersize=5, zorder=3)
        axes.plot([], [], "o", color=INK, markersize=5, label="E-value")
        axes.plot([], [], "|", color=GOOD, markersize=11, markeredgewidth=2.5, label="of the limit")
        axes.set_yticks(range(len(rows)), [shortened(contrast_name(ratio, found.arms)) for ratio in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(0.95, largest)
        axes.set_xlabel("risk ratio that something unmeasured\nneeds with both question and answer")
        axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
        _finished(axes, "x")
        figure.set_layout_engine("constrained")
        return as_svg(figure, "E-values of the contrasts and of their limits")


def contour_figure(linear: Linear, name: str) -> str:
    """The estimate had a confounder of such strength been adjusted for, with severity's multiples as benchmarks."""
    from structural_models.sensitivity.robustness import contours

    rv = linear.robustness_value
    # Severity's multiples may be too strong to be drawn beside the rest.
    inside = [b for b in linear.bounds if max(b.r2_treatment, b.r2_outcome) <= 0.7]
    furthest = max([1.4 * rv, 0.02, *(1.3 * max(b.r2_treatment, b.r2_outcome) for b in inside)])
    grid = contours(linear.fit, most=min(furthest, 0.9))
    steps = np.linspace(-1, 1, 11) * max(abs(linear.fit.estimate), 0.01)
    with house_style():
        figure = new_figure(5.2, 4.4)
        axes = figure.subplots()
        lines = axes.contour(grid.r2_treatment, grid.r2_outcome, grid.estimate, steps, colors=GREY, linewidths=0.9)
        axes.clabel(lines, fontsize=7, fmt="%.2g")
        if grid.estimate.min() < 0 < grid.estimate.max():
            axes.contour(grid.r2_treatment, grid.r2_outcome, grid.estimate, levels=[0.0], colors=OPEN, linewidths=2)
        axes.plot(0, 0, "o", color=INK, markersize=5, clip_on=False)
        if rv < grid.r2_treatment[-1]:
            axes.plot(rv, rv, "D", color=OPEN, markersize=5)
            axes.annotate(f"robustness value {rv:.3f}", (rv, rv), (6, 5), textcoords="offset points", fontsize=8)
        for bound in inside:
            axes.plot(bound.r2_treatment, bound.r2_outcome, "s", color=SECOND, markersize=5)
            axes.annotate(
                f"{bound.k_treatment:g} x severity: {bound.estimate:.3f}",
                (bound.r2_treatment, bound.r2_outcome),
                (-6, 5) if bound.r2_treatment > 0.6 * grid.r2_treatment[-1] else (6, 5),
                textcoords="offset points",
                fontsize=8,
                ha="right" if bound.r2_treatment > 0.6 * grid.r2_treatment[-1] else "left",
            )
        axes.set_xlabel("share of the arm's residual variance that it explains")
        axes.set_ylabel("share of the answer's residual variance that it explains")
        axes.set_title(
            f"{shortened(name, 60)}\ndifference once adjusted: {linear.fit.estimate:.3f} as fitted (dot), zero in red",
            fontsize=9,
            loc="left",
        )
        _finished(axes, None)
        figure.set_layout_engine("constrained")
        return as_svg(figure, f"Contours of the adjusted linear estimate: {name}")


def marginal_figure(marginal: Marginal, name: str) -> str:
    """Bounds of the contrast over Λ, and limits for them."""
    with house_style():
        figure = new_figure(5.6, 3.4)
        axes = figure.subplots()
        x = marginal.lambdas
        axes.fill_between(x, marginal.limit_low, marginal.limit_high, color=GOOD, alpha=0.15, linewidth=0)
        axes.fill_between(x, marginal.low, marginal.high, color=GOOD, alpha=0.35, linewidth=0)
        axes.axhline(0, color=INK, linewidth=0.9)
        if marginal.critical <= x[-1]:
            axes.axvline(marginal.critical, color=OPEN, linewidth=1.2, linestyle="--")
            right = marginal.critical > np.sqrt(x[-1])
            axes.annotate(
                f"Λ = {marginal.critical:.2f}",
                (marginal.critical, 1),
                (-4 if right else 4, -10),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                color=OPEN,
                fontsize=8,
                ha="right" if right else "left",
            )
        _log_ticks(axes, float(x[-1]))
        axes.set_xlim(1, x[-1])
        axes.set_xlabel("Λ: factor by which something unmeasured changes the odds of the question")
        axes.set_ylabel("risk difference")
        axes.set_title(shortened(f"Bounds, and 95 % limits for them (pale): {name}", 80), fontsize=9, loc="left")
        _finished(axes, "y")
        figure.set_layout_engine("constrained")
        return as_svg(figure, f"Bounds of the contrast under hidden choice of the question: {name}")


def misclassification_figure(found: Misclassified, name: str) -> str:
    """Contrast and confounding bias over the share of severities presumed wrong."""
    with house_style():
        figure = new_figure(5.6, 3.6)
        axes = figure.subplots()
        x = found.rates
        axes.fill_between(x, found.contrast_low, found.contrast_high, color=GOOD, alpha=0.2, linewidth=0)
        axes.plot(x, found.contrast, color=GOOD, linewidth=2, label="difference that is left (95 % limits)")
        axes.plot(x, found.bias, color=SECOND, linewidth=2, label="confounding bias of the arm")
        strained = found.moved > 0.01
        if strained.any():
            start = float(x[int(strained.argmax())])
            axes.axvspan(
                start, x[-1], color=GREY, alpha=0.13, linewidth=0, label="over 1 % of rows contradict the rate"
            )
        axes.axhline(0, color=INK, linewidth=0.9)
        if found.tipping is not None:
            axes.axvline(found.tipping, color=OPEN, linewidth=1.2, linestyle="--")
            right = found.tipping > 0.6 * x[-1]
            axes.annotate(
                f"tips at {found.tipping:.1%}",
                (found.tipping, 0),
                (-4 if right else 4, 5),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                color=OPEN,
                fontsize=8,
                ha="right" if right else "left",
            )
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.set_xlim(0, x[-1])
        axes.set_xlabel(f"share of severities recorded wrongly ({found.errors} errors)")
        axes.set_ylabel("risk difference")
        axes.set_title(shortened(name, 80), fontsize=9, loc="left")
        axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
        _finished(axes, "y")
        figure.set_layout_engine("constrained")
        return as_svg(figure, f"Tipping point of misrecorded severity: {name}")


def refuter_figure(found: Refutations, name: str) -> str:
    """Mean and two standard deviations of every refuter's draws, beside zero and the estimate."""
    with house_style():
        figure = new_figure(6.4, 1.3 + 0.3 * len(found.results))
        axes = figure.subplots()
        axes.axvline(0, color=INK, linewidth=0.9)
        axes.axvline(found.estimate, color=SECOND, linewidth=1.4, linestyle="--")
        colours = {"as expected": GOOD, "not as expected": OPEN, "informative": GREY}
        for place, result in enumerate(found.results):
            reach = 2 * result.spread
            ends = [result.mean - reach, result.mean + reach]
            axes.plot(ends, [place, place], color=colours[result.verdict], linewidth=2, solid_capstyle="butt")
            axes.plot(result.mean, place, "o", color=colours[result.verdict], markersize=4)
        axes.set_yticks(range(len(found.results)), [shortened(result.name, 60) for result in found.results])
        axes.set_ylim(len(found.results) - 0.5, -0.5)
        axes.set_xlabel(f"risk difference, mean ± 2 sd of the draws\n(dashed: the estimate, {found.estimate:.3f})")
        axes.set_title(shortened(name, 80), fontsize=9, loc="left")
        _finished(axes, "x")
        figure.set_layout_engine("constrained")
        return as_svg(figure, f"DoWhy's refuters: {name}")


def _finished(axes: Axes, grid: Literal["x", "y"] | None) -> None:
    if grid is not None:
        axes.grid(axis=grid, color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)


def _log_ticks(axes: Axes, most: float) -> None:
    axes.set_xscale("log")
    steps: list[Any] = [step for step in (1, 1.2, 1.5, 2, 2.5, 3, 5, 7, 10, 15, 20, 30, 50) if step <= most * 1.001]
    kept = steps if most < 7 else [step for step in steps if float(step).is_integer()]
    axes.set_xticks(kept, [f"{step:g}" for step in kept])
    axes.set_xticks([], minor=True)
