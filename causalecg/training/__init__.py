"""Arms, configuration, the loop over stages and parts, exact resume, and the run folder."""
