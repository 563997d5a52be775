"""Questions as vectors of a pretrained sentence encoder, for adjusters that go by the question's text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from causalecg.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

COLUMN = "question_vector"


def with_question_vectors(table: pd.DataFrame, encoder: str) -> pd.DataFrame:
    """The table with the column ``question_vector``: (dim,) float32 of length one per row.

    Args:
        encoder: "minilm", or the folder of a transformers encoder and its tokenizer.

    Raises InputError where there is no such encoder.
    """
    from causalecg.models.sentences import sentence_vectors
    from causalecg.models.weights.fetch import fetched

    folder = Path(encoder) if Path(encoder).is_dir() else None
    if folder is None and encoder != "minilm":
        raise InputError(f"question_vectors is 'minilm' or a folder, and there is no folder {encoder} in {Path.cwd()}")
    try:
        vectors = sentence_vectors([str(text) for text in table["question"]], folder or fetched("minilm"))
    except (OSError, ValueError) as error:
        raise InputError(f"{encoder} holds no sentence encoder: {str(error).splitlines()[0]}") from error
    return table.assign(**{COLUMN: list(vectors)})
