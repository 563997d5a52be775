"""Does what the prompt tells of the patient give the answer away?"""

from __future__ import annotations

import numpy as np

from causalecg.audits.audit import Audit, Finding, Look, described, difference
from causalecg.audits.interventions import NO_ECG, NO_ECG_NO_METADATA, NO_METADATA
from causalecg.audits.verdicts import NEGLIGIBLE, below, few_clusters


def prompt_leak(look: Look) -> Finding:
    """Accuracy without the ECG, with the prompt's metadata less without it: what age, sex or other text gives away."""
    asked = look.together("intact", NO_ECG, NO_ECG_NO_METADATA)
    blind, bare = look.answers(NO_ECG), look.answers(NO_ECG_NO_METADATA)
    columns = [blind.correct, bare.correct, (blind.code != bare.code).astype(float)]
    if look.has(NO_METADATA):
        columns += [look.answers("intact").correct, look.answers(NO_METADATA).correct]
    stacked = np.stack(columns, axis=1)[asked]
    boot = look.bootstrap(asked)
    means = boot.means(stacked)
    leak = means.interval(difference(0, 1))
    rows = [
        described("accuracy without the ECG, with metadata", means.share(0)),
        described("accuracy without the ECG and without metadata", means.share(1)),
        described("leak", leak),
        described("answers changed by the metadata", means.share(2)),
    ]
    if len(columns) == 5:
        rows.append(
            described("accuracy lost when the metadata is removed and the ECG stays", means.interval(difference(3, 4)))
        )
    return Finding(
        leak,
        f"less than {NEGLIGIBLE}",
        below(leak, NEGLIGIBLE, boot),
        rows,
        few_clusters(boot) + f"{int(asked.sum())} items with metadata.",
        look.paired_p(difference(0, 1), stacked, boot, means),
    )


AUDIT = Audit(
    "prompt_leak",
    "Without the ECG, how much accuracy does the text about the patient buy?",
    "leak",
    "accuracy that metadata in the prompt buys without any ECG",
    ("intact", NO_ECG, NO_ECG_NO_METADATA),
    prompt_leak,
    further=True,
)
