"""Adjusters by name: the built-in ones, those of other packages, and those registered in this process.

Another package announces its strategies under the entry-point group ``causalecg.adjusters``. Only the module of the
adjuster that is asked for is imported.
"""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from adjusters.contract import Adjuster, Card

GROUP = "causalecg.adjusters"

BUILT_IN: dict[str, str] = {
    "none": "adjusters.none:NoAdjustment",
    "backdoor": "adjusters.severity_based.backdoor:Backdoor",
    "hybrid": "adjusters.severity_based.hybrid:Hybrid",
    "ipw": "adjusters.severity_based.ipw:InverseProbabilityWeighting",
    "matched": "adjusters.severity_based.matched:Matched",
    "question_randomised": "adjusters.severity_based.question_randomised:QuestionRandomised",
    "stratified": "adjusters.severity_based.stratified:Stratified",
    "effect_subtraction": "adjusters.shortcut_model.effect_subtraction:EffectSubtraction",
    "inverse_answer": "adjusters.shortcut_model.inverse_answer:InverseAnswer",
    "learned_mixin": "adjusters.shortcut_model.learned_mixin:LearnedMixin",
    "lff": "adjusters.shortcut_model.learning_from_failure:LearningFromFailure",
    "product_of_experts": "adjusters.shortcut_model.product_of_experts:ProductOfExperts",
    "rebias": "adjusters.shortcut_model.rebias:ReBias",
    "rubi": "adjusters.shortcut_model.rubi:RUBi",
    "group_dro": "adjusters.group_based.group_dro:GroupDRO",
    "group_weights": "adjusters.group_based.group_weights:GroupWeights",
    "irm": "adjusters.group_based.irm:InvariantRisk",
    "jtt": "adjusters.group_based.jtt:JustTrainTwice",
    "last_layer_refit": "adjusters.group_based.last_layer_refit:LastLayerRefit",
    "vrex": "adjusters.group_based.vrex:RiskExtrapolation",
    "canonical_text": "adjusters.data_side.canonical_text:CanonicalText",
    "ecg_swap": "adjusters.data_side.ecg_swap:EcgSwap",
    "modality_dropout": "adjusters.data_side.modality_dropout:ModalityDropout",
    "twins": "adjusters.data_side.twins:Twins",
}

_registered: dict[str, type[Adjuster]] = {}
_Class = TypeVar("_Class", bound="type[Adjuster]")


@cache
def _announced() -> tuple[tuple[str, str], ...]:
    return tuple((point.name, point.value) for point in entry_points(group=GROUP))


def available() -> dict[str, str]:
    """name -> "module:Class" of every adjuster that can be asked for. ContractError when a name is taken twice."""
    announced = [*_announced(), *((name, _path_of(found)) for name, found in _registered.items())]
    return _merged(BUILT_IN.items(), announced)


def _merged(built_in: Iterable[tuple[str, str]], announced: Iterable[tuple[str, str]]) -> dict[str, str]:
    found = dict(built_in)
    for name, path in announced:
        if found.setdefault(name, path) != path:
            raise _error(
                f"two adjusters are called '{name}': {found[name]} and {path}{_of_package(path)}; uninstall or rename "
                "one of them"
            )
    return found


def register(name: str) -> Callable[[_Class], _Class]:
    """Class decorator: make an adjuster known by ``name`` in this process. ContractError when the name is taken."""

    def decorate(found: _Class) -> _Class:
        taken = available().get(name)
        if taken is not None and taken != _path_of(found):
            raise _error(f"the name '{name}' is already taken by {taken}; choose another name for {_path_of(found)}")
        _registered[name] = found
        return found

    return decorate


def adjuster_class(name: str) -> type[Adjuster]:
    """The class called ``name``. ContractError, with the nearest name, when there is none."""
    if name in _registered:
        return _registered[name]
    paths = available()
    if name not in paths:
        near = difflib.get_close_matches(name, paths, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(sorted(paths))}"
        raise _error(f"no adjuster is called '{name}'; {hint}")
    return _imported(paths[name])


def _imported(path: str) -> type[Adjuster]:
    module, _, attribute = path.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise _error(
            f"adjuster {path}{_of_package(path)} cannot be imported ({error}); reinstall the package it comes from"
        ) from error
    return cast("type[Adjuster]", found)


def adjuster(name: str, /, **options: Any) -> Adjuster:
    """A fresh adjuster. ContractError for an unknown name, and for an option it does not have."""
    return construct(adjuster_class(name), name, options)


def construct(found: type[Adjuster], name: str, options: dict[str, Any]) -> Adjuster:
    """``found(**options)``, with one sentence naming the valid options when one of them is unknown."""
    valid = option_names(found)
    for option in options:
        if option not in valid:
            have = f"its options are {', '.join(valid)}" if valid else "it has no options"
            raise _error(f"adjuster '{name}' has no option '{option}'; {have}")
    return found(**options)


def option_names(found: type[Adjuster]) -> tuple[str, ...]:
    """Names of the options of an adjuster class, in the order of its ``__init__``."""
    if found.__init__ is object.__init__:
        return ()
    return tuple(name for name in inspect.signature(found.__init__).parameters if name != "self")


def card(name: str) -> Card:
    """What the adjuster called ``name`` is, needs and changes."""
    return adjuster_class(name).card


def describe() -> dict[str, str]:
    """name -> one sentence: its summary, or why it cannot be had."""
    return {name: _summary(name) for name in sorted(available())}


def _summary(name: str) -> str:
    from adjusters.contract import ContractError

    try:
        return card(name).summary
    except ContractError as error:
        return str(error)


def load_adjuster(folder: Path) -> Adjuster:
    """Read back what :meth:`Adjuster.save` wrote, whichever known adjuster it was.

    Only classes that :func:`available` lists are imported. ContractError for any other, or where there is no file.
    """
    file = folder / "adjuster.json"
    if not file.is_file():
        raise _error(f"{folder} holds no adjuster.json; it is not the folder of a saved adjuster")
    try:
        path = json.loads(file.read_text())["class"]
    except (ValueError, KeyError, TypeError):
        raise _error(f"{file} is damaged; train again") from None
    names = [name for name, known in available().items() if known == path]
    if not names:
        raise _error(f"{file} was written by {path}, which is not installed here; install the package it comes from")
    return adjuster_class(names[0]).load(folder)


def _of_package(path: str) -> str:
    """The distribution that announces this path, for a sentence."""
    names = [point.dist.name for point in entry_points(group=GROUP) if point.value == path and point.dist is not None]
    return f" (of the installed package {names[0]})" if names else ""


def _path_of(found: type[Adjuster]) -> str:
    return f"{found.__module__}:{found.__qualname__}"


def _error(sentence: str) -> ValueError:
    from adjusters.contract import ContractError

    return ContractError(sentence)
