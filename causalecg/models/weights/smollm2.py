"""SmolLM2 as packaged for llama.cpp (GGUF, 4 bits a weight) to a folder that transformers loads at once."""

from __future__ import annotations

from pathlib import Path


def convert(files: Path, folder: Path) -> None:
    """Write model, tokenizer and chat template. The weights are what transformers reads from the file, 32 bits each."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(files, gguf_file="weights.gguf")
        read = AutoModelForCausalLM.from_pretrained(files, gguf_file="weights.gguf", dtype=torch.float32)
        # A model read from GGUF refuses to be saved: the same weights in a plain one.
        about = read.config.to_dict()
        kept = {key: about[key] for key in LlamaConfig().to_dict().keys() & about.keys() if key != "_name_or_path"}
        plain = LlamaForCausalLM(LlamaConfig(**kept))
        plain.load_state_dict(read.state_dict())
        plain.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    finally:
        if shown:
            logging.enable_progress_bar()
