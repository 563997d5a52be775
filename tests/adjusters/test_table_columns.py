from __future__ import annotations

import pandas as pd
import pytest

from adjusters.contract import ContractError
from adjusters.table_columns import require_columns


def test_missing_columns_are_named_in_one_sentence() -> None:
    table = pd.DataFrame({"kind": ["one"], "answer": [["yes"]]})
    require_columns("mine", table, ())
    require_columns("mine", table, ("kind", "answer"))
    with pytest.raises(ContractError, match="^mine needs the column 'candidates', which the table lacks; [^\n]*$"):
        require_columns("mine", table, ("kind", "candidates"))
    with pytest.raises(ContractError, match="needs the columns 'candidates', 'patient_ids', which"):
        require_columns("mine", table, iter(("candidates", "kind", "patient_ids")))
