from __future__ import annotations

from pathlib import Path

import pytest
import torch

from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cohort.schema import Cohort
from causalecg.models.config import EmbeddedLanguageModel, ModelConfig
from causalecg.training.config import RunConfig


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """300 training items of 2 s at 50 Hz."""
    folder: Path = tmp_path_factory.mktemp("cohort") / "c"
    simulate_cohort(folder, items=300, test_items=40, rho=0.9, seed=1, rate_hz=50, seconds=2, progress=False)
    return Cohort.open(folder)


@pytest.fixture
def config() -> RunConfig:
    model = ModelConfig(
        encoder_options={"widths": [8, 16]},
        embedded=EmbeddedLanguageModel(hidden=16, layers=1, heads=2, vocabulary=260),
    )
    return RunConfig(model=model, epochs=3, batch_size=32)


@pytest.fixture
def sentence_encoder(tmp_path) -> str:
    """Folder of a small BERT with its word-piece tokenizer, as all-MiniLM-L6-v2 is saved."""
    from transformers import BertConfig, BertModel, BertTokenizer

    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"abcdefghijklmnopqrstuvwxyz?.,:!'",
        *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"),
    ]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    folder = tmp_path / "bert"
    shape = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(shape).save_pretrained(folder)
    BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(folder)
    return str(folder)
