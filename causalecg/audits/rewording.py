"""Rewording a question by rule: few rules, none of which touches what the question is about.

A rule works on the form of a question (its opening, its frame, how it names the recording); findings, leads, numbers,
negations and the direction of comparisons stay word for word, which :func:`protected` checks once more.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

Rule = Callable[[str], Sequence[str]]
#: Words a rule may add or take away. All others must be there as often as before.
_FORM = frozenset(
    """a an the this that is are does do can could may i we you please tell me us if whether there be see seen show
    shows shown display displays displayed present in of on from ecg ecgs electrocardiogram electrocardiograms tracing
    recording indicate state answer following question have has looking at detected found visible identified it given
    it's""".split()  # noqa: SIM905
)


def words_of(text: str) -> list[str]:
    """Lower-case words and numbers, without marks."""
    return re.findall(r"[a-z0-9][a-z0-9'.]*(?<![.'])", text.lower())


def protected(text: str) -> Counter[str]:
    """The words a rewording must keep, counted: all but those of mere form."""
    return Counter(word for word in words_of(text) if word not in _FORM)


def framed(question: str) -> list[str]:
    """A polite or a terse frame around the whole question."""
    return [
        f"Please answer the following question: {question}",
        f"Looking at the recording: {question}",
        f"From the recording, {_lower_first(question)}",
        f"{question.rstrip()} Please answer.",
    ]


def indirect(question: str) -> list[str]:
    """ "Does ...?" becomes "Please tell me whether ... ."."""
    found = re.fullmatch(r"(does|is|are|do|can)\s+(.+?)\s*\?", question.strip(), flags=re.I)
    if not found:
        return []
    return [f"Please tell me: {found[1].lower()} {found[2]}?", f"Tell me, {found[1].lower()} {found[2]}?"]


def named(question: str) -> list[str]:
    """The recording by its other name."""
    swapped = re.sub(r"\bECGs\b", "electrocardiograms", question)
    swapped = re.sub(r"\ban ECG\b", "an electrocardiogram", swapped)
    swapped = re.sub(r"\bECG\b", "electrocardiogram", swapped)
    if swapped != question:
        return [swapped]
    swapped = re.sub(r"\belectrocardiogram(s?)\b", r"ECG\1", question, flags=re.I)
    return [swapped] if swapped != question else []


def verified(question: str) -> list[str]:
    """The forms of asking for one finding: "Does this ECG show X?" and its kin."""
    for pattern in (
        r"does (?:this|the) ecg (?:show|display) (?P<x>.+?)\?",
        r"is (?P<x>.+?) (?:present|seen|visible) in (?:this|the) ecg\?",
        r"can (?P<x>.+?) be seen in (?:this|the) ecg\?",
        r"is there (?P<x>.+?) in (?:this|the) ecg\?",
    ):
        found = re.search(pattern, question, flags=re.I)
        if found:
            before, after, x = question[: found.start()], question[found.end() :], found["x"]
            forms = (f"Does this ECG show {x}?", f"Is {x} present in this ECG?", f"Can {x} be seen in this ECG?")
            return [f"{before}{form if not before else _lower_first(form)}{after}" for form in forms]
    return []


RULES: dict[str, Rule] = {"verified": verified, "named": named, "indirect": indirect, "framed": framed}


def reword(question: str, count: int, rng: np.random.Generator) -> list[str]:
    """Up to ``count`` distinct rewordings of a question, in random order; none equals it but for case and spaces.

    Every rule is tried by itself and after the rule that names the recording otherwise. What does not keep all
    :func:`protected` words is dropped.
    """
    bases = [question, *verified(question), *named(question)]
    made = [other for base in bases for rule in RULES.values() for other in rule(base)]
    kept: dict[str, str] = {}
    for other in [*bases[1:], *made]:
        key = _normal(other)
        if key != _normal(question) and protected(other) == protected(question):
            kept.setdefault(key, other)
    found = list(kept.values())
    return [found[i] for i in rng.permutation(len(found))[:count]]


def _normal(text: str) -> str:
    return " ".join(text.lower().split())


def _lower_first(text: str) -> str:
    first = text.split(" ", 1)[0]
    return text if first.isupper() and len(first) > 1 else text[:1].lower() + text[1:]
