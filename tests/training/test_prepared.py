"""An adjuster in loops that are not ours: the same objective, the same steps, the same weights."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from causalecg.errors import InputError
from causalecg.models.config import EmbeddedLanguageModel, ModelConfig
from causalecg.models.pretrained import build_model
from causalecg.training.prepared import prepare
from causalecg.training.run import train

SIZE = 50


def small(cohort):
    parts = ModelConfig(
        encoder_options={"widths": [8, 16]},
        embedded=EmbeddedLanguageModel(hidden=16, layers=1, heads=2, vocabulary=260),
    )
    return build_model(parts, texts=[*cohort.wordings["question"], " yes", " no"], leads=12, seed=3)


@pytest.fixture(scope="module")
def example() -> ModuleType:
    """examples/own_loop.py, which imports its neighbour."""
    folder = Path(__file__).parents[2] / "examples"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        spec = importlib.util.spec_from_file_location("own_loop", folder / "own_loop.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
        sys.modules.pop("transformers_model", None)


@pytest.mark.parametrize("arm", ["none", "ipw", "backdoor", "group_dro", "product_of_experts"])
def test_a_plain_loop_and_the_trainer_of_transformers_train_the_same(example, cohort, tmp_path, arm: str) -> None:
    first, second = (prepare(cohort, arm, small(cohort), seed=5) for _ in range(2))
    before = {name: value.clone() for name, value in first.objective.state_dict().items()}
    example.plain_loop(first, SIZE)
    example.trainer_of_transformers(second, tmp_path, SIZE)
    states = first.objective.state_dict(), second.objective.state_dict()
    assert any(not torch.equal(before[name], states[0][name]) for name in before)
    for name in before:
        assert torch.allclose(states[0][name], states[1][name], atol=1e-5), name


@pytest.mark.parametrize("arm", ["lff", "effect_subtraction", "jtt", "stratified", "last_layer_refit"])
def test_every_kind_of_stage_goes_through_a_plain_loop(example, cohort, arm: str) -> None:
    ready = prepare(cohort, arm, small(cohort), seed=5)
    example.plain_loop(ready, SIZE)
    ready.objective.eval()
    batch = next(iter(ready.batches(ready.stages[0], SIZE)))[1]
    scores = ready.scorer()(batch)
    assert torch.isfinite(scores[~batch.padding]).all()


@pytest.mark.parametrize("loop", ["plain", "trainer"])
@pytest.mark.parametrize(("fall", "kept"), [(0.05, False), (0.5, True)])
def test_a_stage_that_keeps_its_best_does_so_in_loops_of_others(
    example, cohort, tmp_path, falling, loop: str, fall: float, kept: bool
) -> None:
    ready = prepare(cohort, falling(fall), small(cohort), seed=5)
    if loop == "plain":
        example.plain_loop(ready, SIZE)
    else:
        example.trainer_of_transformers(ready, tmp_path, SIZE)
    assert bool(ready.objective.steps > 0) == kept


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"gradient_accumulation_steps": 4}, "gradient_accumulation_steps is to be 1, not 4"),
        ({"per_device_train_batch_size": 2}, "train_batch_size is to be 1, not 2"),
    ],
)
def test_a_trainer_that_would_merge_or_skip_batches_is_refused(cohort, tmp_path, wrong, message: str) -> None:
    from transformers import Trainer, TrainingArguments

    ready = prepare(cohort, "group_dro", small(cohort))
    ready.begin(ready.stages[0])
    model, batches, callback = ready.for_trainer(ready.stages[0], SIZE)
    given = {"per_device_train_batch_size": 1, "remove_unused_columns": False, "report_to": [], **wrong}
    arguments = TrainingArguments(output_dir=str(tmp_path), save_strategy="no", disable_tqdm=True, **given)
    with pytest.raises(InputError, match=message):
        Trainer(model=model, args=arguments, train_dataset=batches, callbacks=[callback]).train()


def test_what_a_trainer_cannot_do_is_said(cohort) -> None:
    ready = prepare(cohort, "lff", small(cohort))
    with pytest.raises(InputError, match="trains the parts biased and debiased in turn, which a Trainer cannot"):
        ready.for_trainer(ready.stages[0], SIZE)
    ready = prepare(cohort, "backdoor", small(cohort))
    with pytest.raises(InputError, match="trains nothing, which a Trainer cannot"):
        ready.for_trainer(ready.stages[-1], SIZE)


def test_it_is_what_our_own_training_trains(cohort, own_config, tmp_path) -> None:
    """Same seed, same model: the objective before training is that of a run, and its batches come in the same order."""
    seen: list[list[int]] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(7)
            self.weight = nn.Parameter(torch.randn(12, 2) * 0.1)

        def forward(self, batch):
            if self.training:
                seen.append(batch.rows.tolist())
            return (batch.ecg[:, 0].mean(-1) @ self.weight).masked_fill(batch.padding, float("-inf"))

    ready = prepare(cohort, "ipw", lambda _: Watched(), own_config, seed=2)
    wanted = [
        b.rows.tolist()
        for e in range(own_config.epochs)
        for _, b in ready.batches(ready.stages[0], own_config.batch_size, epoch=e)
    ]
    train(cohort, "ipw", own_config, seed=2, out=tmp_path / "run", scorer=lambda _: Watched(), progress=False)
    assert seen == wanted


def test_a_llava_of_transformers_is_adjusted_in_either(example, cohort, tmp_path) -> None:
    texts = {*cohort.wordings["question"], *cohort.answer_vocabulary}
    first, second = (prepare(cohort, "ipw", example.Scorer(*example.build(texts)), seed=1) for _ in range(2))
    before = {name: value.clone() for name, value in first.objective.state_dict().items()}
    example.plain_loop(first, 8, epochs=1, steps=3)
    example.trainer_of_transformers(second, tmp_path, 8, epochs=1, steps=3)
    states = first.objective.state_dict(), second.objective.state_dict()
    moved = [name for name in before if not torch.equal(before[name], states[0][name])]
    assert any("vision" in name for name in moved) and any("language_model" in name for name in moved)
    # A bias of the keys changes no attention: its gradient is rounding, which Adam makes a step of.
    for name in (name for name in before if not name.endswith("k_proj.bias")):
        assert torch.allclose(states[0][name], states[1][name], atol=1e-5), name
    (batch,) = (batch for _, (_, batch) in zip(range(1), first.batches(first.stages[0], 8), strict=False))
    assert torch.isfinite(first.scorer()(batch)).all()
