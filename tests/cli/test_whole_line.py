"""The whole line as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = """
epochs = 1
[model]
encoder_options = { widths = [8, 16] }
embedded = { hidden = 16, layers = 1, heads = 2, vocabulary = 260 }
"""


def run(*arguments: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "causalecg", *arguments], capture_output=True, text=True, cwd=cwd, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cohort, a configuration and two runs."""
    folder = tmp_path_factory.mktemp("line")
    (folder / "tiny.toml").write_text(TINY)
    run(
        "cohort", "simulate", "--rho", "0.9", "--items", "200", "--test-items", "60", "--rate", "50", "--out", "c",
        cwd=folder,
    )  # fmt: skip
    for arm in ("none", "ipw"):
        run("train", "--cohort", "c", "--arm", arm, "--config", "tiny.toml", "--out", f"run-{arm}", cwd=folder)
    return folder


@pytest.mark.slow
def test_score_audit_report(place: Path) -> None:
    for arm in ("none", "ipw"):
        done = run("score", f"run-{arm}", "--cohort", "c", "--out", "s", "--split", "test,test_unbiased", cwd=place)
        assert "scored" in done.stdout
    again = run("score", "run-none", "--cohort", "c", "--out", "s", cwd=place)
    assert "scored run-none" in again.stdout
    assert "can be audited: 120 items" in run("audit", "s", "--check", cwd=place).stdout
    done = subprocess.run(
        [sys.executable, "-m", "causalecg", "audit", "s", "--cohort", "c", "--out", "a", "--json"],
        capture_output=True, text=True, cwd=place, check=False,
    )  # fmt: skip
    record = json.loads(done.stdout)
    assert done.returncode == {"pass": 0, "fail": 1, "inconclusive": 3, "not assessed": 3}[record["verdict"]]
    assert {a["run_id"] for a in record["audits"]} == {"run-none", "run-ipw"}
    assert (place / "a" / "report.html").stat().st_size < 300_000
    page = (place / "a" / "report.html").read_text()
    assert "What is assumed" in page and "Balance of the confounder" in page and "accuracy, unbiased test" in page
    assert set(record["runs"]) == {"run-ipw"}  # the unadjusted run is not judged
    assert str(place) not in (place / "s" / "runs.json").read_text()
    refused = run("score", "run-none", "--cohort", "c", "--out", "s", "--max-items", "9", cwd=place, code=2)
    assert "with another max_items" in refused.stderr
    assert "report" in run("report", "s", "--cohort", "c", cwd=place).stdout
    assert (place / "s" / "report" / "report.md").exists()
    few = run("score", "run-none", "--cohort", "c", "--out", "few", "--interventions", "intact", cwd=place)
    assert few.returncode == 0
    run("audit", "few", cwd=place, code=3)  # required audits lack their rows


def answers(folder: Path, name: str, **runs: bool) -> None:
    """A table of answers: run -> does it read the ECG (or always say yes)?"""
    rows = ["run_id,item_id,intervention,answer_given,answer"]
    for run_id, reads in runs.items():
        for i in range(100):
            truth, other = ("yes", "no") if i % 2 else ("no", "yes")
            for what, shown in (
                ("intact", truth), ("other_patient[answer=opposite]", other), ("wording[held_out]", truth)
            ):  # fmt: skip
                rows.append(f"{run_id},{i},{what},{shown if reads else 'yes'},{truth}")
    (folder / name).write_text("\n".join(rows) + "\n")


def test_the_exit_code_is_that_of_the_worst_run_and_of_the_required_audits(tmp_path: Path) -> None:
    answers(tmp_path, "t.csv", sound=True, constant=False)
    done = run("audit", "t.csv", "--out", "a", cwd=tmp_path, code=1)
    assert "sound: pass" in done.stdout and "constant: fail" in done.stdout
    assert run("audit", "t.csv", "--run", "sound", cwd=tmp_path).stdout.count("constant") == 0
    some = run("audit", "t.csv", "--run", "sound", "--suite", "accuracy", "--json", cwd=tmp_path, code=3)
    assert json.loads(some.stdout)["verdict"] == "not assessed"
    assert "no run is called 'x'" in run("audit", "t.csv", "--run", "x", cwd=tmp_path, code=2).stderr
    run("report", "t.csv", cwd=tmp_path)
    assert "What is assumed" not in (tmp_path / "t-report" / "report.html").read_text()


@pytest.mark.slow
def test_another_cohort_is_refused(place: Path, tmp_path: Path) -> None:
    run(
        "cohort", "simulate", "--rho", "0.9", "--items", "40", "--test-items", "20", "--rate", "50", "--seed", "9",
        "--out", "other", cwd=place,
    )  # fmt: skip
    run("score", "run-none", "--cohort", "c", "--out", "mine", "--interventions", "intact", cwd=place)
    for command in ("audit", "report"):
        refused = run(command, "mine", "--cohort", "other", cwd=place, code=2)
        assert "scored on another cohort" in refused.stderr
    run("compare", "--cohort", "c", "--arms", "question_only,none", "--seeds", "1", "--config", "tiny.toml",
        "--audit-items", "30", "--out", "cmp", cwd=place)  # fmt: skip
    assert "arms on another cohort" in run("report", "cmp", "--cohort", "other", cwd=place, code=2).stderr
    run("report", "cmp", "--cohort", "c", "--out", "elsewhere", cwd=place)
    record = json.loads((place / "elsewhere" / "report.json").read_text())
    assert [row["label"] for row in record["arms"]] == ["question_only", "none"]
    assert (place / "elsewhere" / "comparison.json").exists()


@pytest.mark.slow
def test_a_factory_of_the_users_own(place: Path) -> None:
    (place / "mine.py").write_text(
        "import torch\n"
        "def factory():\n"
        "    return lambda batch: torch.zeros(batch.candidate_ids.shape).masked_fill(batch.padding, float('-inf'))\n"
        "def broken():\n"
        "    return lambda batch: torch.zeros(3)\n"
        "nothing = 3\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layer = torch.nn.Linear(12, 2)\n"
        "    def forward(self, batch):\n"
        "        return self.layer(batch.ecg[:, 0].mean(-1)).masked_fill(batch.padding, float('-inf'))\n"
        "def build(seed):\n"
        "    torch.manual_seed(seed)\n"
        "    return Net()\n"
        "if __name__ == '__main__':\n"
        "    import mine\n"
        "    from causalecg import Cohort, RunConfig, train\n"
        "    train(Cohort.open('c'), 'none', RunConfig(epochs=1), seed=0, out='theirs', scorer=mine.build)\n"
    )
    for what, says in (
        ("build", "cannot be called without arguments"),
        ("nothing", "is a int, which cannot be called"),
    ):
        assert says in run("score", f"mine:{what}", "--cohort", "c", "--out", "n", cwd=place, code=2).stderr
    subprocess.run([sys.executable, "mine.py"], cwd=place, check=True, capture_output=True)
    told = ("score", "theirs", "--cohort", "c", "--out", "t", "--interventions", "intact")
    assert "--build" in run(*told, cwd=place, code=2).stderr
    run(*told, "--build", "mine:build", cwd=place)
    refused = run("score", "run-none", "--cohort", "c", "--out", "n", "--build", "mine:build", cwd=place, code=2)
    assert "needs no --build" in refused.stderr
    run("score", "mine:factory", "--cohort", "c", "--out", "m", "--name", "mine", cwd=place)
    run("audit", "m", cwd=place, code=3)  # always the first candidate; 60 items are too few to say more
    assert (
        "gave scores of shape" in run("score", "mine:broken", "--cohort", "c", "--out", "n", cwd=place, code=2).stderr
    )
    assert "cannot be imported" in run("score", "mine:absent", "--cohort", "c", "--out", "n", cwd=place, code=2).stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "--cohort", "c", "--arm", "ipv", "--out", "x"], "did you mean 'ipw'"),
        (["train", "--cohort", "c", "--arm", "oracle", "--config", "tiny.toml", "--out", "run-none"], "another arm"),
        (["train", "--cohort", "c", "--arm", "none", "--config", "no.toml", "--out", "x"], "cannot be read"),
        (["score", "run-none", "--cohort", "c", "--out", "x", "--interventions", "swap"], "no intervention is called"),
        (["score", "run-none", "--cohort", "c", "--out", "x", "--split", "tst"], "no items in split tst"),
        (["score", "run-none", "--cohort", "c", "--out", "x", "--role", "judge"], "role 'judge' is none of"),
        (["score", "nothing", "--cohort", "c", "--out", "x"], "neither a folder nor"),
        (["audit", "c"], "holds no scores"),
        (["audit", "nowhere.csv"], "does not exist"),
        (["report", "c"], "holds no scores"),
        (["cohort", "simulate", "--rho", "1.5", "--out", "x"], "rho must be"),
        (["cohort", "simulate", "--out", "c"], "exists already"),
        (["cohort", "statements", "--ptbxl", "c", "--out", "x"], "holds no ptbxl_database.csv"),
        (["cohort", "build", "--ptbxl", "c", "--ecgqa", "c", "--out", "x"], "holds no ptbxl_database.csv"),
        (["compare", "--cohort", "c", "--arms", "none,none", "--out", "x"], "distinct arms"),
        (["scm", "identify", "--cohort", "c", "--severity", "acuity"], "no severity scale 'acuity'"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(place: Path, arguments: list[str], says: str) -> None:
    before = sorted(p.name for p in place.iterdir())
    done = run(*arguments, cwd=place, code=2)
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert sorted(p.name for p in place.iterdir()) == before


@pytest.mark.slow
def test_the_quick_demo(tmp_path: Path) -> None:
    done = run("demo", "--quick", "--out", "d", cwd=tmp_path)
    assert "ONE SEED" in done.stdout
    page = Path(done.stdout.strip().splitlines()[-1].removeprefix("report: "))
    assert (tmp_path / page).stat().st_size < 300_000
    resumed = run("demo", "--quick", "--out", "d", cwd=tmp_path)
    assert "1/3" not in resumed.stdout


@pytest.mark.parametrize(
    "kind", ["adjusters", "audits", "interventions", "encoders", "projectors", "regimes", "graphs", "severity-scales"]
)
def test_lists(kind: str, tmp_path: Path) -> None:
    names = json.loads(run("list", kind, "--json", cwd=tmp_path).stdout)
    assert names and all(isinstance(line, str) and line for line in names.values())
