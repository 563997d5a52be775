"""How long the default suite of audits takes on a table of 100,000 items. Run: python benchmarks/audit_suite.py"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import pandas as pd

from causalecg.audits.interventions import DEFAULT_SUITE
from causalecg.audits.score_set import ScoreSet
from causalecg.audits.suite import SUITES, run_suite


def made_up(items: int, seed: int = 0) -> ScoreSet:
    """A reader of the ECG and an oracle under the six default interventions; two items to a patient."""
    rng = np.random.default_rng(seed)
    patients, question = items // 2, rng.integers(0, 40, items)
    truth = rng.integers(0, 2, items)
    names = np.array(["no", "yes"])
    answers = [[name] for name in names[truth]]
    frame = pd.DataFrame(
        {
            "item_id": [f"i{i}" for i in range(items)],
            "split": "test",
            "patient_ids": [[f"p{i % patients}"] for i in range(items)],
            "ecg_ids": [[f"e{i % patients}"] for i in range(items)],
            "question_id": [f"q{q}" for q in question],
            "template_id": [f"t{q % 10}" for q in question],
            "style": rng.choice(["calm", "urgent"], items),
            "topic": [f"topic{q}" for q in question],
            "candidates": [["no", "yes"]] * items,
            "kind": "one",
            "answer": answers,
            "shortcut_answer": [["yes"]] * items,
            "severity_made_up": rng.integers(0, 3, items),
            "question": "?",
        }
    )
    donors = {
        what: rng.integers(0, items, items) if "any" in what else _opposite(truth, rng)
        for what in DEFAULT_SUITE
        if what.startswith("other_patient")
    }
    parts = []
    for run in ("m", "best"):
        for what in DEFAULT_SUITE:
            donor = donors.get(what)
            shown = truth if donor is None else truth[donor]
            odds = 0.0 if what == "no_ecg" else 2.56 * (2 * shown - 1)
            odds = odds + 2 * rng.standard_normal(items)
            p = 1 / (1 + np.exp(-odds))
            parts.append(
                pd.DataFrame(
                    {
                        "run_id": run,
                        "item_id": frame["item_id"],
                        "intervention": what,
                        "draw": 0,
                        "status": "answered",
                        "text": None,
                        "answer_given": [[name] for name in names[(odds > 0).astype(int)]],
                        "answer_expected": None if donor is None else [answers[d] for d in donor],
                        "donor_patient_ids": None if donor is None else [[f"p{d % patients}"] for d in donor],
                        "donor_ecg_ids": None if donor is None else [[f"e{d % patients}"] for d in donor],
                        "log_likelihood": list(np.log(np.stack([1 - p, p], axis=1))),
                    }
                )
            )
    runs = {"m": {"role": "audited"}, "best": {"role": "oracle"}}
    return ScoreSet(frame, pd.concat(parts, ignore_index=True), runs)


def _opposite(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    donor = np.empty(len(truth), dtype=np.int64)
    for value in (0, 1):
        donor[truth == value] = rng.choice(np.flatnonzero(truth != value), int((truth == value).sum()))
    return donor


def main(items: int) -> None:
    scores = made_up(items)
    print(f"{items:,} items, six interventions, one audited run beside an oracle, 2,000 replicates\n")
    print("| audit | seconds |\n|---|---|")
    total = 0.0
    start = time.perf_counter()
    scores.outcomes("test")
    total += time.perf_counter() - start
    print(f"| reading the table into arrays | {total:.1f} |")
    for name in SUITES["default"]:
        start = time.perf_counter()
        run_suite(scores, name, run_id="m")
        taken = time.perf_counter() - start
        total += taken
        print(f"| {name} | {taken:.1f} |", flush=True)
    print(f"| all | {total:.1f} |")
    print(f"\nPeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("items", type=int, nargs="?", default=100_000, help="how many")
    main(parser.parse_args().items)
