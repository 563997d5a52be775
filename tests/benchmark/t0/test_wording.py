"""What is rendered is read back."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from causalecg.benchmark.t0.wording import STYLES, TOPICS, read, render, rendered


@pytest.mark.parametrize("shortcuts", [1, 3, 6])
def test_every_question_is_read_back_with_and_without_a_context(shortcuts: int) -> None:
    for topic, *styles in product((0, 1), repeat=1 + shortcuts):
        text = render(topic, tuple(styles))
        for before, severity in (("", None), ("Severity: level 1. ", "level 1"), ("Age 63, female. ", None)):
            found = read(before + text)
            assert (found.topic, found.styles, found.severity) == (topic, tuple(styles), severity)


def test_questions_are_as_many_as_what_they_say() -> None:
    said = list(product((0, 1), repeat=1 + len(STYLES)))
    assert len({render(topic, tuple(styles)) for topic, *styles in said}) == len(said) == 2 ** (1 + len(STYLES))


def test_rendered_is_render_row_by_row() -> None:
    rng = np.random.default_rng(0)
    topic, styles = rng.integers(0, 2, 50), rng.integers(0, 2, (50, 3))
    assert rendered(topic, styles) == [
        render(t, tuple(f)) for t, f in zip(topic.tolist(), styles.tolist(), strict=True)
    ]


@pytest.mark.parametrize(
    "text", [None, "", "How severe is the illness?", "In urgent, calm words: does this ECG show ST elevation?"]
)
def test_other_words_say_nothing(text: str | None) -> None:
    assert read(text).topic is None and read(text).styles == () and read(text).severity is None
    assert len(TOPICS) == 2
