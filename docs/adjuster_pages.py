"""Fills what is generated of the adjusters: their cards in docs/adjusters.md, their summaries in README.md, card and
options in docs/adjusters/NAME.md.

    python docs/adjuster_pages.py

Generated text stands between ``<!-- name -->`` and ``<!-- end -->``; all else is left as it is. A page that is missing
is begun. ``tests/adjusters/test_pages.py`` fails where a page and the code have drifted apart.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

from adjusters.catalogue import in_order, markdown, table
from adjusters.contract import Adjuster, Card
from adjusters.registry import BUILT_IN, adjuster_class
from causalecg.training.option_values import written

DOCS = Path(__file__).resolve().parent
#: Headings of an adjuster's page, in this order.
HEADINGS = ("Formula", "Picture", "Right when", "Fails when", "Options", "Arm", "Source")
_BEGUN = """# `{name}`

Begun by docs/adjuster_pages.py: say in two or three sentences what it is.

## Formula

## Picture

![P(yes given the ECG) by wording]({name}.svg)

## Right when

<!-- right -->
<!-- end -->

## Fails when

<!-- fails -->
<!-- end -->

## Options

<!-- options -->
<!-- end -->

## Arm

```
causalecg train --cohort COHORT --arm {name} --out RUN
```

## Source

<!-- source -->
<!-- end -->
"""


def filled(page: str, blocks: dict[str, str]) -> str:
    """The page with every marked block replaced. ValueError for a block that it lacks."""
    for name, text in blocks.items():
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not marked.search(page):
            raise ValueError(f"there is no '<!-- {name} -->' ... '<!-- end -->' to fill")
        page = marked.sub(lambda found, text=text: f"{found[1]}{text}\n{found[2]}", page)
    return page


def overview() -> dict[str, str]:
    """What is generated in docs/adjusters.md."""
    return {"cards": markdown("adjusters")}


def short_table() -> dict[str, str]:
    """What is generated in README.md."""
    rows = [
        (f"[`{name}`](docs/adjusters/{name}.md)", adjuster_class(name).card.summary)
        for name in in_order()
        if name in BUILT_IN
    ]
    return {"adjusters": table(("adjuster", "what it is"), rows)}


def blocks_of(name: str) -> dict[str, str]:
    """What is generated on an adjuster's page."""
    found = adjuster_class(name)
    card = found.card
    return {
        "right": _sentence(card.consistent_when),
        "fails": _sentence(card.fails_when),
        "options": options_table(found),
        "source": " ".join(filter(None, [_sentence(card.source), passes(card)])),
    }


def passes(card: Card) -> str:
    """Its further scorer passes, as a sentence."""
    training, prediction = card.extra_passes
    if (training, prediction) == (0, 0):
        return "It adds no pass of the model to a training step or a prediction."
    return f"Further passes of the model per item: {training} in a training step, {prediction} at prediction."


def options_table(found: type[Adjuster]) -> str:
    """Options with defaults, values and meanings: from the signature, and from "Args:" of the class's docstring."""
    if found.__init__ is object.__init__:
        return "It has none."
    hints, meanings = get_type_hints(found.__init__), described(found)
    rows = []
    for name, parameter in inspect.signature(found.__init__).parameters.items():
        if name == "self":
            continue
        if name not in meanings:
            raise ValueError(f"the docstring of {found.__name__} does not describe its option '{name}'")
        rows.append((f"`{name}`", f"`{written(parameter.default)}`", values(hints[name]), meanings[name]))
    return table(("option", "default", "values", "what it does"), rows) if rows else "It has none."


def values(kind: object) -> str:
    """What an option's annotation lets one write in an arm."""
    if get_origin(kind) is Literal:
        return ", ".join(f"`{written(choice)}`" for choice in get_args(kind))
    names = {int: "whole number", float: "number", bool: "`true`, `false`", str: "text", type(None): "`none`"}
    if kind in names:
        return names[kind]  # type: ignore[index]
    if get_origin(kind) in (list, tuple) or "Sequence" in str(get_origin(kind)):
        return "comma list"
    return ", ".join(dict.fromkeys(values(one) for one in get_args(kind)))


def described(found: type[Adjuster]) -> dict[str, str]:
    """option -> what the docstring of the class, or of one it inherits from, says of it under "Args:"."""
    meanings: dict[str, str] = {}
    for one in reversed(found.__mro__):
        meanings |= _arguments(inspect.cleandoc(one.__dict__.get("__doc__") or ""))
    return meanings


def _arguments(docstring: str) -> dict[str, str]:
    _, _, after = docstring.partition("Args:\n")
    meanings: dict[str, str] = {}
    current: list[str] = []
    for line in after.splitlines():
        if line.strip() and not line.startswith("    "):
            break
        new = re.match(r"    (\w+(?:, \w+)*): (.*)", line)
        if new:
            current = new[1].split(", ")
            meanings |= dict.fromkeys(current, new[2])
        elif line.strip():
            meanings |= {name: f"{meanings[name]} {line.strip()}" for name in current}
    return {name: _plain(meaning) for name, meaning in meanings.items()}


def _plain(text: str) -> str:
    """reStructuredText's double quotes and roles as Markdown; without the pointer to the class that has the rest."""
    text = re.sub(r" *See :class:`\w+` for the (other )?options\.", "", text)
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text)
    return text.replace("``", "`").replace("`None`", "`none`")


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}." if text else ""


def main() -> None:
    for path, blocks in ((DOCS / "adjusters.md", overview()), (DOCS.parent / "README.md", short_table())):
        path.write_text(filled(path.read_text(), blocks))
    for name in BUILT_IN:
        path = DOCS / "adjusters" / f"{name}.md"
        page = path.read_text() if path.exists() else _BEGUN.format(name=name)
        path.write_text(filled(page, blocks_of(name)))


if __name__ == "__main__":
    main()
