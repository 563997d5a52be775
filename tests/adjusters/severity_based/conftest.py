from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from adjusters.toy import SEVERITY


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Three severities, two topics, three styles in two wordings each, two patients' rows at a time."""
    rng = np.random.default_rng(1)
    n = 240
    severity = rng.integers(0, 3, n)
    topic = rng.integers(0, 2, n)
    p = np.array([[0.6, 0.3, 0.1], [0.3, 0.4, 0.3], [0.1, 0.3, 0.6]])[severity]
    p = np.where(topic[:, None] == 1, p[:, ::-1], p)
    style = (p.cumsum(1) < rng.random(n)[:, None]).sum(1)
    wording = rng.integers(0, 2, n)
    topics, styles = np.array(["infarction", "fibrillation"]), np.array(["calm", "plain", "urgent"])
    texts = (("Kindly look for {}", "Kindly say whether {} is there"), ("Is there {}", "Does this show {}"),
             ("Quick, {} or not", "Hurry, any {} now"))  # fmt: skip
    return pd.DataFrame(
        {
            "item_id": [f"i{i}" for i in range(n)],
            "patient_ids": [[f"p{i // 2}"] for i in range(n)],
            "ecg_ids": [[f"e{i}"] for i in range(n)],
            SEVERITY: severity,
            "site": rng.integers(0, 2, n),
            "age": rng.normal(60, 15, n) + 5 * severity,
            "sex": rng.choice(["female", "male"], n),
            "topic": topics[topic],
            "question_id": topics[topic],
            "style": styles[style],
            "wording_id": [f"{styles[f]}-{w}" for f, w in zip(style, wording, strict=True)],
            "question": [texts[f][w].format(topics[t]) for f, w, t in zip(style, wording, topic, strict=True)],
            "kind": "one",
        }
    )
