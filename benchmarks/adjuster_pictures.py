"""What every adjuster does to P(yes | evidence), as pictures: docs/adjusters/NAME.svg.

    python benchmarks/adjuster_pictures.py             # all of them, about ten seconds each
    python benchmarks/adjuster_pictures.py ipw --png /tmp/pictures

Tier T0, rho = .99, 4,000 patients, one seed. Panels: unadjusted and oracle in regime R1, the adjuster there, and the
adjuster in a regime that breaks its assumption (:data:`ELSEWHERE`). Where the curves of the two styles part, the
wording decides; where the adjuster loses a topic's true effect, curves are of the two topics. In each panel stands the
accuracy on 20,000 patients with the style re-drawn, that of the unadjusted model, and what an ideal reader has.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from adjusters.catalogue import in_order
from adjusters.registry import BUILT_IN
from causalecg.benchmark import exact
from causalecg.benchmark.law import Law
from causalecg.benchmark.leaderboard.evidence import declared_estimand
from causalecg.benchmark.regimes import regime
from causalecg.benchmark.t0.arms import EvidenceArm
from causalecg.benchmark.t0.evaluation import Reader, patients_to_test, reader_of
from causalecg.benchmark.t0.training import train
from causalecg.reports.figures import as_svg, house_style, new_figure
from causalecg.reports.palette import GOOD, GREY, INK, OPEN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAGES = Path(__file__).resolve().parents[1] / "docs" / "adjusters"
RHO, ITEMS, TEST, SEED = 0.99, 4000, 20_000, 0
#: Amount of the finding in the ECG, in units of its noise; the severity's channel is held at its middle.
EVIDENCE = np.linspace(-4.0, 4.0, 49)


@dataclass(frozen=True)
class Elsewhere:
    """Where an adjuster goes wrong; of one that is wrong in R1, where it is right.

    Attributes:
        regime: of the benchmark; a law that differs from it by ``dials``.
        by: whose curves are drawn: "style", "topic", or "ecg", what the ECG shows of severity.
        says: the regime in a few words.
        options: of the arm, where they are not those of R1.
        dials: of the law, by hand.
    """

    regime: str
    by: str
    says: str
    options: str | None = None
    dials: tuple[tuple[str, Any], ...] = ()


_WRONG_SEVERITY = Elsewhere("R4", "style", "10 % of severities wrong")
_TOPIC = Elsewhere("R3", "topic", "topic settles 40 %")
_TOPIC_SEEN = replace(_TOPIC, options="bias_view=question")
_TOPIC_ERASED = replace(_TOPIC, options="bias_view=question&restore_prior=false")
_CONTENT = Elsewhere("R9", "style", "wording settles 20 %")
_VISIBLE = Elsewhere("R2", "ecg", "severity in the ECG")
_NONE = Elsewhere("R8", "style", "no confounding")
_UNSEEN = Elsewhere("R1", "style", "base", options="bias_view=question")
_SITES = Elsewhere("R1", "style", "sites of other q", options="", dials=(("q", (0.995, 0.7)),))

#: name -> the last panels.
ELSEWHERE: dict[str, tuple[Elsewhere, ...]] = {
    "none": (_NONE,),
    "backdoor": (_WRONG_SEVERITY,),
    "ipw": (_WRONG_SEVERITY,),
    "stratified": (_WRONG_SEVERITY,),
    "matched": (_WRONG_SEVERITY,),
    "question_randomised": (_CONTENT,),
    "hybrid": (_WRONG_SEVERITY, _CONTENT),
    "product_of_experts": (_TOPIC_ERASED,),
    "learned_mixin": (_TOPIC_SEEN,),
    "inverse_answer": (_TOPIC_SEEN,),
    "rubi": (_TOPIC,),
    "effect_subtraction": (_TOPIC,),
    "lff": (_UNSEEN, _NONE),
    "rebias": (_TOPIC,),
    "group_dro": (_TOPIC,),
    "group_weights": (_TOPIC,),
    "jtt": (_UNSEEN, _NONE),
    "last_layer_refit": (_TOPIC,),
    "irm": (_SITES,),
    "vrex": (_SITES,),
    "ecg_swap": (replace(_TOPIC, by="style"),),
    "twins": (_VISIBLE,),
    "modality_dropout": (_NONE,),
    "canonical_text": (_CONTENT,),
}
#: name -> options, where an arm needs some to be trained on these tables.
OPTIONS: dict[str, str] = {"irm": "environment=severity", "vrex": "environment=severity"}


def arm_of(name: str, options: str | None = None) -> str:
    """The arm that is drawn."""
    options = OPTIONS.get(name, "") if options is None else options
    return f"{name}?{options}" if options else name


@lru_cache(maxsize=16)
def reader(law: Law, arm: str) -> Reader:
    """The trained arm."""
    torch.set_num_threads(1)
    return reader_of(train(law, EvidenceArm.parse(arm), seed=SEED, estimand=declared_estimand(), items=ITEMS).yes)


def law_of(there: Elsewhere) -> Law:
    found = regime(there.regime)
    return found.law(RHO if found.rho is None else None, **dict(there.dials))


def accuracy(law: Law, read: Reader) -> float:
    """Share of right decisions, style re-drawn."""
    world = patients_to_test(law, TEST).unbiased()
    return float(((read(world.evidence, world.topic, world.styles) > 0.5) == world.answer).mean())


#: by -> names of its two values, and the colours of their curves and of their truths.
NAMES = {"style": ("calm", "urgent"), "topic": ("topic 0", "topic 1"), "ecg": ("mild ECG", "severe ECG")}
COLOURS, PALE = (GOOD, OPEN), ("#a9cbd6", "#ecbcb6")


def curves(law: Law, read: Reader, by: str) -> tuple[np.ndarray, np.ndarray]:
    """P(yes) at :data:`EVIDENCE` for both values of ``by``, all styles at once; mean over style and topic otherwise.

    The ECG's severity channel is at its middle, or, by "ecg", one unit of noise below and above.
    """
    n, found = len(EVIDENCE), []
    for value in (0, 1):
        shown = 2.0 * value - 1 if by == "ecg" else 0.0
        topics = (value,) if by == "topic" else (0, 1)
        styles = (value,) if by == "style" else (0, 1)
        asked = [
            read(np.column_stack([EVIDENCE, np.full(n, shown)]), np.full(n, topic), np.full((n, law.shortcuts), style))
            for topic in topics
            for style in styles
        ]
        found.append(np.mean(asked, axis=0))
    return found[0], found[1]


def truth(law: Law) -> Reader:
    """P(yes | E, do(F, T)) by the law itself."""

    def read(evidence: np.ndarray, topic: np.ndarray, styles: np.ndarray) -> np.ndarray:
        return exact.interventional(law, evidence, styles @ (1 << np.arange(law.shortcuts)), topic)

    return read


def picture(name: str) -> Figure:
    """The panels of one adjuster."""
    base = Elsewhere("R1", "style", "base")
    panels = [(base, "none"), (base, "oracle")] + [(base, arm_of(name))] * (name != "none")
    panels += [(there, arm_of(name, there.options)) for there in ELSEWHERE[name]]
    figure = new_figure(0.5 + 2.1 * len(panels), 2.6)
    every = figure.subplots(1, len(panels), sharey=True)
    for axes, (where, arm) in zip(every, panels, strict=True):
        draw(axes, where, arm)
    for axes in (every[0], every[-1]):
        axes.legend(
            loc="upper left", fontsize=7, handlelength=1.6, borderpad=0.1, borderaxespad=0.2,
            framealpha=0.75, edgecolor="none",
        )  # fmt: skip
    every[0].set_ylabel("P(yes)")
    figure.supxlabel("finding in the ECG, in units of its noise", fontsize=9)
    figure.set_layout_engine("constrained")
    return figure


def draw(axes: Axes, where: Elsewhere, arm: str) -> None:
    """One panel."""
    law, by = law_of(where), where.by
    read, names = reader(law, arm), NAMES[by]
    true, found = curves(law, truth(law), by), curves(law, read, by)
    if np.allclose(*true):
        axes.plot(EVIDENCE, true[0].round(4), color="#b9c2cb", linewidth=4, label="truth")
    else:
        for values, colour, label in zip(true, PALE, ("truth (pale)", None), strict=True):
            axes.plot(EVIDENCE, values.round(4), color=colour, linewidth=4, label=label)
    dashes = ("solid", (0, (4, 1.5)))
    for values, colour, name, dash in zip(found, COLOURS, names, dashes, strict=True):
        axes.plot(EVIDENCE, values.round(4), color=colour, linewidth=1.6, label=name, linestyle=dash)
    title = arm.replace("?", "\n").replace("&", "\n")
    axes.set_title(f"{title}\n{where.regime}: {where.says}", fontsize=8, loc="left")
    shares = [(accuracy(law, read), "right"), (exact.accuracy(law, "oracle", "unbiased"), "ideal")]
    if arm not in ("none", "oracle"):
        shares.insert(1, (accuracy(law, reader(law, "none")), "none"))
    told = "\n".join(f"{share:.3f} {name}".lstrip("0") for share, name in shares)
    axes.text(
        0.98, 0.05, told, transform=axes.transAxes, ha="right",
        fontsize=8, color=INK, bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1},
    )  # fmt: skip
    axes.set_ylim(-0.03, 1.03)
    axes.set_yticks([0, 0.5, 1])
    axes.set_xticks([-4, -2, 0, 2, 4])
    axes.axhline(0.5, color=GREY, linewidth=0.6, linestyle=":")
    axes.tick_params(length=2, labelsize=8)


def small(text: str) -> str:
    """The same SVG in fewer bytes: hundredths of a point, the generic font, no indentation."""
    text = re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), text)
    text = re.sub(r"font-family: [^;\"]*sans-serif", "font-family: sans-serif", text)
    return re.sub(r"\s*\n\s*", "\n", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="adjusters; by default all that are built in")
    parser.add_argument("--png", type=Path, help="also as PNG into this folder, to be looked at")
    given = parser.parse_args()
    PAGES.mkdir(exist_ok=True)
    for name in given.names or [name for name in in_order() if name in BUILT_IN]:
        with house_style():
            figure = picture(name)
            text = small(as_svg(figure, f"P(yes given the ECG) by wording: unadjusted, oracle and {name}"))
            (PAGES / f"{name}.svg").write_text(text)
            if given.png:
                given.png.mkdir(parents=True, exist_ok=True)
                figure.savefig(given.png / f"{name}.png", dpi=130, facecolor="white")
        print(f"{name}: {len(text) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
