from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adjusters.contract import Batch
from causalecg.models.composite import EncoderProjectorLLM
from causalecg.models.config import ModelConfig
from causalecg.models.pretrained import build_model

CHAT = (
    "{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
TEXTS = ["Does this ECG show atrial fibrillation?", "Is it normal?", " yes", " no", " not sure", "Severity: low."]


@pytest.fixture
def model() -> EncoderProjectorLLM:
    return build_model(ModelConfig(), texts=TEXTS, leads=12, seed=0).eval()


@pytest.fixture
def batch() -> Batch:
    """Five items: one ECG, two ECGs, none; a withheld question; two and three candidates."""
    rng = np.random.default_rng(0)
    present = torch.tensor([[True, False], [True, True], [False, False], [True, False], [True, True]])
    ecg = torch.from_numpy(rng.standard_normal((5, 2, 12, 200)).astype(np.float32) * 0.3)
    ecg[~present] = 0
    two, three = ("yes", "no"), ("yes", "no", "not sure")
    return Batch(
        rows=torch.arange(5),
        ecg=ecg,
        ecg_present=present,
        question=("Is it normal?", "Does this ECG show atrial fibrillation?", "Is it normal?", None, "Is it normal?"),
        candidates=(two, three, two, two, three),
        candidate_ids=torch.tensor([[0, 1, -1], [0, 1, 2], [0, 1, -1], [0, 1, -1], [0, 1, 2]]),
        answer=torch.tensor([[1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], [1, 0, 0]], dtype=torch.bool),
        kind="one",
        columns={"ecg_row": torch.tensor([[0, -1], [1, 2], [-1, -1], [3, -1], [4, 5]])},
    )


def byte_level_tokenizer(special: list[str], **names: str) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        ["Is it normal?", " yes", " no", " not sure"],
        trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet),
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, **names)


@pytest.fixture
def save_gpt2() -> Callable[[Path], None]:
    """Writes a small GPT-2 with a byte-level tokenizer of its own, as transformers saves them."""

    def save(folder: Path) -> None:
        from transformers import GPT2Config, GPT2LMHeadModel

        tokenizer = byte_level_tokenizer(["<|endoftext|>"], eos_token="<|endoftext|>")
        shape = GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, n_positions=256)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            GPT2LMHeadModel(shape).save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    return save


@pytest.fixture
def chat_llama(tmp_path) -> str:
    """Folder of a small Llama with grouped-query attention, tied embeddings and a chat template, as SmolLM2 has."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = byte_level_tokenizer(["<|start|>", "<|end|>"], bos_token="<|start|>", eos_token="<|end|>")
    tokenizer.chat_template = CHAT
    shape = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=48, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.1, tie_word_embeddings=True,
        bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    folder = tmp_path / "llama"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(shape).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def bring_code(tmp_path, monkeypatch) -> Callable[[Path, Path], None]:
    """Gives a saved GPT-2 Python code of its own, which leaves a marker when it is run."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(tmp_path / "modules")

    def bring(language_model: Path, marker: Path) -> None:
        (language_model / "theirs.py").write_text(
            f"open({str(marker)!r}, 'w').close()\n"
            "from transformers import GPT2Config, GPT2LMHeadModel\n"
            "class Shape(GPT2Config):\n    model_type = 'theirs'\n"
            "class Model(GPT2LMHeadModel):\n    config_class = Shape\n"
        )
        path = language_model / "config.json"
        config = json.loads(path.read_text())
        code = {"AutoConfig": "theirs.Shape", "AutoModelForCausalLM": "theirs.Model"}
        path.write_text(json.dumps({**config, "model_type": "theirs", "auto_map": code}))

    return bring
