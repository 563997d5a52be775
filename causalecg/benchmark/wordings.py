"""How a law's questions are worded: Q = render(T, F, paraphrase).

One finding is asked about. Where the topic acts on the answer by right, there are two canonical questions, a strict and
a lenient one about the same finding. Each further style that follows severity is a sentence of its own, before or after
the question. Where the topic is told by the style's words (kappa), there is one canonical question, and a style is a
nuisance part and a content part.
"""

from __future__ import annotations

import pandas as pd

from causalecg.benchmark.law import PARAPHRASES, Law, World
from causalecg.cohort.wordings import STYLES, render, training_wordings, wording_table
from causalecg.errors import InputError

FINDING = "inferior ST elevation"
QUESTION_ID = "inferior_st_elevation"
#: Topic 0 and 1.
STRICT, LENIENT = "marked", "any"
#: Second and third style: its two names, and what each puts before and after the question.
_FURTHER = (
    (("clinic", "ward"), ("From the clinic.", "From the ward."), ("", "")),
    (("chat", "form"), ("", ""), ("Thank you in advance.", "One word will do.")),
)


def topics(law: Law) -> dict[str, str]:
    """question_id -> finding as asked, in the order of the topic's values; one where the topic is no variable of its
    own."""
    if law.kappa is not None or (law.tau == 0 and law.q_topic == 0.5):
        return {QUESTION_ID: FINDING}
    return {f"{degree}_{QUESTION_ID}": f"{degree} {FINDING}" for degree in (STRICT, LENIENT)}


def style_names(law: Law) -> list[str]:
    """Names of the styles, in the order of :func:`style_index`.

    Raises InputError for more shortcuts than there are words for.
    """
    if law.shortcuts > 1 + len(_FURTHER):
        raise InputError(f"there are words for {1 + len(_FURTHER)} shortcuts, not {law.shortcuts}")
    return ["+".join(parts) for parts in _parts(law)]


def style_index(world: World) -> pd.Series:
    """(n,) position of each patient's style among :func:`style_names`."""
    content = (world.topic << 1) if world.law.kappa is not None else 0
    return pd.Series(world.style_code + content)


def benchmark_wordings(law: Law) -> pd.DataFrame:
    """All wordings of all questions, in the cohort schema's columns; held-out ones recombine words of the others."""
    names = style_names(law)
    if names == list(STYLES):
        return wording_table(topics(law))
    base = wording_table({QUESTION_ID: FINDING})
    held_out = dict(zip(base["wording_id"], base["held_out"], strict=True))
    rows = [
        {
            "question_id": question_id,
            "wording_id": f"{name}-{wording:02d}",
            "style": name,
            "held_out": held_out[f"{parts[0]}-{wording:02d}"],
            "question": _text(law, parts, wording, finding),
        }
        for question_id, finding in topics(law).items()
        for name, parts in zip(names, _parts(law), strict=True)
        for wording in range(len(base) // len(STYLES))
    ]
    return pd.DataFrame(rows)


def wording_numbers(world: World) -> pd.Series:
    """(n,) the training wording that the noise has drawn."""
    numbers = training_wordings()
    assert len(numbers) == PARAPHRASES
    return pd.Series(numbers)[world.noise.paraphrase].reset_index(drop=True)


def _parts(law: Law) -> list[tuple[str, ...]]:
    """Per style its parts' names, the first style's part first; the first varies fastest."""
    found: list[tuple[str, ...]] = [(name,) for name in STYLES]
    further = [names for names, _, _ in _FURTHER[: law.shortcuts - 1]]
    if law.kappa is not None:
        further = [(STRICT, LENIENT)]
    for names in further:
        found = [(*parts, name) for name in names for parts in found]
    return found


def _text(law: Law, parts: tuple[str, ...], wording: int, finding: str) -> str:
    if law.kappa is not None:
        return render(parts[0], wording, f"{parts[1]} {finding}")
    text = render(parts[0], wording, finding)
    for part, (names, before, after) in zip(parts[1:], _FURTHER, strict=False):
        place = names.index(part)
        text = " ".join(filter(None, (before[place], text, after[place])))
    return text
