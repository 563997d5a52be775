"""The scorer: its basis against scikit-learn's, and what it does with what is withheld."""

from __future__ import annotations

from typing import cast, get_args

import numpy as np
import pytest
import torch
from sklearn.preprocessing import SplineTransformer

from adjusters.contract import HasFeatureDim, HasFeatures, HasParts, Scorer, View
from causalecg.benchmark.t0.scorer import INTERVALS, REACH, EvidenceScorer, Fit, cubic_splines
from causalecg.benchmark.t0.tables import asked
from causalecg.errors import InputError


def _scorer(fit: Fit = "spline", shortcuts: int = 2) -> EvidenceScorer:
    scorer = EvidenceScorer(shortcuts, ("level 0", "level 1"), fit)
    with torch.no_grad():
        for parameter in scorer.parameters():
            parameter.copy_(torch.from_numpy(np.random.default_rng(1).standard_normal(parameter.shape)))
    return scorer


def _batch(n: int = 40, shortcuts: int = 2):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(2)
    return asked(2 * rng.standard_normal((n, 2)), rng.integers(0, 2, n), rng.integers(0, 2, (n, shortcuts)))


def test_splines_are_those_of_scikit_learn() -> None:
    x = np.linspace(-7, 7, 501)
    knots = np.linspace(-REACH, REACH, INTERVALS + 1)[:, None]
    theirs = SplineTransformer(degree=3, knots=knots, extrapolation="constant").fit_transform(x[:, None])
    np.testing.assert_allclose(cubic_splines(torch.from_numpy(x)).numpy(), theirs, atol=1e-12)


@pytest.mark.parametrize("fit", get_args(Fit))
def test_it_is_a_scorer_with_features_and_parts(fit: Fit) -> None:
    scorer, batch = _scorer(fit), _batch()
    assert all(isinstance(scorer, kind) for kind in (Scorer, HasFeatures, HasFeatureDim, HasParts))
    for view in get_args(View):
        assert scorer.features(batch, view).shape == (len(batch), scorer.feature_dim(view))
    log_odds = scorer(batch)[:, 0] - scorer(batch)[:, 1]
    fused = scorer.features(batch, "fused") @ scorer.head.weight.flatten()
    torch.testing.assert_close(fused, log_odds)
    assert log_odds.dtype == torch.float64
    with pytest.raises(KeyError):
        scorer.part("projector")
    assert scorer.part("answer_head") is scorer.head


def test_what_is_withheld_does_not_matter() -> None:
    scorer, batch = _scorer(), _batch()
    blind = batch.without_ecg()
    shuffled = blind.replace(ecg=batch.ecg.flip(0))
    torch.testing.assert_close(scorer(blind), scorer(shuffled))
    deaf = scorer(batch.without_question())
    other = scorer(batch.replace(question=tuple(reversed(batch.question))).without_question())
    torch.testing.assert_close(deaf, other)


def test_severity_told_matters_and_an_unknown_one_is_refused() -> None:
    scorer, batch = _scorer(), _batch()
    low, high = (scorer(batch.with_context(f"Severity: level {k}.")) for k in (0, 1))
    assert (low != high).any() and (low != scorer(batch)).any()
    with pytest.raises(InputError, match="tells the severity 'grave'"):
        scorer(batch.with_context("Severity: grave."))
    with pytest.raises(InputError, match="1 styles, this scorer reads 2"):
        scorer(_batch(shortcuts=1))


def test_any_candidates_can_be_scored_and_yes_and_no_stay_what_they_are() -> None:
    scorer, batch = _scorer(), _batch()
    severity = scorer(batch.asking("How severe is the illness?", ("level 0", "level 1", "level 2")))
    assert severity.shape == (len(batch), 3) and torch.isfinite(severity).all()
    three = batch.replace(
        candidates=(("no", "cannot tell", "yes"),) * len(batch),
        candidate_ids=torch.tensor([[1, 2, 0]] * len(batch)),
        answer=torch.zeros(len(batch), 3, dtype=torch.bool),
    )
    torch.testing.assert_close(scorer(three)[:, [2, 0]], scorer(batch))


def test_the_linear_fit_adds_up() -> None:
    """Log-odds of a question about one topic in one style: shifts of one and the same line."""
    scorer = _scorer("linear", shortcuts=1)
    x = np.random.default_rng(0).standard_normal((30, 2))
    z = {}
    for topic in (0, 1):
        for style in (0, 1):
            batch = asked(x, np.full(30, topic), np.full((30, 1), style))
            z[topic, style] = cast(torch.Tensor, scorer(batch))[:, 0].detach().numpy()
    assert np.ptp(z[1, 0] - z[0, 0]) < 1e-12
    np.testing.assert_allclose(z[1, 1] - z[0, 1], z[1, 0] - z[0, 0], atol=1e-12)


def test_the_basis_is_not_remembered_past_a_change() -> None:
    scorer, batch = _scorer(), _batch()
    before = scorer(batch).clone()
    batch.ecg.mul_(2.0)
    assert (scorer(batch) != before).any()
