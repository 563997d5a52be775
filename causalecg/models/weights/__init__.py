"""Pretrained weights that can be fetched: pinned, hash-checked, converted once into a cache folder."""
