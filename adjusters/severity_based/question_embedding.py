"""Questions as vectors: words weighted by rarity (TF-IDF), then the leading directions of their table (truncated SVD).

Deterministic, and nothing is downloaded. It is no sentence encoder: two texts without a common word have nothing in
common, whatever they mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adjusters.contract import ContractError


@dataclass(frozen=True)
class QuestionEmbedding:
    """Latent semantic analysis.

    Attributes:
        words: vocabulary in the order of ``rarity`` and of the columns of ``directions``.
        rarity: (words,) inverse document frequency.
        directions: (dim, words).

    Source: Deerwester et al. 1990.
    """

    words: tuple[str, ...]
    rarity: np.ndarray
    directions: np.ndarray

    @classmethod
    def fit(cls, questions: Sequence[str], dimensions: int) -> QuestionEmbedding:
        """Of (rows,) questions; at most as many dimensions as there are distinct questions or words.

        Raises ContractError where no question holds a word.
        """
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        # Distinct and sorted: the order and number of rows must not turn the directions.
        texts = sorted(set(questions))
        vectorizer = TfidfVectorizer(sublinear_tf=True)
        try:
            table = vectorizer.fit_transform(texts)
        except ValueError:
            raise ContractError("the questions hold no words to embed; name a column of embeddings") from None
        svd = TruncatedSVD(min(dimensions, *table.shape), algorithm="randomized", n_iter=7, random_state=0)
        svd.fit(table)
        return cls(tuple(vectorizer.get_feature_names_out()), vectorizer.idf_, svd.components_)

    def vectors(self, questions: Sequence[str]) -> np.ndarray:
        """(rows, dim) float64; words that were not known count for nothing."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(sublinear_tf=True, vocabulary=list(self.words))
        vectorizer.idf_ = self.rarity
        texts = sorted(set(questions))
        at = {text: i for i, text in enumerate(texts)}
        vectors = np.asarray(vectorizer.transform(texts) @ self.directions.T, dtype=np.float64)
        return vectors[[at[text] for text in questions]]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; read back by :meth:`from_dict`."""
        return {"words": list(self.words), "rarity": self.rarity.tolist(), "directions": self.directions.tolist()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> QuestionEmbedding:
        return cls(tuple(record["words"]), np.asarray(record["rarity"]), np.asarray(record["directions"]))
