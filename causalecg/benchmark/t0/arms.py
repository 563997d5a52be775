"""Arms of tier T0: those of every tier, and an oracle of as many rows as weighting leaves."""

from __future__ import annotations

from dataclasses import dataclass

from causalecg.training.arms import Arm

#: The oracle trained on n times the effective share of weights for the style given the recorded severity.
ESS_ORACLE = "oracle_ess"


@dataclass(frozen=True)
class EvidenceArm(Arm):
    """``name``: :data:`ESS_ORACLE`, or empty where the arm is one of every tier."""

    name: str = ""

    @classmethod
    def parse(cls, text: str) -> EvidenceArm:
        """Read an arm. Raises InputError for an unknown arm or option."""
        if text.strip() == ESS_ORACLE:
            return cls(special="oracle", name=ESS_ORACLE)
        found = Arm.parse(text)
        return cls(found.adjuster, found.options, found.placebo, found.special)

    def __str__(self) -> str:
        return self.name or super().__str__()
