"""What a told severity says of the answer by itself, and back-door adjustment of one item with it, as their modules
state them."""

from __future__ import annotations

import math
import zlib


def rows_of(table, severity):
    """(kind, topic, level, candidates, true answers) of every row."""
    return list(zip(*(table[name] for name in ("kind", "topic", severity, "candidates", "answer")), strict=True))


def folds_of(table, folds):
    """Per row the fold of its first patient: a checksum of the id."""
    return [zlib.crc32(names[0].encode()) % folds for names in table["patient_ids"]]


def share(answer, level, topic, kind, rows, m):
    """P(a | s, T) by counts of rows (kind, topic, level, candidates, true answers); of topic None, P(a | s)."""
    rows = [r for r in rows if r[0] == kind and answer in r[3]]

    def counts(at):
        return sum(answer in r[4] for r in at), len(at)

    def logit(p):
        return math.log(p / (1 - p))

    t, n = counts(rows)
    of_all = (t + 0.5) / (n + 1)
    t, n = counts([r for r in rows if r[2] == level])
    of_level = (t + of_all) / (n + 1)
    if topic is None:
        return of_level
    t, n = counts([r for r in rows if r[1] == topic])
    of_topic = (t + m * of_all) / (n + m)
    prior = 1 / (1 + math.exp(-(logit(of_topic) + logit(of_level) - logit(of_all))))
    least = 0.5 / (len(rows) + 1)
    prior = min(max(prior, least), 1 - least)
    t, n = counts([r for r in rows if r[1] == topic and r[2] == level])
    return min(max((t + m * prior) / (n + m), least), 1 - least)


def pseudo_rows(rows, folds, choices):
    """The m under which every row's answers are likeliest given the rows of other folds."""

    def likelihood(m):
        total = 0.0
        for fold in sorted(set(folds)):
            rest = [r for r, f in zip(rows, folds, strict=True) if f != fold]
            cells = {}
            for r in (r for r, f in zip(rows, folds, strict=True) if f == fold):
                for answer in r[3]:
                    key = (answer, r[2], r[1], r[0])
                    if key not in cells:
                        cells[key] = share(*key, rest, m)
                    total += math.log(cells[key] if answer in r[4] else 1 - cells[key])
        return total

    return max(choices, key=likelihood)


def told(rows, every, kind, topic, level, candidates, known_topics, m):
    """Per candidate: log P(a | s, T) less its mean over the topic's answers ("one"), or its log-odds ("set").

    rows: the training rows that count; every: all of them.
    """
    topic = topic if topic in known_topics else None
    answers = sorted({a for r in every if r[0] == kind and topic in (None, r[1]) for a in r[3]})
    p = {a: share(a, level, topic, kind, rows, m) for a in answers}
    mean = sum(map(math.log, p.values())) / max(len(p), 1)
    found = []
    for answer in candidates:
        if answer not in p:
            found.append(0.0)
        elif kind == "one":
            found.append(math.log(p[answer]) - mean)
        else:
            found.append(math.log(p[answer] / (1 - p[answer])))
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
