"""Strategies that adjust for a measured severity."""
