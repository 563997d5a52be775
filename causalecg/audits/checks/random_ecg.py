"""A random other patient's ECG: the test that the reference paper's abstract names."""

from __future__ import annotations

import numpy as np

from causalecg.audits.audit import Audit, Finding, Look, NotAssessed, counted, described, difference
from causalecg.audits.interventions import RANDOM
from causalecg.audits.result import Verdict
from causalecg.audits.statistics.bootstrap import MINIMUM_CLUSTERS
from causalecg.audits.verdicts import NEGLIGIBLE, RELIANCE, few_clusters, share_verdict, unknown_donors


def random_ecg(look: Look) -> Finding:
    """Loss of accuracy when every item gets a random other patient's ECG, as a share of the oracle's loss. The majority
    answer and a question-only run, which cannot lose any, stand beside it."""
    asked = look.together("intact", RANDOM)
    intact, swapped = look.answers("intact"), look.answers(RANDOM)
    oracle = look.companion(RANDOM)
    if oracle is not None:
        asked = asked & oracle.both
        if not asked.any():
            raise NotAssessed(f"no item has both an intact answer and one under {RANDOM}")
    others = look.bystanders(RANDOM)
    columns = np.stack(
        [intact.correct, swapped.correct, *(values for _, before, after in others for values in (before, after))],
        axis=1,
    )[asked]
    boot = look.bootstrap(asked, [swapped] if oracle is None else [swapped, oracle.changed])
    means = boot.means(columns)
    drops = [means.interval(difference(i, i + 1)) for i in range(0, columns.shape[1], 2)]
    drop, due = drops[0], drops[-1]
    rows = [
        described("drop in accuracy", drop),
        described("intact accuracy", means.share(0)),
        described("accuracy with a random ECG", means.share(1)),
        described("accuracy of the majority answer per template, with either ECG", means.share(2)),
        *(described(f"drop of the {label}", drops[i]) for i, (label, _, _) in enumerate(others[1:], start=2)),
    ]
    if oracle is None:
        verdict: Verdict = "not assessed"
        if drop.high < NEGLIGIBLE:
            verdict = "fail" if boot.clusters >= MINIMUM_CLUSTERS else "inconclusive"
        note = "A drop alone does not show that the ECG is read as it should be: that takes an oracle or a reference. "
        threshold = f"a drop above {NEGLIGIBLE}; to pass, a share of an oracle's"
    else:
        last = columns.shape[1] - 2
        contrast = means.interval(lambda m: m[..., 0] - m[..., 1] - RELIANCE * (m[..., last] - m[..., last + 1]))
        share = means.interval(lambda m: (m[..., 0] - m[..., 1]) / (m[..., last] - m[..., last + 1]))
        rows.append(described("share", share))
        verdict, note = share_verdict(drop, due, contrast, boot), ""
        threshold = f"at least {RELIANCE:.0%} of the drop of the {oracle.label}"
    return Finding(
        drop,
        threshold,
        verdict,
        rows,
        few_clusters(boot) + note + f"{int(asked.sum())} items, {counted(boot)}." + unknown_donors(swapped, asked),
        look.paired_p(difference(0, 1), columns, boot, means),
    )


AUDIT = Audit(
    "random_ecg",
    "Does it lose accuracy when it is shown a random other patient's ECG?",
    "drop in accuracy",
    "loss of accuracy with a random other patient's ECG (named in the reference paper's abstract)",
    ("intact", RANDOM),
    random_ecg,
    # Its drop there equals what reading the ECG earns.
    prefers="test_unbiased",
)
