from __future__ import annotations

import doctest

import structural_models
import structural_models.generative


def test_the_example_of_the_package_runs_as_printed() -> None:
    found = doctest.testmod(structural_models.generative)
    assert found.attempted >= 8 and found.failed == 0


def test_public_names_are_there() -> None:
    names = [name for name, module in structural_models._PUBLIC.items() if ".generative." in module]
    assert len(names) == 12
    assert all(callable(getattr(structural_models, name)) for name in names)
