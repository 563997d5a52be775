from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def equation() -> Callable[[str], ModuleType]:
    """The module of a strategy's equations (tests/oracle/adjusters), which imports nothing of ours."""
    return lambda name: import_module(f"{name}_equation")
