"""Randomised interventions on a model's inputs, the table of its answers, and what follows from that table."""
