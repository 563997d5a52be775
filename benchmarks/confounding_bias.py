"""Recovery of a truth that can be observed, on real labels: which questions are asked, and what the answers would be.

Every question "does this ECG show statement t?" can be asked of every PTB-XL ECG, so P(yes | do(Q = t)) is t's
prevalence. A study asks only some, more often of the severely ill: each estimator's confounding bias
P(yes | Q = t) - P(yes | do(Q = t)) is scored against the observed one.

    CAUSALECG_DATA=... python benchmarks/confounding_bias.py [studies]

A study draws patients with replacement (so that the records at hand are its population, and intervals have a truth to
cover) and asks t of an ECG with probability 1/(1 + exp(-(a + b z))), z the driver below, standardised.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import track

from causalecg.cohort.ptbxl import read_ptbxl
from causalecg.cohort.severity import severity
from structural_models.effects.augmented import Augmented
from structural_models.effects.bayesian import BayesianGFormula
from structural_models.effects.entropy_balancing import EntropyBalancing
from structural_models.effects.estimate import estimate_effects
from structural_models.effects.g_formula import GFormula, Stratification
from structural_models.effects.weighting import InverseProbability, Overlap

#: Statements with at least so many patients are asked about.
MINIMUM = 150
SCALES = ("acuity", "burden")
#: What asking depends on -> log-odds per standard deviation of each.
DRIVERS = {
    "acuity without t and its kin": {"acuity": 0.9},
    "acuity and burden without t and its kin, age": {"acuity": 0.6, "burden": 0.6, "age": 0.5},
    "acuity of everything, t included": {"whole": 0.9},
}
#: What is adjusted for: the columns, and the estimators.
LEVELS = ["acuity"]
ALL = ["acuity", "burden", "age"]
#: Of those asked alone (each arm has a regression of its own), linear in what is adjusted for.
REGRESSION = GFormula("regression", interactions="all")
ESTIMATORS = {
    "none": (None, []),
    "g-formula, acuity": (GFormula(), LEVELS),
    "g-formula, acuity by burden": (GFormula(), SCALES),
    "stratification, acuity by burden": (Stratification(), SCALES),
    "Bayesian g-formula, acuity by burden": (BayesianGFormula(0.5), SCALES),
    "weighting, logistic in all three": (InverseProbability("multinomial"), ALL),
    "entropy balancing on all three": (EntropyBalancing(), ALL),
    "augmented, all three, 5 folds": (Augmented("multinomial", REGRESSION), ALL),
    "overlap, acuity by burden (another population)": (Overlap(), SCALES),
}


def units(folder: Path) -> pd.DataFrame:
    """One row per (ECG, statement): answer, severities without the statement and its kin, severity with it, age."""
    source = read_ptbxl(folder)
    ecgs = source.ecgs
    patients = {
        code: ecgs["patient_id"][[code in row for row in ecgs["labels"]]].nunique() for code in source.statements.kin
    }
    age = ecgs["age"].fillna(ecgs["age"].median()).clip(18, 90)
    whole = [severity(row, "acuity", source.statements) for row in ecgs["labels"]]
    parts = []
    for code in sorted(c for c, n in patients.items() if n >= MINIMUM and c not in ("SR", "NORM")):
        without = source.statements.relatives(code)
        levels = {
            scale: [severity(row, scale, source.statements, without=without) for row in ecgs["labels"]]
            for scale in SCALES
        }
        parts.append(
            pd.DataFrame(
                {
                    "topic": code,
                    "patient": pd.factorize(ecgs["patient_id"])[0],
                    "yes": [code in row for row in ecgs["labels"]],
                    "age": (age // 10).astype(float),
                    "whole": whole,
                    **levels,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def study(population: pd.DataFrame, driver: dict[str, float], rng: np.random.Generator) -> pd.DataFrame:
    """Patients drawn with replacement, and who was asked."""
    size = int(population["patient"].max()) + 1
    times = np.bincount(rng.integers(0, size, size), minlength=size)[population["patient"]]
    rows = np.repeat(np.arange(len(population)), times)
    table = population.iloc[rows].reset_index(drop=True)
    score = sum(b * (table[x] - population[x].mean()) / population[x].std() for x, b in driver.items())
    asked = rng.random(len(table)) < 1 / (1 + np.exp(-(score - 1.0)))
    # A copy of a patient is another patient.
    copy = np.arange(len(rows)) - np.repeat(np.cumsum(times) - times, times)
    answer = np.where(table["yes"], "yes", "no")
    return table.assign(
        patient=pd.factorize(table["patient"].to_numpy() * 1000 + copy)[0],
        asked=np.where(asked, "asked", "not asked"),
        answer=np.where(asked, answer, "unknown"),
        value=np.where(asked, table["yes"], 0.0),
    )


def main(studies: int) -> None:
    population = units(Path(os.environ["CAUSALECG_DATA"]) / "ptbxl")
    topics = sorted(population["topic"].unique())
    truth = population.groupby("topic")["yes"].mean().loc[topics].to_numpy()
    size = len(population) // len(topics)
    shares = f"prevalence {truth.min():.3f} to {truth.max():.3f}"
    print(f"{size:,} ECGs, {len(topics)} statements ({shares}), {studies} studies\n")
    for name, driver in DRIVERS.items():
        rng = np.random.default_rng(0)
        found: dict[str, list[np.ndarray]] = {key: [] for key in ESTIMATORS}
        for _ in track(range(studies), name, console=Console(stderr=True), transient=True):
            table = study(population, driver, rng)
            for key, (method, columns) in ESTIMATORS.items():
                found[key].append(_estimates(table, method, list(columns), topics, rng))
        bias = np.array(found["none"])[:, 0].mean(0) - truth
        sizes = f"{bias.min():+.3f} to {bias.max():+.3f}, mean size {np.abs(bias).mean():.4f}"
        print(f"\nAsked by {name}: true bias {sizes}\n")
        print("| adjustment | mean bias left | root mean square error | over none's | coverage of 95 % |")
        print("|---|---|---|---|---|")
        base = np.sqrt(((np.array(found["none"])[:, 0] - truth) ** 2).mean())
        for key, drawn in found.items():
            estimate, low, high = np.array(drawn).transpose(1, 0, 2)
            known = np.isfinite(estimate)
            error = np.sqrt(np.nanmean((estimate - truth) ** 2))
            left = np.abs(np.nanmean(estimate, axis=0) - truth).mean()
            covered = ((low <= truth) & (truth <= high))[np.isfinite(low)].mean()
            lost = "" if known.all() else f" ({1 - known.mean():.0%} not estimated)"
            print(f"| {key}{lost} | {left:.4f} | {error:.4f} | {error / base:.2f} | {covered:.3f} |", flush=True)


def _estimates(table, method, columns, topics, rng) -> np.ndarray:  # type: ignore[no-untyped-def]
    """(3, topics) P(yes | do(asked)) with limits; without a method what is seen."""
    outcome, level = ("value", "mean") if isinstance(method, Augmented) else ("answer", "yes")
    found = estimate_effects(
        table,
        "asked",
        outcome,
        columns or ["acuity"],
        within=["topic"],
        method=method or Stratification(),
        groups=table["patient"].to_numpy(),
        rng=rng,
        replicates=400,
    ).table
    rows = found[(found["arm"] == "asked") & (found["outcome"] == level)].set_index("topic").reindex(topics)
    what = "associated" if method is None else "interventional"
    return rows[[what, f"{what}_low", f"{what}_high"]].to_numpy().T


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=int, nargs="?", default=100, help="how many")
    main(parser.parse_args().studies)
