"""Which audits there are, and on which split each is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from causalecg.audits.accuracy import accuracy
from causalecg.audits.bootstrap import REPLICATES
from causalecg.audits.ecg_reliance import follow_rate, no_ecg, random_ecg
from causalecg.audits.interventions import HELD_OUT, OPPOSITE, OTHER_STYLE, RANDOM, SAME_SEVERITY, SEEN
from causalecg.audits.outcomes import Outcomes
from causalecg.audits.quadrants import quadrants
from causalecg.audits.result import AuditResult, Verdict, overall, worst
from causalecg.audits.score_set import ScoreSet
from causalecg.audits.wording import adversarial_wording, style_effect
from causalecg.errors import InputError


@dataclass(frozen=True)
class Audit:
    """``make``: the function; ``needs``: interventions beside intact; ``line``: what it asks."""

    make: Callable[..., AuditResult]
    needs: tuple[str, ...]
    line: str


AUDITS: dict[str, Audit] = {
    "accuracy": Audit(accuracy, (), "exact-match accuracy beside the majority answer, question-only model and oracle"),
    "follow_rate": Audit(
        follow_rate, (OPPOSITE,), "does the answer follow the ECG of a patient with the opposite answer?"
    ),
    "same_severity": Audit(
        lambda outcomes, run_id, **options: follow_rate(outcomes, run_id, intervention=SAME_SEVERITY, **options),
        (SAME_SEVERITY,),
        "does it follow an ECG of the same severity but another answer?",
    ),
    "random_ecg": Audit(
        random_ecg, (RANDOM,), "loss of accuracy with a random other patient's ECG (the reference paper's test)"
    ),
    "no_ecg": Audit(no_ecg, ("no_ecg",), "how often the answer stays the same without any ECG"),
    "adversarial_wording": Audit(
        adversarial_wording,
        (HELD_OUT,),
        "loss of accuracy and answers changed in held-out words (the reference paper's test)",
    ),
    "quadrants": Audit(quadrants, (OPPOSITE,), "right or wrong, looking or not"),
    "style_effect": Audit(
        style_effect, (OTHER_STYLE, SEEN), "answers changed by another style, less those by another wording alone"
    ),
}
#: The full suite also takes what only 'causalecg score --interventions full' asks.
SUITES = {"default": tuple(name for name in AUDITS if name != "style_effect"), "full": tuple(AUDITS)}
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
        run_id: whom to audit; by default the first of :func:`judged_runs`.
        seed, replicates: of the bootstrap.

    An audit that lacks its rows, or has only part of those that scoring set out to make, is "not assessed", never
    passed. Each is made on the first split, biased test first, that holds the run's rows for it; the random-ECG audit
    on the unbiased one where it can: there its drop equals what reading the ECG earns.

    Raises InputError for an unknown suite or run.
    """
    run_id = run_id or judged_runs(score_set)[0]
    if run_id not in score_set.runs:
        raise InputError(f"no run is called '{run_id}'; there are {', '.join(score_set.runs)}")
    have = [split for split in dict.fromkeys((*_SPLITS, *score_set.splits())) if split in score_set.splits()]
    outcomes = [Outcomes(score_set, split) for split in have]
    results = []
    for name in _names(suite):
        audit = AUDITS[name]
        order = sorted(outcomes, key=lambda o: o.split != "test_unbiased") if name == "random_ecg" else outcomes
        needs = ("intact", *audit.needs)
        chosen = next((o for o in order if all(o.has(run_id, what) for what in needs)), None)
        chosen = chosen or next((o for o in order if o.has(run_id, "intact")), order[0])
        result = audit.make(chosen, run_id, seed=seed, replicates=replicates)
        missing = [what for what in needs if not score_set.complete(run_id, chosen.split, what)]
        if missing and result.interval is not None:
            note = f"Scoring has not finished {', '.join(missing)} on {chosen.split}: no verdict on part of the rows. "
            result = replace(
                result,
                estimate=float("nan"),
                interval=None,
                p_value=None,
                verdict="not assessed",
                note=note + result.note,
            )
        results.append(result)
    return results


def judged_runs(score_set: ScoreSet) -> list[str]:
    """Runs whose verdict counts: those of role "audited" that are no placebo; a run that is alone.

    InputError when there is none.
    """
    names = list(score_set.runs)
    judged = [name for name in score_set.of_role("audited") if not is_placebo(score_set.runs[name])]
    if judged or len(names) == 1:
        return judged or names
    raise InputError(f"none of the runs {', '.join(names)} has the role audited; name one with --run")


def is_placebo(run: dict[str, object]) -> bool:
    return str(run.get("arm", "")).startswith("placebo:")


def verdicts_of(results: Iterable[AuditResult], runs: Iterable[str]) -> tuple[Verdict, dict[str, Verdict]]:
    """The worst overall verdict among some runs, and that of each."""
    every = list(results)
    each = {run: overall(result for result in every if result.run_id == run) for run in runs}
    return worst(each.values()), each


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
    return {name: audit.line for name, audit in AUDITS.items()}
