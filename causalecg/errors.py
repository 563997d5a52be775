"""Errors a user can act on."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input, in one sentence: what is wrong, where, and what to do. The command line exits with code 2."""
