"""Values of an adjuster's options as they are written in an arm: numbers, words, true, false, none, comma lists."""

from __future__ import annotations

import types
import typing
from collections.abc import Collection, Sequence
from typing import Any, Literal, Union, get_args, get_origin


def annotations_of(found: type) -> dict[str, Any]:
    """option -> its annotation; empty where they cannot be read."""
    try:
        return typing.get_type_hints(found.__init__)  # type: ignore[misc]
    except (NameError, TypeError):
        return {}


def read(text: str, kind: Any) -> Any:
    """The value that ``text`` stands for under an annotation; ``None`` = guess it.

    Raises ValueError whose message is what the option takes ("a number").
    """
    kinds = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    if types.NoneType in kinds and text == "none":
        return None
    wanted = []
    for one in (k for k in kinds if k is not types.NoneType):
        try:
            return _read_one(text, one)
        except ValueError as error:
            wanted.append(str(error))
    if types.NoneType in kinds:
        wanted.append("none")
    raise ValueError(" or ".join(wanted))


def _read_one(text: str, kind: Any) -> Any:
    origin = get_origin(kind) or kind
    if origin is Literal:
        for choice in get_args(kind):
            if written(choice) == text:
                return choice
        raise ValueError(" or ".join(map(written, get_args(kind))))
    if kind is str:
        return text
    if kind is bool:
        return _boolean(text)
    if kind in (int, float):
        return _number(text, whole=kind is int)
    if isinstance(origin, type) and issubclass(origin, Collection) and not issubclass(origin, dict):
        inner = next(iter(get_args(kind)), None)
        return [read(part, inner) for part in text.split(",")]
    return _guessed(text)


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("true or false")
    return text == "true"


def _number(text: str, *, whole: bool) -> int | float:
    try:
        return int(text)
    except ValueError:
        if whole:
            raise ValueError("a whole number") from None
    try:
        return float(text)
    except ValueError:
        raise ValueError("a number") from None


def _guessed(text: str) -> Any:
    if text == "none":
        return None
    for one in (bool, float):
        try:
            return _read_one(text, one)
        except ValueError:
            continue
    return text


def written(value: Any) -> str:
    """What :func:`read` turns into ``value``."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(map(written, value))
    return str(value)
