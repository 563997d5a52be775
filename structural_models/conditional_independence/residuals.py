"""What is left of a vector once what another one says of it is taken off."""

from __future__ import annotations

import numpy as np

from structural_models.cross_fitting import assign_folds

#: Of the extremely randomised trees. Each split looks at every feature: of few features, a share would often miss the
#: one that matters, and what a regression misses on both sides looks like dependence.
_TREES = 50
_ROWS_PER_LEAF = 5
_PENALTIES = np.logspace(-1, 5, 13)


def normal_scores(values: np.ndarray) -> np.ndarray:
    """(rows, dim) with every column's ranks turned into normal quantiles, so that no row weighs much.

    A strictly increasing function of a variable is independent of whatever the variable is independent of.
    """
    from scipy.stats import norm, rankdata

    return np.asarray(norm.ppf((rankdata(values, axis=0) - 0.5) / len(values)))


def indicators(codes: np.ndarray) -> np.ndarray:
    """(rows, levels) one column per level; of two levels the second alone, which says all."""
    levels = int(codes.max()) + 1
    columns = (codes[:, None] == np.arange(levels)).astype(np.float64)
    return columns[:, 1:] if levels == 2 else columns


def centred(values: np.ndarray, stratum: np.ndarray) -> np.ndarray:
    """(rows, dim) less the mean of the row's stratum: the residual given levels, whatever their effect."""
    from scipy.sparse import csr_array

    rows = np.arange(len(stratum))
    size = np.bincount(stratum)
    sums = csr_array((np.ones(len(rows)), (stratum, rows)), shape=(len(size), len(rows))) @ values
    return np.asarray(values - (sums / size[:, None])[stratum])


def regressed(
    values: np.ndarray, on: np.ndarray, components: np.ndarray, *, folds: int, rng: np.random.Generator
) -> np.ndarray:
    """(rows, dim) less its prediction from ``on``, (rows, some), by a model that has seen none of the row's patients.

    Ridge regression and extremely randomised trees are both fitted; each column takes the one that predicts it better.
    A strong dependence that is not linear takes many hundred rows to be learnt.

    Args:
        components: (rows,) codes from 0; rows that patients connect have the same one and stay in one fold.

    Raises TableError where there are fewer components than folds.
    """
    from sklearn.ensemble import ExtraTreesRegressor
    from sklearn.linear_model import RidgeCV

    fold = assign_folds(components, folds, rng)
    features = (on - on.mean(axis=0)) / np.maximum(on.std(axis=0), np.finfo(np.float64).tiny)
    left = np.empty((2, *values.shape))
    for number in range(folds):
        out = fold == number
        trees = ExtraTreesRegressor(
            n_estimators=_TREES,
            min_samples_leaf=_ROWS_PER_LEAF,
            random_state=int(rng.integers(2**31)),
        )
        for learner, model in enumerate((RidgeCV(_PENALTIES, alpha_per_target=True), trees)):
            predicted = model.fit(features[~out], values[~out]).predict(features[out])
            left[learner, out] = values[out] - predicted.reshape(values[out].shape)
    better = (left**2).mean(axis=1).argmin(axis=0)
    return np.asarray(left[better, :, np.arange(values.shape[1])].T)
