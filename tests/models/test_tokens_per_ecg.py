"""An ECG takes the same number of places in every batch, whether it is there or not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from adjusters.contract import ContractError, negative_log_likelihood
from causalecg.models.composite import EncoderProjectorLLM
from causalecg.models.config import ModelConfig
from causalecg.models.pretrained import build_model

TEXTS = ["Does this ECG show atrial fibrillation?", "Is it normal?", " yes", " no", " not sure"]
SEVERAL = [
    {"encoder_options": {"tokens": 4}},
    {"encoder": "patch_transformer", "encoder_options": {"tokens": 3}, "projector": "mlp"},
    {"projector": "query_resampler", "projector_options": {"queries": 4}},
]


class Patches(nn.Module):
    """An encoder of someone else: one token per 20 samples, with dropout and running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.dim = 8
        self.map = nn.Conv1d(12, 8, 20, 20)
        self.norm, self.drop = nn.BatchNorm1d(8), nn.Dropout(0.5)

    def forward(self, ecg):
        return self.drop(self.norm(self.map(ecg))).transpose(1, 2)


@pytest.fixture
def strange(model) -> EncoderProjectorLLM:
    hidden = model.language_model.get_input_embeddings().embedding_dim
    return EncoderProjectorLLM(Patches(), nn.Linear(8, hidden), model.language_model, model.tokenizer, ModelConfig())


@torch.no_grad()
def assert_alone_as_together(model, batch) -> None:
    together, blind = model(batch), model(batch.without_ecg())
    for i in range(len(batch)):
        alone = model(batch.select([i]))
        assert torch.allclose(together[i, : alone.shape[1]], alone[0], atol=5e-6)
    # Item 2 has no ECG: among others that have, it is scored as an audit without any ECG scores it.
    assert torch.allclose(together[2], blind[2], atol=5e-6)


@pytest.mark.parametrize("kind", ["one", "set"])
@pytest.mark.parametrize("parts", SEVERAL)
def test_no_item_sees_its_batch_mates(batch, parts, kind: str) -> None:
    model = build_model(ModelConfig(**parts), texts=TEXTS, leads=12, seed=0).eval()
    assert_alone_as_together(model, batch.replace(kind=kind))
    with model.caching():
        assert_alone_as_together(model, batch.replace(kind=kind))


def test_what_is_learned_without_an_ecg_is_what_is_audited_without_one(batch) -> None:
    model = build_model(ModelConfig(projector="query_resampler"), texts=TEXTS, leads=12, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(5):
        optimizer.zero_grad()
        negative_log_likelihood(model(batch), batch).mean().backward()
        optimizer.step()
    assert_alone_as_together(model.eval(), batch)


@pytest.mark.parametrize("mode", [True, False])
def test_a_strangers_encoder_is_asked_without_a_trace(strange, batch, mode: bool) -> None:
    strange.train(mode)
    strange.encoder.norm.eval()
    modes = [module.training for module in strange.modules()]
    state = {name: value.clone() for name, value in strange.state_dict().items()}
    generator = torch.random.get_rng_state()
    strange(batch.without_ecg())
    assert torch.equal(generator, torch.random.get_rng_state())
    assert modes == [module.training for module in strange.modules()]
    assert all(torch.equal(value, state[name]) for name, value in strange.state_dict().items())
    assert_alone_as_together(strange.eval(), batch)
    assert_alone_as_together(strange, batch.replace(ecg=batch.ecg[..., :100]))


def test_a_wrong_number_of_tokens_is_said(strange, batch) -> None:
    strange.projector.tokens = 7
    with pytest.raises(ContractError, match="an ECG became 10 tokens, but the encoder or projector says 7"):
        strange(batch)
