"""What frozen parts have computed is kept, and is never out of date."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from causalecg.models.composite import EncoderProjectorLLM
from causalecg.models.config import ModelConfig
from causalecg.models.memory import MEGABYTE, Memory, is_frozen
from causalecg.models.pretrained import build_model


@pytest.fixture
def frozen(tmp_path, save_gpt2) -> EncoderProjectorLLM:
    """Only projector, answer head and the composite's own vectors are trained."""
    save_gpt2(tmp_path / "gpt2")
    model = build_model(ModelConfig(language_model=str(tmp_path / "gpt2")), texts=[], leads=12, seed=0)
    model.encoder.requires_grad_(False)
    return model.train()


def gradients(model, batch) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(batch)[:, :2].sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_a_frozen_part_computes_each_input_once_and_learns_the_same(frozen, batch, monkeypatch) -> None:
    encoded, asked = [], []
    frozen.encoder.register_forward_hook(lambda _, given, __: encoded.append(len(given[0])))
    run = EncoderProjectorLLM._run_questions
    monkeypatch.setattr(EncoderProjectorLLM, "_run_questions", lambda s, d: asked.append(len(d)) or run(s, d))
    first, second = gradients(frozen, batch), gradients(frozen, batch)
    assert sum(encoded) == 6 and sum(asked) == 3  # of six ECGs and three questions, in two steps
    monkeypatch.setattr(EncoderProjectorLLM, "_keeps", lambda *_: False)
    anew = gradients(frozen, batch)
    assert sum(encoded) == 12 and sum(asked) == 6
    assert anew.keys() == second.keys() and any(name.startswith("projector") for name in anew)
    for name in anew:
        assert torch.equal(first[name], second[name])
        assert torch.allclose(anew[name], second[name], atol=1e-6)


@torch.no_grad()
def test_what_a_frozen_part_said_is_forgotten_when_its_weights_change(frozen, batch) -> None:
    before = frozen(batch)
    state = copy.deepcopy(frozen.state_dict())
    for part in (frozen.encoder, frozen.language_model):
        for parameter in part.parameters():
            parameter.add_(0.01)
        changed = frozen(batch)
        assert not torch.allclose(changed[0, :2], before[0, :2], atol=1e-6)
        with frozen.caching():
            assert torch.equal(frozen(batch), changed)
        frozen.load_state_dict(state)
        assert torch.equal(frozen(batch), before)


@torch.no_grad()
def test_what_is_kept_in_training_does_not_depend_on_what_was_asked_before(frozen, batch) -> None:
    fresh = copy.deepcopy(frozen)
    frozen(batch.select([1]))
    frozen(batch.select([4, 0]))
    assert torch.equal(frozen(batch), fresh(batch))
    both = [dict(model._ecgs._kept) | dict(model._asked._kept) for model in (frozen, fresh)]
    assert both[0].keys() == both[1].keys() and len(both[0]) == 9
    for key in both[0]:
        assert all(torch.equal(one, other) for one, other in zip(both[0][key], both[1][key], strict=True))


@torch.no_grad()
def test_the_same_row_of_another_store_is_another_ecg(frozen, batch) -> None:
    other = batch.replace(ecg=batch.ecg.flip(-2), columns=batch.columns)
    fresh = copy.deepcopy(frozen)
    frozen(batch)
    assert torch.equal(frozen(other), fresh(other))


def test_what_is_learned_is_not_remembered(batch, tmp_path) -> None:
    model = build_model(ModelConfig(), texts=["Is it normal?", " yes", " no"], leads=12, seed=0).train()
    model(batch)
    assert not len(model._ecgs) and not len(model._asked)
    with model.caching():
        model(batch)
        assert len(model._ecgs) == 6 and len(model._asked) == 3
    assert not len(model._ecgs) and not len(model._asked)


def test_frozen_parts_stay_in_evaluation_mode(frozen) -> None:
    assert frozen.training and frozen.projector.training
    assert is_frozen(frozen.encoder) and is_frozen(frozen.language_model)
    frozen.encoder.requires_grad_(True)
    frozen.train()
    assert frozen.encoder.training and not is_frozen(frozen.encoder)


def test_the_least_recently_used_go_first_and_a_copy_is_empty() -> None:
    part, memory = nn.Linear(2, 2), Memory[tuple[torch.Tensor]](1)
    memory.open(part)
    piece = torch.zeros(MEGABYTE // 4 // 4)  # a quarter of a megabyte
    for name in "abcd":
        memory.put(name, (piece.clone(),))
    memory["a"]
    memory.put("e", (piece.clone(),))
    assert len(memory) == 5
    memory.shrink()
    assert [name for name in "abcde" if name in memory] == ["a", "c", "d", "e"]
    memory.drop("c")
    memory.put("f", (piece.clone(),))
    memory.shrink()
    assert [name for name in "abcdef" if name in memory] == ["a", "d", "e", "f"]
    for other in (copy.deepcopy(memory), pickle.loads(pickle.dumps(memory))):
        assert not len(other) and other.limit == memory.limit
    memory.open(part)
    assert len(memory) == 4
    memory.open(part.double())
    assert not len(memory)


@torch.no_grad()
def test_more_than_there_is_room_for_is_answered_all_the_same(frozen, batch) -> None:
    known = frozen(batch)
    frozen._ecgs, frozen._asked = Memory(0), Memory(0)
    assert torch.equal(frozen(batch), known)
    assert not len(frozen._ecgs) and not len(frozen._asked)
