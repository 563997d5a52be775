from __future__ import annotations

import pytest
import torch

from adjusters.contract import (
    HasFeatureDim,
    HasFeatures,
    HasJointFeatures,
    HasParts,
    Scorer,
    log_probabilities,
    negative_log_likelihood,
)
from causalecg.models import composite
from causalecg.models.config import ModelConfig
from causalecg.models.language_model import token_ids
from causalecg.models.pretrained import build_model, save_pretrained

TEXTS = ["Does this ECG show atrial fibrillation?", "Is it normal?", " yes", " no", " not sure"]


def naive_scores(model, batch) -> list[list[float]]:
    """Every (item, candidate) on its own: one plain forward pass of the language model over the whole sequence."""
    found = []
    for i, question in enumerate(batch.question):
        ids = [model.tokenizer.bos_token_id, *token_ids(model.tokenizer, [question or ""])[0]]
        parts = [model._embedding(torch.tensor(ids))]
        for slot in range(2):
            if batch.ecg_present[i, slot]:
                tokens = model.projector(model.encoder(batch.ecg[i, slot][None]))[0]
            else:
                count = model.projector(model.encoder(torch.zeros(1, *batch.ecg.shape[2:]))).shape[1]
                tokens = model.no_ecg.expand(count, -1)
            parts.append(tokens + model.segment[slot])
        cue = token_ids(model.tokenizer, [model.config.answer_cue])[0]
        parts.append(model._embedding(torch.tensor(cue)))
        prefix = torch.cat(parts)
        row = []
        ids_of = [token_ids(model.tokenizer, [f" {name}"])[0] for name in batch.candidates[i]]
        ends = any(a != b and b[: len(a)] == a for a in ids_of for b in ids_of)
        for answer in ids_of:
            target = [*answer, model._end] if ends else answer
            whole = torch.cat([prefix, model._embedding(torch.tensor(target))])[None]
            logits = model.language_model(inputs_embeds=whole).logits[0, len(prefix) - 1 : -1]
            row.append(float(torch.log_softmax(logits.float(), -1)[range(len(target)), target].sum()))
        found.append(row)
    return found


@torch.no_grad()
def test_candidate_scores_are_those_of_plain_forward_passes(model, batch) -> None:
    scores = model(batch)
    for row, wanted in zip(scores, naive_scores(model, batch), strict=True):
        assert torch.allclose(row[: len(wanted)], torch.tensor(wanted), atol=2e-5)
        assert torch.isneginf(row[len(wanted) :]).all()


@torch.no_grad()
def test_no_item_sees_its_batch_mates(model, batch) -> None:
    together = model(batch)
    for i in range(len(batch)):
        alone = model(batch.select([i]))
        assert torch.allclose(together[i, : alone.shape[1]], alone[0], atol=2e-6)
    order = [3, 0, 4, 2, 1]
    assert torch.allclose(model(batch.select(order)), together[order], atol=2e-6)


@torch.no_grad()
def test_caching_changes_nothing_and_notices_the_ecg(model, batch) -> None:
    plain = model(batch)
    with model.caching():
        first, second = model(batch), model(batch)
        swapped = model(
            batch.replace(ecg=batch.ecg.roll(1, 0), ecg_present=batch.ecg_present.roll(1, 0),
                          columns={"ecg_row": batch.columns["ecg_row"].roll(1, 0)})
        )  # fmt: skip
    assert torch.allclose(plain, first, atol=2e-6)
    assert torch.equal(first, second)
    assert not torch.allclose(swapped[0, :2], plain[0, :2], atol=1e-4)


def test_what_an_inner_block_computes_is_kept_by_the_outer_one(model, batch) -> None:
    seen: list[int] = []
    model.encoder.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    with model.caching():
        for _ in range(2):
            with model.caching():
                model(batch)
    assert seen == [int(batch.ecg_present.sum())]
    with model.caching():
        model(batch)
    assert len(seen) == 2


@torch.no_grad()
def test_a_texts_tokens_are_made_once_and_forgotten_where_there_are_too_many(model, batch, monkeypatch) -> None:
    questions, candidates = len(set(batch.question)), len({name for names in batch.candidates for name in names})
    made: list[list[str]] = []
    monkeypatch.setattr(composite, "token_ids", lambda *given: made.append(given[1]) or token_ids(*given))
    monkeypatch.setattr(composite, "TOKENISED", questions + candidates)
    model._tokens.clear()
    plain = model(batch)
    assert torch.equal(model(batch), plain) and len(made) == questions + candidates
    model(batch.in_words(["Is it another one?"] * len(batch)))
    assert len(model._tokens) == 1 + candidates
    assert torch.equal(model(batch), plain)
    assert len(made) == 2 * (questions + candidates) + 1 + candidates


@torch.no_grad()
def test_caching_notices_a_changed_signal(model, batch) -> None:
    noised = batch.replace(ecg=batch.ecg + 0.3 * batch.ecg.roll(1, -1))
    assert (noised.columns["ecg_row"] == -1).all()
    plain, changed = model(batch), model(noised)
    with model.caching():
        model(batch)
        assert torch.allclose(model(noised), changed, atol=2e-6)
        assert torch.allclose(model(noised.replace(ecg=batch.ecg)), plain, atol=2e-6)
        assert torch.allclose(model(batch), plain, atol=2e-6)
    assert not torch.allclose(plain[0, :2], changed[0, :2], atol=1e-4)


@torch.no_grad()
def test_a_candidate_that_begins_another_is_ended(model, batch) -> None:
    """Without the end token "no" would collect the probability of "no block" too."""
    batch = batch.select([0, 1])
    known = model(batch)[0]
    names = (("yes", "no"), ("no", "no block", "yes"))
    batch = batch.replace(candidates=names)
    scores = model(batch)
    for row, wanted in zip(scores, naive_scores(model, batch), strict=True):
        assert torch.allclose(row[: len(wanted)], torch.tensor(wanted), atol=2e-5)
    assert torch.allclose(scores[0, :2], known[:2], atol=2e-6)  # the other item's candidates change nothing
    short, long = (model._tokens_of(name) for name in names[1][:2])
    assert long[: len(short)] == short
    alone = batch.select([1]).replace(candidates=(("no", "yes", "not sure"),))
    assert float(scores[1, 0]) < float(model(alone)[0, 0]) - 1e-3


@torch.no_grad()
def test_caching_leaves_each_modules_mode_as_it_was(model, batch) -> None:
    model.train()
    model.encoder.eval()
    with model.caching():
        assert not any(module.training for module in model.modules())
    assert model.training and model.projector.training and not model.encoder.training


@torch.no_grad()
@pytest.mark.parametrize("kind", ["one", "set"])
def test_the_order_of_two_ecgs_matters_for_every_token(batch, kind: str) -> None:
    model = build_model(ModelConfig(encoder_options={"tokens": 3}), texts=TEXTS, leads=12, seed=0).eval()
    pair = batch.select([1, 4]).replace(kind=kind)
    turned = pair.replace(ecg=pair.ecg.flip(1))
    assert not torch.allclose(model(pair), model(turned), atol=1e-4)
    same = pair.replace(ecg=pair.ecg[:, :1].expand(-1, 2, -1, -1))
    assert torch.equal(model(same), model(same.replace(ecg=same.ecg.flip(1))))


@torch.no_grad()
def test_the_order_of_two_ecgs_and_their_absence_matter(model, batch) -> None:
    pair = batch.select([1])
    turned = pair.replace(ecg=pair.ecg.flip(1))
    assert not torch.allclose(model(pair), model(turned), atol=1e-4)
    assert not torch.allclose(model(pair), model(pair.without_ecg()), atol=1e-4)


def test_it_keeps_the_contract(model, batch) -> None:
    for promise in (Scorer, HasFeatures, HasFeatureDim, HasJointFeatures, HasParts):
        assert isinstance(model, promise)
    with torch.no_grad():
        for view in ("ecg", "question", "fused"):
            assert model.features(batch, view).shape == (5, model.feature_dim(view))
            for kind in ("one", "set"):
                asked = batch.replace(kind=kind)
                scores, features = model.scores_and_features(asked, view)
                assert torch.allclose(scores, model(asked))
                assert torch.allclose(features, model.features(asked, view))
    assert (model.features(batch, "ecg")[2] == 0).all()  # no ECG
    assert log_probabilities(model(batch), batch).exp().sum(1).allclose(torch.ones(5))
    with pytest.raises(KeyError):
        model.part("tail")


@pytest.mark.parametrize("encoder", ["resnet", "patch_transformer"])
@pytest.mark.parametrize("projector", ["linear", "mlp", "query_resampler"])
@pytest.mark.parametrize("kind", ["one", "set"])
def test_every_part_learns(batch, encoder: str, projector: str, kind: str) -> None:
    model = build_model(ModelConfig(encoder=encoder, projector=projector), texts=TEXTS, leads=12, seed=1)
    batch = batch.replace(kind=kind)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(12):
        loss = negative_log_likelihood(model(batch), batch).mean()
        optimizer.zero_grad()
        loss.backward()
        losses.append(float(loss.detach()))
        if len(losses) == 2:  # after one step nothing is zero by initialisation any more
            for part in ("encoder", "projector", "language_model"):
                assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.part(part).parameters()), part
        optimizer.step()
    assert losses[-1] < losses[0]


def test_frozen_parts_stay(model, batch, tmp_path) -> None:
    save_pretrained(model, tmp_path / "m")
    config = ModelConfig(train_language_model=False, train_encoder=False, start=str(tmp_path / "m"))
    model = build_model(config, texts=TEXTS, leads=12, seed=0)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert {name.split(".")[0] for name in frozen} == {"encoder", "language_model"}
    negative_log_likelihood(model(batch), batch).mean().backward()
    assert model.projector.state_dict() and all(p.grad is None for p in model.encoder.parameters())
