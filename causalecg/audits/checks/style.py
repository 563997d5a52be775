"""What the style of the wording does to the answer, beyond what any rewording does."""

from __future__ import annotations

import numpy as np

from causalecg.audits.audit import Audit, Finding, Look, described, difference
from causalecg.audits.checks.wording import changed_above_floor
from causalecg.audits.interventions import OTHER_STYLE, SEEN
from causalecg.audits.verdicts import NEGLIGIBLE, below, few_clusters


def style_effect(look: Look) -> Finding:
    """E|p(. | do F = 1) - p(. | do F = 0)|, less the same under another wording of the same style.

    The distance is total variation: for two candidates the absolute difference in the probability of one. Without
    log-likelihoods the share of answers changed stands in its place. With two styles and two candidates the signed
    effect is given too: the mean change of the first candidate's log-odds (candidates and styles in alphabetical
    order), with its sign-flip test.
    """
    asked = look.together("intact", OTHER_STYLE, SEEN)
    boot, flips, floor = changed_above_floor(look, OTHER_STYLE)
    rows = [described("answers changed by the style, above the floor", flips)]
    headline, p, about = flips, None, "answers changed by the style"
    distances = [distance(look, what) for what in (OTHER_STYLE, SEEN)]
    known = asked & np.isfinite(distances).all(0)
    if known.any():
        stacked = np.stack(distances, axis=1)[known]
        boot = look.bootstrap(known)
        means = boot.means(stacked)
        headline, about = means.interval(difference(0, 1)), "style effect on probabilities"
        rows += [
            described("distance under another style", means.share(0)),
            described("distance under another wording of the same style", means.share(1)),
            described("style effect on probabilities", headline),
        ]
    signed = _signed(look)
    if signed is not None:
        there = np.isfinite(signed)
        alone = look.bootstrap(there)
        means = alone.means(signed[there])
        rows.append(described("signed effect on log-odds", means.interval(lambda m: m[..., 0])))
        p = look.paired_p(lambda m: m[..., 0], signed[there][:, None], alone, means)
    return Finding(
        headline,
        f"less than {NEGLIGIBLE:.0%}",
        below(headline, NEGLIGIBLE, boot),
        rows,
        few_clusters(boot) + f"{floor[0].upper()}{floor[1:]}.",
        p,
        about,
    )


AUDIT = Audit(
    "style_effect",
    "How much more does an answer change with the style of the wording than with the wording alone?",
    "style effect",
    "change of the answer's probabilities with the style, less that with another wording alone",
    ("intact", OTHER_STYLE, SEEN),
    style_effect,
    further=True,
)


def distance(look: Look, intervention: str) -> np.ndarray:
    """(items,) total variation between the intact answer's distribution and that under an intervention; NaN where
    either has no probabilities."""
    one, other = (look.outcomes.probabilities(look.run_id, name) for name in ("intact", intervention))
    width = min(one.shape[1], other.shape[1])
    gap = np.abs(one[:, :width] - other[:, :width])
    known = np.isfinite(one[:, 0]) & np.isfinite(other[:, 0])
    return np.where(known, np.nansum(gap, axis=1) / 2, np.nan)


def _signed(look: Look) -> np.ndarray | None:
    """(items,) log-odds of the alphabetically first candidate under the second style less that under the first."""
    items = look.outcomes.items
    styles = sorted(set(items["style"].dropna()))
    if len(styles) != 2 or "candidates" not in items.columns:
        return None
    one, other = (look.outcomes.probabilities(look.run_id, name) for name in ("intact", OTHER_STYLE))
    pairs = np.array(
        [isinstance(names, (list, tuple, np.ndarray)) and len(names) == 2 for names in items["candidates"]]
    )
    if not pairs.any() or one.shape[1] < 2 or other.shape[1] < 2:
        return None
    first = np.array(
        [int(np.argsort(list(names))[0]) if two else 0 for names, two in zip(items["candidates"], pairs, strict=True)]
    )
    line = np.arange(len(items))
    change = _logit(other[line, first]) - _logit(one[line, first])
    turned = np.where(items["style"] == styles[0], change, -change)
    found = np.where(pairs, turned, np.nan)
    return found if np.isfinite(found).any() else None


def _logit(p: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.asarray(np.clip(np.log(p) - np.log1p(-p), -30.0, 30.0))
