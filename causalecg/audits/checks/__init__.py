"""The audits: one file per family, each a pure function of a score set."""
