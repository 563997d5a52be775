"""Strategies that need no severity, but a model of the shortcut: what some view of the question tells of the answer."""
