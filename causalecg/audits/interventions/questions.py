"""The question withheld, exchanged for one about something else, or stripped of what is told about the patient."""

from __future__ import annotations

import numpy as np
import pandas as pd

from causalecg.audits.interventions.contract import Context, Intervention, column


class NoQuestion(Intervention):
    name = "no_question"
    line = "without the question"

    def of_items(self, rows: pd.DataFrame, context: Context, rng: np.random.Generator) -> pd.DataFrame:
        changed = rows.assign(question=column([None] * len(rows), rows))
        return changed.assign(metadata=None) if "metadata" in rows.columns else changed


class OtherTopic(Intervention):
    """The same ECG asked about another topic with the same candidates, in a training wording of the same style; in the
    very same wording where the other question has it."""

    name = "other_topic"
    line = "the same ECG asked about another topic with the same possible answers"
    drawn = True

    def of_items(self, rows: pd.DataFrame, context: Context, rng: np.random.Generator) -> pd.DataFrame:
        table = context.table
        spaces = [(kind, frozenset(names)) for kind, names in zip(table["kind"], table["candidates"], strict=True)]
        first = table.assign(space=column(spaces, table)).drop_duplicates("question_id")
        others: dict[object, list[tuple[str, str]]] = {}
        for question, topic, space in zip(first["question_id"], first["topic"], first["space"], strict=True):
            others.setdefault(space, []).append((question, topic))
        words = context.cohort.wordings
        words = words[~words["held_out"]]
        pools = dict(iter(words.groupby(["question_id", "style"], sort=False)))
        answers = {
            (tuple(ecgs), question): list(answer)
            for ecgs, question, answer in zip(table["ecg_ids"], table["question_id"], table["answer"], strict=True)
        }
        picks = rng.random((len(rows), 2))
        kept, asked, ids, expected, topics = [], [], [], [], []
        needed = ("kind", "candidates", "topic", "style", "wording_id", "ecg_ids")
        for at, (kind, names, topic, style, wording, ecgs) in enumerate(zip(*(rows[c] for c in needed), strict=True)):
            among = [
                question
                for question, about in others[kind, frozenset(names)]
                if about != topic and (question, style) in pools
            ]
            if not among:
                continue
            question = among[int(picks[at, 0] * len(among))]
            pool = pools[question, style]
            same = pool[pool["wording_id"] == wording]
            pool = same if len(same) else pool
            chosen = pool.iloc[int(picks[at, 1] * len(pool))]
            kept.append(at)
            asked.append(chosen["question"])
            ids.append(chosen["wording_id"])
            topics.append(first.loc[first["question_id"] == question, "topic"].iloc[0])
            expected.append(answers.get((tuple(ecgs), question)))
        changed = rows.iloc[kept]
        return changed.assign(question=asked, wording_id=ids, topic=topics, answer_expected=column(expected, changed))


class NoMetadata(Intervention):
    name = "no_metadata"
    line = "without what the prompt tells of the patient (age, sex, ...)"

    def of_items(self, rows: pd.DataFrame, context: Context, rng: np.random.Generator) -> pd.DataFrame:
        if "metadata" not in rows.columns:
            return rows.iloc[:0]
        told = rows[rows["metadata"].notna() & (rows["metadata"] != "")]
        return told.assign(metadata=None)
