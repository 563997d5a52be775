"""Strategies that change or add rows to learn from."""
