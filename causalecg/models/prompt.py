"""The text around a question: bos and answer cue, or the turns of a chat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adjusters.contract import ContractError
from causalecg.errors import InputError
from causalecg.models.config import ModelConfig

#: Stands for the question while a chat template is rendered. No tokenizer has it as a token of its own.
_MARK = "QUESTION-AND-ECG"


@dataclass(frozen=True)
class Prompt:
    """``before`` question, ECG, ``after``, candidate.

    Attributes:
        start: ids before the question where they are no text; empty under a chat template.
        before: text before the question.
        after: text between ECG and candidate.
        gap: what parts a candidate from what stands before it.
    """

    start: tuple[int, ...]
    before: str
    after: str
    gap: str


def prompt_of(tokenizer: Any, config: ModelConfig) -> Prompt:
    """InputError where a chat is wanted and the tokenizer has no template, or one that does not repeat the question;
    ContractError without bos or eos token or an answer cue."""
    if not config.chat:
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if start is None or not tokenizer.encode(config.answer_cue, add_special_tokens=False):
            raise ContractError("the language model's tokenizer needs a bos or eos token and a non-empty answer cue")
        return Prompt((int(start),), "", config.answer_cue, " ")
    if not getattr(tokenizer, "chat_template", None):
        raise InputError(f"language model '{config.language_model}' has no chat template; set chat = false")
    turn = [{"role": "user", "content": _MARK}]
    text = str(tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))
    if text.count(_MARK) != 1:
        raise InputError(
            f"the chat template of language model '{config.language_model}' shows a question {text.count(_MARK)} "
            "times; set chat = false"
        )
    before, _, after = text.partition(_MARK)
    return Prompt((), before, after, "" if after[-1:].isspace() else " ")
