"""Biased-ECG-QA: cohorts whose causal answer is known, and the comparison of arms on them."""
