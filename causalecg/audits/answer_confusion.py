"""Which answers were given to which, and how often there was none."""

from __future__ import annotations

from typing import Any

import pandas as pd

from causalecg.audits.outcomes import Outcomes

#: True answers told apart per kind of question; the rest is "other".
MOST_ANSWERS = 12
OTHER = "other"
_TEXTS = 10
_TEXT_LENGTH = 120
_COLUMNS = ("kind", "true", "given", "count")


def confusion(outcomes: Outcomes, run_id: str) -> pd.DataFrame:
    """Counts of the answers given to intact items (draw 0), by true answer.

    Returns a frame with the columns kind ("one", "set", or "" where it is not known), true, given and count, one row
    for each pair that occurs. Several answers are joined by "; ". Per kind, the :data:`MOST_ANSWERS` most frequent true
    answers stand for themselves, whether they are true or given, and all others are "other"; an item without an answer
    counts under "no answer: STATUS". Most frequent first; "other" and then no answer come last. KeyError where nothing
    was asked intact; see :meth:`Outcomes.has`.
    """
    rows = outcomes.rows(run_id, "intact").set_index("item_id")
    items = outcomes.items[outcomes.items["item_id"].isin(rows.index)]
    kinds = items["kind"] if "kind" in items.columns else pd.Series("", index=items.index)
    mine = rows.loc[items["item_id"]]
    frame = pd.DataFrame(
        {
            "kind": kinds.fillna("").to_numpy(),
            "true": [_joined(answer) for answer in items["answer"]],
            "given": [_joined(answer) for answer in mine["answer_given"]],
            "status": mine["status"].to_numpy(),
        }
    )
    parts = [_counted(kind, group) for kind, group in frame.groupby("kind", sort=True)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(_COLUMNS))


def unparsed_texts(outcomes: Outcomes, run_id: str, most: int = _TEXTS) -> list[tuple[str, str]]:
    """(item_id, text) of the first ``most`` intact items whose text could not be read, where the text is known; line
    breaks become spaces, and a long text is cut."""
    rows = outcomes.rows(run_id, "intact").set_index("item_id")
    if "text" not in rows.columns:
        return []
    rows = rows.reindex([name for name in outcomes.items["item_id"] if name in rows.index])
    unread = rows.loc[(rows["status"] == "unparsed") & rows["text"].notna(), "text"]
    return [(str(item), _short(" ".join(str(text).split()))) for item, text in unread.iloc[:most].items()]


def _counted(kind: Any, group: pd.DataFrame) -> pd.DataFrame:
    frequency = group["true"].value_counts()
    # Ties by name: the same rows in another order give the same table.
    order = sorted(frequency.index, key=lambda name: (-frequency[name], name))[:MOST_ANSWERS]
    rank = {name: place for place, name in enumerate([*order, OTHER])}
    answered = group["status"] == "answered"
    told = pd.DataFrame(
        {
            "true": group["true"].where(group["true"].isin(order), OTHER),
            "given": group["given"].where(group["given"].isin(order), OTHER).where(
                answered, "no answer: " + group["status"]
            ),
        }
    )  # fmt: skip
    counts = told.value_counts().rename("count").reset_index()
    counts["at_true"] = counts["true"].map(rank)
    counts["at_given"] = counts["given"].map(rank).fillna(len(rank))
    counts = counts.sort_values(["at_true", "at_given", "given"], ignore_index=True)
    return counts.assign(kind=kind)[list(_COLUMNS)]


def _joined(answer: Any) -> str:
    return "; ".join(sorted(str(one) for one in answer))


def _short(text: str) -> str:
    return text if len(text) <= _TEXT_LENGTH else text[: _TEXT_LENGTH - 1] + "…"
