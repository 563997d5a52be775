"""docs/audits.md names every audit and intervention, with its suite."""

from __future__ import annotations

from pathlib import Path

from causalecg.audits.interventions import DEFAULT_SUITE, FURTHER, KNOWN
from causalecg.audits.suite import AUDITS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "audits.md").read_text()


def test_every_audit_is_there_as_it_is() -> None:
    for audit in AUDITS.values():
        suite = "default, required" if audit.required else "full" if audit.further else "default"
        needs = ", ".join(f"`{name}`" for name in audit.needs if name != "intact") or "–"
        assert f"| `{audit.name}` | {suite} | {audit.question} | {needs} |" in PAGE


def test_every_intervention_is_there_as_it_is() -> None:
    for name, says in KNOWN.items():
        suite = "default" if name in DEFAULT_SUITE else "full" if name in FURTHER else "named"
        assert f"| `{name}` | {suite} | {FURTHER.get(name, 1)} | {says} |" in PAGE
    assert all(f"`{name}`" in PAGE for name in FURTHER)
