"""An image-text model of transformers' own, shown each ECG as a drawn image, trained as usual, and audited.

Run: python transformers_model.py OUT

The weights begin random, so that nothing is downloaded: ``build`` is the one place to put a checkpoint in. Every ECG of
an item is an image of its own, named in words before it ("First ECG:", "Second ECG:"). An item without any ECG gets a
blank page and the words "No ECG:". It is told, because a model that might say that it cannot know has to know that it
was shown nothing.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from torch.nn.functional import adaptive_max_pool1d, pad
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from causalecg import Cohort, InputError, ScoreSet, run_suite, score, write_report
from causalecg.audits.verdicts import overall
from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cohort.batches import TableBatches

PIXELS, PATCH = 224, 32
ROWS, COLUMNS = 3, 4
HEIGHT, WIDTH = PIXELS // ROWS, PIXELS // COLUMNS
PIXELS_PER_MILLIVOLT = 20.0
PAGE, INK = 1.0, -1.0
SPECIAL = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>"}
IMAGE = "<image>"


def draw(ecg):
    """(n, 12, samples) mV -> (n, 3, 224, 224) pixels from -1, ink, to 1, page.

    Three rows of four leads as on paper: I to III, aVR to aVF, V1 to V3, V4 to V6 from left to right, each over its
    quarter of the record. A pixel's ink falls off over one pixel from the trace; what leaves its row is cut off.
    """
    quarter = ecg.shape[2] // COLUMNS
    # The stored order of the leads runs down the columns.
    leads = ecg[:, :, : quarter * COLUMNS].unflatten(1, (COLUMNS, ROWS)).unflatten(3, (COLUMNS, quarter))
    parts = torch.stack([leads[:, i, :, i] for i in range(COLUMNS)], dim=2).flatten(1, 2)
    high, low = adaptive_max_pool1d(parts, WIDTH), -adaptive_max_pool1d(-parts, WIDTH)
    # Neighbouring columns are joined where the trace jumps from one to the next.
    high, low = (
        torch.maximum(high, pad(low[..., 1:], (0, 1), value=-torch.inf)),
        torch.minimum(low, pad(high[..., 1:], (0, 1), value=torch.inf)),
    )
    height = (HEIGHT / 2 - 0.5 - torch.arange(HEIGHT, device=ecg.device))[:, None]
    away = (height - PIXELS_PER_MILLIVOLT * high[..., None, :]).relu()
    away = away + (PIXELS_PER_MILLIVOLT * low[..., None, :] - height).relu()
    traces = (PAGE + (INK - PAGE) * (1 - away).relu()).unflatten(1, (ROWS, COLUMNS))
    pages = traces.transpose(2, 3).flatten(3).flatten(1, 2)
    return pad(pages, (0, 0, 0, PIXELS - ROWS * HEIGHT), value=PAGE)[:, None].expand(-1, 3, -1, -1)


def train_tokenizer(texts):
    """Byte-level BPE learned from ``texts``, in which any text can be written."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=[*SPECIAL.values(), IMAGE], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(sorted(texts), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL)


def build(texts, seed=0):
    """(model, tokenizer). Of a checkpoint: LlavaForConditionalGeneration and AutoTokenizer, ``from_pretrained``."""
    tokenizer = train_tokenizer(texts)
    torch.manual_seed(seed)
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    vision = CLIPVisionConfig(**shape, image_size=PIXELS, patch_size=PATCH)
    text = LlamaConfig(**shape, vocab_size=len(tokenizer), max_position_embeddings=512, initializer_range=0.1)
    image = tokenizer.convert_tokens_to_ids(IMAGE)
    model = LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text, image_token_id=image))
    return model.eval(), tokenizer


class Scorer(nn.Module):
    """The adapter: log P(candidate and nothing after it | images, question), one sequence per item and candidate."""

    def __init__(self, model, tokenizer):
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        vision = model.config.vision_config
        self.image = [model.config.image_token_id] * (vision.image_size // vision.patch_size) ** 2

    def ids(self, text):
        """A question that spells a special token is still only text."""
        return self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)

    def prompt(self, question, present):
        said = [f"{name} ECG:" for name, there in zip(("First", "Second"), present, strict=True) if there]
        shown = [token for text in said or ["No ECG:"] for token in [*self.ids(text), *self.image]]
        return [self.tokenizer.bos_token_id, *shown, *self.ids(f" {question or ''} Answer:")]

    def images(self, ecg, present):
        """(1 or 2, 3, 224, 224) of one item, in the order in which the prompt names them."""
        return draw(ecg[present]) if present.any() else torch.full((1, 3, PIXELS, PIXELS), PAGE, device=ecg.device)

    def forward(self, batch):
        if batch.kind != "one":
            raise InputError("this model gives one answer; leave questions with a set of answers out (kind set)")
        rows, answers, pixels, places = [], [], [], []
        for i, names in enumerate(batch.candidates):
            prompt = self.prompt(batch.question[i], batch.ecg_present[i].tolist())
            images = self.images(batch.ecg[i], batch.ecg_present[i])
            for j, name in enumerate(names):
                # Ended, no candidate is the beginning of another: "block" and "block, complete".
                answers.append([*self.ids(f" {name}"), self.tokenizer.eos_token_id])
                rows.append([*prompt, *answers[-1]])
                pixels.append(images)
                places.append((i, j))
        # Padding comes last, where no token sees it.
        longest = max(map(len, rows))
        fed = torch.tensor([row + [self.tokenizer.pad_token_id] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        logits = self.model(input_ids=fed, attention_mask=mask, pixel_values=torch.cat(pixels)).logits
        log_p = torch.log_softmax(logits.float(), dim=-1)
        scores = torch.full(batch.candidate_ids.shape, float("-inf"))
        for k, (place, row, answer) in enumerate(zip(places, rows, answers, strict=True)):
            at = torch.arange(len(row) - len(answer), len(row))
            scores[place] = log_p[k, at - 1, torch.tensor(answer)].sum()
        return scores


def fine_tune(scorer, cohort, size=16, seed=0):
    """One epoch of plain maximum likelihood on the training items, with nothing of causalecg's but their batches."""
    batches = TableBatches(cohort, cohort.split("train"))
    optimizer = torch.optim.AdamW(scorer.model.parameters(), lr=1e-3)
    scorer.model.train()
    for positions in batches.shuffled(size, np.random.default_rng(seed)):
        batch = batches(positions)
        optimizer.zero_grad()
        (-scorer(batch)[batch.answer].mean()).backward()
        optimizer.step()
    scorer.model.eval()


def main(out, items=1000, rho=0.99):
    cohort = Cohort.open(simulate_cohort(out / "cohort", rho=rho, items=items, test_items=items // 4))
    scorer = Scorer(*build({*cohort.wordings["question"], *cohort.answer_vocabulary}))
    fine_tune(scorer, cohort)
    told = {"run_id": "llava", "severity": "simulated", "batch_size": 16}
    score(scorer, cohort, split="test", out=out / "scores", **told)
    scores = ScoreSet.open(out / "scores")
    results = run_suite(scores, run_id="llava")
    print("overall:", overall(results))
    print("report:", write_report(out / "report", score_set=scores, results=results, cohort=cohort))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
