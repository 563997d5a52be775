"""Arms: what is compared. An adjuster with its options, or a change of the data or of the inputs."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from causalecg.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from adjusters.contract import Adjuster, Batch

Role = Literal["audited", "unadjusted", "question_only", "ecg_only", "oracle"]

#: Arms that change data or inputs rather than the training.
SPECIAL: dict[str, str] = {
    "oracle": "the unadjusted model, trained on the same ECGs and answers with the style re-drawn at random",
    "question_only": "the unadjusted model, never shown an ECG",
    "ecg_only": "the unadjusted model, never shown a question",
}
PLACEBO = "placebo:"


@dataclass(frozen=True)
class Arm:
    """``none``, ``backdoor?prior=marginal``, ``placebo:ipw``, ``oracle``, ...

    Attributes:
        adjuster: name in the registry.
        options: of the adjuster.
        placebo: what the adjuster goes by is taken from it: see :meth:`dealt` and ``Card.placebo``.
        special: one of :data:`SPECIAL`, or empty.
    """

    adjuster: str = "none"
    options: Mapping[str, Any] = field(default_factory=dict)
    placebo: bool = False
    special: str = ""

    @classmethod
    def parse(cls, text: str) -> Arm:
        """Read an arm. Raises InputError for an unknown arm or option, naming the nearest."""
        from adjusters.registry import adjuster_class, available, option_names
        from causalecg.training.option_values import annotations_of, read

        name, _, query = text.strip().partition("?")
        placebo = name.startswith(PLACEBO)
        name = name.removeprefix(PLACEBO)
        if name in SPECIAL and not placebo:
            if query:
                raise InputError(f"arm '{name}' takes no options, not '{query}'")
            return cls(special=name)
        if name not in available():
            known = [*available(), *SPECIAL]
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known)} and {PLACEBO}NAME"
            raise InputError(f"no arm is called '{text}'; {hint}")
        if placebo and name == "none":
            raise InputError(f"arm '{text}': none goes by nothing that could be taken from it; leave {PLACEBO} out")
        options: dict[str, Any] = {}
        valid, kinds = option_names(adjuster_class(name)), annotations_of(adjuster_class(name))
        for pair in filter(None, query.split("&")):
            key, equals, value = pair.partition("=")
            if key not in valid or not equals:
                have = f"its options are {', '.join(valid)}" if valid else "it has no options"
                raise InputError(f"arm '{text}': '{pair}' is not option=value of adjuster '{name}'; {have}")
            try:
                options[key] = read(value, kinds.get(key))
            except ValueError as error:
                raise InputError(
                    f"arm '{text}': option '{key}' of adjuster '{name}' is {error}, not '{value}'"
                ) from None
        return cls(name, options, placebo)

    def __str__(self) -> str:
        if self.special:
            return self.special
        from causalecg.training.option_values import written

        query = "&".join(f"{key}={written(value)}" for key, value in sorted(self.options.items()))
        return f"{PLACEBO if self.placebo else ''}{self.adjuster}{'?' + query if query else ''}"

    @property
    def role(self) -> Role:
        if self.special:
            return self.special  # type: ignore[return-value]
        return "unadjusted" if self.adjuster == "none" and not self.placebo else "audited"

    @property
    def splits(self) -> tuple[str, str]:
        """Splits it learns from and is validated on."""
        return ("train_oracle", "valid_oracle") if self.special == "oracle" else ("train", "valid")

    def see(self, batch: Batch) -> Batch:
        """The batch with what this arm is never shown taken out."""
        if self.special == "question_only":
            return batch.without_ecg()
        return batch.without_question() if self.special == "ecg_only" else batch

    def make(self, **further: Any) -> Adjuster:
        """The adjuster, with options not written in the arm. For a placebo, with those of ``Card.placebo`` as well.

        Raises ContractError for an option it refuses.
        """
        from adjusters.registry import adjuster, adjuster_class

        known = dict(adjuster_class(self.adjuster).card.placebo) if self.placebo else {}
        return adjuster(self.adjuster, **{**further, **self.options, **known})

    def dealt(self, table: pd.DataFrame, columns: Sequence[str], rng: np.random.Generator) -> pd.DataFrame:
        """For a placebo, the table with these columns permuted together among its rows, else the table itself.

        Args:
            columns: all that the adjuster tells its objective of a row, weights too. Dealt to other rows it is of the
                same size and shape, and tells nothing.

        Raises InputError for the placebo of an adjuster that goes by nothing of the kind and names no options for it.
        """
        from adjusters.registry import adjuster_class

        if not self.placebo:
            return table
        if not columns and not adjuster_class(self.adjuster).card.placebo:
            raise InputError(
                f"arm '{self}': {self.adjuster} has neither columns nor weights that could be taken from it"
            )
        order = rng.permutation(len(table))
        return table.assign(**{name: table[name].to_numpy()[order] for name in columns})
