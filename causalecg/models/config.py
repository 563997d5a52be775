"""What a model is made of."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class EmbeddedLanguageModel(BaseModel):
    """Size of the small Llama-architecture model that is trained from scratch with its own tokenizer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hidden: int = Field(default=64, ge=8)
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=4, ge=1)
    vocabulary: int = Field(default=1024, ge=260)

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        # Rotary positions turn pairs of numbers, so that a head's width is even.
        if self.hidden % (2 * self.heads):
            raise ValueError(f"hidden ({self.hidden}) must be a multiple of twice heads ({self.heads})")
        return self


class ModelConfig(BaseModel):
    """Parts of an encoder-projector-LLM.

    Attributes:
        encoder, encoder_options: name in ``causalecg list encoders`` and its keyword options.
        projector, projector_options: likewise, ``causalecg list projectors``.
        language_model: "embedded", or the folder or hub name of a transformers causal language model.
        embedded: size of the embedded language model.
        revision: of a hub model.
        train_language_model: whether its weights are updated; ``None`` = only those of the embedded one.
        train_encoder: whether the encoder's weights are updated.
        answer_cue: text between the ECG and the answer.
        length_normalisation: candidate log-likelihoods are the "sum" or the "mean" over their tokens.
        trust_remote_code: run Python code that comes with a hub model. Off unless you say so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: str = "resnet"
    encoder_options: dict[str, Any] = Field(default_factory=dict)
    projector: str = "linear"
    projector_options: dict[str, Any] = Field(default_factory=dict)
    language_model: str = "embedded"
    embedded: EmbeddedLanguageModel = Field(default_factory=EmbeddedLanguageModel)
    revision: str | None = None
    train_language_model: bool | None = None
    train_encoder: bool = True
    answer_cue: str = " Answer:"
    length_normalisation: Literal["sum", "mean"] = "sum"
    trust_remote_code: bool = False

    @property
    def language_model_is_trained(self) -> bool:
        if self.train_language_model is None:
            return self.language_model == "embedded"
        return self.train_language_model
