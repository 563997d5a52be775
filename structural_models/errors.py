"""Errors a user can act on, each one sentence: what is wrong, where, and what to do."""

from __future__ import annotations


class GraphError(ValueError):
    """A causal graph, or a request to one, that makes no sense."""


class NotIdentified(ValueError):
    """The observed variables do not determine the target. Names an open path and what would close it."""


class PositivityError(ValueError):
    """An arm that cannot occur, or has not occurred, where a weight or a draw is needed."""


class TableError(ValueError):
    """A table or array that an estimator cannot read."""
