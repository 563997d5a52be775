"""The estimand of tier T0 without DoWhy, which takes seconds to import."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adjusters.toy import ESTIMAND
from causalecg.benchmark.t0.tables import SEVERITY
from structural_models.estimand import Estimand


@pytest.fixture(scope="session")
def estimand() -> Estimand:
    return replace(ESTIMAND, roles={**ESTIMAND.roles, "severity": SEVERITY}, treatment_given=("severity", "topic"))
