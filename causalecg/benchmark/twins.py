"""Twin sets: the same patient with the same noise, with one thing set to what it was not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from causalecg.benchmark.law import World


def twin_worlds(world: World, *, topic: bool) -> Iterator[tuple[str, World]]:
    """What differs -> the world in which it does: ``finding`` (another ECG), ``style`` (the first), ``style2`` ...
    (further shortcuts, if any), and ``topic`` where asked for.

    Every twin's answer, evidence and question follow from the law, with the noise of ``world``.
    """
    yield "finding", world.do(finding=1 - world.finding)
    for place in range(world.law.shortcuts):
        styles = world.styles.copy()
        styles[:, place] = 1 - styles[:, place]
        yield "style" if place == 0 else f"style{place + 1}", world.do(style=styles)
    if topic:
        yield "topic", world.do(topic=1 - world.topic)


def group_accuracy(right: np.ndarray, twin_right: np.ndarray) -> float:
    """Share of pairs of which both are answered rightly. Both (pairs,) bool."""
    return float(np.mean(np.asarray(right, dtype=bool) & np.asarray(twin_right, dtype=bool)))
