"""A patient's side of the train-test border, from the patient's name alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence


def patient_split(patient_id: str, shares: Mapping[str, float], salt: str) -> str:
    """One of the splits in ``shares`` (summing to one), by a hash: the same whatever else is in the cohort."""
    digest = hashlib.sha256(f"{salt}/{patient_id}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    for name, share in shares.items():
        place -= share
        if place < 0:
            return name
    return list(shares)[-1]


def joint_split(patient_ids: Sequence[str], shares: Mapping[str, float], salt: str) -> str | None:
    """The split all of an item's patients are in, or ``None`` where they are in different ones."""
    found = {patient_split(patient, shares, salt) for patient in patient_ids}
    return found.pop() if len(found) == 1 else None
