"""Strategies that look at groups of rows or at environments: the worst of them, what they balance, what they share."""
