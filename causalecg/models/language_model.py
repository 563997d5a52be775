"""Language models: the embedded one, or any transformers causal language model with its own tokenizer."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from causalecg.errors import InputError
from causalecg.models.config import EmbeddedLanguageModel, ModelConfig

Layers = list[tuple[Tensor, Tensor]]

#: Files of a language model's folder that shape what it says.
IDENTIFYING = ("*.safetensors", "config.json", "tokenizer*", "vocab*", "merges.txt")


def embedded_language_model(size: EmbeddedLanguageModel, tokenizer: Any) -> nn.Module:
    """A Llama-architecture model with fresh weights from the current torch generator."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.hidden,
        intermediate_size=3 * size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        max_position_embeddings=512,
        initializer_range=0.05,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(config)


def load_language_model(config: ModelConfig) -> tuple[nn.Module, Any]:
    """(model, tokenizer) from a folder or a hub name, safetensors only. Raises InputError where it cannot be had."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name = config.language_model
    if not _may_be_hub_name(name) and not Path(name).is_dir():
        raise InputError(
            f"language model '{name}' is neither 'embedded', nor a folder (from {Path.cwd()}), nor a name like "
            "owner/model"
        )
    options: dict[str, Any] = {"revision": config.revision, "trust_remote_code": config.trust_remote_code}
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **options)
        model = AutoModelForCausalLM.from_pretrained(name, use_safetensors=True, dtype=torch.float32, **options)
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).strip().splitlines()[0]
        if not Path(name).is_dir():
            reason = f"there is no folder of this name in {Path.cwd()}, and as a hub name: {reason}"
        raise InputError(f"language model '{name}' cannot be loaded: {reason}") from error
    return model, tokenizer


def _may_be_hub_name(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~"))


def identity_of(name: str, model: Any) -> dict[str, str]:
    """What tells one state of a named language model from another: ``sha256`` of a folder's weights, configuration and
    tokenizer, or the ``commit`` of a hub model; empty where the hub says none."""
    if Path(name).is_dir():
        return {"sha256": _sha256_of(Path(name))}
    commit = getattr(model.config, "_commit_hash", None)
    return {"commit": str(commit)} if commit else {}


def _sha256_of(folder: Path) -> str:
    whole = sha256()
    for path in sorted({path for pattern in IDENTIFYING for path in folder.glob(pattern) if path.is_file()}):
        with path.open("rb") as file:
            whole.update(f"{path.name} {file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


def untrained_language_model(folder: Path, *, trust_remote_code: bool) -> tuple[nn.Module, Any]:
    """(model, tokenizer) of the shape saved in ``folder``, with fresh weights. Raises InputError where it cannot be."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", trust_remote_code=trust_remote_code)
        shape = AutoConfig.from_pretrained(folder / "language_model", trust_remote_code=trust_remote_code)
        model = AutoModelForCausalLM.from_config(shape, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"the language model in {folder} cannot be built: {reason}") from error
    return model, tokenizer


def token_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, without special tokens."""
    return [tokenizer.encode(text, add_special_tokens=False) for text in texts]


def run(
    model: Any,
    embeddings: Tensor,
    *,
    mask: Tensor,
    positions: Tensor,
    past: Layers | None = None,
    logits: bool = True,
) -> tuple[Tensor | None, Tensor, Layers]:
    """One forward pass.

    Args:
        embeddings: (n, length, hidden).
        mask: (n, past + length), 1 where there is a token.
        positions: (n, length) int64.
        past: per layer keys and values, (n, heads, past, head dim).
        logits: whether to apply the vocabulary head.

    Returns:
        Logits (n, length, vocabulary) or ``None``, last hidden state (n, length, hidden), keys and values per layer.
    """
    from transformers import DynamicCache

    body = model if logits else model.base_model
    cache = DynamicCache(ddp_cache_data=past) if past is not None else DynamicCache()
    # transformers renamed the argument within version 5.
    accepted = inspect.signature(body.forward).parameters
    cached = {"cache" if "cache" in accepted else "past_key_values": cache}
    out = body(
        inputs_embeds=embeddings,
        attention_mask=mask,
        position_ids=positions,
        use_cache=True,
        output_hidden_states=True,
        return_dict=True,
        **cached,
    )
    layers = [(layer.keys, layer.values) for layer in cache.layers]
    return (out.logits if logits else None), out.hidden_states[-1], layers
