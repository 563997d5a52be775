"""What a model knows of topics that it was never asked about, beyond how ill the patient is.

Run: python benchmarks/zero_shot.py COMPARISON      # a folder of `causalecg compare` on statements, topics held out

In a cohort of statements every question of the natural test is asked of every ECG. So the probability of "yes" to one
topic's question can be held against any topic's finding. Among ECGs of the same severity, the area under the curve of a
topic's finding is printed twice: of its own question, and of the other topics' questions of the same kind (held out, or
learned), on the average. A model that reads how ill the patient is, whatever it is asked, has the same area for both.

Areas are averaged over severities by the number of their pairs, and over topics. Intervals: 95 %, patients resampled.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from adjusters.catalogue import table
from causalecg import Run, ScoreSet

REPLICATES = 1000


def areas(found: np.ndarray, truth: np.ndarray, severity: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(findings, questions, replicates) area under the curve of each finding by the answers to each question.

    Args:
        found: (ECGs, questions) the higher, the likelier "yes".
        truth: (ECGs, findings) bool.
        severity: (ECGs, findings) levels, apart from the finding; pairs are formed within one.
        weights: (replicates, ECGs) how often an ECG was drawn.
    """
    right, pairs = np.zeros((truth.shape[1], found.shape[1], len(weights))), np.zeros((truth.shape[1], 1, len(weights)))
    for finding, (there, ill) in enumerate(zip(truth.T, severity.T, strict=True)):
        for level in np.unique(ill):
            yes, no = (np.flatnonzero((ill == level) & (there == side)) for side in (True, False))
            of_yes, of_no = weights[:, yes], weights[:, no]
            pairs[finding] += of_yes.sum(1) * of_no.sum(1)
            for question, score in enumerate(found.T):
                order = (score[yes][:, None] > score[no]) + 0.5 * (score[yes][:, None] == score[no])
                right[finding, question] += ((of_yes @ order) * of_no).sum(1)
    return np.asarray(right / pairs)


def of_run(comparison: Path, run: str, severity: str, held_out: Sequence[str]) -> Mapping[str, np.ndarray]:
    """Column -> (1 + replicates,) values: of all patients, and of each resampling."""
    outcomes = ScoreSet.open(comparison / "scores" / run).outcomes("test_natural")
    items = outcomes.items
    if not outcomes.answers(run, "intact").asked.all():
        raise SystemExit(f"{run} has not answered all of the natural test; let the comparison end first")
    yes = outcomes.true_place != (items["answer"].str[0] != "yes").to_numpy()  # place of "yes" among the candidates
    items = items.assign(
        ecg=items["ecg_ids"].str[0],
        patient=items["patient_ids"].str[0],
        yes=outcomes.probabilities(run, "intact")[np.arange(len(items)), yes.astype(int)],
        there=items["answer"].str[0] == "yes",
    )
    found, truth, ill = (items.pivot(index="ecg", columns="topic", values=name) for name in ("yes", "there", severity))
    ecgs = items.drop_duplicates("ecg").set_index("ecg").loc[found.index]
    patients, owner = np.unique(ecgs["patient"], return_inverse=True)
    drawn = np.random.default_rng(0).multinomial(len(patients), np.full(len(patients), 1 / len(patients)), REPLICATES)
    weights = np.concatenate([np.ones((1, len(ecgs))), drawn[:, owner]]).astype(np.float64)
    columns = {}
    for kind, topics in {
        "learned": [name for name in found.columns if name not in held_out],
        "held out": [name for name in found.columns if name in held_out],
    }.items():
        square = areas(found[topics].to_numpy(), truth[topics].to_numpy(dtype=bool), ill[topics].to_numpy(), weights)
        own = np.einsum("ttr->r", square) / len(topics)
        others = (square.sum((0, 1)) - own * len(topics)) / (len(topics) * (len(topics) - 1))
        columns |= {f"{kind}, own question": own, f"{kind}, others'": others, f"{kind}, difference": own - others}
    return columns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", type=Path)
    folder = parser.parse_args().comparison
    rows, heads = [], ["run"]
    for path in sorted((folder / "runs").iterdir()):
        run = Run.open(path)
        held_out = run.record["held_out_topics"]
        if len(held_out) < 2:
            parser.error(f"{path} held out {len(held_out)} topics; two or more are needed, to set one beside another")
        columns = of_run(folder, path.name, run.severity_column, held_out)
        heads = ["run", *columns]
        limits = {name: np.quantile(values[1:], [0.025, 0.975]) for name, values in columns.items()}
        each = (f"{columns[name][0]:.3f} ({low:.3f} to {high:.3f})" for name, (low, high) in limits.items())
        rows.append((f"`{path.name}`", *each))
    print(table(heads, rows))


if __name__ == "__main__":
    main()
