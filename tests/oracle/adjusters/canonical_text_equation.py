"""Cosine of TF-IDF vectors of character n-grams within words (Salton & Buckley 1988), in plain loops."""

from __future__ import annotations

import math


def terms(text: str, shortest: int, longest: int) -> dict[str, int]:
    """Term -> times: of every word, with a blank before and after it."""
    found: dict[str, int] = {}
    for word in text.lower().split():
        padded = f" {word} "
        for length in range(shortest, longest + 1):
            if len(padded) <= length:
                found[padded] = found.get(padded, 0) + 1
                break  # the whole word counts once
            for start in range(len(padded) - length + 1):
                term = padded[start : start + length]
                found[term] = found.get(term, 0) + 1
    return found


def cosines(known: list[str], text: str, shortest: int, longest: int) -> list[float]:
    """Cosine of the text with each known one; terms that no known text holds do not count."""
    documents = [terms(one, shortest, longest) for one in known]

    def vector(counts: dict[str, int]) -> dict[str, float]:
        found = {}
        for term, times in counts.items():
            holding = sum(term in document for document in documents)
            if holding:
                found[term] = times * (1 + math.log((1 + len(known)) / (1 + holding)))
        length = math.sqrt(sum(value**2 for value in found.values()))
        return {term: value / length for term, value in found.items()} if length else found

    asked = vector(terms(text, shortest, longest))
    return [sum(value * asked.get(term, 0.0) for term, value in vector(document).items()) for document in documents]
