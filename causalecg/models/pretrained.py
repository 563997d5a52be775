"""Building a model from its configuration, saving it, and reading it back: safetensors, never a pickle."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from causalecg.errors import InputError
from causalecg.models.composite import EncoderProjectorLLM
from causalecg.models.config import ModelConfig
from causalecg.models.encoder import ENCODERS, FetchedEncoder
from causalecg.models.language_model import (
    embedded_language_model,
    identity_of,
    is_low_rank,
    load_language_model,
    untrained_language_model,
)
from causalecg.models.projector import PROJECTORS
from causalecg.models.tokenizer import train_tokenizer


def build_model(config: ModelConfig, *, texts: Sequence[str], leads: int, seed: int) -> EncoderProjectorLLM:
    """A fresh model.

    Args:
        config: its parts.
        texts: questions and answers the embedded tokenizer learns from; not used with another language model.
        leads: ECG leads.
        seed: of every fresh weight; same seed, same bytes. Torch's global generator is left as it was.

    Raises:
        InputError: an unknown part or option, or a language model that cannot be loaded.
    """
    start = None if config.start is None else _saved_folder(config.start)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if config.language_model == "embedded" and start is not None and (start / "language_model").is_dir():
            language_model, tokenizer = untrained_language_model(start, trust_remote_code=config.trust_remote_code)
        elif config.language_model == "embedded":
            tokenizer = train_tokenizer([*texts, config.answer_cue], vocabulary=config.embedded.vocabulary)
            language_model = embedded_language_model(config.embedded, tokenizer)
        else:
            language_model, tokenizer = load_language_model(config)
        model = _assemble(config, language_model, tokenizer, leads)
        if isinstance(model.encoder, FetchedEncoder):
            model.encoder.load_fetched()
        if start is not None:
            _begin_with(model, start)
        return model


def build_encoder(config: ModelConfig, *, leads: int, seed: int) -> Any:
    """A fresh encoder alone, as :func:`build_model` would make one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = _part("encoder", ENCODERS, config.encoder, config.encoder_options, leads)
        if isinstance(encoder, FetchedEncoder):
            encoder.load_fetched()
    return encoder


def _saved_folder(text: str) -> Path:
    """Where the weights are: in a folder, or in its ``model``. InputError where there are none."""
    for folder in (Path(text), Path(text) / "model"):
        if (folder / "model.safetensors").is_file():
            return folder
    raise InputError(f"model.start: {text} holds no saved model (no model.safetensors, from {Path.cwd()})")


def _begin_with(model: EncoderProjectorLLM, folder: Path) -> None:
    """Put the saved weights into the parts that they are of. InputError where such a part has another shape."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(folder / "model.safetensors")
        tied = json.loads((folder / "config.json").read_text())["tied"]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(f"{folder} holds no readable model: {str(error).splitlines()[0]}") from error
    state |= {name: state[owner] for name, owner in tied.items()}
    own = model.state_dict()
    for part in sorted({name.partition(".")[0] for name in state}):
        wanted = {name for name in own if name.partition(".")[0] == part}
        if part == "language_model" and _is_named(model.config):
            wanted = {name for name in wanted if is_low_rank(name)}
        for name in sorted(wanted | {name for name in state if name.partition(".")[0] == part}):
            have = [tuple(table[name].shape) if name in table else None for table in (state, own)]
            if have[0] != have[1]:
                there, here = ("absent" if shape is None else str(shape) for shape in have)
                raise InputError(f"{part} of {folder} does not fit this model: {name} is {there} there, {here} here")
    model.load_state_dict(state, strict=False)


def _assemble(config: ModelConfig, language_model: Any, tokenizer: Any, leads: int) -> EncoderProjectorLLM:
    encoder = _part("encoder", ENCODERS, config.encoder, config.encoder_options, leads)
    encoder.leads = leads
    hidden = int(language_model.get_input_embeddings().embedding_dim)
    projector = _part("projector", PROJECTORS, config.projector, config.projector_options, int(encoder.dim), hidden)
    return EncoderProjectorLLM(encoder, projector, language_model, tokenizer, config)


def _part(kind: str, known: dict[str, Any], name: str, options: dict[str, Any], *sizes: int) -> Any:
    if name not in known:
        raise InputError(f"unknown {kind} '{name}'; known are {', '.join(sorted(known))}")
    _require_options(f"{kind} '{name}'", known[name], options)
    try:
        return known[name](*sizes, **options)
    except (ValueError, AssertionError) as error:
        raise InputError(f"{kind} '{name}' cannot be built with {options}: {error}") from error


def _require_options(part: str, build: Any, options: dict[str, Any]) -> None:
    """InputError for an option the part does not have, or a size that is no positive whole number."""
    keywords = inspect.signature(build).parameters.values()
    defaults = {option.name: option.default for option in keywords if option.kind is option.KEYWORD_ONLY}
    for key, value in options.items():
        if key not in defaults:
            have = f"its options are {', '.join(defaults)}" if defaults else "it has no options"
            raise InputError(f"{part} does not take the option '{key}'; {have}")
        several = isinstance(defaults[key], tuple)
        given = value if several and isinstance(value, (list, tuple)) else [value]
        if (several and given is not value) or not given or not all(type(size) is int and size > 0 for size in given):
            what = "a list of positive whole numbers" if several else "a positive whole number"
            raise InputError(f"{part}: option '{key}' is {what}, not {value!r}")


def save_pretrained(model: EncoderProjectorLLM, folder: str | Path) -> None:
    """Write config.json, model.safetensors, the tokenizer, and the language model's configuration.

    A frozen language model that came from elsewhere is named, not copied; what tells its state is written beside the
    name, and low-rank updates of it are saved. Leave to run a model's own Python code is not saved: whoever reads the
    folder gives it, or not.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    named = _is_named(model.config)
    state = {k: v for k, v in model.state_dict().items() if not (named and _is_elsewhere(k))}
    owners: dict[int, str] = {}
    tied = {}
    for name, value in list(state.items()):
        owner = owners.setdefault(value.data_ptr(), name)
        if owner != name and value.numel():
            tied[name] = owner
            del state[name]
    config = model.config.model_copy(update={"trust_remote_code": False})
    about = {"config": config.model_dump(mode="json"), "leads": model.encoder.leads, "tied": tied}
    if named:
        about["language_model"] = identity_of(config.language_model, model.language_model)
    save_file({k: v.detach().cpu().contiguous() for k, v in state.items()}, folder / "model.safetensors")
    if not named:
        model.tokenizer.save_pretrained(folder / "tokenizer")
        model.language_model.config.save_pretrained(folder / "language_model")  # type: ignore[union-attr,operator]
    (folder / "config.json").write_text(json.dumps(about, indent=2, sort_keys=True) + "\n")


def from_pretrained(folder: str | Path, *, trust_remote_code: bool = False) -> EncoderProjectorLLM:
    """Read back what :func:`save_pretrained` wrote.

    Args:
        folder: what was written.
        trust_remote_code: run Python code that comes with the language model. Whatever the folder says of it is not
            heeded.

    Raises:
        InputError: the model is not there, does not fit, cannot be had without running its own code, or names a
            language model that has changed since (a relative folder is looked for from the current one).
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    try:
        about = json.loads((folder / "config.json").read_text())
        config = ModelConfig(**{**about["config"], "trust_remote_code": trust_remote_code})
        state = load_file(folder / "model.safetensors")
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(f"{folder} holds no readable model: {str(error).splitlines()[0]}") from error
    if _is_named(config):
        language_model, tokenizer = _named_language_model(config, about.get("language_model", {}))
    else:
        language_model, tokenizer = untrained_language_model(folder, trust_remote_code=trust_remote_code)
    model = _assemble(config, language_model, tokenizer, int(about["leads"]))
    for name, owner in about["tied"].items():
        state[name] = state[owner]
    missing, unexpected = model.load_state_dict(state, strict=False)
    lost = [name for name in missing if not (_is_named(config) and _is_elsewhere(name))]
    if lost or unexpected:
        raise InputError(f"{folder / 'model.safetensors'} does not fit its config: {(lost + unexpected)[0]}")
    return model.eval()


def _named_language_model(config: ModelConfig, saved: dict[str, str]) -> tuple[Any, Any]:
    """The language model that was saved by name. InputError when what the name stands for has changed since."""
    if "commit" in saved:
        config = config.model_copy(update={"revision": saved["commit"]})
    language_model, tokenizer = load_language_model(config)
    found = identity_of(config.language_model, language_model)
    if saved and found != saved:
        raise InputError(
            f"language model '{config.language_model}' is not the one this model was saved with ("
            f"{_said(found)}, not {_said(saved)}); put that one back"
        )
    return language_model, tokenizer


def _said(identity: dict[str, str]) -> str:
    return ", ".join(f"{kind} {value[:12]}" for kind, value in identity.items()) or "of unknown state"


def _is_elsewhere(name: str) -> bool:
    """Whether a tensor is one of the language model's own, which are where it came from."""
    return name.startswith("language_model.") and not is_low_rank(name)


def _is_named(config: ModelConfig) -> bool:
    return config.language_model != "embedded" and not config.language_model_is_trained
