"""Pretrained language models: chat templates, low-rank updates, half precision."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from causalecg.errors import InputError
from causalecg.models.config import LowRank, ModelConfig
from causalecg.models.language_model import load_language_model, run
from causalecg.models.pretrained import build_model, from_pretrained, save_pretrained


def build(folder: str, **options):
    return build_model(ModelConfig(language_model=folder, **options), texts=[], leads=12, seed=0)


@torch.no_grad()
def test_a_chat_is_what_the_template_says_with_the_ecg_after_the_question(chat_llama, batch) -> None:
    """One plain forward pass over the whole of template, ECG embeddings and answer."""
    model = build(chat_llama, chat=True).eval()
    scores = model(batch)
    tokens = model._ecg(batch)[0]
    for i, question in enumerate(batch.question):
        before = f"<|start|>user\n{question or ''}"
        after = "<|end|>\n<|start|>assistant\n"
        ids = [model.tokenizer.encode(text, add_special_tokens=False) for text in (before, after)]
        first, second = (model._embedding(torch.tensor(row)) for row in ids)
        prefix = torch.cat([first, tokens[i], second])
        answers = [model.tokenizer.encode(name, add_special_tokens=False) for name in batch.candidates[i]]
        ends = any(a != b and b[: len(a)] == a for a in answers for b in answers)
        for place, answer in enumerate(answers):
            target = [*answer, model.tokenizer.eos_token_id] if ends else answer
            whole = torch.cat([prefix, model._embedding(torch.tensor(target))])[None]
            logits = model.language_model(inputs_embeds=whole).logits[0, len(prefix) - 1 : -1]
            wanted = torch.log_softmax(logits, -1)[range(len(target)), target].sum()
            assert torch.allclose(scores[i, place], wanted, atol=2e-5)


def test_a_chat_without_a_template_is_refused(tmp_path, save_gpt2) -> None:
    save_gpt2(tmp_path / "gpt2")
    with pytest.raises(InputError, match="has no chat template; set chat = false"):
        build(str(tmp_path / "gpt2"), chat=True)


@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), "all-linear"])
def test_low_rank_updates_start_at_nothing_are_all_that_is_learned_and_are_saved(
    chat_llama, batch, tmp_path, targets
) -> None:
    model = build(chat_llama, lora=LowRank(rank=2, targets=targets)).eval()
    plain, _ = load_language_model(ModelConfig(language_model=chat_llama))
    ids = torch.tensor([[3, 4, 5, 6]])
    with torch.no_grad():
        assert torch.equal(model.language_model(ids).logits, plain(ids).logits)
    learned = {name: p for name, p in model.language_model.named_parameters() if p.requires_grad}
    layers = {name.split(".lora_")[0].rpartition(".")[2] for name in learned}
    every = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert layers == (every if targets == "all-linear" else set(targets))
    optimizer = torch.optim.SGD(learned.values(), lr=1.0)
    for _ in range(2):  # the second factor of an update is zero at first, and the first one has no gradient then
        model.train()
        model(batch)[:, 0].sum().backward()
        optimizer.step()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in learned.values())
    model.eval()
    with torch.no_grad():
        scores = model(batch)
        assert not torch.allclose(model.language_model(ids).logits, plain(ids).logits, atol=1e-3)
        save_pretrained(model, tmp_path / "m")
        kept = [name for name in load_file(tmp_path / "m" / "model.safetensors") if name.startswith("language_model.")]
        assert len(kept) == len(learned) and all(".lora_" in name for name in kept)
        assert torch.equal(from_pretrained(tmp_path / "m")(batch), scores)


def test_low_rank_updates_of_layers_that_are_not_there_are_refused(chat_llama) -> None:
    with pytest.raises(InputError, match=r"beside \['query'\]; its linear layers are down_proj, .*v_proj"):
        build(chat_llama, lora=LowRank(targets=("query",)))


@pytest.mark.parametrize(
    ("name", "hint"), [("gpt2", "$"), ("owner/name", "$"), ("smolm2", "; did you mean 'smollm2'\\?$"), ("a b", "$")]
)
def test_a_name_that_is_no_folder_is_asked_of_the_hub(tmp_path, monkeypatch, name: str, hint: str) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError, match=f"'{name}' cannot be loaded: there is no folder .*, and as a hub name:.*{hint}"
    ):
        build(name)


def test_half_precision_is_of_the_frozen_weights_alone(chat_llama, batch) -> None:
    single, half = build(chat_llama).eval(), build(chat_llama, dtype="bfloat16").eval()
    body = half.language_model.base_model
    assert {p.dtype for p in body.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in half.projector.parameters()} == {torch.float32}
    assert half.language_model.get_output_embeddings().weight.dtype == torch.float32
    # Its weights are rounded to 8 bits, and so is every sum of it: relative errors of a few times 2 ** -8.
    with torch.no_grad():
        exact, rounded = single(batch), half(batch)
        for view in ("question", "fused"):
            assert half.features(batch, view).dtype == torch.float32
    assert rounded.dtype == torch.float32
    known = torch.isfinite(exact)
    assert torch.allclose(rounded[known], exact[known], rtol=16 * 2**-8, atol=16 * 2**-8)
    assert not torch.equal(rounded[known], exact[known])
    half(batch)[:, 0].sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in half.projector.parameters())
    updated = build(chat_llama, dtype="bfloat16", lora=LowRank())
    learned = [p for p in updated.language_model.parameters() if p.requires_grad]
    assert learned and {p.dtype for p in learned} == {torch.float32}


@torch.no_grad()
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_last_logits_are_the_last_of_all(chat_llama, tmp_path, save_gpt2, kind: str) -> None:
    save_gpt2(tmp_path / "gpt2")
    model, _ = load_language_model(
        ModelConfig(language_model=chat_llama if kind == "llama" else str(tmp_path / "gpt2"))
    )
    embeddings = model.get_input_embeddings()(torch.tensor([[3, 4, 5], [6, 7, 8]]))
    given = {"mask": torch.ones(2, 3, dtype=torch.long), "positions": torch.arange(3).expand(2, 3)}
    every, hidden, _ = run(model, embeddings, **given)
    last, same, _ = run(model, embeddings, **given, logits="last")
    none, also, _ = run(model, embeddings, **given, logits="none")
    assert none is None and last.shape[1] == 1
    assert torch.allclose(last, every[:, -1:], atol=1e-6)
    assert torch.equal(same, hidden) and torch.equal(also, hidden)


def test_the_head_is_given_contiguous_rows(chat_llama, batch) -> None:
    """Of a strided view torch multiplies each row alone."""
    model, seen = build(chat_llama), []
    head = model.language_model.get_output_embeddings()
    head.register_forward_hook(lambda _, given, __: seen.append((given[0].shape[1], given[0].is_contiguous())))
    model(batch)
    assert seen[0] == (1, True) and all(contiguous for _, contiguous in seen)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lora": {}}, "not of the embedded one"),
        ({"chat": True}, "not of the embedded one"),
        ({"dtype": "bfloat16", "train_language_model": False}, "not of the embedded one"),
        ({"language_model": "a/b", "train_language_model": True, "lora": {}}, "adapts a frozen language model"),
        ({"language_model": "a/b", "train_language_model": True, "dtype": "bfloat16"}, "needs dtype 'float32'"),
        ({"language_model": "a/b", "chat": True, "answer_cue": " So:"}, "leave out answer_cue"),
        ({"language_model": "a/b", "lora": {"rank": 0}}, "greater than or equal to 1"),
        ({"language_model": "a/b", "lora": {"r": 4}}, "Extra inputs are not permitted"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(options, message) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelConfig(**options)
