from __future__ import annotations

from pathlib import Path

import pytest
import torch

from adjusters.contract import Adjuster, Card, LossTerms, Objective, Stage
from adjusters.registry import _registered, register
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
def own_config() -> RunConfig:
    """Of a scorer that is not the composite."""
    return RunConfig(epochs=3, batch_size=32)


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


@pytest.fixture
def falling():
    """From a number to the name of an arm of two stages, the second of which keeps its best state: the losses of the
    200 validation rows fall by the number on average there, with a standard deviation of 1: error .07."""
    fall: list[float] = []

    class Falling(Objective):
        def __init__(self, scorer) -> None:
            super().__init__(scorer)
            self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
            self.register_buffer("stage", torch.zeros((), dtype=torch.int64))

        def begin(self, stage, predictions, features, columns) -> None:
            self.stage.fill_(stage.name == "second")

        def loss(self, batch, part, *, progress) -> LossTerms:
            return super().loss(batch, part, progress=progress)

        def after_step(self, batch, terms) -> None:
            self.steps += self.stage

        def validation_loss(self, batch):
            wave = 2**0.5 * torch.sin(2.399963 * batch.rows.double())
            return 3.0 - (fall[0] + wave) * float(self.steps > 0)

    @register("falling")
    class TwoStages(Adjuster):
        card = Card(summary="Two stages.", uses=("objective",))

        def stages(self):
            return (Stage("first", epochs=1), Stage("second", epochs=1, keep_best=True))

        def attach(self, scorer, *, new_scorer, rng):
            return Falling(scorer)

    def named(mean: float) -> str:
        fall.append(mean)
        return "falling"

    yield named
    _registered.pop("falling")
