"""All adjusters side by side, from their cards, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from adjusters.registry import BUILT_IN, available, card

#: In the order in which they are shown; "" is the unadjusted model's.
FAMILIES = ("", "severity based", "shortcut model", "group based", "data side")
_WHOLE = ("adjuster", "family", "needs", "estimands", "bias view", "extra passes")
_JUDGED = ("adjuster", "consistent when", "fails when", "source")


def family(name: str) -> str:
    """The family a built-in adjuster belongs to, as "severity based"; of others, the package they come from; of
    ``none``, nothing.

    A family is a sub-package of ``adjusters``.
    """
    package, *inner = available()[name].partition(":")[0].split(".")
    if package != "adjusters":
        return package
    return inner[0].replace("_", " ") if len(inner) > 1 else ""


def in_order() -> tuple[str, ...]:
    """Names of all adjusters: the built-in ones by family, as the registry has them, then the others by name."""
    built_in = sorted(BUILT_IN, key=lambda name: FAMILIES.index(family(name)))
    return (*built_in, *sorted(name for name in available() if name not in BUILT_IN))


def markdown(pages: str = "") -> str:
    """Two tables of all adjusters: what they need and cost; when they are right, when not, and where they come from.

    Args:
        pages: folder of the built-in adjusters' pages, to which their names are then linked.

    "Extra passes" are those of :class:`adjusters.contract.Card`, of a training step and of a prediction.
    """
    whole, judged = [], []
    for name in in_order():
        found = card(name)
        shown = f"[`{name}`]({pages}/{name}.md)" if pages and name in BUILT_IN else f"`{name}`"
        passes = ", ".join(map(str, found.extra_passes))
        whole.append(
            (
                shown,
                family(name),
                ", ".join(found.needs),
                ", ".join(found.estimands),
                found.bias_view or "",
                passes if passes != "0, 0" else "",
            )
        )
        judged.append((shown, found.consistent_when, found.fails_when, found.source))
    return f"{table(_WHOLE, whole)}\n\n{table(_JUDGED, judged)}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; an empty cell becomes a dash."""
    lines = [heads, ["---"] * len(heads), *([_cell(value) for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: str) -> str:
    return " ".join(value.split()).replace("|", "\\|") or "–"
