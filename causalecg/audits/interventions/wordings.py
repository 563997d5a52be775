"""The same question in other words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from causalecg.audits.interventions.contract import Context, Intervention
from causalecg.audits.rewording import reword
from causalecg.errors import InputError

Pool = Literal["held_out", "seen", "style=other"]
#: So many rule-based rewordings are made of a question, of which one is drawn.
_MADE = 8


class KnownWording(Intervention):
    """Another of the cohort's own wordings of the canonical question (in ECG-QA, its paraphrases).

    Args:
        pool: "held_out" = never used in training, of another style where there is one; "seen" = used in training, of
            the item's own style; "style=other" = used in training, of another style.
    """

    drawn = True

    def __init__(self, pool: Pool, line: str) -> None:
        self.pool, self.name, self.line = pool, f"wording[{pool}]", line

    def of_items(self, rows: pd.DataFrame, context: Context, rng: np.random.Generator) -> pd.DataFrame:
        pools = dict(iter(context.cohort.wordings.groupby("question_id", sort=False)))
        asked = list(rows[["question_id", "wording_id", "style"]].itertuples(index=False, name=None))
        choices = {key: self._others(pools.get(key[0]), key[1], key[2]) for key in set(asked)}
        picks = rng.random(len(rows))
        kept = [at for at, key in enumerate(asked) if choices[key]]
        chosen = [choices[asked[at]][int(picks[at] * len(choices[asked[at]]))] for at in kept]
        return rows.iloc[kept].assign(wording_id=[w for w, _ in chosen], question=[q for _, q in chosen])

    def _others(self, pool: pd.DataFrame | None, wording: str, style: str) -> list[tuple[str, str]]:
        """(wording_id, question) of the wordings an item of this wording and style may be given."""
        if pool is None:
            return []
        others = pool[(pool["wording_id"] != wording) & (pool["held_out"] == (self.pool == "held_out"))]
        elsewhere = others["style"] != style
        if self.pool == "style=other" or (self.pool == "held_out" and elsewhere.any()):
            others = others[elsewhere]
        elif self.pool == "seen":
            others = others[~elsewhere]
        return list(zip(others["wording_id"], others["question"], strict=True))


class RuleWording(Intervention):
    """A rewording by the rules of :mod:`causalecg.audits.rewording`, which keep findings, leads and negations."""

    name = "wording[rules]"
    line = "reworded by rule, whatever the question"
    drawn = True

    def of_items(self, rows: pd.DataFrame, context: Context, rng: np.random.Generator) -> pd.DataFrame:
        seed = int(rng.integers(2**31))
        made = {text: _reworded(text, seed) for text in dict.fromkeys(rows["question"]) if isinstance(text, str)}
        return _drawn_from(rows, [made.get(text, []) for text in rows["question"]], "rules", rng)


class UserWording(Intervention):
    """A rewording the user supplied, by the question's text or its question_id."""

    name = "wording[user]"
    line = "a wording of your own (--wordings FILE)"
    drawn = True

    def of_items(self, rows: pd.DataFrame, context: Context, rng: np.random.Generator) -> pd.DataFrame:
        given = context.user_wordings
        if given is None:
            raise InputError(f"intervention {self.name} needs your wordings; give their file with --wordings")
        found = [
            _without(given, text, question)
            for text, question in zip(rows["question"], rows["question_id"], strict=True)
        ]
        return _drawn_from(rows, found, "user", rng)


def _reworded(text: str, seed: int) -> list[str]:
    # Of the text alone, so that an item's wordings do not depend on which others are asked.
    return reword(text, _MADE, np.random.default_rng([seed, *text.encode()]))


def _without(given: Mapping[str, Sequence[str]], text: str, question: str) -> list[str]:
    return [words for words in [*given.get(text, []), *given.get(question, [])] if words != text]


def _drawn_from(
    rows: pd.DataFrame, choices: Sequence[Sequence[str]], prefix: str, rng: np.random.Generator
) -> pd.DataFrame:
    picks = rng.random(len(rows))
    kept = [at for at, texts in enumerate(choices) if texts]
    places = [int(picks[at] * len(choices[at])) for at in kept]
    return rows.iloc[kept].assign(
        wording_id=[f"{prefix}-{place}" for place in places],
        question=[choices[at][place] for at, place in zip(kept, places, strict=True)],
    )
