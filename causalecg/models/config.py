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


class LowRank(BaseModel):
    """Low-rank adaptation of a language model whose own weights stay as they are (Hu et al. 2022, LoRA).

    Attributes:
        rank: of each update.
        alpha: updates are scaled by alpha / rank.
        dropout: of what goes into an update.
        targets: names of the linear layers that are updated, or "all-linear".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[str, ...] | Literal["all-linear"] = ("q_proj", "v_proj")


class ModelConfig(BaseModel):
    """Parts of an encoder-projector-LLM.

    Attributes:
        encoder, encoder_options: name in ``causalecg list encoders`` and its keyword options.
        projector, projector_options: likewise, ``causalecg list projectors``.
        language_model: "embedded", weights that were fetched ("smollm2"), or the folder or hub name of a transformers
            causal language model.
        embedded: size of the embedded language model.
        revision: of a hub model.
        train_language_model: whether its weights are updated; ``None`` = only those of the embedded one.
        lora: low-rank updates of a language model that is frozen otherwise.
        dtype: precision of a language model's frozen weights. Under "bfloat16" its head, low-rank updates and all that
            is not the language model stay in single precision.
        chat: ask in the language model's own chat template, which then stands for the answer cue.
        start: folder of a saved model, a run or a pre-trained encoder; parts that are in it begin with its weights, and
            an embedded language model has its tokenizer. In a comparison also the folder of another one, of which each
            arm and seed begins with its own run.
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
    lora: LowRank | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    chat: bool = False
    start: str | None = None
    train_encoder: bool = True
    answer_cue: str = " Answer:"
    length_normalisation: Literal["sum", "mean"] = "sum"
    trust_remote_code: bool = False

    @property
    def language_model_is_trained(self) -> bool:
        if self.train_language_model is None:
            return self.language_model == "embedded"
        return self.train_language_model

    @model_validator(mode="after")
    def _language_model_fits(self) -> Self:
        if self.language_model == "embedded" and (self.lora or self.chat or self.dtype != "float32"):
            raise ValueError("lora, chat and dtype are of pretrained language models, not of the embedded one")
        if self.language_model_is_trained and self.lora is not None:
            raise ValueError("lora adapts a frozen language model; leave out lora or train_language_model")
        if self.language_model_is_trained and self.dtype != "float32":
            raise ValueError("a language model whose own weights are trained needs dtype 'float32'")
        if self.chat and self.answer_cue != ModelConfig.model_fields["answer_cue"].default:
            raise ValueError("under chat the template stands for the answer cue; leave out answer_cue")
        return self
