"""Clark et al. 2019, bias product, with the answers' frequencies restored: item by item."""

from answer_prior_equation import log_prior, loss


def losses(scores, rows, items, smoothing, folds, restore):
    found = []
    for z, item in zip(scores, items, strict=True):
        view = log_prior(rows, item, smoothing, folds, True)
        topic = log_prior(rows, item, smoothing, folds, False)
        found.append(loss([s + b - t * restore for s, b, t in zip(z, view, topic, strict=True)], item))
    return found
