"""Sentences as vectors, by a pretrained sentence encoder: mean of its last states, length one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

#: Sentences per pass, and how many tokens of one are read (those all-MiniLM-L6-v2 was trained with).
_BATCH, _TOKENS = 64, 256


def sentence_vectors(sentences: Sequence[str], folder: Path) -> np.ndarray:
    """(sentences, dim) float32 of length one, in evaluation mode; each distinct sentence is encoded once.

    ``folder``: a transformers encoder and its tokenizer. Source: Reimers & Gurevych 2019 (Sentence-BERT).
    """
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, use_safetensors=True, dtype=torch.float32).eval()
    # Those of like length together: little padding, and the same batches whatever the order of the rows.
    distinct = sorted(set(sentences), key=lambda text: (len(text), text))
    found: list[torch.Tensor] = []
    with torch.no_grad():
        for start in range(0, len(distinct), _BATCH):
            texts = distinct[start : start + _BATCH]
            batch = tokenizer(texts, padding=True, truncation=True, max_length=_TOKENS, return_tensors="pt")
            there = batch["attention_mask"].unsqueeze(2)
            states = model(**batch).last_hidden_state * there
            found.append(torch.nn.functional.normalize(states.sum(1) / there.sum(1), dim=1))
    vectors = torch.cat(found).numpy() if found else np.zeros((0, 0), dtype=np.float32)
    at = {text: i for i, text in enumerate(distinct)}
    return vectors[[at[text] for text in sentences]] if found else vectors
