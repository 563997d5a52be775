"""Intervals and tests of score sets: patients as clusters, paired by item, arrays in and numbers out."""
