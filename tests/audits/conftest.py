"""Score sets of models whose behaviour is known, built without any model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from causalecg.audits.score_set import ScoreSet

YES_NO = ("yes", "no")
SWAPS = (
    "other_patient[answer=any]",
    "other_patient[answer=opposite]",
    "other_patient[answer=different,severity=same]",
)


@pytest.fixture
def make_scores() -> Callable[..., ScoreSet]:
    """make_scores(n, models={name: (role, answer)}): ``answer(ecg_answer, style, rng)`` -> (n,) 0/1.

    ``ecg_answer`` is the true answer of the ECG shown (the donor's under a swap, a coin without one); ``style`` agrees
    with the item's own true answer with probability ``rho``, and is turned round by rewording.
    """

    def make(
        n: int, models: dict[str, tuple[str, Callable]], *, rho: float = 0.99, seed: int = 0, per_patient: int = 1
    ):
        rng = np.random.default_rng(seed)
        patients = -(-n // per_patient)
        truth = rng.integers(0, 2, n)
        style = np.where(rng.random(n) < rho, truth, 1 - truth)
        items = pd.DataFrame(
            {
                "item_id": [f"i{i}" for i in range(n)],
                "split": "test",
                "patient_ids": [[f"p{i % patients}"] for i in range(n)],
                "question_id": "q",
                "template_id": "t",
                "style": [str(s) for s in style],
                "topic": "t",
                "answer": [[YES_NO[t]] for t in truth],
                "question": "?",
            }
        )
        donor = {SWAPS[0]: rng.integers(0, 2, n), SWAPS[1]: 1 - truth, SWAPS[2]: 1 - truth}
        rows = []
        for name, (_, answer) in models.items():
            shown = {"intact": (truth, style, None), "no_ecg": (rng.integers(0, 2, n), style, None)}
            shown |= {swap: (d, style, d) for swap, d in donor.items()}
            shown["wording[held_out]"] = (truth, 1 - style, None)
            for intervention, (ecg, asked, expected) in shown.items():
                given = answer(ecg, asked, rng)
                rows.append(
                    pd.DataFrame(
                        {
                            "run_id": name,
                            "item_id": items["item_id"],
                            "intervention": intervention,
                            "draw": 0,
                            "status": "answered",
                            "answer_given": [[YES_NO[g]] for g in given],
                            "answer_expected": None if expected is None else [[YES_NO[e]] for e in expected],
                        }
                    )
                )
        runs = {name: {"model": name, "role": role} for name, (role, _) in models.items()}
        return ScoreSet(items, pd.concat(rows, ignore_index=True), runs)

    return make


@pytest.fixture
def readers() -> dict[str, Callable]:
    """Answers of a reader of the ECG who errs in 10 %, of a user of the style, and of one who always says no."""

    def reads(ecg: np.ndarray, style: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.where(np.random.default_rng(5).random(len(ecg)) < 0.9, ecg, 1 - ecg)

    def guesses(ecg: np.ndarray, style: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return style

    def constant(ecg: np.ndarray, style: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.ones_like(ecg)

    return {"reads": reads, "guesses": guesses, "constant": constant}
