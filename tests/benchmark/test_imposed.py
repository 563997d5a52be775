from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causalecg.benchmark import dial
from causalecg.benchmark.imposed import CELLS, answer_shares, assigned_style, keep_units, natural_law, planned

#: topic -> P(S = 1), P(A = 1 | S = 0), P(A = 1 | S = 1): nothing like the law imposed.
NATURAL = {"AFIB": (0.3, 0.04, 0.12), "LVH": (0.3, 0.1, 0.25), "IMI": (0.5, 0.3, 0.2)}
SPLITS = ("train", "valid", "test")


@pytest.fixture(scope="module")
def units() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    parts = []
    for topic, (severe, low, high) in NATURAL.items():
        n = 8000
        s = (rng.random(n) < severe).astype(int)
        a = (rng.random(n) < np.where(s == 1, high, low)).astype(int)
        split = rng.choice(SPLITS, n, p=(0.6, 0.12, 0.28))
        parts.append(pd.DataFrame({"topic_code": topic, "answer_is_yes": a, "level": s, "split": split}))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("rho", [0.7, 0.8, 0.9])
def test_the_law_imposed_and_the_rho_achieved(units: pd.DataFrame, rho: float) -> None:
    p = dial.symmetric(rho)
    rng = np.random.default_rng(1)
    kept, cells = keep_units(units, "level", p, rng)
    kept["style"] = assigned_style(kept["level"].to_numpy(), p, rng)
    for _, part in kept.groupby(["split", "topic_code"]):
        # Cell sizes are whole units: each is off by at most one half.
        assert abs(part["answer_is_yes"].mean() - 0.5) <= 1 / len(part)
        assert abs((part["answer_is_yes"] == part["level"]).mean() - p) <= 1 / len(part)
    error = 4 * np.sqrt(0.25 / len(kept))
    assert abs((kept["style"] == kept["level"]).mean() - p) < error
    achieved = (kept["style"] == kept["answer_is_yes"]).mean()
    assert abs(achieved - rho) < error + 2 * 9 / len(kept)
    # F was not looked at: given severity it is independent of answer, topic and split.
    given = kept.groupby(["level", "answer_is_yes"])["style"].mean()
    for s in (0, 1):
        sizes = kept.groupby(["level", "answer_is_yes"]).size()[s]
        spread = np.sqrt(p * (1 - p) * (1 / sizes).sum())
        assert abs(given[s, 1] - given[s, 0]) < 4 * spread
    assert len(cells) == 3 * len(NATURAL) * len(CELLS)


def test_keeping_probabilities_are_recorded_and_give_the_natural_law_back(units: pd.DataFrame) -> None:
    kept, cells = keep_units(units, "level", 0.9, np.random.default_rng(2))
    by = ["split", "topic_code"]
    found = natural_law(kept, "level", by=by)
    count = units.groupby([*by, "answer_is_yes", "level"]).size()
    expected = count / count.groupby(level=[0, 1]).transform("sum")
    # Exactly: a cell's weights sum to how many units it had.
    assert np.allclose(found, expected.reindex(found.index), atol=1e-12)
    unweighted = kept.groupby([*by, "answer_is_yes", "level"]).size()
    unweighted = unweighted / unweighted.groupby(level=[0, 1]).transform("sum")
    assert (unweighted - expected).abs().max() > 0.2
    for cell in cells:
        rows = kept[(kept["split"] == cell["split"]) & (kept["topic_code"] == cell["topic"])]
        rows = rows[(rows["answer_is_yes"] == (cell["answer"] == "yes")) & (rows["level"] == cell["severity"])]
        assert len(rows) == cell["kept"] and (rows["keep_probability"] == cell["kept"] / cell["available"]).all()
        assert 0 < cell["keep_probability"] <= 1
    # Any other mean comes back too: prevalence per topic, without knowing the cells.
    for topic, rows in kept.groupby("topic_code"):
        weight = 1 / rows["keep_probability"]
        whole = units.loc[units["topic_code"] == topic, "answer_is_yes"].mean()
        assert np.average(rows["answer_is_yes"], weights=weight) == pytest.approx(whole, abs=1e-12)


def test_the_scarcest_cell_is_kept_whole(units: pd.DataFrame) -> None:
    part = units[(units["topic_code"] == "AFIB") & (units["split"] == "train")]
    have = part.groupby(["answer_is_yes", "level"]).size()
    plan = planned(part, "level", 0.9)
    assert max(plan[cell] / have[cell] for cell in CELLS) == pytest.approx(1, abs=0.02)
    assert all(plan[cell] <= have[cell] for cell in CELLS)
    assert answer_shares(part, "level").groupby(level=1).sum().to_numpy() == pytest.approx([1, 1])
    only_mild = part[part["level"] == 0]
    assert answer_shares(only_mild, "level")[1, 1] == 0 and planned(only_mild, "level", 0.9)[1, 1] == 0


@pytest.mark.realdata
@pytest.mark.slow
def test_the_natural_law_comes_back_on_real_labels(real_data, tmp_path) -> None:
    """Weights 1/pi of the items of a cohort of real signals, against all units of its test patients."""
    from causalecg.benchmark.truth import Truth
    from causalecg.cohort.schema import Cohort
    from causalecg.cohort.statements import statements_cohort
    from causalecg.errors import InputError

    statements_cohort(tmp_path / "c", ptbxl=real_data / "ptbxl", rho=0.8, topics=["AFIB", "LVH"], progress=False)
    cohort = Cohort.open(tmp_path / "c")
    truth = Truth.open(cohort)
    rows = truth.items
    test, natural = (rows[rows["split"] == name] for name in ("test", "test_natural"))
    found = natural_law(test, "severity", by=["topic_code"])
    count = natural.groupby(["topic_code", "answer_is_yes", "severity"]).size()
    expected = count / count.groupby(level=0).transform("sum")
    assert np.allclose(found, expected.reindex(found.index), atol=1e-12)
    assert (rows["keep_probability"] == cohort.items["keep_probability"]).all()
    assert (rows.loc[~rows["split"].isin(("train", "valid", "test")), "style_probability"] == 0.5).all()
    agreed = rows[rows["split"] == "train"]["style_probability"].map(lambda v: v > 0.5).mean()
    assert abs(agreed - truth.record["q"]) < 4 * np.sqrt(0.25 / (rows["split"] == "train").sum())
    with pytest.raises(InputError, match="not drawn from a law"):
        _ = truth.law
