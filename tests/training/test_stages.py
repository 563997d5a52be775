"""Several stages of training: an encoder on labels, then arms, each beginning with what the one before has learned."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from adjusters.contract import Batch
from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cli import build_app
from causalecg.cohort.batches import TableBatches
from causalecg.cohort.schema import Cohort
from causalecg.errors import InputError
from causalecg.models.pretrained import build_encoder, build_model
from causalecg.training import encoder_pretraining
from causalecg.training.config import RunConfig
from causalecg.training.encoder_pretraining import _Contrast, _LabelScorer, pretrain_encoder
from causalecg.training.loop import Loop
from causalecg.training.question_vectors import COLUMN, with_question_vectors
from causalecg.training.run import Run, train
from causalecg.training.stages import read_stages, train_stages

TEXT = """
epochs = 1
batch_size = 32
[model]
encoder_options = {widths = [8, 16]}
embedded = {hidden = 16, layers = 1, heads = 2, vocabulary = 260}

[[stages]]
name = "encoder"
task = "labels"
epochs = 2

[[stages]]
name = "alignment"
arm = "none"
model.train_encoder = false

[[stages]]
name = "pretraining"
arm = "question_randomised"

[[stages]]
name = "finetuning"
arm = "backdoor"
learning_rate = 3e-4
"""


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Cohort:
    folder = tmp_path_factory.mktemp("cohort") / "c"
    simulate_cohort(
        folder, items=400, test_items=40, rho=0.9, d_prime=4.0, seed=1, rate_hz=50, seconds=4, progress=False
    )
    return Cohort.open(folder)


@pytest.fixture
def config() -> RunConfig:
    return RunConfig(
        epochs=6,
        batch_size=32,
        model={
            "encoder_options": {"widths": [8, 16]},
            "embedded": {"hidden": 16, "layers": 1, "heads": 2, "vocabulary": 260},
        },
    )


def encoder_of(folder) -> dict[str, torch.Tensor]:
    return {k: v for k, v in load_file(folder / "model.safetensors").items() if k.startswith("encoder.")}


def test_a_stage_is_the_file_with_what_it_says_otherwise(tmp_path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(TEXT)
    encoder, alignment, pretraining, finetuning = read_stages(path)
    assert (encoder.task, encoder.config.epochs, encoder.arm) == ("labels", 2, None)
    assert not alignment.config.model.train_encoder and alignment.config.epochs == 1
    assert alignment.config.model.encoder_options == {"widths": [8, 16]}
    assert pretraining.config.model.train_encoder and pretraining.arm == "question_randomised"
    assert finetuning.config.learning_rate == 3e-4 and finetuning.config.batch_size == 32


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages = []\n", r"stages are written as \[\[stages\]\] tables"),
        ("stages = 3\n", r"stages are written as \[\[stages\]\] tables"),
        ("[[stages]]\narm = 'none'\n", "stage 1, key 'name'"),
        ("[[stages]]\nname = 'a/b'\n", "stage a/b, key 'name'"),
        ("[[stages]]\nname = 'a'\ntask = 'label'\n", "stage a, key 'task'"),
        ("[[stages]]\nname = 'a'\nepoch = 3\n", "stage a: there is no key 'epoch'; did you mean 'epochs'"),
        ("[[stages]]\nname = 'a'\nchat = true\n", r"it belongs in the table \[model\]: model\.chat"),
        ("[[stages]]\nname = 'a'\ntask = 'labels'\narm = 'ipw'\n", "task 'labels' asks no questions"),
        ("[[stages]]\nname = 'a'\n[[stages]]\nname = 'a'\n", "a name of its own, not a, a"),
        (
            "[[stages]]\nname = 'a'\n[[stages]]\nname = 'b'\nmodel.start = 'x'\n",
            "stage b: it begins with the stage before",
        ),
        (
            "[[stages]]\nname = 'a'\n[[stages]]\nname = 'b'\ntask = 'labels'\n",
            "stage b: task 'labels' trains an encoder alone .*; put it before them",
        ),
        ("[[stages]\n", "is not valid TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_said(tmp_path, text: str, message: str) -> None:
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_stages(path)


@pytest.mark.parametrize("suffix", ["toml", "json"])
def test_where_one_run_is_configured_stages_are_refused_in_words(tmp_path, suffix: str) -> None:
    path = tmp_path / f"s.{suffix}"
    path.write_text(TEXT if suffix == "toml" else json.dumps({"epochs": 1, "stages": [{"name": "a"}]}))
    with pytest.raises(InputError, match="no key 'stages'; stages are read by 'causalecg train' alone, and from TOML"):
        RunConfig.read(path)


def test_stages_go_on_from_one_another_and_are_done_once(cohort, tmp_path, monkeypatch) -> None:
    path, out = tmp_path / "s.toml", tmp_path / "out"
    path.write_text(TEXT)
    said = CliRunner().invoke(
        build_app(),
        ["train", "--config", str(path), "--cohort", str(cohort.path), "--out", str(out)],
        catch_exceptions=False,
    )
    assert said.exit_code == 0 and "4-finetuning" in said.stdout
    first, second = encoder_of(out / "1-encoder"), encoder_of(out / "2-alignment" / "model")
    assert first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)
    third = encoder_of(out / "3-pretraining" / "model")
    assert any(not torch.equal(first[k], third[k]) for k in first)
    run = Run.open(out / "4-finetuning")
    assert str(run.arm) == "backdoor" and run.config.model.start == str((out / "3-pretraining").resolve())
    # The tokenizer is that of the stage before, so that its embeddings mean the same.
    tokenizers = [
        (out / name / "model" / "tokenizer" / "tokenizer.json").read_bytes() for name in ("2-alignment", "4-finetuning")
    ]
    assert tokenizers[0] == tokenizers[1]
    run.scorer()
    monkeypatch.setattr(Loop, "run", lambda _: pytest.fail("it was trained again"))
    assert train_stages(path, out=out, seed=0, cohort=cohort.path) == out / "4-finetuning"
    with pytest.raises(InputError, match="other stages, cohorts or another seed"):
        train_stages(path, out=out, seed=1, cohort=cohort.path)
    moved = out.rename(tmp_path / "moved")
    assert train_stages(path, out=moved, seed=0, cohort=cohort.path) == moved / "4-finetuning"
    assert Run.open(moved / "4-finetuning").config.model.start == str((moved / "3-pretraining").resolve())


def test_nothing_is_trained_where_a_later_stage_cannot_be(cohort, tmp_path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(TEXT.replace('"backdoor"', '"backdor"'))
    with pytest.raises(InputError, match="no arm is called 'backdor'"):
        train_stages(path, out=tmp_path / "out", seed=0, cohort=cohort.path)
    path.write_text(TEXT)
    with pytest.raises(InputError, match="stage encoder: it names no cohort"):
        train_stages(path, out=tmp_path / "out", seed=0)
    assert not (tmp_path / "out").exists()
    runner = CliRunner()
    with pytest.raises(InputError, match="leave --arm out"):
        runner.invoke(
            build_app(), ["train", "--config", str(path), "--arm", "none", "--out", "o"], catch_exceptions=False
        )
    with pytest.raises(InputError, match="needs --cohort and --arm, or a --config that names stages"):
        runner.invoke(build_app(), ["train", "--out", "o"], catch_exceptions=False)


def reads_the_finding(cohort: Cohort, encoder) -> float:
    """Area under the curve of a nearest-mean rule on the tokens of ECGs it has not seen; d' = 4 gives .998."""
    vectors, finding = {}, {}
    for split in ("train", "test"):
        table = cohort.split(split)
        signals = cohort.signals.read([cohort.ecg_rows[ids[0]] for ids in table["ecg_ids"]])
        with torch.no_grad():
            vectors[split] = encoder(torch.from_numpy(signals)).mean(1).numpy()
        labels = dict(zip(cohort.ecgs["ecg_id"], cohort.ecgs["labels"], strict=True))
        finding[split] = np.array([len(labels[ids[0]]) > 0 for ids in table["ecg_ids"]])
    ill, well = (vectors["train"][finding["train"] == side].mean(0) for side in (True, False))
    return float(roc_auc_score(finding["test"], vectors["test"] @ (ill - well)))


@pytest.mark.parametrize("task", ["labels", "contrast"])
def test_an_encoder_learns_the_finding_and_an_interrupted_one_goes_on(
    cohort, config, tmp_path, monkeypatch, task
) -> None:
    pretrain_encoder(cohort, task, config, seed=0, out=tmp_path / "whole", progress=False)
    saves = []
    save = Loop._save

    def killed(loop: Loop) -> None:
        save(loop)
        saves.append(1)
        if len(saves) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_save", killed)
        with pytest.raises(KeyboardInterrupt):
            pretrain_encoder(cohort, task, config, seed=0, out=tmp_path / "resumed", progress=False)
    pretrain_encoder(cohort, task, config, seed=0, out=tmp_path / "resumed", progress=False)
    assert (tmp_path / "whole" / "model.safetensors").read_bytes() == (
        tmp_path / "resumed" / "model.safetensors"
    ).read_bytes()
    # A random encoder's nearest means are near .5.
    encoder = build_encoder(config.model, leads=12, seed=9).eval()
    encoder.load_state_dict({k.removeprefix("encoder."): v for k, v in encoder_of(tmp_path / "whole").items()})
    assert reads_the_finding(cohort, encoder) > 0.9


def test_an_encoder_goes_on_from_a_pretrained_one_and_never_from_a_whole_model(cohort, config, tmp_path) -> None:
    config = config.model_copy(update={"epochs": 1})

    def contrast(out: str, start: str | None = None, rate: float = 1e-3) -> dict[str, torch.Tensor]:
        model = config.model.model_copy(update={"start": start and str(tmp_path / start)})
        own = config.model_copy(update={"model": model, "learning_rate": rate})
        return encoder_of(pretrain_encoder(cohort, "contrast", own, seed=0, out=tmp_path / out, progress=False))

    labels = encoder_of(pretrain_encoder(cohort, "labels", config, seed=0, out=tmp_path / "labels", progress=False))
    alone, after, still = contrast("alone"), contrast("after", "labels"), contrast("still", "labels", 1e-12)
    weights = [name for name in labels if "running" not in name and "num_batches" not in name]
    assert any(not torch.equal(alone[name], after[name]) for name in weights)
    assert all(torch.allclose(still[name], labels[name], atol=1e-6) for name in weights)
    train(cohort, "none", config, seed=0, out=tmp_path / "run", progress=False)
    with pytest.raises(InputError, match="holds a whole model .* begin with a pre-trained encoder"):
        contrast("lost", "run")


def test_of_labels_texts_a_sentence_encoder_says_what_they_mean(cohort, config, tmp_path, sentence_encoder) -> None:
    """Its vectors stand for the sets of labels, one for each that occurs."""
    config = config.model_copy(update={"question_vectors": sentence_encoder})
    encoder = build_encoder(config.model, leads=12, seed=0)
    folder = pretrain_encoder(cohort, "contrast", config, seed=0, out=tmp_path / "e", progress=False)
    encoder.load_state_dict({k.removeprefix("encoder."): v for k, v in encoder_of(folder).items()})
    assert reads_the_finding(cohort, encoder.eval()) > 0.9
    labels = encoder_pretraining._frequent_labels(cohort, config)
    tables = [encoder_pretraining._ecg_table(cohort, "train", labels, config)]
    vectors = encoder_pretraining._texts(tables, labels, config)
    texts = [", ".join(own) or "no finding" for own in tables[0]["answer"]]
    wanted = with_question_vectors(pd.DataFrame({"question": texts}), sentence_encoder)[COLUMN]
    assert np.allclose(vectors[tables[0]["text_code"].to_numpy()].numpy(), np.stack(list(wanted)))


def test_the_contrast_is_the_mean_over_right_answers_both_ways() -> None:
    class Given(torch.nn.Module):
        dim = 3

        def forward(self, ecg):
            return ecg[:, :, :3].mean(1, keepdim=True)

    torch.manual_seed(0)
    objective = _Contrast(_LabelScorer(Given(), 64), torch.eye(3)).double()
    code = torch.tensor([0, 1, 0, 2])
    batch = Batch(
        rows=torch.arange(4), ecg=torch.randn(4, 2, 12, 5, dtype=torch.float64), ecg_present=torch.ones(4, 2, dtype=torch.bool),
        question=(None,) * 4, candidates=(("a",),) * 4, candidate_ids=torch.zeros(4, 1, dtype=torch.long),
        answer=torch.zeros(4, 1, dtype=torch.bool), kind="set", columns={"text_code": code},
    )  # fmt: skip
    with torch.no_grad():
        found = objective.validation_loss(batch).tolist()
        ecg = [v / v.norm() for v in objective.scorer(batch)]
        text = [(w := objective.of_text(objective.texts[c])) / w.norm() for c in code]
        scale = float(objective.scale.exp())
    for i in range(4):
        total = 0.0
        for own, others in ((ecg, text), (text, ecg)):
            near = [scale * float(own[i] @ other) for other in others]
            norm = math.log(sum(math.exp(value) for value in near))
            right = [near[j] - norm for j in range(4) if code[j] == code[i]]
            total -= sum(right) / len(right) / 2
        assert math.isclose(found[i], total, rel_tol=1e-9)


def test_a_start_that_does_not_fit_is_said(cohort, config, tmp_path) -> None:
    pretrain_encoder(
        cohort, "labels", config.model_copy(update={"epochs": 1}), seed=0, out=tmp_path / "e", progress=False
    )
    with pytest.raises(InputError, match="holds an encoder with another seed"):
        pretrain_encoder(
            cohort, "labels", config.model_copy(update={"epochs": 1}), seed=1, out=tmp_path / "e", progress=False
        )
    own = config.model.model_copy(update={"start": str(tmp_path / "e")})
    model = build_model(own, texts=[" yes"], leads=12, seed=3)
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in encoder_of(tmp_path / "e").items())
    other = own.model_copy(update={"encoder_options": {"widths": [8, 24]}})
    with pytest.raises(InputError, match=r"encoder of .*e does not fit this model: encoder\.blocks"):
        build_model(other, texts=[" yes"], leads=12, seed=3)
    with pytest.raises(InputError, match=r"model\.start: .*nowhere holds no saved model"):
        build_model(own.model_copy(update={"start": str(tmp_path / "nowhere")}), texts=[" yes"], leads=12, seed=3)


def test_a_run_of_an_earlier_version_whose_encoder_was_frozen_as_drawn_is_read(cohort, config, tmp_path) -> None:
    """With further models of the same make."""
    run = train(cohort, "rebias", config.model_copy(update={"epochs": 1}), seed=0, out=tmp_path / "r", progress=False)
    batch = TableBatches(cohort, cohort.split("test"))(np.arange(5))
    with torch.no_grad():
        scores = run.scorer()(batch)
        for path, where in ((run.path / "config.json", "model"), (run.path / "model" / "config.json", "config")):
            record = json.loads(path.read_text())
            record[where]["train_encoder"] = False
            path.write_text(json.dumps(record))
        assert torch.equal(Run.open(run.path).scorer()(batch), scores)


def test_too_few_labels_and_test_patients_are_refused(cohort, config, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(encoder_pretraining, "FEWEST", 1000)
    with pytest.raises(InputError, match="no label .* is that of 1000 training ECGs"):
        pretrain_encoder(cohort, "labels", config, seed=0, out=tmp_path / "e", progress=False)
    monkeypatch.setattr(encoder_pretraining, "FEWEST", 10)
    items = cohort.items.copy()
    test = items.loc[items["split"] == "test", "patient_ids"].iloc[0]
    ecgs = cohort.ecgs.copy()
    ecgs.loc[ecgs["ecg_id"] == items.loc[items["split"] == "train", "ecg_ids"].iloc[0][0], "patient_id"] = test[0]
    mixed = Cohort(cohort.path, items, ecgs, cohort.wordings, cohort.meta)
    with pytest.raises(InputError, match="who is in the test; leave it out"):
        pretrain_encoder(mixed, "labels", config, seed=0, out=tmp_path / "f", progress=False)


def test_a_configuration_of_an_earlier_version_is_the_same(cohort, config, tmp_path) -> None:
    """A run's record lacks keys that came later; going on with it is not refused."""
    train(cohort, "none", config, seed=0, out=tmp_path / "r", progress=False)
    path = tmp_path / "r" / "config.json"
    record = json.loads(path.read_text())
    for key in ("start", "lora", "dtype", "chat"):
        del record["model"][key]
    assert config.same_as(record) and not config.same_as({**record, "epochs": 99}) and not config.same_as(None)
    path.write_text(json.dumps(record))
    train(cohort, "none", config, seed=0, out=tmp_path / "r", progress=False)
