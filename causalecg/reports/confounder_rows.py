"""Which rows of a record of confounder effects a page shows, in which order, and how they are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from causalecg.cohort.certificates import QUESTION
from structural_models.sensitivity.e_values import e_value, e_value_of_limit

Row = Mapping[str, Any]
Key = tuple[str, ...]
#: The parts of severity's effect that add up to the whole, as a page calls them.
SEVERITY_PARTS = {"total": "total", "natural direct": "direct", "natural indirect": "indirect"}


@dataclass(frozen=True)
class Names:
    """How values are called; ``questions``: id -> name."""

    questions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, questions: Mapping[str, Mapping[str, str]]) -> Names:
        """Questions by their topic; where several share it, with the id."""
        sharing = Counter(about["topic"] for about in questions.values())
        return cls(
            {
                name: about["topic"] if sharing[about["topic"]] == 1 else f"{about['topic']} {name}"
                for name, about in questions.items()
            }
        )

    def question(self, name: str) -> str:
        return self.questions.get(name, name)

    def value(self, column: str, value: object) -> str:
        return self.question(str(value)) if column == QUESTION else str(value)

    def held(self, row: Row, within: Sequence[str]) -> str:
        """What was held fixed, the question first."""
        order = sorted(within, key=lambda column: column != QUESTION)
        return ", ".join(self.value(column, row[column]) for column in order)


def severity_name(value: object, levels: Sequence[str]) -> str:
    """A level, or the levels of two ECGs, in words."""
    parts = [part.strip() for part in str(value).split(" then ")]
    known = all(part.isdecimal() and int(part) < len(levels) for part in parts)
    return " then ".join(levels[int(part)] for part in parts) if known else str(value)


def of_two_answers_one(rows: Iterable[Row], columns: Sequence[str]) -> list[Row]:
    """Where two answers are all there are for the same ``columns``, the second says it all."""
    groups: dict[Key, list[Row]] = {}
    for row in rows:
        groups.setdefault(_key(row, columns), []).append(row)
    return [row for group in groups.values() for row in (group[1:] if len(group) == 2 else group)]


def biases(found: Row) -> list[Row]:
    """The rows of an effect that have a bias, of two answers one."""
    return of_two_answers_one((row for row in found["table"] if row["bias"] is not None), [*found["within"], "arm"])


def is_clear(row: Row, level: float, p: str = "p_bias_holm") -> bool:
    return row[p] is not None and row[p] < 1 - level


def bias_table(record: Row, effect: str, names: Names) -> list[dict[str, Any]]:
    """Biases of an effect, all scales in one row; those clear on some scale first, then the largest first.

    Returns:
        rows of ``held``, ``arm``, ``answer`` and ``scales``: scale -> the row of the record, and ``clear``.
    """
    found = {scale["scale"]: one for scale in record["scales"] for one in scale["effects"] if one["effect"] == effect}
    rows: dict[Key, dict[str, Any]] = {}
    for scale, one in found.items():
        columns = [*one["within"], "arm", "outcome"]
        for row in biases(one):
            asked = [str(row[name]) for name in one["within"] if name == QUESTION]
            about = {
                "held": names.held(row, one["within"]),
                "arm": names.value(one["treatment"], row["arm"]),
                "answer": str(row["outcome"]),
                "questions": asked + ([str(row["arm"])] if one["treatment"] == QUESTION else []),
                "wordings": [str(row["arm"])] if one["treatment"] == "wording_id" else [],
                "scales": {},
            }
            here = rows.setdefault(_key(row, columns), about)
            here["scales"][scale] = {**row, "clear": is_clear(row, one["level"])}
    return sorted(rows.values(), key=lambda row: _largest(row["scales"].values(), "bias", lambda one: one["clear"]))


def contrast_table(found: Row, names: Names) -> list[dict[str, Any]]:
    """Contrasts of P(A | do(Q)), clear ones first, then the largest first; with E-values of the ratio and of its limit
    nearer to one, None where there is no ratio or no limit."""
    columns = [*found["within"], "arm", "reference"]
    rows = [row for row in of_two_answers_one(found["contrasts"], columns) if row["difference"] is not None]
    rows.sort(key=lambda row: _largest([row], "difference", lambda one: is_clear(one, found["level"], "p_holm")))
    return [
        {
            "held": names.held(row, found["within"]),
            "arm": names.value(found["treatment"], row["arm"]),
            "against": names.value(found["treatment"], row["reference"]),
            "answer": str(row["outcome"]),
            "difference": _limits(row, "difference"),
            "ratio": _limits(row, "ratio"),
            "p_holm": row["p_holm"],
            "clear": is_clear(row, found["level"], "p_holm"),
            **_e_values(row),
        }
        for row in rows
    ]


def severity_table(scale: Row, names: Names) -> list[dict[str, Any]]:
    """Severity's effects on one scale; those whose total is clear of zero first, then the largest first.

    Returns:
        rows of ``held``, ``severity`` and ``against`` in words, ``answer``, and for each of
        :data:`SEVERITY_PARTS` its estimate with limits, and ``share`` of the total that is indirect.
    """
    found = scale["severity"]
    if found is None:
        return []
    where = [*found["within"], "severity", "reference"]
    merged: dict[Key, dict[str, Any]] = {}
    for row in found["table"]:
        part = SEVERITY_PARTS.get(row["effect"])
        if part is None:
            continue
        here = merged.setdefault(_key(row, [*where, "outcome"]), {**row, "share": None})
        here[part] = {"estimate": row["estimate"], "low": row["low"], "high": row["high"]}
        if part == "indirect":
            here["share"] = row["share"]
    parts = list(SEVERITY_PARTS.values())
    whole = [row for row in merged.values() if all(row.get(part) for part in parts)]
    rows = [
        {
            "held": names.held(row, found["within"]),
            "severity": severity_name(row["severity"], scale["levels"]),
            "against": severity_name(row["reference"], scale["levels"]),
            "answer": str(row["outcome"]),
            **{part: row[part] for part in parts},
            "share": row["share"],
        }
        for row in of_two_answers_one(whole, where)
        if row["total"]["estimate"] is not None
    ]
    return sorted(rows, key=lambda row: _largest([row["total"]], "estimate", _off_zero))


def failure_table(found: Row, names: Names, levels: Sequence[str]) -> list[dict[str, Any]]:
    """Strata that (almost) lack an arm, the largest strata first."""
    rows = sorted(found["failures"], key=lambda row: -row["stratum_rows"])
    return [
        {
            "held": names.held(row, found["within"]),
            "arm": names.value(found["treatment"], row["arm"]),
            "stratum": ", ".join(
                severity_name(row[name], levels) if name == "severity_level" else f"{name} {row[name]}"
                for name in found["adjustment"]
            ),
            "rows": row["rows"],
            "stratum_rows": row["stratum_rows"],
        }
        for row in rows
    ]


def _key(row: Row, columns: Sequence[str]) -> Key:
    return tuple(str(row[name]) for name in columns)


def _largest(rows: Iterable[Row], name: str, clear: Callable[[Row], bool]) -> tuple[bool, float]:
    """For sorting: what is clear before what is not, then by size. Rounding errors do not decide the order."""
    seen = [(clear(row), row[name]) for row in rows]
    return (not any(one for one, _ in seen), -round(max(abs(value or 0.0) for _, value in seen), 9))


def _off_zero(limits: Row) -> bool:
    return limits["low"] is not None and limits["high"] is not None and limits["low"] * limits["high"] > 0


def _limits(row: Row, name: str) -> dict[str, Any]:
    return {"estimate": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}


def _e_values(row: Row) -> dict[str, float | None]:
    ratio, low, high = row["ratio"], row["ratio_low"], row["ratio_high"]
    return {
        "e_value": e_value(ratio) if ratio else None,
        "e_value_of_limit": e_value_of_limit(low, high) if low and high else None,
    }
