"""What a part of a model has computed, kept for as long as the part stays as it is."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

V = TypeVar("V", bound=tuple[Tensor, ...])
MEGABYTE = 2**20


class Memory(Generic[V]):
    """Tensors by key, of one part; the least recently used are dropped beyond a size.

    Args:
        megabytes: how much is kept.

    It forgets everything as soon as the part's weights, running statistics, precision or device have changed, as far as
    torch counts changes: those made through ``.data`` it does not. A copy of it is empty.
    """

    def __init__(self, megabytes: int) -> None:
        self.limit = megabytes * MEGABYTE
        self._size = 0
        self._kept: OrderedDict[Hashable, V] = OrderedDict()
        self._of: tuple[object, ...] = ()

    def open(self, part: nn.Module) -> None:
        """Forget what is no longer true of the part."""
        state = _state(part)
        if state != self._of:
            self.clear()
            self._of = state

    def clear(self) -> None:
        self._kept.clear()
        self._size = 0

    def __contains__(self, key: Hashable) -> bool:
        return key in self._kept

    def __getitem__(self, key: Hashable) -> V:
        self._kept.move_to_end(key)
        return self._kept[key]

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, key: Hashable, value: V) -> None:
        self._kept[key] = value
        self._size += _bytes(value)

    def drop(self, key: Hashable) -> None:
        self._size -= _bytes(self._kept.pop(key))

    def shrink(self) -> None:
        """Drop the least recently used until the rest is small enough."""
        while self._size > self.limit and self._kept:
            _, value = self._kept.popitem(last=False)
            self._size -= _bytes(value)

    def __deepcopy__(self, memo: dict[int, Any]) -> Memory[V]:
        return Memory(self.limit // MEGABYTE)

    def __reduce__(self) -> tuple[type, tuple[int]]:
        return Memory, (self.limit // MEGABYTE,)


def _bytes(value: tuple[Tensor, ...]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in value)


def _state(part: nn.Module) -> tuple[object, ...]:
    """Changes whenever a parameter or buffer does: torch counts their changes in place."""
    tensors = [*part.parameters(), *part.buffers()]
    first = tensors[0] if tensors else None
    where = () if first is None else (first.device, first.dtype, first.data_ptr())
    changes = sum(0 if tensor.is_inference() else tensor._version for tensor in tensors)
    return (len(tensors), changes, *where)


def is_frozen(part: nn.Module) -> bool:
    """Nothing in it is learned, and it is in evaluation mode: it says the same of the same input."""
    return not part.training and not any(parameter.requires_grad for parameter in part.parameters())
