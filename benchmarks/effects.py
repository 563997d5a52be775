"""Effects of 70 templates at five severities: time and memory; on two of them beside DoWhy and causallib.

Run: python benchmarks/effects.py   (needs the extra "oracle" for the second table)
"""

from __future__ import annotations

import logging
import subprocess
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd

from structural_models import estimate_effects
from structural_models.effects.catalogue import METHODS, method_named

TEMPLATES, LEVELS = 70, 5


def made_up(rows: int, templates: int = TEMPLATES, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Severity, template and answer as texts, and a patient for every row (three rows each)."""
    rng = np.random.default_rng(seed)
    share = rng.dirichlet(np.full(templates, 30.0), size=LEVELS)
    yes = rng.uniform(0.1, 0.9, (LEVELS, templates))
    s = rng.integers(0, LEVELS, rows)
    q = np.empty(rows, dtype=np.int64)
    for level in range(LEVELS):
        at = np.flatnonzero(s == level)
        q[at] = rng.choice(templates, len(at), p=share[level])
    answer = np.where(rng.random(rows) < yes[s, q], "yes", "no")
    names = np.array([f"template {i:02d}" for i in range(templates)], dtype=object)
    table = pd.DataFrame({"severity": s, "template": names[q], "answer": answer.astype(object)})
    return table, rng.integers(0, rows // 3, rows)


def one(name: str, rows: int) -> None:
    """Print seconds and peak memory (MB above the table) of one estimate; run in a process of its own."""
    import resource

    table, patients = made_up(rows)
    estimate_effects(table.head(1000), "template", "answer", ["severity"], threshold=0.0)  # imports
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    found = estimate_effects(
        table,
        "template",
        "answer",
        ["severity"],
        method=method_named(name),
        groups=patients,
        rng=np.random.default_rng(0),
    )
    seconds = time.perf_counter() - start
    assert found.table["interventional"].notna().all()
    print(seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def scaling() -> None:
    sizes = (250_000, 1_000_000, 2_000_000)
    print("| estimator | " + " | ".join(f"{n:,} rows: s | MB" for n in sizes) + " |")
    print("|---" * (1 + 2 * len(sizes)) + "|")
    for name in METHODS:
        cells = []
        for rows in sizes:
            run = [sys.executable, __file__, name, str(rows)]
            seconds, memory = subprocess.run(run, check=True, capture_output=True, text=True).stdout.split()
            cells.append(f"{float(seconds):.2f} | {float(memory):.0f}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def beside_others(rows: int = 1_000_000) -> None:
    """Two templates, no patients, point estimates with each package's own interval switched off or as it comes."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    two, _ = made_up(rows, templates=2)
    two = two.assign(
        arm=(two["template"] == "template 01").astype(int),
        yes=(two["answer"] == "yes").astype(int),
        **{f"s{level}": (two["severity"] == level).astype(float) for level in range(1, LEVELS)},
    )
    dummies = [f"s{level}" for level in range(1, LEVELS)]
    ours = {
        name: _timed(lambda name=name: _difference(two, name))
        for name in ("g-formula", "ipw", "overlap", "entropy", "stratification")
    }
    print(f"\n{len(two):,} rows, two templates, {LEVELS} severities\n")
    print("| estimate | s | over our g-formula | difference |\n|---|---|---|---|")
    base = ours["g-formula"][0]
    for name, (seconds, value) in ours.items():
        print(f"| causalecg {name} | {seconds:.2f} | {seconds / base:.1f} | {value:.6f} |", flush=True)
    for name, run in _others(two, dummies).items():
        seconds, value = _timed(run)
        print(f"| {name} | {seconds:.2f} | {seconds / base:.1f} | {value:.6f} |", flush=True)


def _timed(run: Callable[[], float]) -> tuple[float, float]:
    """Best of three, and the estimate."""
    best, value = np.inf, np.nan
    for _ in range(3):
        start = time.perf_counter()
        value = run()
        best = min(best, time.perf_counter() - start)
    return best, value


def _difference(two: pd.DataFrame, name: str) -> float:
    found = estimate_effects(two, "template", "answer", ["severity"], method=method_named(name)).contrasts()
    return float(found[found["outcome"] == "yes"]["difference"].iloc[0])


def _others(two: pd.DataFrame, dummies: list[str]) -> dict[str, Callable[[], float]]:
    import networkx as nx
    from causallib.estimation import IPW, StratifiedStandardization
    from dowhy import CausalModel
    from sklearn.linear_model import LinearRegression, LogisticRegression

    free = {"C": np.inf, "tol": 1e-10, "max_iter": 10_000}

    def weighting() -> float:
        model = IPW(LogisticRegression(**free)).fit(two[dummies], two["arm"])
        means = model.estimate_population_outcome(two[dummies], two["arm"], two["yes"])
        return float(means[1] - means[0])

    def standardisation() -> float:
        model = StratifiedStandardization(LinearRegression()).fit(two[dummies], two["arm"], two["yes"])
        means = model.estimate_population_outcome(two[dummies], two["arm"])
        return float(means[1] - means[0])

    def dowhy(method: str, **options: object) -> Callable[[], float]:
        graph = nx.DiGraph([*((d, e) for d in dummies for e in ("arm", "yes")), ("arm", "yes")])

        def run() -> float:
            frame = two[[*dummies, "arm", "yes"]].copy()
            model = CausalModel(frame, "arm", "yes", graph=graph)
            estimand = model.identify_effect(method_name="maximal-adjustment", proceed_when_unidentifiable=True)
            found = model.estimate_effect(
                estimand, method_name=f"backdoor.{method}", effect_modifiers=[], test_significance=False, **options
            )
            return float(found.value)

        return run

    unpenalised = {"method_params": {"propensity_score_model": LogisticRegression(**free)}}
    return {
        "causallib IPW": weighting,
        "causallib standardisation": standardisation,
        "DoWhy propensity weighting": dowhy("propensity_score_weighting", **unpenalised),
        "DoWhy propensity stratification": dowhy("propensity_score_stratification"),
        "DoWhy linear regression": dowhy("linear_regression"),
    }


if __name__ == "__main__":
    if len(sys.argv) == 3:
        one(sys.argv[1], int(sys.argv[2]))
    else:
        scaling()
        beside_others()
