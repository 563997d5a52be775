"""Structural causal models that can be run: drawn from, intervened on, conditioned on, and replayed for a unit."""
