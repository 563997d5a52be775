"""Which audits there are, and on which split each is made."""

from __future__ import annotations

from collections.abc import Callable

from causalecg.audits.accuracy import accuracy
from causalecg.audits.bootstrap import REPLICATES
from causalecg.audits.ecg_reliance import RANDOM, SAME_SEVERITY, follow_rate, no_ecg, random_ecg
from causalecg.audits.outcomes import Outcomes
from causalecg.audits.quadrants import quadrants
from causalecg.audits.result import AuditResult
from causalecg.audits.score_set import ScoreSet
from causalecg.audits.wording import adversarial_wording
from causalecg.errors import InputError

Audit = Callable[..., AuditResult]

AUDITS: dict[str, tuple[Audit, str]] = {
    "accuracy": (accuracy, "exact-match accuracy beside the majority answer, question-only model and oracle"),
    "follow_rate": (follow_rate, "does the answer follow the ECG of a patient with the opposite answer?"),
    "same_severity": (
        lambda outcomes, run_id, **options: follow_rate(outcomes, run_id, intervention=SAME_SEVERITY, **options),
        "does it follow an ECG of the same severity but another answer?",
    ),
    "random_ecg": (random_ecg, "loss of accuracy with a random other patient's ECG (the reference paper's test)"),
    "no_ecg": (no_ecg, "how often the answer stays the same without any ECG"),
    "adversarial_wording": (adversarial_wording, "loss of accuracy in held-out words (the reference paper's test)"),
    "quadrants": (quadrants, "right or wrong, looking or not"),
}
SUITES = {"default": tuple(AUDITS), "full": tuple(AUDITS)}
#: Where a model's shortcut still pays, so that giving it up shows; the unbiased split where there are no answers on it.
_SPLITS = ("test", "test_unbiased", "test_natural")


def run_suite(
    score_set: ScoreSet,
    suite: str = "default",
    *,
    run_id: str | None = None,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> list[AuditResult]:
    """Every audit of a suite on one run.

    Args:
        suite: "default", "full", or comma-separated names.
        run_id: whom to audit; by default the only run, or the first whose role is "audited".
        seed, replicates: of the bootstrap.

    An audit that lacks its rows is "not assessed", never passed. The random-ECG audit is made on the unbiased split
    where there is one: there its drop equals what reading the ECG earns.

    Raises InputError for an unknown suite or run.
    """
    run_id = run_id or audited_run(score_set)
    if run_id not in score_set.runs:
        raise InputError(f"no run is called '{run_id}'; there are {', '.join(score_set.runs)}")
    have = [split for split in (*_SPLITS, *score_set.splits()) if split in score_set.splits()]
    outcomes = {split: Outcomes(score_set, split) for split in dict.fromkeys(have)}
    results = []
    for name in _names(suite):
        audit = AUDITS[name][0]
        order = list(outcomes.values())
        if name == "random_ecg":
            order.sort(key=lambda o: o.split != "test_unbiased")
            order = [o for o in order if o.has(run_id, RANDOM)] or order
        results.append(audit(order[0], run_id, seed=seed, replicates=replicates))
    return results


def audited_run(score_set: ScoreSet) -> str:
    """The only run, or the first whose role is "audited". InputError when there is neither."""
    names = list(score_set.runs)
    audited = score_set.of_role("audited")
    if len(names) == 1 or audited:
        return audited[0] if audited else names[0]
    raise InputError(f"none of the runs {', '.join(names)} has the role audited; name one with --run")


def _names(suite: str) -> tuple[str, ...]:
    if suite in SUITES:
        return SUITES[suite]
    names = tuple(name.strip() for name in suite.split(","))
    for name in names:
        if name not in AUDITS:
            raise InputError(f"no audit or suite is called '{name}'; there are {', '.join((*SUITES, *AUDITS))}")
    return names


def describe() -> dict[str, str]:
    """name -> one line."""
    return {name: line for name, (_, line) in AUDITS.items()}
