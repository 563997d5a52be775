"""Which of the candidate answers a generated text gives: whole answers only, or none.

Looking for candidates inside a text finds "no" in "not sure", and "complete left bundle branch block" in "incomplete
left bundle branch block". Here a text is an answer only where all of it is.

What is passed over: case; kinds of quotes, dashes and spaces; quotes, ``*``, ``_`` and backticks around an answer; a
full stop or exclamation mark after it. What may come before it: a lead-in (:data:`LEAD_INS`) at the beginning of a
line, with any reasoning in the lines before.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from causalecg.audits.abstentions import abstains
from causalecg.errors import InputError

Kind = Literal["one", "set"]
Status = Literal["answered", "abstained", "unparsed", "empty"]

#: What may stand before an answer, at the beginning of a line; "final" or "correct" may come before "answer".
LEAD_INS = ("Answer:", "The answer:", "Answer is", "The answer is", "The answer is:")
#: As many options have a letter.
MOST_LETTERED = 26
#: In a set, as many characters may stand around one answer: marks, a bullet, a letter.
_MOST_AROUND = 24

_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys("“”„‟«»″", '"'),
        **dict.fromkeys("‘’‚‛´′", "'"),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff"),
    }
)
_MARKS = "\"'*_` \t\n"
_LEAD_IN = re.compile(
    r"^[ >#*_\"'`]*(?:the )?(?:final |correct )?answer(?:[*_\"'`]* ?:|[*_\"'`]* is\b[*_\"'`]* ?:?)[*_\"'`]*",
    re.MULTILINE,
)
_LETTER_ALONE = re.compile(r"\(([a-z])\)|([a-z])[):]?")
_LETTER_AND_TEXT = re.compile(r"(?:\(([a-z])\)|([a-z])[).:])\s*(.+)", re.DOTALL)
_BULLET = re.compile(r"\s*(?:[-*•]|\d{1,2}[.)])\s+")
_SEPARATOR = re.compile(r"\s*[,;\n][\s,;]*")
_AND_AFTER = re.compile(r"and\s+")
_AND = re.compile(r"\s+and\s+")


@dataclass(frozen=True)
class Parsed:
    """``answers``: candidates, in the candidates' order, as they were given; empty unless ``status`` is "answered"."""

    answers: tuple[str, ...]
    status: Status


@dataclass(frozen=True)
class _Options:
    """``at``: how a candidate looks plain -> its place; ``letters``: letter -> its place."""

    at: dict[str, int]
    letters: dict[str, int]


def parse_answer(
    text: str | None, candidates: Sequence[str], kind: Kind, *, lettered: Sequence[str] | None = None
) -> Parsed:
    """The answer that a generated text gives.

    Args:
        text: what the model wrote; ``None`` = nothing.
        candidates: the answer space.
        kind: "one": the text must be one candidate. "set": candidates separated by commas, semicolons, line breaks or
            "and", in any order; the longest candidates that use up the text are taken, so that one may contain a comma
            or an "and" itself; lines may begin with "-", "*", "•" or a number; "none" stands alone.
        lettered: the candidates in the order in which they were shown as A, B, C, ...: "B", "(B)", "B)", "B:" and "B."
            are then answers too, also with the option's own text behind. ``None`` = they had no letters.

    Returns:
        "answered" with what was given; "abstained" for a text of :data:`causalecg.audits.abstentions.FORMS`, unless it
        is a candidate; "empty" for nothing but spaces and marks; "unparsed" for everything else, also where lead-ins
        in one text introduce different answers.

    Raises InputError for another kind, for candidates that are missing, blank, or differ only in what is passed over,
    and for lettered options that are not the candidates or are more than :data:`MOST_LETTERED`.
    """
    if kind not in ("one", "set"):
        raise InputError(f"kind '{kind}' is neither one nor set")
    options = _options(tuple(candidates), None if lettered is None else tuple(lettered))
    plain = "" if text is None else _plain(text)
    if not _core(plain):
        return Parsed((), "empty")
    said = _said(plain, options, kind, tuple(candidates))
    return said or _introduced(plain, options, kind, tuple(candidates)) or Parsed((), "unparsed")


def _said(text: str, options: _Options, kind: Kind, candidates: tuple[str, ...]) -> Parsed | None:
    """What the whole of a plain text says; ``None`` where it is neither an answer nor an abstention."""
    places = _several(text.strip(), options) if kind == "set" else _one(" ".join(text.split()), options)
    if places is not None:
        answers = tuple(candidates[at] for at in sorted(places))
        return None if len(answers) > 1 and "none" in answers else Parsed(answers, "answered")
    return Parsed((), "abstained") if abstains(_core(text)) else None


def _introduced(text: str, options: _Options, kind: Kind, candidates: tuple[str, ...]) -> Parsed | None:
    """What stands behind the last lead-in, all the rest of the text; ``None`` where an earlier one says otherwise."""
    leads = list(_LEAD_IN.finditer(text))
    ends = [*(lead.start() for lead in leads[1:]), len(text)]
    said = [_said(text[lead.end() : end], options, kind, candidates) for lead, end in zip(leads, ends, strict=False)]
    return said[-1] if said and all(one in (None, said[-1]) for one in said) else None


def _one(piece: str, options: _Options, *, bullet: bool = False) -> frozenset[int] | None:
    """The place of the candidate that a piece of plain text is."""
    core = _core(piece)
    found = {options.at[core]} if core in options.at else set()
    if options.letters:
        found |= _by_letter(core, options)
    if not found and bullet and _BULLET.match(piece):
        return _one(_BULLET.sub("", piece, count=1), options)
    return frozenset(found) if len(found) == 1 else None


def _by_letter(core: str, options: _Options) -> set[int]:
    alone, both = _LETTER_ALONE.fullmatch(core), _LETTER_AND_TEXT.fullmatch(core)
    if alone:
        return {options.letters[letter] for letter in alone.groups() if letter in options.letters}
    if both:
        at = options.letters.get(both[1] or both[2])
        return {at} if at is not None and options.at.get(_core(both[3])) == at else set()
    return set()


def _several(text: str, options: _Options) -> frozenset[int] | None:
    """The places of the candidates that make up a plain text, the longest ones first."""
    behind: dict[int, list[int]] = {}
    for found in _SEPARATOR.finditer(text):
        more = _AND_AFTER.match(text, found.end())
        behind.setdefault(found.start(), []).extend([found.end()] if more is None else [more.end(), found.end()])
    for found in _AND.finditer(text):
        behind.setdefault(found.start(), []).append(found.end())
    ends = sorted({*behind, len(text)})
    longest = max(map(len, options.at)) + _MOST_AROUND
    # An explicit stack: a text may name more answers than Python allows calls.
    stack: list[tuple[int, frozenset[int]]] = [(0, frozenset())]
    tried: set[int] = set()
    while stack:
        start, before = stack.pop()
        if start in tried:
            continue
        tried.add(start)
        bullet = "\n" in text[max(start - 4, 0) : start] or start == 0
        further: list[tuple[int, frozenset[int]]] = []
        for end in reversed(ends[bisect_right(ends, start) : bisect_right(ends, start + longest)]):
            places = _one(text[start:end], options, bullet=bullet)
            if places is not None and end == len(text):
                return before | places
            if places is not None:
                further += [(after, before | places) for after in behind[end]]
        stack += reversed(further)
    return None


@lru_cache(maxsize=4096)
def _options(candidates: tuple[str, ...], lettered: tuple[str, ...] | None) -> _Options:
    if not candidates:
        raise InputError("there are no candidates; give the answers to choose from")
    at: dict[str, int] = {}
    for place, name in enumerate(candidates):
        core = _core(" ".join(_plain(name).split()))
        if not core:
            raise InputError(f"candidate {place + 1} of {len(candidates)} is blank; name it")
        if core in at:
            other = candidates[at[core]]
            raise InputError(f"candidates '{other}' and '{name}' cannot be told apart in a text; keep one of them")
        at[core] = place
    if lettered is None:
        return _Options(at, {})
    if sorted(lettered) != sorted(candidates) or len(lettered) > MOST_LETTERED:
        raise InputError(f"lettered options must be the candidates in some order, at most {MOST_LETTERED}")
    letters = {chr(ord("a") + i): candidates.index(name) for i, name in enumerate(lettered)}
    return _Options(at, letters)


def _plain(text: str) -> str:
    """Lower case, straight quotes and hyphens, single spaces; line breaks stay."""
    text = unicodedata.normalize("NFKC", text).translate(_CHARACTERS).casefold()
    return "\n".join(" ".join(line.split()) for line in text.splitlines())


def _core(piece: str) -> str:
    """Without what may stand around an answer."""
    while True:
        inner = piece.strip(_MARKS).rstrip(".!" + _MARKS)
        if inner == piece:
            return inner
        piece = inner
