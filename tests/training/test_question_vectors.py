"""Vectors of the questions by a sentence encoder: one per row, used by the arm that asks for them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from causalecg.errors import InputError
from causalecg.training.config import RunConfig
from causalecg.training.question_vectors import COLUMN, with_question_vectors
from causalecg.training.run import train


def test_a_vector_is_the_mean_of_the_sentences_last_states(sentence_encoder) -> None:
    from transformers import AutoModel, AutoTokenizer

    questions = ["is it?", "does this show a block, or none?", "is it?"]
    table = with_question_vectors(pd.DataFrame({"question": questions}), sentence_encoder)
    tokenizer, model = (
        AutoTokenizer.from_pretrained(sentence_encoder),
        AutoModel.from_pretrained(sentence_encoder).eval(),
    )
    for question, vector in zip(questions, table[COLUMN], strict=True):
        with torch.no_grad():
            states = model(**tokenizer(question, return_tensors="pt")).last_hidden_state[0]
        wanted = states.mean(0) / states.mean(0).norm()
        assert np.allclose(vector, wanted.numpy(), atol=1e-6)


def test_weights_go_by_it(cohort, sentence_encoder, tmp_path) -> None:
    config = RunConfig(epochs=1, question_vectors=sentence_encoder)
    arm = f"ipw?propensity=embedding&embedding={COLUMN}&folds=0"
    balance = train(cohort, arm, config, seed=0, out=tmp_path / "run", progress=False).balance()
    assert balance is not None and len(balance)


def test_an_encoder_that_is_not_there_is_said(tmp_path, monkeypatch) -> None:
    table = pd.DataFrame({"question": ["is it?"]})
    monkeypatch.setenv("CAUSALECG_CACHE", str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"run 'causalecg fetch minilm' \(84 MB\) first"):
        with_question_vectors(table, "minilm")
    with pytest.raises(InputError, match="question_vectors is 'minilm' or a folder, and there is no folder sbert in"):
        with_question_vectors(table, "sbert")
    with pytest.raises(InputError, match="holds no sentence encoder"):
        with_question_vectors(table, str(tmp_path))
