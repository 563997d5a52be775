"""What the pages share: how templates are read, and how numbers and text from data are written."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

#: Bytes of a page.
LARGEST = 300_000
_LIMITS = ("estimate", "low", "high")


def environment() -> Any:
    """Where templates are found, and the filters they use; text from data is escaped, a misspelt name is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    found = Environment(
        loader=PackageLoader("causalecg.reports", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"number": number, "interval": interval, "rounded": rounded, "signed": signed, "p": p_value}
    found.globals |= {"rounded": rounded, "signed": signed}
    return found


def number(value: Any) -> str:
    """Three decimals for a fraction, as it is otherwise, a dash for nothing."""
    if value is None or (isinstance(value, float) and value != value):
        return "–"
    if isinstance(value, float):
        return f"{value:.3g}" if 0 < abs(value) < 0.0005 else f"{value:.3f}"
    return str(value)


def rounded(value: float | None) -> str:
    """Three decimals and never more, a dash for nothing."""
    return "–" if value is None or value != value else f"{round(value, 3) + 0.0:.3f}"


def signed(value: float | None) -> str:
    """As :func:`rounded`, with the sign of what is not zero."""
    text = rounded(value)
    return f"+{text}" if value is not None and round(value, 3) > 0 else text


def p_value(value: float | None) -> str:
    """Three decimals; what is below a thousandth is "<0.001"."""
    return "<0.001" if value is not None and value < 0.001 else rounded(value)


def interval(value: Mapping[str, float | None] | None, write: Callable[[Any], str] = number) -> str:
    """ ".873 (.861 to .885)", or a dash."""
    if not value or value["estimate"] is None or value["estimate"] != value["estimate"]:
        return "–"
    estimate, low, high = (write(value[key]) for key in _LIMITS)
    return f"{estimate} ({low} to {high})"


def unmarked(text: str) -> str:
    """Text from data as Markdown shows it literally, on one line."""
    flat = re.sub(r"\s+", " ", str(text))
    return re.sub(r"([\\`\[\]!*_|])", r"\\\1", flat).replace("&", "&amp;").replace("<", "&lt;")
