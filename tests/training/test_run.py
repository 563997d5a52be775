from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from adjusters.contract import Adjuster, Card, ContractError
from adjusters.registry import _registered, adjuster, register
from causalecg.cohort.batches import TableBatches
from causalecg.cohort.schema import Cohort
from causalecg.errors import InputError
from causalecg.training.arms import Arm
from causalecg.training.config import RunConfig
from causalecg.training.loop import schedule
from causalecg.training.run import Run, train
from causalecg.training.tables import refuse_test_rows, rows_of


def test_the_run_folder_says_what_was_done(cohort, config, tmp_path) -> None:
    run = train(cohort, "ipw?clip=20", config, seed=3, out=tmp_path / "r", progress=False)
    record = json.loads((tmp_path / "r" / "run.json").read_text())
    assert record["arm"] == "ipw?clip=20"
    assert record["cohort_hash"] == cohort.hash
    assert record["seed"] == 3
    # The build (cpu, cuda) is part of the one name and not always of the other.
    assert record["versions"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert record["rows"] == {"train": 300, "valid": 200}
    assert RunConfig.read(tmp_path / "r" / "config.json") == config
    lines = [json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1, 2]
    assert all(np.isfinite(line["validation_loss"]) for line in lines)
    balance = run.balance()
    assert balance is not None and balance["smd_after"].max() < balance["smd_before"].max()
    assert run.estimand is not None and run.estimand.roles["severity"] == "severity_simulated"


@torch.no_grad()
def test_a_run_predicts_what_it_predicted_when_it_was_trained(cohort, config, tmp_path) -> None:
    run = train(cohort, "backdoor", config, seed=0, out=tmp_path / "r", progress=False)
    batch = TableBatches(cohort, cohort.split("test"))(np.arange(40))
    first, second = (Run.open(tmp_path / "r").scorer()(batch) for _ in range(2))
    assert torch.equal(first, second)
    scorer = run.scorer()
    assert scorer.passes == 2
    with scorer.caching():
        assert torch.allclose(scorer(batch), first, atol=1e-5)
    assert torch.allclose(first.exp().sum(1), torch.ones(40), atol=1e-5)


@torch.no_grad()
def test_arms_are_never_shown_what_they_withhold(cohort, config, tmp_path) -> None:
    batch = TableBatches(cohort, cohort.split("test"))(np.arange(40))
    for arm, change in (("question_only", batch.without_ecg()), ("ecg_only", batch.without_question())):
        scorer = train(cohort, arm, config, seed=0, out=tmp_path / arm, progress=False).scorer()
        assert torch.equal(scorer(batch), scorer(change))


def test_the_oracle_learns_from_redrawn_styles_and_a_placebo_from_columns_dealt_to_other_rows(cohort) -> None:
    assert Arm.parse("oracle").splits == ("train_oracle", "valid_oracle")
    table = cohort.split("train")
    columns = ("severity_simulated", "style")
    shuffled = Arm.parse("placebo:backdoor").dealt(table, columns, np.random.default_rng(0))
    assert sorted(shuffled["severity_simulated"]) == sorted(table["severity_simulated"])
    assert (shuffled["severity_simulated"] != table["severity_simulated"]).mean() > 0.3
    assert pd.crosstab(*(shuffled[c] for c in columns)).equals(pd.crosstab(*(table[c] for c in columns)))
    assert shuffled.drop(columns=[*columns]).equals(table.drop(columns=[*columns]))
    assert Arm.parse("backdoor").dealt(table, columns, np.random.default_rng(0)) is table
    with pytest.raises(InputError, match="neither columns nor weights"):
        Arm.parse("placebo:ipw").dealt(table, (), np.random.default_rng(0))


@pytest.mark.parametrize(
    "text",
    [
        "none",
        "backdoor?prior=marginal",
        "backdoor?words=low,high",
        "placebo:ipw?clip=0.9",
        "ipw?by=none&clip=none&scheme=unstabilised",
        "stratified?clip=20&epochs=0",
        "oracle",
        "ecg_only",
    ],
)
def test_arms_are_written_as_they_are_read(text: str) -> None:
    assert str(Arm.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("ipw?by=none", {"by": None}),
        ("ipw?clip=none&treatment=2", {"clip": None, "treatment": "2"}),
        ("ipw?clip=20", {"clip": 20}),
        ("backdoor?words=low,high", {"words": ["low", "high"]}),
        ("backdoor?words=1", {"words": ["1"]}),
    ],
)
def test_options_have_the_types_the_adjuster_says(text: str, options: dict) -> None:
    assert Arm.parse(text).options == options
    adjuster(Arm.parse(text).adjuster, **options)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("backdor", "did you mean 'backdoor'"),
        ("backdoor?prio=marginal", "'prio=marginal' is not option=value"),
        ("oracle?x=1", "takes no options"),
        ("ipw?clip=high", "option 'clip' of adjuster 'ipw' is a number or none, not 'high'"),
        ("ipw?scheme=plain", "is stabilised or unstabilised or overlap or entropy, not 'plain'"),
        ("stratified?epochs=1.5", "is a whole number, not '1.5'"),
        ("backdoor?prior=marginl", "is conditional or marginal, not 'marginl'"),
        ("backdoor?severity_weight=none", "is a number, not 'none'"),
        ("placebo:oracle", "no arm is called"),
        ("placebo:none", "none goes by nothing that could be taken from it"),
    ],
)
def test_unknown_arms_are_one_sentence(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Arm.parse(text)


def test_test_rows_are_refused(cohort, config) -> None:
    table = cohort.split("train")
    refuse_test_rows(table, cohort, config)
    tests = cohort.split("test")
    with pytest.raises(InputError, match=r"40 of 340 rows to learn from are test rows, e\.g\. test-"):
        refuse_test_rows(pd.concat([table, tests], ignore_index=True), cohort, config)
    renamed = pd.concat([table, tests.assign(split="train")], ignore_index=True)
    with pytest.raises(InputError, match="holds ECG e.*which is in the test"):
        refuse_test_rows(renamed, cohort, config)


def test_another_ecg_of_a_test_patient_is_refused(cohort, config) -> None:
    """No item of the test names the ECG, and the row does not name the patient: the table of ECGs does."""
    table, tests = cohort.split("train"), cohort.split("test")
    ecg, patient = table["ecg_ids"].iloc[7][0], tests["patient_ids"].iloc[0][0]
    owners = cohort.ecgs["patient_id"].where(cohort.ecgs["ecg_id"] != ecg, patient)
    changed = replace(cohort, ecgs=cohort.ecgs.assign(patient_id=owners))
    with pytest.raises(InputError, match=f"holds ECG {ecg} of patient {patient}, who is in the test"):
        refuse_test_rows(table, changed, config)
    refuse_test_rows(table.drop(index=7), changed, config)


def test_all_environments_together_are_kept_apart_from_all_tests(cohort, config) -> None:
    items = cohort.items
    half = np.where(np.arange(len(items)) % 2, "a", "b")
    divided = replace(cohort, items=items.assign(environment=half))
    with pytest.raises(InputError, match="the environments a, b; name one, or 'all' for all together"):
        rows_of(divided, "train")
    assert rows_of(divided, "train", environment="all").drop(columns="environment").equals(rows_of(cohort, "train"))
    assert len(rows_of(divided, "train", environment="a")) < len(rows_of(cohort, "train"))
    # A patient of the test of "b" may be learned from in "a" alone, but not in all together.
    tests = divided.items[(divided.items["split"] == "test") & (divided.items["environment"] == "b")]
    row = tests.head(1).assign(split="train", environment="a")
    refuse_test_rows(row, divided, config.model_copy(update={"environment": "a"}))
    with pytest.raises(InputError, match="in the test"):
        refuse_test_rows(row, divided, config.model_copy(update={"environment": "all"}))


def test_an_adjuster_cannot_bring_test_rows_in(cohort, config, tmp_path) -> None:
    test = cohort.split("test")

    class Cheat(Adjuster):
        card = Card(summary="Learns from the test.")

        def rewrite(self, table, *, rng):
            return table.assign(ecg_ids=[list(test["ecg_ids"].iloc[0])] * len(table))

    register("cheat_in_test")(Cheat)
    try:
        with pytest.raises(InputError, match="which is in the test"):
            train(cohort, "cheat_in_test", config, seed=0, out=tmp_path / "r", progress=False)
    finally:
        _registered.pop("cheat_in_test")


def test_early_stopping_goes_back_to_the_best_epoch(cohort, config, tmp_path) -> None:
    config = config.model_copy(update={"epochs": 40, "patience": 2, "learning_rate": 2e-2})
    run = train(cohort, "none", config, seed=0, out=tmp_path / "r", progress=False)
    losses = [
        json.loads(line)["validation_loss"] for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()
    ]
    assert len(losses) < 40
    assert len(losses) - 1 - int(np.argmin(losses)) == 2
    batches = TableBatches(cohort, cohort.split("valid"))
    scorer = run.scorer()
    with torch.no_grad():
        batch = batches(np.arange(len(batches)))
        loss = -torch.log_softmax(scorer(batch), 1)[batch.answer].double().mean()
    assert float(loss) == pytest.approx(min(losses), abs=1e-5)


def test_another_run_in_the_same_folder_is_refused(cohort, config, tmp_path) -> None:
    train(cohort, "none", config, seed=0, out=tmp_path / "r", progress=False)
    parts = config.model.model_copy(update={"encoder_options": {"widths": [8, 24]}})
    wider = config.model_copy(update={"model": parts})
    for arguments, what in (
        (("oracle", config, 0), "arm"),
        (("none", config, 1), "seed"),
        (("none", config.model_copy(update={"epochs": 4}), 0), r"configuration \(epochs: 3 there, 4 here\)"),
        (("none", config.model_copy(update={"learning_rate": 0.1}), 0), r"configuration \(learning_rate: 0.001 there"),
        (("none", wider, 0), r"configuration \(model.encoder_options.widths: \[8, 16\] there, \[8, 24\] here\)"),
    ):
        with pytest.raises(InputError, match=f"a run with another {what}"):
            train(cohort, arguments[0], arguments[1], seed=arguments[2], out=tmp_path / "r", progress=False)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="is not empty and holds no run"):
        train(cohort, "none", config, seed=0, out=tmp_path / "x", progress=False)


def test_what_is_missing_is_said_before_training(cohort, config, tmp_path) -> None:
    with pytest.raises(InputError, match="no severity scale 'acuity'; it has simulated"):
        train(cohort, "backdoor", config.model_copy(update={"severity": "acuity"}), seed=0, out=tmp_path / "a")
    for arm in ("none", "ipw", "question_only"):
        with pytest.raises(InputError, match="treatment = 'stlye' is no column of the items; the nearest is 'style'"):
            train(cohort, arm, config.model_copy(update={"treatment": "stlye"}), seed=0, out=tmp_path / "b")
    bare = Cohort(
        cohort.path, cohort.items.drop(columns="severity_simulated"), cohort.ecgs, cohort.wordings, cohort.meta
    )
    with pytest.raises(ContractError, match="severity_simulated"):
        train(bare, "backdoor", config, seed=0, out=tmp_path / "c")
    known = str(cohort.items["template_id"].iloc[0])
    with pytest.raises(InputError, match=f"has the template_id '{known}x' of template_ids; the nearest is '{known}'"):
        train(
            cohort, "none", config.model_copy(update={"template_ids": (known, f"{known}x")}), seed=0, out=tmp_path / "d"
        )
    assert not any(tmp_path.iterdir())
    rare = cohort.items.assign(
        template_id=cohort.items["split"].map(lambda split: "rare" if split == "test" else known)
    )
    with pytest.raises(InputError, match="no items of these templates in split train"):
        rows_of(replace(cohort, items=rare), "train", template_ids=["rare"])


def test_what_fails_before_it_began_leaves_no_folder(cohort, own_config, tmp_path) -> None:
    def broken(seed: int) -> nn.Module:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        train(cohort, "none", own_config, seed=0, out=tmp_path / "r", scorer=broken, progress=False)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("file", "content"),
    [("run.json", "{"), ("run.json", "[]"), ("adjuster.json", "{}"), ("objective.safetensors", "x")],
)
def test_a_damaged_run_is_said_so(cohort, own_config, tmp_path, file: str, content: str) -> None:
    own_config = own_config.model_copy(update={"epochs": 1})
    train(cohort, "none", own_config, seed=0, out=tmp_path / "r", scorer=build, progress=False)
    (tmp_path / "r" / file).write_text(content)
    with pytest.raises((InputError, ContractError), match="damaged|cannot be read"):
        Run.open(tmp_path / "r").scorer(build)


def test_a_latent_severity_stops_backdoor_but_not_none(cohort, config, tmp_path) -> None:
    from structural_models.errors import NotIdentified

    config = config.model_copy(update={"graph": "latent_severity", "epochs": 1})
    with pytest.raises(NotIdentified):
        train(cohort, "backdoor", config, seed=0, out=tmp_path / "a", progress=False)
    assert train(cohort, "none", config, seed=0, out=tmp_path / "b", progress=False).estimand is None


class Theirs(nn.Module):
    """A module that is not ours: logits of yes and no from the mean of the signal and the question's length."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(13, 2)

    def forward(self, batch):
        asked = torch.tensor([[float(len(q or ""))] for q in batch.question]) / 50
        return self.layer(torch.cat([batch.ecg[:, 0].mean(-1), asked], 1)).masked_fill(batch.padding, float("-inf"))


def build(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return Theirs()


@pytest.mark.parametrize("arm", ["none", "backdoor", "ipw", "stratified"])
def test_a_strangers_module_is_trained_and_read_back(cohort, own_config, tmp_path, arm: str) -> None:
    if arm == "backdoor":
        arm = "backdoor?prior=marginal"  # it cannot be asked for the severity: it has two outputs
    run = train(cohort, arm, own_config, seed=0, out=tmp_path / "r", scorer=build, progress=False)
    with pytest.raises(InputError, match="name the function that builds it"):
        run.scorer()
    batch = TableBatches(cohort, cohort.split("test"))(np.arange(40))
    with torch.no_grad():
        assert torch.equal(run.scorer(build)(batch), Run.open(tmp_path / "r").scorer(build)(batch))


def test_configurations_are_read_strictly(tmp_path) -> None:
    (tmp_path / "a.toml").write_text('epochs = 3\n[model]\nencoder = "resnet"\n')
    assert RunConfig.read(tmp_path / "a.toml").epochs == 3
    (tmp_path / "b.toml").write_text("epoch = 3\n")
    with pytest.raises(InputError, match="no key 'epoch'; did you mean 'epochs'"):
        RunConfig.read(tmp_path / "b.toml")
    (tmp_path / "c.json").write_text('{"model": {"encodr": "x"}}')
    with pytest.raises(InputError, match=r"no key 'model.encodr'; did you mean 'model.encoder'"):
        RunConfig.read(tmp_path / "c.json")
    for text, says in (
        ("hidden = 3", r"'hidden'; it belongs in the table \[model.embedded\]: model.embedded.hidden"),
        ("hiden = 3", "'hiden'; did you mean 'model.embedded.hidden'"),
        ("[model]\nrank = 3", r"'model.rank'; it belongs in the table \[model.lora\]: model.lora.rank"),
        ("[model]\nepochs = 3", "'model.epochs'; it belongs above all tables: epochs"),
        ("[model.embedded]\nxyz = 3", "'model.embedded.xyz'; keys are hidden, layers, heads, vocabulary"),
        ("xyz = 3", "'xyz'; keys are model, epochs"),
        ("learning_rate = inf", "'learning_rate': Input should be a finite number"),
        ("learning_rate = nan", "'learning_rate': Input should be"),
        ("weight_decay = inf", "'weight_decay': Input should be a finite number"),
    ):
        (tmp_path / "b.toml").write_text(text)
        with pytest.raises(InputError, match=says):
            RunConfig.read(tmp_path / "b.toml")
    (tmp_path / "d.toml").write_text("[model.embedded]\nhidden = 20\nheads = 4\n")
    with pytest.raises(
        InputError, match=r"key 'model.embedded': .*hidden \(20\) must be a multiple of twice heads \(4\)"
    ):
        RunConfig.read(tmp_path / "d.toml")
    (tmp_path / "e.yaml").write_text("epochs: 3\n")
    with pytest.raises(InputError, match=r"neither .toml nor .json"):
        RunConfig.read(tmp_path / "e.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        RunConfig.read(tmp_path / "nowhere.toml")


def test_the_learning_rate_warms_up_and_ends_at_zero() -> None:
    rates = [schedule(p, 0.1) for p in np.linspace(0, 1, 101)]
    assert rates[10] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.0)
    assert all(a < b for a, b in zip(rates[:10], rates[1:11], strict=True))
    assert all(a > b for a, b in zip(rates[10:-1], rates[11:], strict=True))
