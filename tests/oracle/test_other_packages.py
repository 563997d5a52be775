"""Our estimators against other people's packages (extra "oracle"); skipped where those are not installed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causalecg.audits.statistics.mcnemar import mcnemar
from structural_models.propensity import fit_propensity
from structural_models.weights import effective_sample_size, inverse_probability_weights, overlap_weights

pytestmark = pytest.mark.oracle


@pytest.fixture
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = 3000
    age, severity = rng.standard_normal(n), rng.integers(0, 3, n)
    score = np.stack([np.zeros(n), 0.6 * age + 0.4 * severity, -0.5 * age + 0.3 * severity], 1)
    p = np.exp(score) / np.exp(score).sum(1, keepdims=True)
    style = (p.cumsum(1) < rng.random(n)[:, None]).sum(1)
    return pd.DataFrame({"age": age, "severity": severity, "style": style})


def test_multinomial_propensity_against_statsmodels(table) -> None:
    api = pytest.importorskip("statsmodels.api")
    fitted = fit_propensity(table, "style", ["age", "severity"], method="multinomial")
    design = pd.concat([table["age"], pd.get_dummies(table["severity"], drop_first=True)], axis=1).astype(float)
    theirs = api.MNLogit(table["style"], api.add_constant(design)).fit(disp=0, tol=1e-12, maxiter=200)
    assert np.abs(fitted.predict(table) - np.asarray(theirs.predict())).max() < 1e-6


def test_saturated_propensity_against_pandas(table) -> None:
    fitted = fit_propensity(table, "style", ["severity"])
    shares = pd.crosstab(table["severity"], table["style"], normalize="index").loc[table["severity"]].to_numpy()
    assert np.abs(fitted.predict(table) - shares).max() < 1e-12


def test_weights_against_causallib(table) -> None:
    causallib = pytest.importorskip("causallib.estimation")
    from sklearn.linear_model import LogisticRegression

    learner = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000)
    covariates = pd.concat(
        [table["age"], pd.get_dummies(table["severity"], drop_first=True, prefix="s")], axis=1
    ).astype(float)
    for stabilised in (False, True):
        theirs = causallib.IPW(learner, use_stabilized=stabilised)
        theirs.fit(covariates, table["style"])
        wanted = theirs.compute_weights(covariates, table["style"]).to_numpy()
        fitted = fit_propensity(table, "style", ["age", "severity"], method="multinomial")
        ours = inverse_probability_weights(fitted.codes(table), fitted.predict(table), stabilised=stabilised)
        # Both up to a constant: ours have mean one.
        assert np.abs(ours / ours.mean() - wanted / wanted.mean()).max() < 1e-5


def test_overlap_weights_against_causallib(table) -> None:
    """Two arms: causallib's overlap weights are P(other arm)."""
    causallib = pytest.importorskip("causallib.estimation")
    from sklearn.linear_model import LogisticRegression

    two = table[table["style"] < 2].reset_index(drop=True)
    learner = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000)
    covariates = two[["age"]]
    theirs = causallib.OverlapWeights(learner)
    theirs.fit(covariates, two["style"])
    wanted = theirs.compute_weights(covariates, two["style"]).to_numpy()
    fitted = fit_propensity(two, "style", ["age"], method="multinomial")
    ours = overlap_weights(fitted.codes(two), fitted.predict(two))
    assert np.abs(ours / ours.mean() - wanted / wanted.mean()).max() < 1e-5
    assert effective_sample_size(ours) == pytest.approx(wanted.sum() ** 2 / (wanted**2).sum(), rel=1e-6)


@pytest.mark.parametrize(("b", "c"), [(5, 12), (1, 0), (30, 18)])
def test_exact_mcnemar_against_statsmodels(b: int, c: int) -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    first = np.array([1] * b + [0] * c + [1] * 4, dtype=bool)
    second = np.array([0] * b + [1] * c + [1] * 4, dtype=bool)
    theirs = tables.mcnemar([[4, b], [c, 0]], exact=True)
    assert mcnemar(first, second).exact == pytest.approx(theirs.pvalue, abs=1e-12)


@pytest.mark.parametrize("name", ["reference_paper", "severity_visible", "finding_mediated", "topic_and_style"])
def test_adjustment_sets_against_y0(name: str) -> None:
    """The identified set separates treatment and outcome in the graph without the treatment's own arrows."""
    pytest.importorskip("y0")
    from y0.algorithm.conditional_independencies import are_d_separated
    from y0.dsl import Variable
    from y0.graph import NxMixedGraph

    from structural_models.graph import preset
    from structural_models.identification import identify

    graph = preset(name)
    estimand = identify(graph)
    treatment, outcome = graph.node("treatment"), graph.node("outcome")
    edges = [(Variable(a), Variable(b)) for a, b in graph.graph.edges if a != treatment]
    cut = NxMixedGraph.from_edges(directed=edges, nodes=[Variable(n) for n in graph.graph])
    held = [graph.roles.get(key, key) for key in (*estimand.adjustment, *estimand.conditioning)]
    given = [Variable(n) for n in held]
    assert are_d_separated(cut, Variable(treatment), Variable(outcome), conditions=given).separated
    without = [Variable(n) for n in held if n not in {graph.roles.get(k, k) for k in estimand.adjustment}]
    assert not are_d_separated(cut, Variable(treatment), Variable(outcome), conditions=without).separated


def test_adjusted_p_values_against_statsmodels() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    from structural_models.multiplicity import benjamini_hochberg, holm

    p = np.random.default_rng(0).random(40) ** 3
    assert np.abs(holm(p) - multitest.multipletests(p, method="holm")[1]).max() < 1e-12
    assert np.abs(benjamini_hochberg(p) - multitest.multipletests(p, method="fdr_bh")[1]).max() < 1e-12


def test_two_way_clusters_against_statsmodels() -> None:
    api = pytest.importorskip("statsmodels.api")
    from scipy.stats import t

    from causalecg.audits.statistics.two_way import two_way_interval

    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 40, 900), rng.integers(0, 24, 900)
    values = rng.standard_normal(40)[first] + rng.standard_normal(24)[second] + rng.standard_normal(900)
    groups = np.column_stack([first, second])
    fitted = api.OLS(values, np.ones((900, 1))).fit(cov_type="cluster", cov_kwds={"groups": groups})
    found = two_way_interval(values, first, second)
    # statsmodels also multiplies each part by (n - 1) / (n - k) = 1 here.
    reach = t.ppf(0.975, 23) * float(fitted.bse[0])
    assert (found.high - found.low) / 2 == pytest.approx(reach, rel=1e-9)


def test_equivalence_against_statsmodels() -> None:
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    from causalecg.audits.statistics.equivalence import equivalence

    rng = np.random.default_rng(2)
    one, other = rng.standard_normal((2, 150)) * 0.2
    theirs = weightstats.ttost_paired(one, other, -0.05, 0.05)[0]
    gap = one - other
    assert equivalence(gap.mean(), gap.std(ddof=1) / np.sqrt(150), 0.05, 149) == pytest.approx(theirs, rel=1e-9)
