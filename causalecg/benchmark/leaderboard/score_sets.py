"""Cells of tiers T1 and T2: what a score set holds, as the rows of a leaderboard's cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from causalecg.audits.interventions import HELD_OUT, OPPOSITE, OTHER_STYLE, RANDOM
from causalecg.benchmark.leaderboard.record import MEASURES

if TYPE_CHECKING:
    from causalecg.audits.outcomes import Outcomes
    from causalecg.audits.score_set import ScoreSet

SPLITS = {"test": "correct_biased", "test_unbiased": "correct_unbiased", "test_anti": "correct_anti"}
TWINS = "twins"
YES = "yes"


def items_of(scores: ScoreSet, run: str) -> pd.DataFrame:
    """One row per test item and twin set, the same rows for every run of a cohort; see
    :class:`~causalecg.benchmark.leaderboard.record.CellRecord`.

    Random-ECG drops are those of the unbiased test where it was put through them, else of the biased one; follow rates
    are of the biased test. The style's effect is taken from twins that differ in it; without them from items of the
    biased test asked in another style, or in a held-out wording. The topic's effect is taken from twins alone.
    """
    parts = [_of_split(scores, run, split) for split in SPLITS if split in scores.splits()]
    if any(part["random_drop"].notna().any() for part in parts[1:]):
        parts[0] = parts[0].assign(random_drop=np.nan, donor_random=None)
    if TWINS in scores.splits():
        twins = _of_twins(scores.outcomes(TWINS), run)
        if twins["style_effect"].notna().any():
            parts = [part.assign(style_effect=np.nan, style_decision=np.nan) for part in parts]
        parts.append(twins)
    found = pd.concat(parts, ignore_index=True)
    names = found[["patient", "donor_random", "donor_opposite"]].to_numpy(dtype=object)
    codes, _ = pd.factorize(names.ravel())
    return found.assign(
        item=np.arange(len(found)),
        **dict(zip(("patient", "donor_random", "donor_opposite"), codes.reshape(names.shape).T, strict=True)),
    )[["item", "patient", "donor_random", "donor_opposite", *MEASURES]]


def _of_split(scores: ScoreSet, run: str, split: str) -> pd.DataFrame:
    outcomes = scores.outcomes(split)
    found = _empty(outcomes.items["patient_ids"].str[0])
    intact = outcomes.answers(run, "intact")
    found[SPLITS[split]] = intact.correct
    owner = dict(zip(scores.items["ecg_ids"].str[0], scores.items["patient_ids"].str[0], strict=True))
    if outcomes.has(run, RANDOM):
        found["random_drop"] = intact.correct - outcomes.answers(run, RANDOM).correct
        found["donor_random"] = _donors(outcomes, run, RANDOM, owner)
    if split != "test":
        return found
    if outcomes.has(run, OPPOSITE):
        found["follow"] = outcomes.answers(run, OPPOSITE).follows
        found["donor_opposite"] = _donors(outcomes, run, OPPOSITE, owner)
    reworded = next((name for name in (OTHER_STYLE, HELD_OUT) if outcomes.has(run, name)), None)
    if reworded is not None:
        one, other = (outcomes.probabilities(run, name) for name in ("intact", reworded))
        width = min(one.shape[1], other.shape[1])
        known = np.isfinite(one[:, 0]) & np.isfinite(other[:, 0])
        gap = np.nansum(np.abs(one[:, :width] - other[:, :width]), axis=1) / 2
        found["style_effect"] = np.where(known, gap, np.nan)
        answers = outcomes.answers(run, reworded)
        found["style_decision"] = np.where(answers.asked, answers.code != intact.code, np.nan)
    return found


def _of_twins(outcomes: Outcomes, run: str) -> pd.DataFrame:
    """One row per twin set."""
    items = outcomes.items
    first = items["twin_of"].isna().to_numpy()
    place = {name: i for i, name in enumerate(items.loc[first, "item_id"])}
    found = _empty(items.loc[first, "patient_ids"].str[0].reset_index(drop=True))
    intact = outcomes.answers(run, "intact")
    p = _yes(outcomes, run)
    base = np.flatnonzero(first)
    for at in np.flatnonzero(~first):
        to = place[items["twin_of"].iloc[at]]
        own = base[to]
        # The simulator's names: twins-finding-000123, twins-style-000123, twins-style2-000123, twins-topic-000123.
        name = items["item_id"].iloc[at].removeprefix("twins-").rpartition("-")[0]
        if name == "finding" and intact.true[at] != intact.true[own]:
            found.loc[to, "twin_right"] = intact.correct[at] * intact.correct[own]
        if name in ("style", "topic"):
            # The second less the first, in alphabetical order; a topic may be told by the style's words.
            words = [(items["topic"].iloc[i], items["style"].iloc[i]) for i in (at, own)]
            change = float(p[at] - p[own])
            found.loc[to, f"{name}_effect"] = abs(change)
            found.loc[to, f"{name}_signed"] = change if words[0] > words[1] else -change
            found.loc[to, f"{name}_decision"] = float(intact.code[at] != intact.code[own])
    return found


def _yes(outcomes: Outcomes, run: str) -> np.ndarray:
    """(items,) probability of "yes", or of the first candidate where there is no such; NaN where not known."""
    table = outcomes.probabilities(run, "intact")
    at = [list(names).index(YES) if YES in list(names) else 0 for names in outcomes.items["candidates"]]
    return np.asarray(table[np.arange(len(table)), at])


def _empty(patients: pd.Series) -> pd.DataFrame:
    columns = dict.fromkeys(MEASURES, np.nan)
    return pd.DataFrame({"patient": patients.to_numpy()}).assign(donor_random=None, donor_opposite=None, **columns)


def _donors(outcomes: Outcomes, run: str, intervention: str, owner: dict[str, str]) -> np.ndarray:
    rows = outcomes.rows(run, intervention)
    names = np.full(len(outcomes.items), None, dtype=object)
    names[outcomes.places(rows)] = [None if ids is None else owner.get(ids[0]) for ids in rows["donor_ecg_ids"]]
    return names
