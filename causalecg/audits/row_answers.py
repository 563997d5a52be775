"""The answer of one row of a table: as given, read from the generated text, or decided from scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from causalecg.audits.answer_parser import Kind, parse_answer

STATUSES = ("answered", "abstained", "unparsed", "empty", "error")


@dataclass(frozen=True)
class RowAnswer:
    """``answers``: empty where there is none; ``status``: one of :data:`STATUSES`."""

    answers: list[str]
    status: str


def row_answer(
    *,
    given: list[str] | None,
    text: str | None,
    scores: Sequence[float] | None,
    candidates: Sequence[str] | None,
    kind: Kind,
    order: Sequence[int] | None,
    status: str | None,
) -> RowAnswer:
    """The first of ``given``, ``text`` and ``scores`` that is there. ``status``, where it is said and is not
    "answered", is kept, and nothing is read then. Text without candidates is "unparsed".

    Args:
        scores: (candidates,) log-likelihoods (kind one) or log-odds (kind set).
        order: places of the candidates in the order in which they were shown as A, B, C, ...

    Raises InputError for candidates or an order by which no text can be read.
    """
    if given is not None or status not in (None, "answered"):
        return RowAnswer(given or [], status or "answered")
    if text is not None:
        if candidates is None:
            return RowAnswer([], "unparsed")
        lettered = None if order is None else [candidates[at] for at in order]
        parsed = parse_answer(text, candidates, kind, lettered=lettered)
        return RowAnswer(list(parsed.answers), parsed.status)
    if scores is not None and candidates is not None:
        return RowAnswer(decided(scores, candidates, kind), "answered")
    return RowAnswer([], "empty")


def decided(scores: Sequence[float], candidates: Sequence[str], kind: Kind) -> list[str]:
    """The best candidate, the first of equals ("one"), or every one with positive log-odds ("set"), where "none" is
    exclusive and the fallback; as :func:`adjusters.contract.decide` does."""
    if kind == "one":
        return [candidates[int(np.argmax(scores))]]
    chosen = [name for name, score in zip(candidates, scores, strict=True) if score > 0 and name != "none"]
    return chosen or (["none"] if "none" in candidates else [])


def wrong_with_scores(scores: Sequence[float], candidates: Sequence[str] | None, kind: Kind) -> str | None:
    """Why these cannot be the scores of the candidates, as the end of a sentence; ``None`` where they can."""
    if candidates is None:
        return " has log_likelihood but no candidates; name the candidates in the order of the numbers"
    if len(scores) != len(candidates):
        return f" has {len(scores)} numbers in log_likelihood for {len(candidates)} candidates; give one for each"
    if np.isnan(scores).any() or np.isposinf(scores).any():
        return " has NaN or infinity in log_likelihood; score the item again, or leave the cell blank"
    if kind == "one" and not np.isfinite(scores).any():
        return " has no finite number in log_likelihood; score the item again, or leave the cell blank"
    return None


def wrong_with_order(order: Sequence[float], candidates: Sequence[str] | None) -> str | None:
    """The same of a ``candidate_order``."""
    if candidates is None:
        return " has candidate_order but no candidates; name the candidates"
    if sorted(order) != list(range(len(candidates))):
        return f" has a candidate_order that does not name each of 0 to {len(candidates) - 1} once"
    return None
