"""Items per second of the audit's scoring, against a plain ``generate()`` loop over the same model and the same items.

Run: python benchmarks/audit.py

The scorer reads each ECG and each question once and scores the candidates behind them. The loop has the language model
generate its answer, greedily, from the whole sequence (question, ECGs, cue) of every item under every intervention; its
sequence is put together here, from the model's parts. It stops after as many tokens as the longest answer has, so it
need not write the end token. The model is first trained to write the answer's tokens; one thread throughout.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adjusters.contract import Batch, decide
from causalecg import Cohort, EncoderProjectorLLM, ModelConfig, ScoreSet, build_model, score
from causalecg.audits.interventions import DEFAULT_SUITE, intervene
from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cohort.batches import TableBatches

ITEMS, ROUNDS, BATCH = 256, 3, 256
SEVERITY = "severity_simulated"
Answer = Callable[[EncoderProjectorLLM, Batch], list[str]]


def taught(cohort: Cohort) -> EncoderProjectorLLM:
    """The embedded model after an epoch of maximum likelihood over its whole vocabulary."""
    texts = [*cohort.items["question"].unique(), *(f" {name}" for name in cohort.answer_vocabulary)]
    model = build_model(ModelConfig(), texts=texts, leads=12, seed=0)
    batches, optimizer = TableBatches(cohort, cohort.split("train")), torch.optim.AdamW(model.parameters(), lr=3e-3)
    torch.manual_seed(0)
    for positions in batches.shuffled(16, np.random.default_rng(0)):
        batch = batches(positions)
        optimizer.zero_grad()
        (-model(batch)[batch.answer].mean()).backward()
        optimizer.step()
    return model.eval()


def scored(model: EncoderProjectorLLM, batch: Batch) -> list[str]:
    return [answer for (answer,) in decide(model(batch), batch)]


def generated(model: EncoderProjectorLLM, batch: Batch) -> list[str]:
    """What the language model writes, greedily, after <bos> question, first ECG, second ECG and cue."""
    tokenizer, words = model.tokenizer, model.language_model.get_input_embeddings()
    signals = model.projector(model.encoder(batch.ecg[batch.ecg_present]))
    tokens = model.no_ecg.expand(len(batch), 2, signals.shape[1], -1).clone()
    tokens[batch.ecg_present] = signals
    ecgs = (tokens + model.segment[None, :, None, :]).flatten(1, 2)
    cue = words(torch.tensor(tokenizer.encode(model.config.answer_cue, add_special_tokens=False)))
    asked = [
        words(torch.tensor([tokenizer.bos_token_id, *tokenizer.encode(text or "", add_special_tokens=False)]))
        for text in batch.question
    ]
    rows = [torch.cat([question, ecg, cue]) for question, ecg in zip(asked, ecgs, strict=True)]
    longest = max(map(len, rows))
    inputs = torch.stack([torch.nn.functional.pad(row, (0, 0, longest - len(row), 0)) for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    written: Tensor = model.language_model.generate(
        inputs_embeds=inputs,
        attention_mask=mask,
        max_new_tokens=max(answer_lengths(model, batch)),
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
    )
    return [text.strip() for text in tokenizer.batch_decode(written, skip_special_tokens=True)]


def answer_lengths(model: EncoderProjectorLLM, batch: Batch) -> list[int]:
    """Tokens of each distinct candidate."""
    distinct = sorted({name for names in batch.candidates for name in names})
    return [len(model.tokenizer.encode(f" {name}", add_special_tokens=False)) for name in distinct]


def ask(
    model: EncoderProjectorLLM,
    changed: list[TableBatches],
    answer: Answer,
    size: int,
    within: Callable[[], AbstractContextManager[object]],
) -> tuple[float, list[str]]:
    """Processor seconds, which other processes do not lengthen, and the answers to every item under every intervention,
    in that order."""
    answers: list[str] = []
    start = time.process_time()
    with torch.no_grad(), within():
        for batches in changed:
            for positions in batches.in_order(size):
                answers += answer(model, batches(positions))
    return time.process_time() - start, answers


def passes_per_item(model: EncoderProjectorLLM, cohort: Cohort, out: Path) -> str:
    """From the score set. Stops where the default suite costs an item anything but six passes."""
    score(model, cohort, split="test", run_id="model", severity=SEVERITY, out=out, progress=False)
    scores = ScoreSet.open(out).scores
    per_item = scores.groupby("item_id")["passes"].sum()
    rows = scores.groupby("item_id").size()
    if per_item.max() != 6 or rows.max() != 6 or (scores["passes"] != 1).any():
        raise SystemExit(f"the default suite took up to {per_item.max()} passes and {rows.max()} rows an item, not six")
    full = int((per_item == 6).sum())
    fewer = "" if full == len(per_item) else "; the others lack a donor or a wording of some kind"
    return f"{full} of {len(per_item)} items took six passes in six rows of the score set{fewer}"


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cohort = Cohort.open(simulate_cohort(folder / "c", items=1000, test_items=ITEMS, rho=0.9, progress=False))
        model, table = taught(cohort), cohort.split("test")
        changed = [
            TableBatches(cohort, intervene(what, table, cohort, severity=SEVERITY, seed=0).table)
            for what in DEFAULT_SUITE
        ]
        lengths = answer_lengths(model, changed[0](np.arange(1)))
        ways: dict[str, tuple[Answer, int, Callable[[], AbstractContextManager[object]]]] = {
            f"scorer, each ECG and question once, batches of {BATCH}": (scored, BATCH, model.caching),
            f"scorer, everything every time, batches of {BATCH}": (scored, BATCH, nullcontext),
            f"generate(), batches of {BATCH}": (generated, BATCH, nullcontext),
            "generate(), one at a time": (generated, 1, nullcontext),
        }
        taken: dict[str, list[float]] = {way: [] for way in ways}
        answers: dict[str, list[str]] = {}
        for _ in range(ROUNDS):  # interleaved, so that a busy moment hits every way
            for way, (answer, size, within) in ways.items():
                seconds, answers[way] = ask(model, changed, answer, size, within)
                taken[way].append(seconds)
        passes = passes_per_item(model, cohort, folder / "scores")
    pairs = sum(map(len, changed))
    first = next(iter(ways))
    print(
        f"default suite on {ITEMS} items, {pairs} (item, intervention) pairs, median of {ROUNDS} rounds, one thread\n"
    )
    print("| way | items per processor second | time / the scorer's (range) | same answer |\n|---|---|---|---|")
    for way, values in taken.items():
        ratio = np.array(values) / np.array(taken[first])
        same = sum(a == b for a, b in zip(answers[way], answers[first], strict=True))
        print(
            f"| {way} | {ITEMS / np.median(values):.1f} "
            f"| {np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f}) | {same} of {pairs} |"
        )
    named = {name for names in table["candidates"] for name in names}
    other = {way: sum(text not in named for text in answers[way]) for way in ways}
    print(f"\nanswers have {min(lengths)} to {max(lengths)} tokens; given: {counts(answers[first])}")
    print("\n".join(f"{way}: {n} answers that are no candidate" for way, n in other.items() if n))
    print(passes)


def counts(answers: list[str]) -> str:
    return ", ".join(f"{name} {answers.count(name)}" for name in sorted(set(answers)))


if __name__ == "__main__":
    main()
