"""Score sets of models of known behaviour under every intervention, with log-likelihoods."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from causalecg.audits.interventions import FURTHER, SUITES, is_drawn
from causalecg.audits.score_set import ScoreSet

YES_NO = ["yes", "no"]
D_PRIME = 2.56


@pytest.fixture
def world() -> Callable[..., ScoreSet]:
    """world(n, {name: (role, model)}): ``model(seen) -> (n,) P(yes)``.

    ``seen`` holds what the model is shown: ``x`` (evidence of the first ECG, NaN without one), ``x2`` (of the second),
    ``style`` (0, 1), ``topic`` (0, 1), ``told`` (metadata that gives the answer away, NaN without), ``question``
    (False = withheld), ``first`` (index of the candidate listed first), ``what`` (intervention) and ``rng``. The finding
    is 1 = yes with probability 1/2, the style agrees with it with probability ``rho``.
    """

    def make(n: int, models: dict, *, rho: float = 0.8, seed: int = 0) -> ScoreSet:
        rng = np.random.default_rng(seed)
        finding = rng.integers(0, 2, n)
        style = np.where(rng.random(n) < rho, finding, 1 - finding)
        topic = rng.integers(0, 2, n)
        x, x2 = (D_PRIME / 2 * (2 * finding - 1) + rng.standard_normal(n) for _ in range(2))
        items = pd.DataFrame(
            {
                "item_id": [f"i{i}" for i in range(n)],
                "split": "test",
                "patient_ids": [[f"p{i}"] for i in range(n)],
                "ecg_ids": [[f"e{i}"] for i in range(n)],
                "question_id": "q",
                "template_id": "t",
                "style": [f"style{s}" for s in style],
                "topic": [f"topic{t}" for t in topic],
                "candidates": [YES_NO] * n,
                "kind": "one",
                "answer": [["yes"] if f else ["no"] for f in finding],
                "shortcut_answer": [["yes"] if s else ["no"] for s in style],
                "severity_known": rng.integers(0, 3, n),
                "question": "?",
            }
        )
        by_value = [np.flatnonzero(finding == v) for v in (0, 1)]
        rows = []
        for name, (_, model) in models.items():
            for what in SUITES["full"]:
                for draw in range(FURTHER.get(what, 1) if is_drawn(what) else 1):
                    # The same donors for every model.
                    drawn = np.random.default_rng([seed, len(what), sum(map(ord, what)), draw])
                    seen = SimpleNamespace(
                        x=x.copy(), x2=x2.copy(), style=style.copy(), topic=topic.copy(), told=finding.astype(float),
                        question=True, first=np.zeros(n, dtype=int), what=what, rng=np.random.default_rng([seed, draw, 9]),
                    )  # fmt: skip
                    donor = None
                    if "answer=any" in what:
                        donor = drawn.integers(0, n, n)
                    elif "answer=" in what:
                        donor = np.array([drawn.choice(by_value[1 - f]) for f in finding])
                    if donor is not None:
                        if "second" not in what:
                            seen.x = x[donor]
                        if "first" not in what:
                            seen.x2 = x2[donor]
                    if "no_ecg" in what:
                        seen.x[:] = seen.x2[:] = np.nan
                    if what.startswith("ecg["):
                        seen.x[:], seen.x2[:] = drawn.standard_normal((2, n))
                    if what in ("wording[style=other]", "wording[held_out]"):
                        seen.style = 1 - style
                    if "no_metadata" in what:
                        seen.told[:] = np.nan
                    if "no_question" in what:
                        seen.question = False
                    if what == "other_topic":
                        seen.topic = 1 - topic
                    if what == "option_order":
                        seen.first[:] = 1
                    p = np.clip(model(seen), 1e-6, 1 - 1e-6)
                    rows.append(
                        pd.DataFrame(
                            {
                                "run_id": name,
                                "item_id": items["item_id"],
                                "intervention": what,
                                "draw": draw,
                                "status": "answered",
                                "text": None,
                                "log_likelihood": list(np.log(np.stack([p, 1 - p], axis=1))),
                                "answer_given": [["yes"] if v else ["no"] for v in p > 0.5],
                                "answer_expected": None
                                if donor is None or "which" in what
                                else [["yes"] if f else ["no"] for f in finding[donor]],
                                "donor_patient_ids": None if donor is None else [[f"p{d}"] for d in donor],
                                "donor_ecg_ids": None,
                            }
                        )
                    )
        runs = {name: {"model": name, "role": role} for name, (role, _) in models.items()}
        return ScoreSet(items, pd.concat(rows, ignore_index=True), runs)

    return make


def logistic(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def reads(seen: SimpleNamespace) -> np.ndarray:
    """The ideal reader; a coin without an ECG."""
    return np.where(np.isnan(seen.x), 0.5 + 1e-3 * (2 * seen.topic - 1), logistic(D_PRIME * np.nan_to_num(seen.x)))


def goes_by_style(seen: SimpleNamespace) -> np.ndarray:
    return np.where(seen.style == 1, 0.97, 0.03) if seen.question else np.full(len(seen.style), 0.4)
