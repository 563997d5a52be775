from __future__ import annotations

import json
import re

from causalecg.reports.training_curves import read_curves, training_curves_figure


def test_what_training_wrote_is_what_is_drawn(tmp_path) -> None:
    lines = [
        {"stage": "bias", "epoch": 0, "loss_g": 0.9},
        {"stage": "main", "epoch": 0, "loss_f": 0.7, "loss_g": 0.8, "validation_loss": 0.6},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    epochs = read_curves(tmp_path)
    assert epochs == [
        {"stage": "bias", "training": {"g": 0.9}, "validation": None},
        {"stage": "main", "training": {"f": 0.7, "g": 0.8}, "validation": 0.6},
    ]
    assert read_curves(tmp_path / "nothing") == []
    curves = [{"arm": arm, "seed": seed, "epochs": epochs} for arm in ("none", "lff <1>") for seed in (0, 1)]
    svg = training_curves_figure(curves)
    assert "lff &lt;1&gt;" in svg and svg.count(">validation<") == 1
    # Two arms, two seeds; of the losses only that of part g has two points, and so a line.
    assert len(re.findall(r'<path d="M [^"]*L [^"]*" clip-path=', svg)) == 4
    assert svg == training_curves_figure(curves)
