"""The embedded model's tokenizer: byte-level BPE learned from the cohort's own texts, so any text can be encoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SPECIAL = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>"}


def train_tokenizer(texts: Sequence[str], *, vocabulary: int) -> Any:
    """A ``PreTrainedTokenizerFast`` with <pad>, <bos>, <eos>.

    The order of ``texts`` does not matter: they are counted as a sorted set, so the result depends on content only.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL.values()),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        min_frequency=1,
        show_progress=False,
    )
    tokenizer.train_from_iterator(sorted(set(texts)), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL)
