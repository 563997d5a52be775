"""Building a model from its configuration, saving it, and reading it back: safetensors, never a pickle."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from causalecg.cohort.ecg_format import ECGFormat
from causalecg.errors import InputError
from causalecg.models.composite import EncoderProjectorLLM
from causalecg.models.config import EmbeddedLanguageModel, ModelConfig
from causalecg.models.encoder import ENCODERS, FetchedEncoder
from causalecg.models.language_model import (
    embedded_language_model,
    identity_of,
    is_low_rank,
    load_language_model,
    untrained_language_model,
    without_low_rank,
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
        InputError: an unknown part or option, a language model that cannot be loaded, weights of ``config.start`` that
            are of something else, or an encoder that would be frozen as it was drawn.
    """
    start = None if config.start is None else _read_saved(_saved_folder(config.start))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if start is not None and start.holds_language_model:
            _require_same_name(config, start)
            language_model, tokenizer = untrained_language_model(start.folder, config)
            if config.language_model == "embedded":
                size = _embedded_of(start)
                _require_same_size(config, start, size, len(tokenizer))
                config = config.model_copy(update={"embedded": size})
        elif config.language_model == "embedded":
            tokenizer = train_tokenizer([*texts, config.answer_cue], vocabulary=config.embedded.vocabulary)
            language_model = embedded_language_model(config.embedded, tokenizer)
        else:
            language_model, tokenizer = _named_language_model(config, {} if start is None else _base_of(config, start))
        model = _assemble(config, language_model, tokenizer, leads)
        if isinstance(model.encoder, FetchedEncoder):
            model.encoder.load_fetched()
        elif start is None and not config.train_encoder:
            raise InputError(
                f"train_encoder = false would freeze encoder '{config.encoder}' with random weights; name what it is "
                "pre-trained in (model.start), or leave train_encoder out"
            )
        if start is not None:
            _begin_with(model, start)
            model.ecg_format = ECGFormat.of_record(start.about)
        return model


def build_encoder(config: ModelConfig, *, leads: int, seed: int) -> Any:
    """An encoder alone, as :func:`build_model` would make one; where there is a ``config.start``, a pre-trained one's.

    Raises InputError where ``config.start`` holds more than an encoder, which would be left behind.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = _part("encoder", ENCODERS, config.encoder, config.encoder_options, leads)
        if isinstance(encoder, FetchedEncoder):
            encoder.load_fetched()
    if config.start is not None:
        start = _read_saved(_saved_folder(config.start))
        others = sorted(name for name in start.state if not name.startswith("encoder."))
        if others:
            raise InputError(
                f"model.start: {start.folder} holds a whole model ({others[0]}, ...), and where an encoder alone is "
                "trained the rest would be lost; begin with a pre-trained encoder, or with none"
            )
        own = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
        _require_fit("encoder", start.folder, set(own) | set(start.state), start.state, own)
        encoder.load_state_dict({name.removeprefix("encoder."): value for name, value in start.state.items()})
    return encoder


def _saved_folder(text: str) -> Path:
    """Where the weights are: in a folder, or in its ``model``. InputError where there are none."""
    for folder in (Path(text), Path(text) / "model"):
        if (folder / "model.safetensors").is_file():
            return folder
    raise InputError(f"model.start: {text} holds no saved model (no model.safetensors, from {Path.cwd()})")


def saved_format(text: str) -> ECGFormat:
    """Of the ECGs that the saved weights ``model.start`` names have learned from. Where there are none nothing is
    known: a finished run does without them, and building says it."""
    try:
        return ECGFormat.of_record(json.loads((_saved_folder(text) / "config.json").read_text()))
    except (OSError, ValueError, AttributeError):
        return ECGFormat()


def _begin_with(model: EncoderProjectorLLM, start: _Saved) -> None:
    """Put the saved weights into the parts that they are of. InputError where such a part has another shape.

    Low-rank updates are begun with fresh ones where the saved language model has none.
    """
    own = model.state_dict()
    called = {without_low_rank(name): name for name in own}
    state = {called.get(without_low_rank(name), name): value for name, value in start.with_tied().items()}
    its_own = any(_is_of_language_model(name) for name in state)
    updated = any(is_low_rank(name) for name in state)
    if updated:
        _require_same_scale(model.config, start)
    model.keeps_language_model |= its_own
    for part in sorted({name.partition(".")[0] for name in state}):
        wanted = {name for name in own if name.partition(".")[0] == part}
        if not its_own:
            wanted = {name for name in wanted if not _is_of_language_model(name)}
        if not updated:
            wanted = {name for name in wanted if not is_low_rank(name)}
        saved = {name for name in state if name.partition(".")[0] == part}
        _require_fit(part, start.folder, wanted | saved, state, own)
    model.load_state_dict(state, strict=False)


def _require_fit(
    part: str, folder: Path, names: Iterable[str], state: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> None:
    """InputError for a tensor that only one of the two has, or of another shape."""
    for name in sorted(names):
        have = [tuple(table[name].shape) if name in table else None for table in (state, own)]
        if have[0] != have[1]:
            there, here = ("absent" if shape is None else str(shape) for shape in have)
            raise InputError(f"{part} of {folder} does not fit this model: {name} is {there} there, {here} here")


@dataclass(frozen=True)
class _Saved:
    """What a folder of :func:`save_pretrained` holds: config.json, and the tensors."""

    folder: Path
    about: dict[str, Any]
    state: dict[str, Tensor]

    @property
    def holds_language_model(self) -> bool:
        """Whether it brings its language model, rather than name one; an older one may lie beside it."""
        return (self.folder / "language_model").is_dir() and "language_model" not in self.about

    def with_tied(self) -> dict[str, Tensor]:
        """The tensors, those that share another's memory too."""
        return self.state | {name: self.state[owner] for name, owner in self.about["tied"].items()}


def _read_saved(folder: Path) -> _Saved:
    """InputError where config.json or the tensors cannot be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        about = json.loads((folder / "config.json").read_text())
        about["config"], about["tied"], about["leads"]
        return _Saved(folder, about, load_file(folder / "model.safetensors"))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(f"{folder} holds no readable model: {str(error).splitlines()[0]}") from error


def _require_same_name(config: ModelConfig, start: _Saved) -> None:
    """InputError where the language model that a folder brings began as another."""
    saved = start.about["config"]["language_model"]
    if saved != config.language_model:
        raise InputError(
            f"model.start: {start.folder} holds a language model that began as '{saved}', not as "
            f"'{config.language_model}'; "
            f'name model.language_model = "{saved}"'
        )


def _embedded_of(saved: _Saved) -> EmbeddedLanguageModel:
    """Size of the embedded language model that a folder brings: an earlier version noted the configuration's, which may
    be another where it began with a saved one."""
    try:
        shape = json.loads((saved.folder / "language_model" / "config.json").read_text())
        return EmbeddedLanguageModel(
            hidden=shape["hidden_size"],
            layers=shape["num_hidden_layers"],
            heads=shape["num_attention_heads"],
            vocabulary=saved.about["config"]["embedded"]["vocabulary"],
        )
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{saved.folder} holds no readable model: {str(error).splitlines()[0]}") from error


def _require_same_size(config: ModelConfig, start: _Saved, size: EmbeddedLanguageModel, tokens: int) -> None:
    """InputError where the configuration gives the embedded language model that a folder brings another size."""
    said = config.embedded.model_fields_set if "embedded" in config.model_fields_set else set()
    for key in sorted(said):
        own, there = getattr(config.embedded, key), getattr(size, key)
        # Of the vocabulary an earlier version may have noted another limit than that of the tokenizer.
        if own != there and (key != "vocabulary" or own != tokens):
            raise InputError(
                f"model.start: {start.folder} holds an embedded language model of {key} = {there}, which "
                f"model.embedded.{key} = {own} cannot change; leave [model.embedded] out, or begin with another model"
            )


def _base_of(config: ModelConfig, start: _Saved) -> dict[str, str]:
    """What the language model must be that a folder's weights were learned beside: empty where a folder names none, or
    the configuration another. InputError where low-rank updates would be of that other."""
    its = start.about["config"]
    if any(is_low_rank(name) for name in start.state):
        _require_same_name(config, start)
    elif its["language_model"] != config.language_model or config.revision not in (None, its.get("revision")):
        return {}
    found: dict[str, str] = start.about.get("language_model", {})
    return found


def _require_same_scale(config: ModelConfig, start: _Saved) -> None:
    """InputError where low-rank updates would weigh otherwise than when they were learned."""
    its, own = (start.about["config"].get("lora") or {}).get("alpha"), config.lora and config.lora.alpha
    if its is not None and own is not None and its != own:
        raise InputError(
            f"model.start: {start.folder} holds low-rank updates of lora.alpha = {its:g}, which lora.alpha = {own:g} "
            f"would scale otherwise; write lora.alpha = {its:g}"
        )


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

    A language model that is as it came from elsewhere is named, not copied; what tells its state is written beside the
    name, and low-rank updates of it are saved. One that was trained, now or in an earlier stage, is saved. Leave to run
    a model's own Python code is not saved: whoever reads the folder gives it, or not.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # Whoever trains it in a loop of their own may not have said so in the configuration.
    learned = any(p.requires_grad for n, p in model.named_parameters() if _is_of_language_model(n))
    named = not (model.keeps_language_model or learned)
    state = {k: v for k, v in model.state_dict().items() if not (named and _is_of_language_model(k))}
    owners: dict[int, str] = {}
    tied = {}
    for name, value in list(state.items()):
        owner = owners.setdefault(value.data_ptr(), name)
        if owner != name and value.numel():
            tied[name] = owner
            del state[name]
    config = model.config.model_copy(update={"trust_remote_code": False})
    about = {"config": config.model_dump(mode="json"), **model.ecg_format.record(), "tied": tied}
    about["leads"] = model.encoder.leads
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
    folder = Path(folder)
    saved = _read_saved(folder)
    try:
        config = ModelConfig(**{**saved.about["config"], "trust_remote_code": trust_remote_code})
    except ValueError as error:
        raise InputError(f"{folder} holds no readable model: {str(error).splitlines()[0]}") from error
    named = config.language_model != "embedded" and not saved.holds_language_model
    if named:
        identity = saved.about.get("language_model", {})
        # Whatever the configuration's revision stands for by now.
        config = config.model_copy(update={"revision": identity.get("commit", config.revision)})
        language_model, tokenizer = _named_language_model(config, identity)
    else:
        language_model, tokenizer = untrained_language_model(folder, config)
        if config.language_model == "embedded":
            config = config.model_copy(update={"embedded": _embedded_of(saved)})
    model = _assemble(config, language_model, tokenizer, int(saved.about["leads"]))
    model.keeps_language_model, model.saved_in = not named, folder
    model.ecg_format = ECGFormat.of_record(saved.about)
    missing, unexpected = model.load_state_dict(saved.with_tied(), strict=False)
    lost = [name for name in missing if not (named and _is_of_language_model(name))]
    if lost or unexpected:
        raise InputError(f"{folder / 'model.safetensors'} does not fit its config: {(lost + unexpected)[0]}")
    return model.eval()


def _named_language_model(config: ModelConfig, saved: dict[str, str]) -> tuple[Any, Any]:
    """The named language model, at the commit that was saved unless another revision is named. InputError when what the
    name stands for has changed since."""
    revision = saved.get("commit") if config.revision is None else config.revision
    language_model, tokenizer = load_language_model(config.model_copy(update={"revision": revision}))
    found = identity_of(config.language_model, language_model)
    if saved and found != saved:
        raise InputError(
            f"language model '{config.language_model}' is not the one this model was saved with ("
            f"{_said(found)}, not {_said(saved)}); put that one back"
        )
    return language_model, tokenizer


def _said(identity: dict[str, str]) -> str:
    return ", ".join(f"{kind} {value[:12]}" for kind, value in identity.items()) or "of unknown state"


def _is_of_language_model(name: str) -> bool:
    """Whether a tensor is one of the language model itself, not of an update beside it."""
    return name.startswith("language_model.") and not is_low_rank(name)
