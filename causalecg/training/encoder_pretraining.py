"""Pre-training an encoder on ECGs alone, from their labels, before it meets a question.

Two tasks. ``labels``: a log-odds per label, as of a question with a set of answers. ``contrast``: the ECG's vector must
be nearer to the vector of its own labels than to those of the batch's other ECGs; ECGs with the same labels are all
right answers (Radford et al. 2021, CLIP; several right answers as in Khosla et al. 2020). What is learned from are the
ECGs of the training items; those of test patients are refused.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from adjusters.contract import Batch, LossTerms, Objective
from adjusters.none import NoAdjustment
from causalecg.cohort.batches import TableBatches
from causalecg.cohort.ecg_format import ECGFormat
from causalecg.errors import InputError
from causalecg.only_writer import only_writer
from causalecg.processes import processes
from causalecg.records import read_record, require_room, write_record
from causalecg.training.beginnings import require_beginning, write_patients
from causalecg.training.config import RunConfig
from causalecg.training.loop import Loop
from causalecg.training.progress import training_bar
from causalecg.training.question_vectors import COLUMN, with_question_vectors
from causalecg.training.rows import Rows
from causalecg.training.scorers import require_readable, seed_of
from causalecg.training.sharding import check_launch
from causalecg.training.tables import refuse_test_rows, rows_of

if TYPE_CHECKING:
    from causalecg.cohort.schema import Cohort

Task = Literal["labels", "contrast"]
#: A label is learned where so many training ECGs have it.
FEWEST = 10
_SHARED = 64
_TEXT = "text_code"


def pretrain_encoder(
    cohort: Cohort, task: Task, config: RunConfig, *, seed: int, out: str | Path, progress: bool = True
) -> Path:
    """Train ``config.model``'s encoder on the labels of a cohort's training ECGs, and write it into ``out``. It begins
    with that of ``config.model.start``, where there is one.

    Args:
        task: "labels" or "contrast"; of the latter, ``config.question_vectors`` names a sentence encoder for the
            labels' text, without which a text is the set of its labels.
        out: folder; an interrupted one is gone on with. Name it as ``model.start`` of what is trained next.

    What says that a topic of ``config.held_out_topics`` is there is no label. Raises InputError where no label is
    frequent enough, it cannot be told which label a held-out topic is, ``out`` is of something else or is being
    written by another process, or test rows would be learned from.
    """
    out = Path(out)
    about = {"task": task, "seed": seed, "cohort_hash": cohort.hash, "config": config.model_dump(mode="json")}
    check_launch()
    require_beginning(cohort, config)
    require_readable(cohort, config.model)
    taking_part = processes()
    with only_writer(out, among=taking_part.is_main_process):
        with taking_part.main_process_first():
            done = _claimed(out, about, config)
        if not done:
            _pretrain(cohort, task, config, seed, out, progress, about)
    return out


def _pretrain(
    cohort: Cohort, task: Task, config: RunConfig, seed: int, out: Path, progress: bool, about: dict[str, Any]
) -> None:
    from safetensors.torch import save_file

    from causalecg.models.pretrained import build_encoder

    labels = _frequent_labels(cohort, config)
    tables = [_ecg_table(cohort, split, labels, config) for split in ("train", "valid")]
    further = [name for name in labels if name not in cohort.answer_vocabulary]
    streams = np.random.SeedSequence(seed).spawn(2)
    leads = len(cohort.signals.leads)
    encoder = build_encoder(config.model, leads=leads, seed=seed_of(streams[0]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(streams[1]))
        objective: Objective = (
            Objective(_LabelScorer(encoder, len(labels)))
            if task == "labels"
            else _Contrast(_LabelScorer(encoder, _SHARED), _texts(tables, labels, config))
        )
    train_rows, valid_rows = (
        Rows(table, TableBatches(cohort, table, (_TEXT,), further), lambda batch: batch, (_TEXT,)) for table in tables
    )
    with training_bar(f"encoder: {task}", progress) as report:
        loop = Loop(
            objective,
            NoAdjustment(),
            train_rows,
            valid_rows,
            config,
            seed=seed_of(streams[0]),
            folder=out,
            report=report,
        )
        loop.run()
    if loop.accelerator.is_main_process:
        state = {f"encoder.{name}": value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()}
        save_file(state, out / "model.safetensors")
        of = ECGFormat.of(cohort.signals).record()
        saved = {"config": config.model.model_dump(mode="json"), **of, "tied": {}, "labels": labels}
        write_record(out / "config.json", saved)
        write_patients(out, cohort, config, tables)
        write_record(out / "pretraining.json", {**about, "status": "done"})
        shutil.rmtree(out / "checkpoint", ignore_errors=True)


def _claimed(out: Path, about: dict[str, Any], config: RunConfig) -> bool:
    """Whether it is done already. InputError where the folder is of something else."""
    path = out / "pretraining.json"
    if path.exists():
        found = read_record(path)
        differs = [name for name, value in about.items() if found.get(name) != value]
        if differs:
            what = differs[0].replace("_", " ")
            if differs[0] == "config" and (says := config.differing(found.get("config"))):
                what = f"configuration ({says})"
            raise InputError(f"{out} holds an encoder with another {what}; choose another --out")
        return bool(found.get("status") == "done")
    require_room(out, "encoder")
    write_record(path, {**about, "status": "training"})
    return False


def _ecgs_of(cohort: Cohort, split: str, config: RunConfig) -> pd.DataFrame:
    """ECGs of a split's items, each once."""
    items = rows_of(cohort, split, environment=config.environment, template_ids=config.template_ids)
    used = {ecg_id for ids in items["ecg_ids"] for ecg_id in ids}
    return cohort.ecgs[cohort.ecgs["ecg_id"].isin(used)].reset_index(drop=True)


def _frequent_labels(cohort: Cohort, config: RunConfig) -> list[str]:
    ecgs = _ecgs_of(cohort, "train", config)
    counts = Counter(label for labels in ecgs["labels"] for label in set(labels))
    without = _labels_of_topics(cohort, config.held_out_topics)
    found = sorted(label for label, n in counts.items() if FEWEST <= n < len(ecgs) and label not in without)
    if not found:
        raise InputError(
            f"no label of cohort {cohort.path} is that of {FEWEST} training ECGs and not of all; an encoder cannot be "
            "pre-trained on it"
        )
    return found


def _labels_of_topics(cohort: Cohort, topics: Sequence[str]) -> set[str]:
    """Labels called as a topic, or as a question about it. InputError where a topic has none, so that an encoder that
    learns labels might learn of it."""
    have = {label for labels in cohort.ecgs["labels"] for label in labels}
    found: set[str] = set()
    for topic in topics:
        names = {topic, *cohort.items.loc[cohort.items["topic"] == topic, "question_id"]}
        if not names & have:
            raise InputError(
                f"no label of cohort {cohort.path} is called '{topic}', nor as a question about it, so an encoder "
                "pre-trained on labels may learn of it; leave the topic out of held_out_topics, or that stage out"
            )
        found |= names & have
    return found


def _ecg_table(cohort: Cohort, split: str, labels: list[str], config: RunConfig) -> pd.DataFrame:
    """One row per ECG: a question with a set of answers, that is not put."""
    ecgs = _ecgs_of(cohort, split, config)
    known = set(labels)
    table = pd.DataFrame(
        {
            "item_id": ecgs["ecg_id"],
            "split": split,
            "ecg_ids": [[ecg_id] for ecg_id in ecgs["ecg_id"]],
            "patient_ids": [[patient] for patient in ecgs["patient_id"]],
            "kind": "set",
            "question": None,
            "candidates": [labels] * len(ecgs),
            "answer": [sorted(known & set(own)) for own in ecgs["labels"]],
            _TEXT: np.arange(len(ecgs)),
        }
    )
    refuse_test_rows(table, cohort, config)
    return table


def _texts(tables: Sequence[pd.DataFrame], labels: list[str], config: RunConfig) -> Tensor:
    """(texts, dim) vectors of the distinct sets of labels; the tables' codes are changed to their rows."""
    sets = sorted({tuple(own) for table in tables for own in table["answer"]})
    place = {own: row for row, own in enumerate(sets)}
    for table in tables:
        table[_TEXT] = [place[tuple(own)] for own in table["answer"]]
    if config.question_vectors is not None:
        texts = [", ".join(own) or "no finding" for own in sets]
        asked = with_question_vectors(pd.DataFrame({"question": texts}), config.question_vectors)
        return torch.from_numpy(np.stack(list(asked[COLUMN])))
    return torch.tensor([[float(label in own) for label in labels] for own in sets])


class _LabelScorer(nn.Module):
    """(items, out) linear in the mean encoder token of the first ECG."""

    def __init__(self, encoder: Any, out: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(int(encoder.dim), out)

    def forward(self, batch: Batch) -> Tensor:
        found: Tensor = self.head(self.encoder(batch.ecg[:, 0]).mean(1))
        return found


class _Contrast(Objective):
    """Symmetric cross-entropy of which text of the batch is the ECG's, and which ECG the text's."""

    per_item = False
    texts: Tensor

    def __init__(self, scorer: _LabelScorer, texts: Tensor) -> None:
        super().__init__(scorer)
        self.register_buffer("texts", texts)
        self.of_text = nn.Linear(texts.shape[1], _SHARED)
        # Of the temperature 0.07, which CLIP starts from.
        self.scale = nn.Parameter(torch.tensor(np.log(1 / 0.07), dtype=torch.float32))

    def loss(self, batch: Batch, part: str, *, progress: float) -> LossTerms:
        each = self.validation_loss(batch)
        return LossTerms(each.mean(), each.detach())

    def validation_loss(self, batch: Batch) -> Tensor:
        code = batch.columns[_TEXT]
        ecg = nn.functional.normalize(self.scorer(batch), dim=1)
        text = nn.functional.normalize(self.of_text(self.texts[code]), dim=1)
        near = self.scale.exp().clamp(max=100) * ecg @ text.T
        right = code[:, None] == code[None, :]
        each = [-_log_share(table, right) for table in (near, near.T)]
        return (each[0] + each[1]) / 2


def _log_share(near: Tensor, right: Tensor) -> Tensor:
    """(n,) mean over an item's right answers of their log-probabilities among all of the batch."""
    log_p = torch.log_softmax(near, dim=1)
    return (log_p * right).sum(1) / right.sum(1)
