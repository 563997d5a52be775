"""Does the order in which the possible answers are listed matter?"""

from __future__ import annotations

import numpy as np

from causalecg.audits.audit import Audit, Finding, Look, described, difference
from causalecg.audits.interventions import OPTION_ORDER
from causalecg.audits.verdicts import NEGLIGIBLE, below, few_clusters


def option_order(look: Look) -> Finding:
    """Share of answers changed when the candidates are listed in another order."""
    asked = look.together("intact", OPTION_ORDER)
    intact, other = look.answers("intact"), look.answers(OPTION_ORDER)
    stacked = np.stack([(intact.code != other.code).astype(float), intact.correct, other.correct], axis=1)[asked]
    boot = look.bootstrap(asked)
    means = boot.means(stacked)
    changed = means.share(0)
    return Finding(
        changed,
        f"less than {NEGLIGIBLE:.0%}",
        below(changed, NEGLIGIBLE, boot),
        [
            described("answers changed", changed),
            described("accuracy, as listed", means.share(1)),
            described("accuracy, in another order", means.share(2)),
            described("drop", means.interval(difference(1, 2))),
        ],
        few_clusters(boot) + f"{int(asked.sum())} items with several candidates.",
        look.paired_p(difference(1, 2), stacked, boot, means),
    )


AUDIT = Audit(
    "option_order",
    "How many answers change when the possible answers are listed in another order?",
    "answers changed",
    "answers changed by the order of the candidates",
    ("intact", OPTION_ORDER),
    option_order,
    further=True,
)
