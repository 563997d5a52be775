"""How far the severity that is told, and the wording, move the answer of a model trained by back-door adjustment.

Run: python benchmarks/told_severity.py RUN COHORT [--items 400]

Printed are changes of the log-odds of the first answer, on items of the unbiased test: with the highest severity told
in place of the lowest, and between the two styles among items of the same severity and answer. Where the first is small
beside the second, summing out the severity changes nothing.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from adjusters.severity_based.backdoor import BackdoorObjective
from causalecg import Cohort, Run
from causalecg.cohort.batches import TableBatches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("cohort")
    parser.add_argument("--items", type=int, default=400)
    given = parser.parse_args()
    torch.set_num_threads(1)
    run, cohort = Run.open(given.run), Cohort.open(given.cohort)
    objective = run.scorer().objective
    if not isinstance(objective, BackdoorObjective):
        parser.error(f"{given.run} was not trained by back-door adjustment")
    table = cohort.split("test_unbiased")
    table = table.sample(min(given.items, len(table)), random_state=0).reset_index(drop=True)
    if len({tuple(names) for names in table["candidates"]}) > 1 or len(table["candidates"].iloc[0]) != 2:
        parser.error(
            f"{given.cohort} has questions with other candidates than one pair; there are no log-odds to print"
        )
    batches, levels = TableBatches(cohort, table), len(objective.levels)
    odds = np.empty((levels, len(table)))
    with torch.no_grad():
        for positions in batches.in_order(100):
            batch = batches(positions)
            for k, scores in enumerate(objective.scores_by_level(batch)[0]):
                odds[k, batch.rows.numpy()] = (scores[:, 0] - scores[:, 1]).double().numpy()
    told = odds[-1] - odds[0]
    table = table.assign(odds=odds.mean(0), answer=table["answer"].map(tuple))
    cells = table.groupby([run.severity_column, "answer", "style"])["odds"].agg(["mean", "size"]).unstack("style")
    apart = (cells["mean"].iloc[:, -1] - cells["mean"].iloc[:, 0]).to_numpy()
    weight = cells["size"].min(axis=1).to_numpy()
    there = np.isfinite(apart)
    print(f"{len(table)} items, {levels} levels; log-odds of '{table['candidates'].iloc[0][0]}'")
    print(f"severity told, highest less lowest: {told.mean():+.2f} (standard deviation {told.std(ddof=1):.2f})")
    print(f"style '{cells['mean'].columns[-1]}' less '{cells['mean'].columns[0]}': "
          f"{np.average(apart[there], weights=weight[there]):+.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
