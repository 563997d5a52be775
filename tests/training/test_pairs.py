"""Two ECGs: what is adjusted for is the pair of severities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from adjusters.registry import adjuster
from causalecg.cohort.schema import Cohort
from causalecg.errors import InputError
from causalecg.training.pairs import has_pairs, pair_column, pair_words, with_pairs
from causalecg.training.run import Run, train
from structural_models import identify, preset

SCALE = "severity_simulated"


def test_every_pair_has_a_level_and_words_of_its_own() -> None:
    table = pd.DataFrame({SCALE: [1, 1, 1, 0, -1], f"{SCALE}_1": [1, 1, 0, 0, -1], f"{SCALE}_2": [-1, 0, 1, 0, -1]})
    assert has_pairs(table, SCALE) and not has_pairs(table.drop(columns=f"{SCALE}_2"), SCALE)
    levels = with_pairs(table, SCALE, 2)[pair_column(SCALE)].tolist()
    assert levels == [1, 4, 3, 2, -1]
    words = pair_words(["low", "high"])
    assert [words[i] for i in levels[:4]] == ["high", "high then low", "low then high", "low then low"]
    assert len(set(words)) == len(words) == 6


def test_the_maximum_would_not_do() -> None:
    """Wording and answer both follow the first ECG's severity, and not each other: weighted by the pair their difference
    is zero to four standard errors, weighted by the maximum it is not."""
    rng = np.random.default_rng(0)
    n = 20_000
    first, second = rng.integers(0, 2, n), rng.integers(0, 2, n)
    style = np.where(rng.random(n) < 0.2 + 0.6 * first, "urgent", "calm")
    yes = rng.random(n) < 0.1 + 0.8 * first
    table = pd.DataFrame(
        {SCALE: np.maximum(first, second), f"{SCALE}_1": first, f"{SCALE}_2": second, "style": style, "topic": "t"}
    )
    table = with_pairs(table, SCALE, 2)

    def difference(column: str) -> tuple[float, float]:
        estimand = identify(preset("severity_visible"), columns={"severity": column})
        w = adjuster("ipw").fit(table, estimand, rng=rng).weights(table)
        urgent = style == "urgent"
        gap = np.average(yes[urgent], weights=w[urgent]) - np.average(yes[~urgent], weights=w[~urgent])
        return abs(gap), 4 * np.sqrt(sum(0.25 * (w[at] ** 2).sum() / w[at].sum() ** 2 for at in (urgent, ~urgent)))

    by_pair, error = difference(pair_column(SCALE))
    by_maximum, _ = difference(SCALE)
    assert by_pair < error < by_maximum / 2


def paired(cohort: Cohort) -> Cohort:
    """The same cohort with a second ECG, of the next item of the split, in every training and validation item."""
    items = cohort.items.copy()
    items["ecg_ids"], items["patient_ids"] = items["ecg_ids"].map(list), items["patient_ids"].map(list)
    items[f"{SCALE}_1"], items[f"{SCALE}_2"] = items[SCALE], -1
    for split in ("train", "valid"):
        rows = items.index[items["split"] == split]
        following = np.roll(rows, -1)
        for name in ("ecg_ids", "patient_ids"):
            joined = [a + b for a, b in zip(items.loc[rows, name], items.loc[following, name], strict=True)]
            items.loc[rows, name] = pd.Series(joined, index=rows, dtype=object)
        items.loc[rows, f"{SCALE}_2"] = items.loc[following, SCALE].to_numpy()
    items[SCALE] = items[[f"{SCALE}_1", f"{SCALE}_2"]].max(axis=1)
    return replace(cohort, items=items)


def test_a_run_on_pairs_adjusts_for_the_pair(cohort, config, tmp_path) -> None:
    config = config.model_copy(update={"epochs": 1})
    run = train(paired(cohort), "backdoor", config, seed=0, out=tmp_path / "r", progress=False)
    assert run.estimand is not None and run.estimand.roles["severity"] == pair_column(SCALE)
    assert run.severity_column == SCALE  # of the cohort: what donors are matched by
    assert run.scorer().passes == 4
    assert run.scorer().objective.contexts[0] == "Severity: low then low."


def test_a_severity_that_is_not_defined_is_refused_and_leaves_nothing(cohort, config, tmp_path) -> None:
    items = cohort.items.assign(**{SCALE: np.where(np.arange(len(cohort.items)) % 7 == 0, -1, cohort.items[SCALE])})
    part = replace(cohort, items=items)
    with pytest.raises(InputError, match="not defined for .* of the items to learn from"):
        train(part, "backdoor", config, seed=0, out=tmp_path / "r", progress=False)
    assert not (tmp_path / "r").exists()
    train(part, "none", config.model_copy(update={"epochs": 1}), seed=0, out=tmp_path / "r", progress=False)


def test_a_refused_run_can_be_given_again_with_what_was_missing(cohort, config, tmp_path) -> None:
    wrong = config.model_copy(update={"environment": "nowhere"})
    with pytest.raises(InputError, match="no environment 'nowhere'"):
        train(cohort, "none", wrong, seed=0, out=tmp_path / "r", progress=False)
    again = train(cohort, "none", config.model_copy(update={"epochs": 1}), seed=0, out=tmp_path / "r", progress=False)
    assert Run.open(tmp_path / "r").record == again.record


def test_without_a_scale_the_refusal_names_the_open_path(cohort, config, tmp_path) -> None:
    from structural_models.errors import NotIdentified

    bare = replace(cohort, meta={**cohort.meta, "severity_scales": {}})
    with pytest.raises(NotIdentified, match="question ← severity → answer stays open"):
        train(bare, "backdoor", config, seed=0, out=tmp_path / "r", progress=False)
    run = train(bare, "none", config.model_copy(update={"epochs": 1}), seed=0, out=tmp_path / "r", progress=False)
    assert run.estimand is None and run.severity_column is None


def test_the_cohort_may_name_its_graph(cohort, config, tmp_path) -> None:
    config = config.model_copy(update={"epochs": 1})
    named = replace(cohort, meta={**cohort.meta, "graph": "topic_and_style"})
    run = train(named, "ipw", config, seed=0, out=tmp_path / "r", progress=False)
    assert run.graph == "topic_and_style"
    assert run.estimand is not None and run.estimand.conditioning == ("ecg", "topic")
    own = config.model_copy(update={"graph": "reference_paper"})
    assert train(named, "ipw", own, seed=0, out=tmp_path / "o", progress=False).graph == "reference_paper"


def test_a_rewrite_may_add_an_answer(cohort, config, tmp_path) -> None:
    """Modality dropout: a quarter of the items lose their ECG, and their answer is that it cannot be told."""
    from adjusters.contract import Adjuster, Card
    from adjusters.registry import _registered, register

    @register("abstaining")
    class Abstaining(Adjuster):
        card = Card(summary="Without an ECG, abstain.", uses=("rewrite",))

        def rewrite(self, table, *, rng):
            blind = rng.random(len(table)) < 0.25
            names = [[*c, "cannot tell"] if b else list(c) for c, b in zip(table["candidates"], blind, strict=True)]
            answers = [["cannot tell"] if b else list(a) for a, b in zip(table["answer"], blind, strict=True)]
            ecgs = [[] if b else list(e) for e, b in zip(table["ecg_ids"], blind, strict=True)]
            return table.assign(candidates=names, answer=answers, ecg_ids=ecgs)

    try:
        config = config.model_copy(update={"epochs": 1})
        run = train(cohort, "abstaining", config, seed=0, out=tmp_path / "r", progress=False)
        assert run.record["further_answers"] == ["cannot tell"]
    finally:
        _registered.pop("abstaining")
