"""The unadjusted model: plain maximum likelihood on the rows as they are."""

from __future__ import annotations

from adjusters.contract import Adjuster, Card


class NoAdjustment(Adjuster):
    """Changes nothing. What it learns is P(A | E, Q), whatever estimand it is given."""

    card = Card(
        summary="No adjustment: plain maximum likelihood, the baseline every other strategy is compared with.",
        consistent_when="question and answer share no cause",
        fails_when="they do (R0 to R7, R9): it learns to go by the wording",
    )
