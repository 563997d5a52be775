"""The benchmark's law: every dial, and worlds drawn from it together with their exogenous noise.

    S                      severity, ``levels`` equally frequent levels
    V = S, or (``hidden``) something of the same kind that nobody measures
    D, F_1..F_m, T follow V with p, q and q_topic     finding, style(s) of the wording, topic
    E = (d' (D - 1/2), d'_S c_S / 2) + N(0, 1)        amount of the finding and of severity that the ECG shows
    A = T with probability tau, F_1 with ``style_effect``, S with ``direct``, else D; then flipped with eta
    S~ = S, or with probability ``severity_error`` another level

"Follow" is that of :mod:`causalecg.benchmark.dial`. A world keeps its noise, so that the same patients can be seen
under do(D), do(F) and do(T): exact twins. What holds of a law exactly is in :mod:`causalecg.benchmark.exact`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from causalecg.benchmark import dial
from causalecg.errors import InputError

#: Paraphrases of a wording that a training item may have.
PARAPHRASES = 9
_SHARES = ("p", "q_topic", "tau", "eta", "severity_error", "direct", "style_effect", "hidden")


@dataclass(frozen=True)
class Law:
    """The dials.

    Attributes:
        p: P(D = S).
        q: P(F = S); several numbers are those of as many equally frequent sites.
        q_topic: P(T = S). Set by ``kappa`` where that is given.
        tau: share of the answers that the topic settles: the topic's true effect.
        eta: share of the answers that are flipped.
        severity_error: share of the patients whose severity is recorded as another level.
        d_prime: discriminability of the finding in the ECG, positive.
        d_prime_severity: that of the outermost levels of severity, on a channel of its own; 0 = invisible.
        levels: of severity, at least 2.
        shortcuts: styles that follow severity, each with q; together they are the wording's style.
        kappa: where given, P(F = T), and the topic is told by the style's own words: of the style's two parts (F, T)
            only F is a nuisance.
        direct: share of the answers that severity settles directly, not through the finding.
        style_effect: share of the answers that the first style settles: where positive, F causes A.
        hidden: share of the patients whose finding, style and topic follow an unmeasured cause instead of severity.

    Raises:
        InputError: a dial out of its range, or a kappa that is out of reach.
    """

    p: float
    q: float | tuple[float, ...]
    q_topic: float = 0.5
    tau: float = 0.0
    eta: float = 0.0
    severity_error: float = 0.0
    d_prime: float = 2.56
    d_prime_severity: float = 0.0
    levels: int = 2
    shortcuts: int = 1
    kappa: float | None = None
    direct: float = 0.0
    style_effect: float = 0.0
    hidden: float = 0.0

    def __post_init__(self) -> None:
        for name in _SHARES:
            _share(name, getattr(self, name))
        for q in self.site_q:
            _share("q", q)
        if not self.site_q:
            raise InputError("q names no site; give one number, or one for every site")
        if self.tau + self.style_effect + self.direct > 1:
            raise InputError("tau, style_effect and direct are shares of the same answers; together they are at most 1")
        if not 0 < self.d_prime < np.inf:
            raise InputError(f"d' must be positive and finite, not {self.d_prime}")
        if not 0 <= self.d_prime_severity < np.inf:
            raise InputError(f"d' of severity must be finite and not negative, not {self.d_prime_severity}")
        if self.levels < 2:
            raise InputError(f"severity needs at least 2 levels, not {self.levels}")
        if not 1 <= self.shortcuts <= 6:
            raise InputError(f"a law has 1 to 6 shortcuts, not {self.shortcuts}")
        if self.kappa is not None:
            self._entangle(self.kappa)

    def _entangle(self, kappa: float) -> None:
        _share("kappa", kappa)
        if len(self.site_q) > 1 or self.shortcuts > 1:
            raise InputError("kappa is for one style at one site; leave out the other shortcuts and sites")
        try:
            q_topic = dial.partner(self.site_q[0], kappa, self.levels)
        except ValueError as error:
            raise InputError(f"kappa = {kappa} is out of reach: {error}") from error
        object.__setattr__(self, "q_topic", q_topic)

    @property
    def site_q(self) -> tuple[float, ...]:
        """P(F = S) at every site."""
        return self.q if isinstance(self.q, tuple) else (self.q,)

    @property
    def scores(self) -> np.ndarray:
        """(levels,) scores of the levels, -1 to 1."""
        return dial.level_scores(self.levels)

    @property
    def answer_is_finding(self) -> bool:
        """Whether the answer is always the finding."""
        return not (self.tau or self.eta or self.direct or self.style_effect)

    def require_anti(self) -> None:
        """InputError where no style can be set to what the answer is not, since setting it changes the answer."""
        if self.style_effect:
            raise InputError("where the style causes the answer there is no test with F = not A; leave it out")

    def draw(self, n: int, rng: np.random.Generator) -> World:
        """``n`` patients, one ECG and one question each. Same generator state, same bytes.

        All laws of as many levels draw the same noise, so worlds of one seed differ only by the law. Raises InputError
        for a negative ``n``.
        """
        if n < 0:
            raise InputError(f"a world has no fewer than 0 patients, not {n}")
        severity = rng.integers(0, self.levels, n)
        finding, style = rng.random(n), rng.random(n)
        randomised = rng.integers(0, 2, n)
        paraphrase = rng.integers(0, PARAPHRASES, n)
        amount = rng.standard_normal(n)
        more = rng.spawn(1)[0]
        other_styles = self.shortcuts - 1
        noise = Noise(
            severity=severity,
            finding=finding,
            amount=amount,
            paraphrase=paraphrase,
            severity_amount=more.standard_normal(n),
            topic=more.random(n),
            rule=more.random(n),
            flip=more.random(n),
            severity_rule=more.random(n),
            recorded=more.random(n),
            recorded_step=more.integers(1, self.levels, n),
            hidden=more.random(n),
            hidden_level=more.integers(0, self.levels, n),
            site=more.integers(0, len(self.site_q), n),
            styles=np.column_stack([style, more.random((n, other_styles))]),
            randomised=np.column_stack([randomised, more.integers(0, 2, (n, other_styles))]),
        )
        return _world(self, noise, Interventions())


@dataclass(frozen=True)
class Noise:
    """Exogenous noise of n patients: (n,) uniform on [0, 1], unless said otherwise.

    Attributes:
        severity, hidden_level, site, paraphrase: integers.
        recorded_step: integer, how many levels further (cyclically) a wrong record is.
        amount, severity_amount: standard normal, the noise of the evidence.
        styles: (n, shortcuts).
        randomised: (n, shortcuts) fair coins: what do(F) at random sets the styles to.
    """

    severity: np.ndarray
    finding: np.ndarray
    amount: np.ndarray
    paraphrase: np.ndarray
    severity_amount: np.ndarray
    topic: np.ndarray
    rule: np.ndarray
    flip: np.ndarray
    severity_rule: np.ndarray
    recorded: np.ndarray
    recorded_step: np.ndarray
    hidden: np.ndarray
    hidden_level: np.ndarray
    site: np.ndarray
    styles: np.ndarray
    randomised: np.ndarray


@dataclass(frozen=True)
class Interventions:
    """What has been set, not drawn: (n,) 0 or 1, styles (n, shortcuts); ``None`` = as the law has it."""

    finding: np.ndarray | None = None
    styles: np.ndarray | None = None
    topic: np.ndarray | None = None


@dataclass(frozen=True)
class World:
    """n patients. Integers (n,), unless said otherwise.

    Attributes:
        law, noise, interventions: what the rest follows from.
        severity, severity_observed: the true level and the recorded one, 0 to levels - 1.
        finding, topic, answer: 0 or 1.
        styles: (n, shortcuts) 0 or 1.
        evidence: (n, 2) float64, all that the ECG says of finding and severity, in units of its noise.
        site: where the question was asked.
    """

    law: Law
    noise: Noise
    interventions: Interventions = field(repr=False)
    severity: np.ndarray
    severity_observed: np.ndarray
    finding: np.ndarray
    styles: np.ndarray
    topic: np.ndarray
    evidence: np.ndarray
    answer: np.ndarray
    site: np.ndarray

    def __len__(self) -> int:
        return len(self.severity)

    @property
    def style(self) -> np.ndarray:
        """(n,) the first style."""
        return self.styles[:, 0]

    @property
    def style_code(self) -> np.ndarray:
        """(n,) all styles as one number, the first the lowest bit: 0 to 2**shortcuts - 1."""
        return self.styles @ (1 << np.arange(self.law.shortcuts))

    def do(
        self,
        *,
        finding: np.ndarray | int | None = None,
        style: np.ndarray | int | None = None,
        topic: np.ndarray | int | None = None,
    ) -> World:
        """The same patients, with the same noise, had these been set; what was set before stays set.

        Args:
            finding, topic: 0 or 1, one for all or (n,).
            style: 0 or 1 for all, (n,) the same for every style, or (n, shortcuts).

        Raises InputError for another value or shape.
        """
        n, m = self.noise.styles.shape
        changed = {}
        if finding is not None:
            changed["finding"] = _binary("finding", finding, (n,))
        if topic is not None:
            changed["topic"] = _binary("topic", topic, (n,))
        if style is not None:
            given = np.asarray(style)
            changed["styles"] = _binary(
                "style", np.repeat(given[:, None], m, axis=1) if given.ndim == 1 else given, (n, m)
            )
        return _world(self.law, self.noise, replace(self.interventions, **changed))

    def unbiased(self) -> World:
        """The style re-drawn at random: do(F), F a fair coin."""
        return self.do(style=self.noise.randomised)

    def anti(self) -> World:
        """The style that the answer is not: do(F = 1 - A). Raises InputError where the style causes the answer."""
        self.law.require_anti()
        return self.do(style=1 - self.answer)


def _world(law: Law, noise: Noise, done: Interventions) -> World:
    severity = noise.severity
    driver = np.where(noise.hidden < law.hidden, noise.hidden_level, severity)
    side = dial.side_of(law.scores)[driver]
    along = {p: dial.agreement_at(p, law.scores) for p in (law.p, law.q_topic)}
    by_site = np.stack([dial.agreement_at(q, law.scores) for q in law.site_q])[noise.site, driver]
    finding, styles, topic = done.finding, done.styles, done.topic
    if finding is None:
        finding = _follows(side, along[law.p][driver], noise.finding)
    if styles is None:
        styles = _follows(side[:, None], by_site[:, None], noise.styles)
    if topic is None:
        topic = _follows(side, along[law.q_topic][driver], noise.topic)
    score = law.scores[severity]
    by_severity = (noise.severity_rule < 0.5 * (1 + score)).astype(np.int64)
    until = np.cumsum([law.tau, law.style_effect, law.direct])
    settled = np.select([noise.rule < share for share in until], [topic, styles[:, 0], by_severity], finding)
    wrong = (severity + noise.recorded_step) % law.levels
    return World(
        law=law,
        noise=noise,
        interventions=done,
        severity=severity,
        severity_observed=np.where(noise.recorded < law.severity_error, wrong, severity),
        finding=finding,
        styles=styles,
        topic=topic,
        evidence=np.column_stack(
            [
                law.d_prime * (finding - 0.5) + noise.amount,
                law.d_prime_severity * 0.5 * score + noise.severity_amount,
            ]
        ),
        answer=np.where(noise.flip < law.eta, 1 - settled, settled),
        site=noise.site,
    )


def _follows(side: np.ndarray, along: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """(n,) the side, where the noise is below the probability ``along`` of agreeing with it, else the other."""
    return np.where(uniform < along, side, 1 - side)


def _share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise InputError(f"{name} must lie between 0 and 1, not at {value}")


def _binary(name: str, value: np.ndarray | int, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(value)
    if array.shape not in ((), shape) or not np.isin(array, (0, 1)).all():
        raise InputError(f"do({name}) takes 0 or 1, one for all or an array of shape {shape}, not {_told(array)}")
    return np.broadcast_to(array, shape).astype(np.int64)


def _told(array: np.ndarray) -> str:
    return f"one of shape {array.shape}" if array.ndim else str(array)
