"""What a told severity says of the answer by itself, and back-door adjustment of one item with it, as their modules
state them."""

from __future__ import annotations

import math


def told(rows, kind, topic, level, candidates, known_topics):
    """Per candidate: log P(a | s, T) less its mean over the topic's answers ("one"), or its log-odds ("set").

    rows: (kind, topic, level, candidates, true answers) of every training row. An unknown topic is all topics together.
    """

    def share(answer, at):
        asked = [r for r in at if answer in r[3]]
        own = [r for r in asked if r[2] == level]
        of_topic = (sum(answer in r[4] for r in asked) + 0.5) / (len(asked) + 1)
        return (sum(answer in r[4] for r in own) + of_topic) / (len(own) + 1)

    at = [r for r in rows if r[0] == kind and (topic not in known_topics or r[1] == topic)]
    answers = sorted({a for r in at for a in r[3]})
    mean = sum(math.log(share(a, at)) for a in answers) / max(len(answers), 1)
    found = []
    for answer in candidates:
        if answer not in answers:
            found.append(0.0)
        elif kind == "one":
            found.append(math.log(share(answer, at)) - mean)
        else:
            found.append(math.log(share(answer, at) / (1 - share(answer, at))))
    return found


def adjusted(scores, offsets, weights, kind):
    """Per candidate log sum_s P(a | E, Q, s) P(s | E) ("one"), or its log-odds ("set").

    scores, offsets: per level a list over candidates; weights: per level P(s | E).
    """
    total = [0.0] * len(scores[0])
    for own, offset, weight in zip(scores, offsets, weights, strict=True):
        z = [a + b for a, b in zip(own, offset, strict=True)]
        for i, each in enumerate(z):
            p = math.exp(each) / sum(map(math.exp, z)) if kind == "one" else 1 / (1 + math.exp(-each))
            total[i] += weight * p
    return [math.log(p) if kind == "one" else math.log(p / (1 - p)) for p in total]
