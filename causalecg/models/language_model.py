"""Language models: the embedded one, or any transformers causal language model with its own tokenizer."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from difflib import get_close_matches
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from causalecg.errors import InputError
from causalecg.models.config import EmbeddedLanguageModel, LowRank, ModelConfig
from causalecg.models.weights.catalogue import LANGUAGE_MODELS, WEIGHTS
from causalecg.models.weights.fetch import fetched

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
    """(model, tokenizer) from fetched weights, a folder or a hub name, safetensors only.

    The model has the configuration's precision, and low-rank updates with fresh weights from the current torch
    generator. Raises InputError where it cannot be had.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name = located(config.language_model)
    dtype = getattr(torch, config.dtype)
    if not _may_be_hub_name(name) and not Path(name).is_dir():
        raise InputError(
            f"language model '{name}' is neither 'embedded', nor a folder (from {Path.cwd()}), nor a hub name"
        )
    try:
        commit = None if Path(name).is_dir() else _commit_of(name, config.revision)
        options: dict[str, Any] = {
            "revision": commit or config.revision,
            "trust_remote_code": config.trust_remote_code,
        }
        tokenizer = AutoTokenizer.from_pretrained(name, **options)
        model = AutoModelForCausalLM.from_pretrained(name, use_safetensors=True, dtype=dtype, **options)
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        if not Path(name).is_dir():
            near = get_close_matches(name, ("embedded", *LANGUAGE_MODELS), n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            reason = f"there is no folder of this name in {Path.cwd()}, and as a hub name: {reason}{hint}"
        raise InputError(f"language model '{name}' cannot be loaded: {reason}") from error
    model.loaded_from = _identity(name, commit)
    return _adapted(model, config), tokenizer


def _commit_of(name: str, revision: str | None) -> str | None:
    """Commit that a hub model's revision stands for now; ``None`` where the hub says none. OSError where there is no
    such model, or it can be had neither from the hub nor from what was downloaded before."""
    from transformers.utils import cached_file

    folder = Path(str(cached_file(name, "config.json", revision=revision))).parent.name
    return folder if re.fullmatch("[0-9a-f]{40}", folder) else None


def _adapted(model: Any, config: ModelConfig) -> Any:
    """With a head in single precision behind a half-precision model, and with low-rank updates."""
    if config.dtype != "float32":
        model.set_output_embeddings(SinglePrecisionHead(model.get_output_embeddings()))
    if config.lora is not None:
        add_low_rank_updates(model, config.lora, config.language_model)
    return model


def located(name: str) -> str:
    """Where a language model is loaded from: the folder of weights that were fetched, or the name as it is.

    Raises InputError for weights that were not fetched, or are none of a language model.
    """
    if name not in WEIGHTS:
        return name
    if name not in LANGUAGE_MODELS:
        raise InputError(f"the weights '{name}' are no language model's; those are {', '.join(LANGUAGE_MODELS)}")
    return str(fetched(name))


class SinglePrecisionHead(nn.Module):
    """A vocabulary head in single precision behind a half-precision model.

    On a processor a half-precision head is slow on few rows, and sums of rounded log-probabilities are coarse.
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        weight, bias = head.weight, getattr(head, "bias", None)
        self.weight = nn.Parameter(weight.detach().float().clone(), requires_grad=False)  # type: ignore[operator]
        self.bias = None if bias is None else nn.Parameter(bias.detach().float().clone(), requires_grad=False)

    def forward(self, hidden: Tensor) -> Tensor:
        return nn.functional.linear(hidden.float(), self.weight, self.bias)


def add_low_rank_updates(model: Any, options: LowRank, name: str) -> None:
    """Put updates, zero at first, beside linear layers of a language model. InputError where it has none so named."""
    from peft import LoraConfig, inject_adapter_in_model

    targets = options.targets if isinstance(options.targets, str) else list(options.targets)
    config = LoraConfig(r=options.rank, lora_alpha=options.alpha, lora_dropout=options.dropout, target_modules=targets)
    try:
        inject_adapter_in_model(config, model)
    except ValueError as error:
        layers = sorted({n.rpartition(".")[2] for n, m in model.named_modules() if isinstance(m, nn.Linear)})
        raise InputError(
            f"lora of language model '{name}' cannot be put beside {targets}; its linear layers are {', '.join(layers)}"
        ) from error
    for parameter_name, parameter in model.named_parameters():
        if is_low_rank(parameter_name):
            parameter.data = parameter.data.float()


def is_low_rank(parameter: str) -> bool:
    """Whether a parameter's name is one of a low-rank update."""
    return ".lora_" in parameter


def without_low_rank(parameter: str) -> str:
    """A parameter's name as it is where nothing is beside its layer."""
    return parameter.replace(".base_layer.", ".")


def _may_be_hub_name(name: str) -> bool:
    return name.count("/") <= 1 and not name.startswith((".", "/", "~"))


def identity_of(name: str, model: Any) -> dict[str, str]:
    """What tells one state of a named language model from another: ``sha256`` of a folder's weights, configuration and
    tokenizer, or the ``commit`` of a hub model, as they were when it was loaded; empty where the hub says none."""
    found: dict[str, str] | None = getattr(model, "loaded_from", None)
    return _identity(located(name), None) if found is None else found


def _identity(name: str, commit: str | None) -> dict[str, str]:
    if Path(name).is_dir():
        return {"sha256": _sha256_of(Path(name))}
    return {"commit": commit} if commit else {}


def _sha256_of(folder: Path) -> str:
    whole = sha256()
    for path in sorted({path for pattern in IDENTIFYING for path in folder.glob(pattern) if path.is_file()}):
        with path.open("rb") as file:
            whole.update(f"{path.name} {file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


def untrained_language_model(folder: Path, config: ModelConfig) -> tuple[nn.Module, Any]:
    """(model, tokenizer) of the shape saved in ``folder``, with fresh weights and the configuration's precision and
    low-rank updates. Raises InputError where it cannot be."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    trust = {"trust_remote_code": config.trust_remote_code}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", **trust)
        shape = AutoConfig.from_pretrained(folder / "language_model", **trust)
        model = AutoModelForCausalLM.from_config(shape, dtype=getattr(torch, config.dtype), **trust)
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"the language model in {folder} cannot be built: {reason}") from error
    return _adapted(model, config), tokenizer


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
    logits: Literal["none", "last", "all"] = "all",
) -> tuple[Tensor | None, Tensor, Layers]:
    """One forward pass.

    Args:
        embeddings: (n, length, hidden).
        mask: (n, past + length), 1 where there is a token.
        positions: (n, length) int64.
        past: per layer keys and values, (n, heads, past, head dim).
        logits: of which places.

    Returns:
        Logits (n, length or 1, vocabulary) or ``None``; last hidden state (n, length, hidden); keys and values per
        layer.
    """
    from transformers import DynamicCache

    body = model.base_model if logits == "none" else model
    cache = DynamicCache(ddp_cache_data=past) if past is not None else DynamicCache()
    # transformers renamed the argument within version 5.
    accepted = inspect.signature(body.forward).parameters
    options: dict[str, Any] = {"cache" if "cache" in accepted else "past_key_values": cache}
    last = logits == "last" and "logits_to_keep" in accepted
    if last:
        options["logits_to_keep"] = 1
    out = body(
        inputs_embeds=embeddings,
        attention_mask=mask,
        position_ids=positions,
        use_cache=True,
        output_hidden_states=True,
        return_dict=True,
        **options,
    )
    layers = [(layer.keys, layer.values) for layer in cache.layers]
    if logits == "none":
        return None, out.hidden_states[-1], layers
    return (out.logits if last or logits == "all" else out.logits[:, -1:]), out.hidden_states[-1], layers
