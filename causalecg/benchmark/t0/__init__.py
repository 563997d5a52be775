"""Tier T0: the law's own evidence as the ECG, and a scorer that trains in seconds through the adjuster contract."""
