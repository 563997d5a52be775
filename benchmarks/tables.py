"""Time and memory of the table estimators at 10^5 and 10^6 rows. Run: python benchmarks/tables.py"""

from __future__ import annotations

import resource
import time

import numpy as np
import pandas as pd

from structural_models import (
    balance_table,
    effective_sample_size,
    fit_propensity,
    inverse_probability_weights,
    systematic_resample,
)


def main() -> None:
    print("| rows | propensity and weights, s | balance, s | resampling, s | peak memory, MB |\n|---|---|---|---|---|")
    for rows in (100_000, 1_000_000):
        rng = np.random.default_rng(0)
        severity = rng.integers(0, 4, rows)
        style = (rng.random(rows) < 0.1 + 0.2 * severity).astype(np.int64)
        table = pd.DataFrame({"severity": severity, "topic": rng.integers(0, 20, rows), "style": style})
        clock = [time.perf_counter()]
        fitted = fit_propensity(table, "style", ["severity", "topic"])
        weights = inverse_probability_weights(fitted.codes(table), fitted.cells(table))
        assert effective_sample_size(weights) < rows
        clock.append(time.perf_counter())
        balance_table(table, "style", ["severity", "topic"], weights)
        clock.append(time.perf_counter())
        systematic_resample(weights, rows, rng=rng)
        clock.append(time.perf_counter())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"| {rows:,} | " + " | ".join(f"{s:.2f}" for s in np.diff(clock)) + f" | {peak:.0f} |")


if __name__ == "__main__":
    main()
