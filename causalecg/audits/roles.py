"""What a run is in a score set: the one that is audited, or one that others are held against."""

from __future__ import annotations

ROLES = ("audited", "unadjusted", "question_only", "ecg_only", "oracle", "reference")
