"""Questions of tier T0: topic and styles as text, and back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

#: What a question asks about: topic 0, topic 1.
TOPICS = ("ST elevation", "T wave inversion")
#: Style 0 and style 1 of each shortcut, in order.
STYLES = (
    ("calm", "urgent"),
    ("brief", "wordy"),
    ("formal", "casual"),
    ("spoken", "written"),
    ("direct", "polite"),
    ("early", "late"),
)
_QUESTION = re.compile(
    r"(?P<before>.*?)In (?P<styles>[a-z, ]+) words: does this ECG show (?P<topic>[^?]+)\?", re.DOTALL
)
_SEVERITY = re.compile(r"Severity: (?P<word>.+?)\.(?: |$)")
_STYLE_AT = {word: (place, value) for place, pair in enumerate(STYLES) for value, word in enumerate(pair)}


@dataclass(frozen=True)
class Reading:
    """What a text says: topic and styles (0 or 1), and the severity it was told; ``None`` and empty = nothing."""

    topic: int | None
    styles: tuple[int, ...]
    severity: str | None


def style_name(styles: tuple[int, ...]) -> str:
    """All styles of a wording as one name, e.g. "urgent, brief"."""
    return ", ".join(STYLES[place][value] for place, value in enumerate(styles))


def render(topic: int, styles: tuple[int, ...]) -> str:
    """The question about a topic in these styles."""
    return f"In {style_name(styles)} words: does this ECG show {TOPICS[topic]}?"


def rendered(topic: np.ndarray, styles: np.ndarray) -> list[str]:
    """(n,) questions of (n,) topics and (n, shortcuts) styles."""
    texts: dict[tuple[int, ...], str] = {}
    keys = [tuple(row) for row in np.column_stack([topic, styles]).tolist()]
    return [texts.get(key) or texts.setdefault(key, render(key[0], key[1:])) for key in keys]


@lru_cache(maxsize=4096)
def read(text: str | None) -> Reading:
    """What a question says, exactly what :func:`render` put in, and the severity told before it.

    A text in other words says nothing, like one that is withheld.
    """
    if text is None:
        return Reading(None, (), None)
    asked = _QUESTION.fullmatch(text)
    told = _SEVERITY.match(text if asked is None else asked["before"])
    word = None if told is None else told["word"]
    if asked is None or asked["topic"] not in TOPICS:
        return Reading(None, (), word)
    words = asked["styles"].split(", ")
    if [_STYLE_AT.get(name, (-1, 0))[0] for name in words] != list(range(len(words))):
        return Reading(None, (), word)
    return Reading(TOPICS.index(asked["topic"]), tuple(_STYLE_AT[name][1] for name in words), word)
