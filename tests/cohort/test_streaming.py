"""Cohorts larger than memory: signals are built, read and learned from piece by piece.

What counts is the anonymous memory of a process (RssAnon). Pages of a mapped file that were read count into its
resident set too, but the system takes them back when it needs them.
"""

from __future__ import annotations

import json
import operator
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cohort.batches import TableBatches
from causalecg.cohort.schema import Cohort
from causalecg.errors import InputError
from causalecg.ordered import in_order

MEGABYTE = 2**20
#: 100,000 records of half a minute at 1,000 Hz: 72 GB.
ECGS, RATE, SECONDS = 100_000, 1000, 30
ROWS = {"train": 28, "valid": 8, "test": 8}
BATCH = 4
#: What of a batch of so many bytes is alive at once: read as integers and as floats, in place, on its way through the
#: first convolutions and back.
COPIES = 8
#: Of model, tables and libraries that are loaded on the way, whatever the signals.
REST = 300 * MEGABYTE

WATCH = """
import resource, sys, threading, time
from pathlib import Path

def anonymous():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024

class Watch(threading.Thread):
    '''The highest anonymous memory above that at its beginning; nothing may map more than the limit beyond it.'''

    def __init__(self, limit):
        super().__init__(daemon=True)
        self.start_at = self.peak = anonymous()
        data = next(int(x.split()[1]) * 1024 for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmData"))
        # Reading everything fails here, instead of taking the machine with it.
        resource.setrlimit(resource.RLIMIT_DATA, (data + 4 * limit, data + 4 * limit))
        self.start()

    def run(self):
        while True:
            self.peak = max(self.peak, anonymous())
            time.sleep(0.002)

    def growth(self):
        return max(self.peak, anonymous()) - self.start_at
"""

USE = """
import torch
from causalecg import RunConfig, ScoreSet, run_suite, score, train
from causalecg.cohort.ecg_embedding import ecg_embedding
from causalecg.cohort.schema import Cohort
from causalecg.training.encoder_pretraining import pretrain_encoder

folder, settings, out, limit = *sys.argv[1:4], int(sys.argv[4])
config = RunConfig.read(settings)
watch = Watch(limit)
cohort = Cohort.open(folder)
pretrain_encoder(cohort, "labels", config, seed=0, out=out + "/encoder", progress=False)
run = train(cohort, "none", config, seed=0, out=out + "/run", progress=False)
score(run.scorer(), cohort, split="test", run_id="m", out=out + "/scores", severity=run.severity_column, batch_size=4,
      progress=False)
scores = ScoreSet.open(out + "/scores")
assert len(run_suite(scores, run_id="m")) > 3
print(watch.growth())
"""

#: Reads what it should not; the watch must say so.
READS_ON = "import causalecg.cohort.signals as s, sys\nwatch = Watch(int(sys.argv[2]))\nm = s.SignalStore.open(sys.argv[1])\nm.read(range(4000))\n"


def python(script: str, *given: object) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    settings["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    command = [sys.executable, "-c", WATCH + script, *map(str, given)]
    return subprocess.run(command, env=settings, capture_output=True, text=True, timeout=280)


def enlarged(small: Path, folder: Path) -> Path:
    """A cohort of a few items about ECGs far apart in a store that is larger than memory: mostly a hole, which takes no
    disk."""
    cohort = Cohort.open(small)
    items = pd.concat([cohort.split(name).head(n) for name, n in ROWS.items()], ignore_index=True)
    used = sorted({ecg_id for ids in items["ecg_ids"] for ecg_id in ids})
    places = np.linspace(0, ECGS - 1, len(used)).astype(int)
    ecgs = cohort.ecgs.iloc[np.zeros(ECGS, dtype=int)].reset_index(drop=True)
    ecgs["ecg_id"] = [f"other-{i}" for i in range(ECGS)]
    own = cohort.ecgs.set_index("ecg_id").loc[used]
    columns = {name: ecgs[name].to_numpy(dtype=object).copy() for name in ecgs.columns}
    columns["ecg_id"][places] = used
    for name in ("patient_id", "labels"):
        for place, value in zip(places, own[name], strict=True):
            columns[name][place] = value
    folder.mkdir()
    for name, table in (("items", items), ("ecgs", ecgs.assign(**columns)), ("wordings", cohort.wordings)):
        table.to_parquet(folder / f"{name}.parquet", index=False)
    (folder / "cohort.json").write_text((small / "cohort.json").read_text())
    samples = RATE * SECONDS
    about = json.loads((small / "signals.json").read_text()) | {"rate_hz": RATE, "samples": samples}
    (folder / "signals.json").write_text(json.dumps(about))
    shape = (ECGS, 12, samples)
    with open(folder / "signals.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<i2", "fortran_order": False, "shape": shape})
        file.truncate(file.tell() + int(np.prod(shape, dtype=np.int64)) * 2)
    written = np.load(folder / "signals.npy", mmap_mode="r+")
    rng = np.random.default_rng(0)
    for place in places[:: len(places) // 8]:
        written[place] = rng.integers(-500, 500, (12, samples))
    return folder


@pytest.mark.slow
def test_a_store_larger_than_memory_is_read_a_batch_at_a_time(tmp_path) -> None:
    simulate_cohort(
        tmp_path / "small", items=100, test_items=20, rho=0.9, seed=1, rate_hz=50, seconds=2, progress=False
    )
    folder = enlarged(tmp_path / "small", tmp_path / "large")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    apparent, real = (folder / "signals.npy").stat().st_size, (folder / "signals.npy").stat().st_blocks * 512
    assert apparent > 60e9
    assert real < 0.01 * apparent
    config = tmp_path / "config.toml"
    config.write_text(
        f"epochs = 1\nbatch_size = {BATCH}\n[model.encoder_options]\nwidths = [4, 8]\n"
        "[model.embedded]\nhidden = 16\nlayers = 1\nheads = 2\nvocabulary = 260\n"
    )
    # Validation rows are read all at once where they are fewer than a batch of evaluation.
    largest = max(BATCH, ROWS["valid"]) * 2 * 12 * RATE * SECONDS * 4
    limit = COPIES * largest + REST
    assert limit < 0.02 * apparent
    done = python(USE, folder, config, tmp_path / "out", limit)
    assert done.returncode == 0, done.stderr[-2000:]
    growth = int(done.stdout.split()[-1])
    print(f"{apparent / 1e9:.0f} GB of signals, {memory / 1e9:.0f} GB of memory, growth {growth / MEGABYTE:.0f} MB")
    assert growth < limit
    assert "MemoryError" in python(READS_ON, folder, limit).stderr  # the limit is one that reading on would hit


@pytest.mark.slow
def test_records_are_built_into_a_store_a_chunk_at_a_time(tmp_path) -> None:
    """Both data sets go through this; the reader of a record is put in its place, so that no record is needed."""
    script = """
import numpy as np, pandas as pd
import causalecg.cohort.waveforms as w
from causalecg.cohort.build import store_signals
from causalecg.cohort.store import content_hash

count, out = int(sys.argv[1]), Path(sys.argv[2])
record = np.random.default_rng(0).normal(size=(12, 5000))
w.read_record = lambda choices, **_: (record, [])
ecgs = pd.DataFrame({"ecg_id": [str(i) for i in range(count)], "low": "l", "high": "h"})
watch = Watch(int(sys.argv[3]))
with w.waveforms(out, ecgs, scratch=out, rate_hz=500, seconds=10.0, processes=1, progress=False) as read:
    store_signals(out, read.signals, 500)
for name in ("ecgs.parquet", "items.parquet", "wordings.parquet"):
    (out / name).touch()
content_hash(out)
print(watch.growth(), (out / "signals.npy").stat().st_size)
"""
    chunk = 250 * 12 * 5000 * 2
    done = python(script, 1500, tmp_path, 4 * chunk)
    assert done.returncode == 0, done.stderr[-2000:]
    growth, size = map(int, done.stdout.split())
    assert size > 5 * chunk
    assert growth < 4 * chunk


def test_jobs_are_begun_only_as_far_as_their_results_are_wanted() -> None:
    begun: list[int] = []

    def jobs():
        for number in range(40):
            begun.append(number)
            yield number

    assert list(in_order(operator.neg, range(7), 1)) == [0, -1, -2, -3, -4, -5, -6]
    results = in_order(operator.neg, jobs(), 2)
    for number in range(6):
        assert next(results) == -number
        assert len(begun) <= number + 5
    assert list(results) == [-number for number in range(6, 40)]


def test_items_with_many_candidates_share_them(tmp_path) -> None:
    """A set of candidates is kept once, however many items ask it; a candidate that is not known is named with the
    first item that has it."""
    simulate_cohort(tmp_path / "c", items=50, test_items=10, rho=0.9, seed=1, rate_hz=50, seconds=2, progress=False)
    cohort = Cohort.open(tmp_path / "c")
    table = pd.concat([cohort.split("train")] * 3, ignore_index=True)
    table["candidates"] = [["yes", "no"] if i % 3 else ["no", "yes"] for i in range(len(table))]
    table["answer"] = [["yes"] if i % 2 else ["no"] for i in range(len(table))]
    batches = TableBatches(cohort, table)
    assert len(batches._candidates) == 2
    batch = batches([0, 1, 4, 149])
    assert batch.candidates == (("no", "yes"), ("yes", "no"), ("yes", "no"), ("yes", "no"))
    yes, no = cohort.answer_vocabulary["yes"], cohort.answer_vocabulary["no"]
    assert batch.candidate_ids.tolist() == [[no, yes], [yes, no], [yes, no], [yes, no]]
    assert batch.answer.tolist() == [[True, False], [True, False], [False, True], [True, False]]
    table.at[7, "candidates"] = ["yes", "perhaps"]
    with pytest.raises(InputError, match=f"'perhaps' of item {table['item_id'].iloc[7]} is not"):
        TableBatches(cohort, table)
