"""``causalecg audit TABLE --check`` as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from causalecg.audits.suite import AUDITS


def check(folder: Path, *arguments: str, code: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "causalecg", "audit", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def table(folder: Path, bad: int = 0) -> Path:
    """40 items, intact and without an ECG; the first ``bad`` rows have an unknown intervention."""
    lines = ["item_id,intervention,answer,text,candidates"]
    rows = [(i, what) for i in range(40) for what in ("intact", "no_ecg")]
    for at, (i, what) in enumerate(rows):
        lines.append(f"{i},{'intakt' if at < bad else what},{('yes', 'no')[i % 2]},Yes.,yes|no")
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    return folder / "t.csv"


def test_a_clean_table_says_what_it_holds_and_allows(tmp_path: Path) -> None:
    table(tmp_path)
    said = check(tmp_path, "t.csv", "--check", code=0).stdout
    assert said.startswith("t.csv can be audited: 40 items, runs t\n  40 rows intact\n  40 rows no_ecg\n")
    assert said.splitlines()[3].startswith("t: Patients are not named")
    lines = {line.split()[0]: line for line in said.splitlines()[5:]}
    assert lines["accuracy*"].endswith("can be made") and lines["no_ecg"].endswith("can be made")
    assert lines["follow_rate*"].endswith("there are no answers under other_patient[answer=opposite]")
    assert lines["style_effect"].endswith("there are no answers under wording[style=other], wording[seen]")
    assert {name.rstrip("*") for name in lines} == set(AUDITS)
    record = json.loads(check(tmp_path, "t.csv", "--check", "--json", code=0).stdout)
    assert record["items"] == 40 and record["runs"] == {"t": "audited"} and record["bad_rows"] == []
    assert record["interventions"] == {"intact": 40, "no_ecg": 40}
    assert record["lacking"]["t"]["no_ecg"] == ""
    assert record["learned_from"] == [] and len(record["notes"]["t"]) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.csv"]


def test_a_table_of_what_was_learned_from_says_that_no_verdict_comes_of_it(tmp_path: Path) -> None:
    lines = table(tmp_path).read_text().splitlines()
    (tmp_path / "t.csv").write_text("\n".join([f"{lines[0]},split", *(f"{line},train" for line in lines[1:])]))
    says = "Models learn from split train, or are chosen by it: no verdict on its items."
    assert says in check(tmp_path, "t.csv", "--check", code=0).stdout
    assert json.loads(check(tmp_path, "t.csv", "--check", "--json", code=0).stdout)["learned_from"] == ["train"]
    assert says in check(tmp_path, "t.csv", code=3).stdout.splitlines()


def test_every_bad_row_is_named_up_to_twenty(tmp_path: Path) -> None:
    for bad, shown in ((1, 1), (20, 20), (21, 20), (60, 20)):
        table(tmp_path, bad)
        done = check(tmp_path, "t.csv", "--check", code=2)
        assert done.stdout == ""
        head, *lines = done.stderr.splitlines()
        assert head == f"t.csv cannot be audited: {bad} bad {'row' if bad == 1 else 'rows'}"
        named = [line for line in lines if "no intervention is called 'intakt'" in line]
        assert [line.split(":")[0].strip() for line in named] == [f"row {i + 1}" for i in range(shown)]
        assert lines[shown:] == ([f"  and {bad - 20} more"] if bad > 20 else [])
        record = json.loads(check(tmp_path, "t.csv", "--check", "--json", code=2).stdout)
        assert len(record["bad_rows"]) == bad and record["bad_rows"][0]["row"] == 1


def test_an_audit_names_the_first_bad_row_and_how_many_there_are(tmp_path: Path) -> None:
    table(tmp_path, 30)
    done = check(tmp_path, "t.csv", "--out", "report", code=2)
    (line,) = done.stderr.strip().splitlines()
    assert "t.csv, row 1: no intervention is called 'intakt'" in line and "30 rows are bad" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.csv"]


def test_what_is_wrong_with_the_whole_table_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("item_id,intervention,answer,text\n1,intact,yes,Yes.\n")
    (line,) = check(tmp_path, "t.csv", "--check", code=2).stderr.strip().splitlines()
    assert "lacks the column(s) answer_given (or text and candidates" in line
    assert "nowhere" in check(tmp_path, "nowhere.csv", "--check", code=2).stderr


def test_a_donor_whose_answer_is_not_said_is_no_donor(tmp_path: Path) -> None:
    """With three answers nobody knows the other patient's unless it is said."""
    lines = ["item_id,intervention,answer,answer_given"]
    lines += [
        f"{i},{what},{('yes', 'no', 'maybe')[i % 3]},yes"
        for i in range(60)
        for what in ("intact", "other_patient[answer=opposite]")
    ]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    record = json.loads(check(tmp_path, "t.csv", "--check", "--json", code=0).stdout)
    assert "answer_expected" in record["lacking"]["t"]["follow_rate"]
    (tmp_path / "t.csv").write_text("\n".join([line.replace("maybe", "no") for line in lines]) + "\n")
    record = json.loads(check(tmp_path, "t.csv", "--check", "--json", code=0).stdout)
    assert record["lacking"]["t"]["follow_rate"] == ""
