"""Known wordings: the text each is replaced by, and the nearest known one of a text that is not known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

#: Lengths of the character n-grams that texts are compared by, within words.
NGRAMS = (2, 4)


def most_frequent(table: pd.DataFrame, by: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Each text of the column ``question`` -> the most frequent text of its group, and the texts of several groups.

    Ties go to the first text in order. A text that several groups hold goes with the group that holds it most often.
    """
    counts = table.groupby([*by, "question"], sort=True, observed=True).size().reset_index(name="times")
    key = counts[list(by)].astype(str).agg("\t".join, axis=1)
    best: dict[str, tuple[int, str]] = {}
    group_of: dict[str, tuple[int, str]] = {}
    shared: set[str] = set()
    for group, text, times in zip(key, counts["question"].astype(str), counts["times"].tolist(), strict=True):
        if group not in best or times > best[group][0]:
            best[group] = (times, text)
        if text in group_of:
            shared.add(text)
        if text not in group_of or times > group_of[text][0]:
            group_of[text] = (times, group)
    return {text: best[group][1] for text, (_, group) in sorted(group_of.items())}, sorted(shared)


class NearestWording:
    """The known text that is nearest by the cosine of TF-IDF weights of character n-grams.

    With N texts, a term that n of them hold has the weight (times in the text) (1 + log((1 + N) / (1 + n))); vectors
    have length one.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.texts = list(texts)
        self.vectorizer: Any = TfidfVectorizer(analyzer="char_wb", ngram_range=NGRAMS, lowercase=True)
        self.known: Any = self.vectorizer.fit_transform(self.texts)

    def __call__(self, text: str) -> tuple[str, float]:
        """The nearest text and its cosine, in [0, 1]; the first of several as near."""
        cosine = (self.known @ self.vectorizer.transform([text]).T).toarray().ravel()
        at = int(np.argmax(np.round(cosine, 12)))
        return self.texts[at], float(cosine[at])
