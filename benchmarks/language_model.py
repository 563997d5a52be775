"""SmolLM2 in the composite against the bare transformers forward at the same shapes, in one run.

Run: python benchmarks/language_model.py [--rounds 5] [--batch 16] (after: causalecg fetch smollm2)

What is timed is processor time, in turns, of one thread; printed are medians, and ratios within a round.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from adjusters.contract import Batch
from causalecg import ModelConfig, build_model
from causalecg.models.composite import EncoderProjectorLLM
from causalecg.models.language_model import token_ids

LEADS, SAMPLES = 12, 1000
QUESTION = (
    "You are shown a twelve-lead electrocardiogram of ten seconds. Taking the rhythm and every lead into account, does "
    "it show signs of atrial fibrillation or flutter in this patient, seen at visit number {}?"
)
WORDS = ("yes", "no", "left bundle branch block", "first degree AV block", "sinus tachycardia", "atrial flutter",
         "inferior myocardial infarction", "early repolarization", "sinus rhythm", "pacemaker rhythm")  # fmt: skip


def batch_of(items: int, questions: int, candidates: int) -> Batch:
    rng = np.random.default_rng(0)
    ecg = np.zeros((items, 2, LEADS, SAMPLES), dtype=np.float32)
    ecg[:, 0] = rng.standard_normal((items, LEADS, SAMPLES)) * 0.3
    ids = torch.arange(candidates).expand(items, candidates)
    return Batch(
        rows=torch.arange(items),
        ecg=torch.from_numpy(ecg),
        ecg_present=torch.tensor([[True, False]] * items),
        question=tuple(QUESTION.format(i % questions) for i in range(items)),
        candidates=(WORDS[:candidates],) * items,
        candidate_ids=ids,
        answer=torch.eye(candidates, dtype=torch.bool)[torch.arange(items) % candidates],
        kind="one",
        columns={"ecg_row": torch.stack([torch.arange(items), torch.full((items,), -1)], dim=1)},
    )


class Bare:
    """The language model alone, given embeddings of as many places as an item of the composite has."""

    def __init__(self, model: EncoderProjectorLLM, batch: Batch) -> None:
        ids = model._question_ids(batch.question[0])
        more = model._ecg(batch.select([0]))[0].shape[1] + len(token_ids(model.tokenizer, [model.config.answer_cue])[0])
        self.model, self.length = model.language_model, len(ids) + more
        hidden = model.language_model.get_input_embeddings().embedding_dim
        self.embeddings = torch.randn(len(batch), self.length, hidden) * 0.1

    def score(self) -> None:
        with torch.no_grad():
            self.model(inputs_embeds=self.embeddings, logits_to_keep=1)

    def train(self) -> None:
        given = self.embeddings.clone().requires_grad_(True)
        self.model(inputs_embeds=given, logits_to_keep=1).logits.sum().backward()


def timed(run: Callable[[], None]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def in_turns(runs: dict[str, Callable[[], None]], rounds: int) -> dict[str, np.ndarray]:
    """Processor seconds of each, round by round; what a run finds remembered is what it left itself."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            run()
            taken[name].append(timed(run))
    return {name: np.array(values) for name, values in taken.items()}


def forget(model: EncoderProjectorLLM) -> None:
    model._asked.clear()
    model._ecgs.clear()


def table(taken: dict[str, np.ndarray], reference: str, items: int) -> None:
    print("| | items per second | ratio to the bare forward, median (range) |\n|---|---|---|")
    for name, seconds in taken.items():
        ratio = taken[reference] / seconds
        print(
            f"| {name} | {items / np.median(seconds):.1f} | "
            f"{np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f}) |"
        )
    print()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=16)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    parts = ModelConfig(language_model="smollm2")
    model = build_model(parts, texts=[], leads=LEADS, seed=0)
    n = asked.batch
    apart, same = batch_of(n, questions=n, candidates=2), batch_of(n, questions=1, candidates=2)
    bare = Bare(model, apart)
    print(f"SmolLM2, 32 bits, {n} items of {bare.length} places, two candidates of one token each, one thread\n")

    def anew(batch: Batch) -> None:
        forget(model)
        with torch.no_grad():
            model(batch)

    def remembered(batch: Batch) -> None:
        with torch.no_grad():
            model(batch)

    def each(batches: Sequence[Batch]) -> None:
        for batch in batches:
            remembered(batch)

    def learn(batch: Batch, *, known: bool) -> None:
        if not known:
            forget(model)
        model.zero_grad()
        model(batch)[:, 0].sum().backward()

    model.eval()
    scoring = {
        "bare forward, last logits": bare.score,
        "scored, every question new": partial(anew, apart),
        "scored, one question for all": partial(anew, same),
        "scored, questions known": partial(remembered, apart),
    }
    table(in_turns(scoring, asked.rounds), "bare forward, last logits", n)
    model.train()
    training = {
        "bare forward and backward to the embeddings": bare.train,
        "projector and encoder trained, every question new": partial(learn, apart, known=False),
        "projector and encoder trained, questions known": partial(learn, apart, known=True),
    }
    table(in_turns(training, asked.rounds), "bare forward and backward to the embeddings", n)
    model.eval()
    print("How scoring grows (questions known): time over that of two candidates, one stratum\n")
    print("| | ratio |\n|---|---|")
    strata = [apart.with_context(f"Severity: level {level}.") for level in range(4)]
    grown = {f"{k} candidates": partial(remembered, batch_of(n, questions=n, candidates=k)) for k in (2, 5, 10)}
    grown |= {f"{k} strata": partial(each, strata[:k]) for k in (1, 2, 4)}
    grown |= {f"{m * n} items": partial(each, [apart] * m) for m in (2, 4)}
    taken = in_turns(grown, asked.rounds)
    for name, seconds in taken.items():
        print(f"| {name} | {np.median(seconds / taken['2 candidates']):.2f} |")
    kept = model._asked._size / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"\n{len(model._asked)} questions kept in {kept:.0f} MiB; peak memory {peak:.0f} MiB")


if __name__ == "__main__":
    main()
