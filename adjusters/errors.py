"""Errors a user can act on."""

from __future__ import annotations


class ContractError(ValueError):
    """Bad use of the contract, stated in one sentence a user can act on."""
