"""P(answer | view) and P(answer | topic) of one item, counted row by row; the log-likelihood of its answer."""

import math


def probability(rows, item, name, smoothing, folds, of_view):
    """Rows and item: dicts of kind, topic, view, fold, candidates, answer. Leaves the item's own fold out."""
    same = [r for r in rows if r["kind"] == item["kind"] and r["topic"] == item["topic"]]
    seen = {c for r in same for c in r["candidates"]}
    others = [r for r in same if folds == 1 or r["fold"] != item["fold"]]

    def share(of, towards):
        if item["kind"] == "set":
            of = [r for r in of if name in r["candidates"]]
        true = 0
        for r in of:
            true += name in r["answer"]
        return (true + smoothing * towards) / (len(of) + smoothing)

    in_topic = share(others, 0.5 if item["kind"] == "set" else 1 / len(seen))
    if not of_view or not any(r["view"] == item["view"] for r in same):
        return in_topic
    return share([r for r in others if r["view"] == item["view"]], in_topic)


def log_prior(rows, item, smoothing, folds, of_view):
    """Per candidate: log-probability over the item's candidates, or log-odds of each of a set."""
    found = [probability(rows, item, c, smoothing, folds, of_view) for c in item["candidates"]]
    if item["kind"] == "set":
        return [math.log(p / (1 - p)) for p in found]
    return [math.log(p / sum(found)) for p in found]


def loss(scores, item):
    """-log P(answer) of a softmax over the candidates, or of a coin for each of a set."""
    if item["kind"] == "set":
        total = 0.0
        for s, c in zip(scores, item["candidates"], strict=True):
            p = 1 / (1 + math.exp(-s))
            total -= math.log(p if c in item["answer"] else 1 - p)
        return total
    normaliser = math.log(sum(math.exp(s) for s in scores))
    return normaliser - scores[[c in item["answer"] for c in item["candidates"]].index(True)]


def centred(scores, item):
    if item["kind"] == "set":
        return list(scores)
    return [s - sum(scores) / len(scores) for s in scores]
