"""Tests of X ⟂ Y | Z on rows of a cohort, by what the variables are: levels, quantities, or vectors."""
