"""Do et al. 2024: 1 / P(A | b), or P(A | T) / P(A | b), mean one, row by row. A set is one answer, among the sets of its
topic that its candidates allow."""

from answer_prior_equation import probability


def as_one(item):
    return item if item["kind"] == "one" else {**item, "answer": [frozenset(item["answer"])]}


def share(rows, item, smoothing, folds, of_view):
    """P(answer), of those that compete."""
    if item["kind"] == "one":
        competing = item["candidates"]
    else:
        rows = [as_one(r) for r in rows if r["kind"] == "set" and r["topic"] == item["topic"]]
        rows = [{**r, "kind": "whole", "candidates": r["answer"]} for r in rows]
        competing = {r["answer"][0] for r in rows if r["answer"][0] <= set(item["candidates"])}
        item = {**as_one(item), "kind": "whole"}
    found = {c: probability(rows, item, c, smoothing, folds, of_view) for c in competing}
    return found[item["answer"][0]] / sum(found.values())


def weights(rows, items, smoothing, folds, restore):
    found = []
    for item in items:
        weight = 1 / share(rows, item, smoothing, folds, True)
        found.append(weight * share(rows, item, smoothing, folds, False) if restore else weight)
    return [w * len(found) / sum(found) for w in found]
