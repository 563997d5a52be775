"""What a cohort costs in memory: tables per item, signals per batch, and a build.

    python benchmarks/memory.py                  # a million items, about two minutes
    python benchmarks/memory.py --items 100000

The items are of ECG-QA's shape: one or two ECGs, a question of its own wording, three to sixty candidates. "Kept" is
the anonymous memory (RssAnon) that stays; "peak" the highest meanwhile. Tables and build are of fresh processes. Pages
of a mapped file are not counted: the system takes them back when it needs them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

MEGABYTE = 2**20
#: A record of ten seconds at 500 Hz.
SAMPLES, RATE = 5000, 500
PATIENTS_ECGS = 2.0
ANSWERS = [f"finding number {i} of those that are asked about" for i in range(60)]


def anonymous() -> int:
    """Bytes of this process that no file holds."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def measured(work: Callable[[], Any]) -> tuple[int, int, Any]:
    """(kept, peak) bytes beyond what there was, and what the work gave."""
    before, peak, done = anonymous(), [0], threading.Event()

    def watch() -> None:
        while not done.is_set():
            peak[0] = max(peak[0], anonymous())
            time.sleep(0.005)

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    found = work()
    done.set()
    watching.join()
    kept = anonymous()
    return kept - before, max(peak[0], kept) - before, found


def made_up(folder: Path, items: int) -> None:
    """A cohort of so many items about half as many ECGs, whose signals are a hole in a file."""
    from causalecg.cohort.signals import LEADS

    rng = np.random.default_rng(0)
    ecgs = max(items // 2, 2)
    first = rng.integers(0, ecgs, items)
    pairs = rng.random(items) < 0.3
    second = rng.integers(0, ecgs, items)
    patient = (np.arange(ecgs) / PATIENTS_ECGS).astype(int)
    ids = [
        [f"{40_000_000 + a}", f"{40_000_000 + b}"] if two else [f"{40_000_000 + a}"]
        for a, b, two in zip(first, second, pairs, strict=True)
    ]
    template = rng.integers(0, 70, items)
    asked = rng.integers(0, 60, items)
    names = [["yes", "no", "not sure"] if t < 50 else ANSWERS for t in template]
    table = pd.DataFrame(
        {
            "item_id": [f"train-{i:08d}" for i in range(items)],
            "source": "ECG-QA",
            "split": np.where(np.arange(items) % 10 == 0, "valid", "train"),
            "patient_ids": [[f"{10_000_000 + patient[int(e) - 40_000_000]}" for e in own] for own in ids],
            "ecg_ids": ids,
            "template_id": template.astype(str),
            "question_id": [f"{t}/{a}" for t, a in zip(template, asked, strict=True)],
            "question_type": "single-verify",
            "topic": [ANSWERS[a] for a in asked],
            "style": "any",
            "wording_id": [f"{t}-{w:02d}" for t, w in zip(template, rng.integers(0, 8, items), strict=True)],
            "question": [
                f"Does this ECG of template {t} show {ANSWERS[a]}, taken as a whole?"
                for t, a in zip(template, asked, strict=True)
            ],
            "candidates": names,
            "kind": np.where(template < 50, "one", "set"),
            "answer": [["yes"] if t < 50 else ANSWERS[a : a + 2] for t, a in zip(template, asked, strict=True)],
            "severity_acuity": rng.integers(0, 4, items),
        }
    )
    folder.mkdir()
    table.to_parquet(folder / "items.parquet", index=False)
    own = pd.DataFrame(
        {
            "ecg_id": [f"{40_000_000 + i}" for i in range(ecgs)],
            "patient_id": [f"{10_000_000 + p}" for p in patient],
            "age": rng.integers(20, 90, ecgs).astype(float),
            "sex": "female",
            "labels": [[ANSWERS[i % 60], ANSWERS[i % 7]] for i in range(ecgs)],
            "source": "made up",
            "quality": [[] for _ in range(ecgs)],
        }
    )
    own.to_parquet(folder / "ecgs.parquet", index=False)
    words = {"question_id": ["0/0"], "wording_id": ["0-00"], "style": ["any"], "held_out": [False], "question": ["?"]}
    pd.DataFrame(words).to_parquet(folder / "wordings.parquet", index=False)
    meta = {
        "name": "made up",
        "schema_version": 1,
        "hash": "none",
        "severity_scales": {"acuity": ["none", "low", "middle", "high"]},
        "answer_vocabulary": sorted({*ANSWERS, "yes", "no", "not sure"}),
        "counts": {},
    }
    (folder / "cohort.json").write_text(json.dumps(meta))
    (folder / "signals.json").write_text(json.dumps({"rate_hz": RATE, "leads": list(LEADS)}))
    with open(folder / "signals.npy", "wb") as file:
        header = {"descr": "<i2", "fortran_order": False, "shape": (ecgs, 12, SAMPLES)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + ecgs * 12 * SAMPLES * 2)


def tables(folder: Path) -> dict[str, tuple[int, int]]:
    """Opening a cohort, and looking up its training items, each (kept, peak)."""
    import pyarrow.parquet  # noqa: F401  (what libraries take is not the cohort's)

    from causalecg.cohort.batches import TableBatches
    from causalecg.cohort.schema import Cohort

    kept, peak, cohort = measured(lambda: Cohort.open(folder))
    found = {"opened": (kept, peak)}
    # The look-up's own: the table that it is of is there before.
    *split, table = measured(lambda: cohort.split("train"))
    found["split"] = (split[0], split[1])
    *looked_up, batches = measured(lambda: TableBatches(cohort, table))
    found["batches"] = (looked_up[0], looked_up[1])
    *read, _ = measured(lambda: [len(batches(rows)) for rows in batches.in_order(256)[:40]])
    found["read"] = (read[0], read[1])
    return found


def built(folder: Path, count: int) -> tuple[int, int, int]:
    """(kept, peak) of a store of so many records at 500 Hz, and its size."""
    import causalecg.cohort.waveforms as reading
    from causalecg.cohort.build import store_signals

    record = np.random.default_rng(0).normal(size=(12, SAMPLES))
    reading.read_record = lambda choices, **_: (record, [])  # type: ignore[assignment]
    ecgs = pd.DataFrame({"ecg_id": [str(i) for i in range(count)], "low": "l", "high": "h"})

    def work() -> None:
        how = {"scratch": folder, "rate_hz": float(RATE), "seconds": SAMPLES / RATE, "processes": 1, "progress": False}
        with reading.waveforms(folder, ecgs, **how) as read:  # type: ignore[arg-type]
            store_signals(folder, read.signals, RATE)

    kept, peak, _ = measured(work)
    return kept, peak, (folder / "signals.npy").stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--records", type=int, default=4000)
    parser.add_argument("--of", choices=["tables", "build"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.of == "tables":
        print(json.dumps(tables(given.folder)))
        return
    if given.of == "build":
        print(json.dumps(built(given.folder, given.records)))
        return

    def asked(what: str, folder: Path) -> Any:
        options = ["--of", what, "--folder", str(folder), "--records", str(given.records)]
        done = subprocess.run([sys.executable, __file__, *options], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made_up(folder / "cohort", given.items)
        apparent = (folder / "cohort" / "signals.npy").stat().st_size
        print(f"{given.items:,} items, {given.items // 2:,} ECGs, {apparent / 1e9:.1f} GB of signals")
        labels = {"opened": "cohort opened", "split": "its training items", "batches": "looked up for batches"}
        found = asked("tables", folder / "cohort")
        for key, label in labels.items():
            kept, peak = found[key]
            print(f"{label:24} kept {kept / given.items:7.0f} bytes an item, peak {peak / given.items:7.0f}")
        kept, peak = found["read"]
        print(f"{'40 batches of 256':24} kept {kept / MEGABYTE:7.0f} MB, peak {peak / MEGABYTE:7.0f} MB")
        kept, peak, size = asked("build", folder)
        print(
            f"{'a store built':24} kept {kept / MEGABYTE:7.0f} MB, peak {peak / MEGABYTE:7.0f} MB, "
            f"{given.records:,} records of {size / MEGABYTE:.0f} MB"
        )


if __name__ == "__main__":
    main()
