"""With CAUSALECG_REQUIRE_ORACLE set (as .ci/run sets it) a test here that is skipped fails."""

from __future__ import annotations

import os
from typing import TypeVar

import pytest

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def unskipped(report: Report) -> Report:
    if report.outcome == "skipped" and not hasattr(report, "wasxfail") and os.environ.get("CAUSALECG_REQUIRE_ORACLE"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason}; CAUSALECG_REQUIRE_ORACLE forbids skipping: install with 'make oracle'"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    return unskipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector):
    return unskipped((yield))
