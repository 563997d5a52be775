"""The openecg codec's checkpoint to safetensors."""

from __future__ import annotations

from pathlib import Path

#: Start of a name in the checkpoint -> in ours. Its heads are left out.
NAMES = {
    "conv_tok.": "embed.",
    "pos_enc": "positions",
    "lower_convs.": "convolutions.",
    "lower_norms.": "norms.",
    "upper_transformer.": "transformer.",
}


def convert(files: Path, folder: Path) -> None:
    """Write ``codec.safetensors``. The checkpoint, whose hash is pinned, is read by torch's loader for tensors only."""
    import torch
    from safetensors.torch import save_file

    checkpoint = torch.load(files / "codec.pt", map_location="cpu", weights_only=True)
    found = {}
    for name, value in checkpoint["model_state"].items():
        for theirs, ours in NAMES.items():
            if name.startswith(theirs):
                found[ours + name.removeprefix(theirs)] = value.contiguous()
    save_file(found, folder / "codec.safetensors")
