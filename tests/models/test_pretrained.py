from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from causalecg.errors import InputError
from causalecg.models.config import ModelConfig
from causalecg.models.pretrained import build_model, from_pretrained, save_pretrained

TEXTS = ["Is it normal?", " yes", " no", " not sure"]


@torch.no_grad()
def test_saved_and_read_back(model, batch, tmp_path) -> None:
    save_pretrained(model, tmp_path / "m")
    again = from_pretrained(tmp_path / "m")
    assert torch.equal(model(batch), again(batch))
    assert not list((tmp_path / "m").rglob("*.bin")) and not list((tmp_path / "m").rglob("*.pt"))


def test_same_seed_same_weights_and_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    first, second, other = (build_model(ModelConfig(), texts=TEXTS, leads=12, seed=s).state_dict() for s in (3, 3, 4))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_any_transformers_language_model_with_its_own_tokenizer(tmp_path, batch, save_gpt2) -> None:
    """GPT-2 architecture, its own byte-level tokenizer, saved as transformers saves; then frozen and trained."""
    save_gpt2(tmp_path / "gpt2")
    config = ModelConfig(language_model=str(tmp_path / "gpt2"))
    model = build_model(config, texts=[], leads=12, seed=0).eval()
    assert all(not p.requires_grad for p in model.language_model.parameters())
    with torch.no_grad():
        scores = model(batch)
        alone = model(batch.select([1]))
    assert torch.allclose(scores[1], alone[0], atol=2e-5)
    save_pretrained(model, tmp_path / "m")
    # A frozen language model is named, not copied.
    assert not (tmp_path / "m" / "language_model").exists()
    with torch.no_grad():
        assert torch.equal(from_pretrained(tmp_path / "m")(batch), scores)
    trained = build_model(config.model_copy(update={"train_language_model": True}), texts=[], leads=12, seed=0)
    assert all(p.requires_grad for p in trained.language_model.parameters())


@pytest.mark.parametrize("then", [{}, {"lora": {"targets": ["c_attn"]}}, {"dtype": "bfloat16"}])
def test_a_language_model_that_an_earlier_stage_trained_is_kept_by_later_ones(tmp_path, batch, save_gpt2, then) -> None:
    save_gpt2(tmp_path / "gpt2")
    name = {"language_model": str(tmp_path / "gpt2")}
    trained = build_model(ModelConfig(**name, train_language_model=True), texts=[], leads=12, seed=0)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    save_pretrained(trained, tmp_path / "first")
    for folder, start in (("second", "first"), ("third", "second")):
        config = ModelConfig(**name, **then, start=str(tmp_path / start))
        model = build_model(config, texts=[], leads=12, seed=5).eval()
        own = [p for n, p in model.language_model.named_parameters() if "lora" not in n]
        assert own and not any(p.requires_grad for p in own)
        save_pretrained(model, tmp_path / folder)
        with torch.no_grad():
            # In half precision near what was trained, and in any the same once it is read back.
            assert torch.allclose(model(batch), trained.eval()(batch), atol=0.2 if "dtype" in then else 1e-5)
            assert torch.equal(from_pretrained(tmp_path / folder)(batch), model(batch))
    with torch.no_grad():
        assert not torch.allclose(
            build_model(ModelConfig(**name), texts=[], leads=12, seed=0)(batch), model(batch), atol=0.5
        )
    with pytest.raises(InputError, match="began as .*gpt2', not as 'embedded'"):
        build_model(ModelConfig(start=str(tmp_path / "first")), texts=TEXTS, leads=12, seed=0)


@torch.no_grad()
def test_low_rank_updates_are_gone_on_with_beside_the_weights_they_were_learned_beside(
    tmp_path, batch, hub, save_gpt2
) -> None:
    hub("gpt2", "a" * 40)
    parts = {"language_model": "gpt2", "lora": {"targets": ["c_attn"]}}
    model = build_model(ModelConfig(**parts), texts=[], leads=12, seed=0).eval()
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            parameter.fill_(0.1)
    save_pretrained(model, tmp_path / "m")
    parts["start"] = str(tmp_path / "m")
    hub("gpt2", "b" * 40, shift=0.01)
    later = build_model(ModelConfig(**parts), texts=[], leads=12, seed=1).eval()
    assert torch.equal(later(batch), model(batch))  # at the commit of the stage before
    save_gpt2(tmp_path / "other")
    for change, says in (
        ({"revision": "main"}, "commit bbbbbbbbbbbb, not commit aaaaaaaaaaaa"),
        ({"language_model": str(tmp_path / "other")}, "began as 'gpt2', not as"),
        (
            {"lora": {"targets": ["c_attn"], "alpha": 8}},
            r"lora\.alpha = 16, which lora\.alpha = 8 would scale otherwise",
        ),
    ):
        with pytest.raises(InputError, match=says):
            build_model(ModelConfig(**{**parts, **change}), texts=[], leads=12, seed=1)


@torch.no_grad()
def test_what_was_trained_in_a_loop_of_ones_own_is_kept(tmp_path, batch, save_gpt2) -> None:
    """And a folder may have held another model before."""
    save_gpt2(tmp_path / "gpt2")
    config = ModelConfig(language_model=str(tmp_path / "gpt2"))
    frozen, trained = (build_model(config, texts=[], leads=12, seed=0).eval() for _ in range(2))
    trained.language_model.requires_grad_(True)
    for parameter in trained.language_model.parameters():
        parameter.add_(0.01)
    assert not torch.equal(trained(batch), frozen(batch))
    for model in (trained, frozen, trained):
        save_pretrained(model, tmp_path / "m")
        assert torch.equal(from_pretrained(tmp_path / "m")(batch), model(batch))


def test_an_encoder_is_not_frozen_as_it_was_drawn(tmp_path) -> None:
    for encoder in ("resnet", "patch_transformer"):
        frozen = ModelConfig(encoder=encoder, train_encoder=False)
        with pytest.raises(InputError, match=f"freeze encoder '{encoder}' with random weights; name what it is"):
            build_model(frozen, texts=TEXTS, leads=12, seed=0)
        begun = build_model(ModelConfig(encoder=encoder), texts=TEXTS, leads=12, seed=0)
        save_pretrained(begun, tmp_path / encoder)
        start = str(tmp_path / encoder)
        model = build_model(frozen.model_copy(update={"start": start}), texts=TEXTS, leads=12, seed=1)
        for one, other in zip(model.encoder.parameters(), begun.encoder.parameters(), strict=True):
            assert torch.equal(one, other) and not one.requires_grad


def test_nothing_is_unpickled(tmp_path, model) -> None:
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was loaded",))

    save_pretrained(model, tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").unlink()
    for name in ("pytorch_model.bin", "model.safetensors", "model.pt"):
        (tmp_path / "m" / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError, match="holds no readable model"):
        from_pretrained(tmp_path / "m")


def test_a_named_language_model_that_changed_is_refused(tmp_path, monkeypatch, batch, save_gpt2) -> None:
    save_gpt2(tmp_path / "gpt2")
    monkeypatch.chdir(tmp_path)
    model = build_model(ModelConfig(language_model="./gpt2"), texts=[], leads=12, seed=0).eval()
    save_pretrained(model, "m")
    about = json.loads(Path("m/config.json").read_text())
    assert about["config"]["language_model"] == "./gpt2"
    assert len(about["language_model"]["sha256"]) == 64
    with torch.no_grad():
        assert torch.equal(from_pretrained("m")(batch), model(batch))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=rf"'\./gpt2' is neither .* a folder \(from {Path.cwd()}\)"):
        from_pretrained(tmp_path / "m")
    monkeypatch.chdir(tmp_path)
    weights = load_file("gpt2/model.safetensors")
    save_file({name: value + 1e-3 for name, value in weights.items()}, "gpt2/model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="is not the one this model was saved with"):
        from_pretrained("m")


@pytest.fixture
def hub(tmp_path, monkeypatch, save_gpt2) -> Callable[[str, str], Path]:
    """Puts a GPT-2, shifted a little, into a hub's cache under a name and a commit, in the form that the hub's library
    gives it; its branch "main" stands there then. The hub itself is out of reach."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(name: str, commit: str, shift: float = 0.0) -> Path:
        folder = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        snapshot = folder / "snapshots" / commit
        save_gpt2(snapshot)
        weights = load_file(snapshot / "model.safetensors")
        save_file({n: v + shift for n, v in weights.items()}, snapshot / "model.safetensors", {"format": "pt"})
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / "main").write_text(commit)
        return snapshot

    return put


@torch.no_grad()
@pytest.mark.parametrize("name", ["gpt2", "owner/name"])
def test_a_hub_model_is_read_at_the_commit_it_was_saved_at(tmp_path, batch, hub, name: str) -> None:
    first = hub(name, "a" * 40)
    model = build_model(ModelConfig(language_model=name), texts=[], leads=12, seed=0).eval()
    scores = model(batch)
    there = build_model(ModelConfig(language_model=str(first)), texts=[], leads=12, seed=0).eval()
    assert torch.equal(there(batch), scores)
    hub(name, "b" * 40, shift=0.01)
    # What it was when it was loaded, whatever the name stands for since.
    save_pretrained(model, tmp_path / "m")
    assert json.loads((tmp_path / "m" / "config.json").read_text())["language_model"] == {"commit": "a" * 40}
    assert torch.equal(from_pretrained(tmp_path / "m")(batch), scores)
    now = build_model(ModelConfig(language_model=name), texts=[], leads=12, seed=0).eval()
    assert not torch.equal(now(batch), scores)
    shutil.rmtree(first)
    with pytest.raises(InputError, match=f"'{name}' cannot be loaded: there is no folder .* as a hub name: "):
        from_pretrained(tmp_path / "m")


@pytest.mark.parametrize("copied", [False, True])
def test_a_folder_cannot_say_that_its_code_be_run(tmp_path, copied: bool, save_gpt2, bring_code) -> None:
    save_gpt2(tmp_path / "gpt2")
    config = ModelConfig(language_model=str(tmp_path / "gpt2"), train_language_model=copied, trust_remote_code=True)
    save_pretrained(build_model(config, texts=[], leads=12, seed=0), tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    about = json.loads(path.read_text())
    assert about["config"]["trust_remote_code"] is False
    about["config"]["trust_remote_code"] = True
    path.write_text(json.dumps(about))
    bring_code(tmp_path / "m" / "language_model" if copied else tmp_path / "gpt2", tmp_path / "marker")
    with pytest.raises(InputError, match="language model"):
        from_pretrained(tmp_path / "m")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"encoder": "resnt"}, "unknown encoder 'resnt'"),
        (
            {"encoder_options": {"depth_": 3}},
            "not take the option 'depth_'; its options are dim, tokens, widths, kernel",
        ),
        ({"projector_options": {"depth": 3}}, "does not take the option 'depth'; it has no options"),
        ({"encoder_options": {"tokens": 0}}, "option 'tokens' is a positive whole number, not 0"),
        ({"encoder_options": {"tokens": True}}, "option 'tokens' is a positive whole number, not True"),
        ({"encoder_options": {"widths": []}}, "option 'widths' is a list of positive whole numbers"),
        ({"encoder_options": {"widths": [8, 0]}}, "option 'widths' is a list of positive whole numbers"),
        ({"encoder_options": {"widths": "a"}}, "option 'widths' is a list of positive whole numbers, not 'a'"),
        ({"encoder_options": {"kernel": 4}}, "kernel must be odd, not 4"),
        ({"encoder": "patch_transformer", "encoder_options": {"patch": 0}}, "option 'patch' is a positive whole"),
        ({"encoder": "patch_transformer", "encoder_options": {"heads": 7}}, "cannot be built with"),
        ({"projector": "query_resampler", "projector_options": {"queries": 0}}, "option 'queries' is a positive"),
        ({"projector": "query_resampler", "projector_options": {"heads": 5}}, "cannot be built with"),
        ({"language_model": "/nowhere/at/all"}, "/nowhere/at/all"),
    ],
)
def test_what_cannot_be_built_is_said(change, says: str) -> None:
    with pytest.raises(InputError, match=says):
        build_model(ModelConfig(**change), texts=TEXTS, leads=12, seed=0)
