"""Encoder, projector and language model, and the composite that scores candidate answers."""
