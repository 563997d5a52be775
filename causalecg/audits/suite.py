"""Which audits there are, and on which split each is made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from causalecg.audits.audit import Audit
from causalecg.audits.checks import (
    accuracy,
    answers,
    confidence,
    consensus,
    dependence,
    follow,
    ladder,
    mediation,
    mirage,
    no_ecg,
    option_order,
    over_correction,
    pairs,
    perceptual,
    prompt_leak,
    quadrants,
    random_ecg,
    severity_groups,
    shapley,
    style,
    topic,
    twins,
    wording,
    zero_shot,
)
from causalecg.audits.outcomes import Outcomes
from causalecg.audits.result import AuditResult, Verdict
from causalecg.audits.score_set import ScoreSet
from causalecg.audits.statistics.bootstrap import REPLICATES
from causalecg.audits.verdicts import overall, worst
from causalecg.errors import InputError
from structural_models.multiplicity import benjamini_hochberg

AUDITS: dict[str, Audit] = {
    audit.name: audit
    for audit in (
        accuracy.AUDIT,
        follow.FOLLOW_RATE,
        follow.SAME,
        random_ecg.AUDIT,
        no_ecg.AUDIT,
        ladder.AUDIT,
        wording.AUDIT,
        quadrants.AUDIT,
        twins.AUDIT,
        severity_groups.AUDIT,
        over_correction.AUDIT,
        zero_shot.AUDIT,
        mirage.AUDIT,
        confidence.AUDIT,
        dependence.AUDIT,
        answers.AUDIT,
        style.AUDIT,
        topic.AUDIT,
        consensus.AUDIT,
        mediation.AUDIT,
        shapley.AUDIT,
        perceptual.AUDIT,
        option_order.AUDIT,
        prompt_leak.AUDIT,
        pairs.AUDIT,
    )
}
#: The full suite also takes what only 'causalecg score --interventions full' asks.
SUITES = {"default": tuple(name for name, audit in AUDITS.items() if not audit.further), "full": tuple(AUDITS)}
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
    passed; so is one on a split that models learn from, whose numbers are shown all the same. Each is made on the first
    split, biased test first, that holds the run's rows for it; some on the unbiased one where they can
    (``Audit.prefers``). ``p_adjusted`` has all audits of the run in view.

    Raises InputError for an unknown suite or run.
    """
    run_id = run_id or judged_runs(score_set)[0]
    if run_id not in score_set.runs:
        raise InputError(f"no run is called '{run_id}'; there are {', '.join(score_set.runs)}")
    have = [split for split in dict.fromkeys((*_SPLITS, *score_set.splits())) if split in score_set.splits()]
    outcomes = [score_set.outcomes(split) for split in have]
    results = [_made(AUDITS[name], outcomes, score_set, run_id, seed, replicates) for name in _names(suite)]
    adjusted = benjamini_hochberg([float("nan") if r.p_value is None else r.p_value for r in results])
    return [
        result if result.p_value is None else replace(result, p_adjusted=float(p))
        for result, p in zip(results, adjusted, strict=True)
    ]


def _made(
    audit: Audit, outcomes: list[Outcomes], score_set: ScoreSet, run_id: str, seed: int, replicates: int
) -> AuditResult:
    order = sorted(outcomes, key=lambda o: o.split != audit.prefers) if audit.prefers else outcomes
    chosen = next((o for o in order if all(o.has(run_id, what) for what in audit.needs)), None)
    chosen = chosen or next((o for o in order if o.has(run_id, "intact")), order[0])
    result = audit(chosen, run_id, seed=seed, replicates=replicates)
    if result.interval is not None and is_learned_from(chosen.split):
        result = replace(result, verdict="not assessed", note=f"{no_verdict_on(chosen.split)} {result.note}".strip())
    missing = [what for what in audit.needs if not score_set.complete(run_id, chosen.split, what)]
    if not missing or result.interval is None:
        return result
    why = f"Scoring has not finished {', '.join(missing)} on {chosen.split}: no verdict on part of the rows. "
    return audit.not_assessed(run_id, why + result.note)


def is_learned_from(split: str) -> bool:
    """Whether a split is one that models learn from or are chosen by, as cohorts and others' tables name them."""
    name = split.casefold()
    return name.startswith(("train", "valid")) or name in ("val", "dev", "development")


def no_verdict_on(split: str) -> str:
    return f"Models learn from split {split}, or are chosen by it: no verdict on its items."


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
