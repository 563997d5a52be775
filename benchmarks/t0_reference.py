"""The tier-T0 table by independent code: numpy and scikit-learn's spline basis, nothing of adjusters or of tier T0.

    python benchmarks/t0_reference.py --regimes R0,R1 --seeds 5 --rho 0.99 --items 4000

Prints one Markdown table per fit: unbiased accuracy and recovery of every method, means over seeds; then the effects.
Only the law the worlds are drawn from is shared with the package. Every fit is a penalised logistic regression solved
by Newton's method; every weight and prior is a share counted in the training rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from itertools import product

import numpy as np
from sklearn.preprocessing import SplineTransformer

from causalecg.benchmark.law import Law, World
from causalecg.benchmark.regimes import REGIMES

Predict = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
METHODS = (
    "ERM", "question-only", "IPW(F given S)", "group reweight (A, F)", "PoE (style prior)", "PoE (whole question)",
    "TIE / VCD", "backdoor, P(s)", "backdoor, P(s given E)", "JTT (x20)", "DFR (100 balanced)", "drop style", "oracle",
)  # fmt: skip


def newton(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None, offset: np.ndarray | None = None
) -> np.ndarray:
    """Weights that minimise the summed logistic loss plus half their squared norm."""
    w = np.ones(len(y)) if weight is None else weight / weight.mean()
    o = np.zeros(len(y)) if offset is None else offset
    theta = np.zeros(x.shape[1])

    def value(t: np.ndarray) -> float:
        z = x @ t + o
        return float(w @ (np.logaddexp(0, z) - y * z) + 0.5 * t @ t)

    now = value(theta)
    for _ in range(200):
        p = _sigmoid(x @ theta + o)
        gradient = x.T @ (w * (p - y)) + theta
        hessian = (x * (w * p * (1 - p))[:, None]).T @ x + np.eye(len(theta))
        step = np.linalg.solve(hessian, gradient)
        length = 1.0
        while length > 1e-6 and value(theta - length * step) > now - 1e-4 * length * gradient @ step:
            length /= 2
        theta = theta - length * step
        before, now = now, value(theta)
        if before - now < 1e-9 * max(1.0, abs(now)):
            break
    return theta


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * z))


def _logit(p: np.ndarray) -> np.ndarray:
    return np.log(p) - np.log1p(-p)


def basis(evidence: np.ndarray | None, n: int, fit: str) -> np.ndarray:
    """Constant, half of each channel and, where ``fit`` is "spline", cubic B-splines with knots 1.5 apart from -4.5."""
    one = np.ones((n, 1))
    if evidence is None:
        return one
    evidence = evidence.astype(np.float32).astype(np.float64)
    if fit == "linear":
        return np.column_stack([one, 0.5 * evidence])
    knots = np.repeat(np.linspace(-4.5, 4.5, 7)[:, None], evidence.shape[1], axis=1)
    splines = SplineTransformer(degree=3, knots=knots, extrapolation="constant").fit_transform(evidence)
    return np.column_stack([one, 0.5 * evidence, splines])


def design(
    evidence: np.ndarray | None, codes: Iterable[np.ndarray], n: int, fit: str, levels: np.ndarray | None = None
) -> np.ndarray:
    """Columns: the basis, times every product of the +-1 codes, times (1, indicator of each severity level); a column
    of k codes is scaled by 10 / 10**(k / 2). Linear: single codes and levels shift the constant only."""
    b = basis(evidence, n, fit)
    codes = list(codes)
    told = [(0, np.ones(n))] + ([] if levels is None else [(1, (levels == k) * 1.0) for k in (0, 1)])
    columns = []
    for taken in product((0, 1), repeat=len(codes)):
        for more, level in told:
            order = sum(taken) + more
            if fit == "linear" and order > 1:
                continue
            product_of = np.prod([c for c, use in zip(codes, taken, strict=True) if use] or [np.ones(n)], axis=0)
            kept = b[:, :1] if fit == "linear" and order else b
            columns.append(10 * 10 ** (-order / 2) * kept * (product_of * level)[:, None])
    return np.concatenate(columns, axis=1)


def signs(topic: np.ndarray, styles: np.ndarray | None) -> list[np.ndarray]:
    both = [topic] if styles is None else [topic, *styles.T]
    return [2.0 * c - 1.0 for c in both]


def cell_share(*columns: np.ndarray) -> np.ndarray:
    """(n,) share of rows that agree with each row in all columns."""
    key = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        key = key * (int(column.max()) + 1) + column
    return np.bincount(key)[key] / len(key)


class Fitted:
    """All methods on one training world; each is (evidence, topic, styles) -> P(A = 1)."""

    def __init__(self, world: World, items: int, fit: str) -> None:
        self.fit = fit
        at = slice(0, items)
        self.e, self.t, self.f = world.evidence[at], world.topic[at], world.styles[at]
        self.a, self.s = world.answer[at], world.severity_observed[at]
        self.code = world.style_code[at]
        self.world, self.items = world, items

    def _x(self, e: np.ndarray | None, t: np.ndarray, f: np.ndarray | None, s: np.ndarray | None = None) -> np.ndarray:
        return design(e, signs(t, f), len(t), self.fit, s)

    def _plain(self, weight: np.ndarray | None = None, offset: np.ndarray | None = None) -> Predict:
        theta = newton(self._x(self.e, self.t, self.f), self.a, weight, offset)
        return lambda e, t, f: _sigmoid(self._x(e, t, f) @ theta)

    def method(self, name: str) -> Predict | None:
        """``None`` where the method has no answer: a style that never occurs at some severity."""
        overlap = all(len(np.unique(self.code[self.s == k])) == len(np.unique(self.code)) for k in (0, 1))
        if name == "ERM":
            return self._plain()
        if name == "question-only":
            theta = newton(self._x(None, self.t, self.f), self.a)
            return lambda e, t, f: _sigmoid(self._x(None, t, f) @ theta)
        if name == "IPW(F given S)":
            if not overlap:
                return None
            t, s, f = self.t, self.s, self.code
            return self._plain(cell_share(t, f) / cell_share(t) * cell_share(t, s) / cell_share(t, s, f))
        if name == "group reweight (A, F)":
            return self._plain(1 / cell_share(self.a, self.code))
        if name.startswith("PoE"):
            seen = (self.code,) if "style" in name else (self.code, self.t)
            yes = cell_share(*seen, self.a) / cell_share(*seen)
            yes = np.where(self.a == 1, yes, 1 - yes).clip(1e-3, 1 - 1e-3)
            return self._plain(offset=_logit(yes))
        if name == "TIE / VCD":
            whole, question = self.method("ERM"), self.method("question-only")
            assert whole is not None
            assert question is not None
            return lambda e, t, f: _sigmoid(_logit(_inside(whole(e, t, f))) - _logit(_inside(question(e, t, f))))
        if name.startswith("backdoor"):
            return self._backdoor("given" in name) if overlap else None
        if name == "JTT (x20)":
            first = self.method("ERM")
            assert first is not None
            wrong = (first(self.e, self.t, self.f) > 0.5) != self.a
            return self._plain(1.0 + 19.0 * wrong)
        if name == "DFR (100 balanced)":
            return self._refitted()
        if name == "drop style":
            theta = newton(self._x(self.e, self.t, None), self.a)
            return lambda e, t, f: _sigmoid(self._x(e, t, None) @ theta)
        return Fitted(self.world.unbiased(), self.items, self.fit)._plain()

    def _backdoor(self, conditional: bool) -> Predict:
        theta = newton(self._x(self.e, self.t, self.f, self.s), self.a)
        severe = newton(self._x(self.e, self.t, None), self.s)
        share = np.array([self.s[self.t == t].mean() for t in (0, 1)])
        share = np.array([self.s[self.t == t].mean() for t in (0, 1)])

        def predict(e: np.ndarray, t: np.ndarray, f: np.ndarray) -> np.ndarray:
            each = [_sigmoid(self._x(e, t, f, np.full(len(t), k)) @ theta) for k in (0, 1)]
            one = _sigmoid(self._x(e, t, None) @ severe) if conditional else share[t]
            return (1 - one) * each[0] + one * each[1]

        return predict

    def _refitted(self) -> Predict:
        """On 100 items with the style random, as many of each answer and (first) style."""
        held = self.world.unbiased()
        rows = np.arange(self.items, len(held))
        group = 2 * held.answer[rows] + held.style[rows]
        chosen = np.concatenate([rows[group == g][:25] for g in range(4)])
        x = self._x(held.evidence[chosen], held.topic[chosen], held.styles[chosen])
        theta = newton(x, held.answer[chosen])
        return lambda e, t, f: _sigmoid(self._x(e, t, f) @ theta)


def _inside(p: np.ndarray) -> np.ndarray:
    return p.clip(1e-12, 1 - 1e-12)


def measures(predict: Predict, test: World) -> dict[str, float]:
    """Unbiased accuracy, style effect (all styles together) and topic effect."""
    seen = test.unbiased()
    e, t, f = seen.evidence, seen.topic, seen.styles
    ones, zeros = np.ones_like(f), np.zeros_like(f)
    return {
        "accuracy": float(((predict(e, t, f) > 0.5) == seen.answer).mean()),
        "style": float(np.abs(predict(e, t, ones) - predict(e, t, zeros)).mean()),
        "topic": float(np.abs(predict(e, np.ones_like(t), f) - predict(e, np.zeros_like(t), f)).mean()),
    }


def run(
    law: Law, method: str, *, seed: int, items: int, test: World, fit: str, valid: int = 500
) -> dict[str, float] | None:
    """One method on one training world, drawn as tier T0 draws it."""
    world = law.draw(items + valid, np.random.default_rng([seed, 1]))
    predict = Fitted(world, items, fit).method(method)
    return None if predict is None else measures(predict, test)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regimes", default=",".join(REGIMES))
    parser.add_argument("--rho", type=float, default=0.99)
    parser.add_argument("--items", type=int, default=4000)
    parser.add_argument("--test-items", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--fits", default="spline,linear")
    options = parser.parse_args()
    names = options.regimes.split(",")
    for fit in options.fits.split(","):
        found: dict[tuple[str, str], list[dict[str, float]]] = {}
        for name in names:
            law = REGIMES[name].law(options.rho if REGIMES[name].rho is None else None)
            test = law.draw(options.test_items, np.random.default_rng([options.test_items, 20_000]))
            for method in METHODS:
                each = [
                    run(law, method, seed=seed, items=options.items, test=test, fit=fit)
                    for seed in range(options.seeds)
                ]
                found[name, method] = [one for one in each if one is not None]
        print(f"## {fit} fit, n = {options.items}, rho = {options.rho}, {options.seeds} seeds\n")
        print("Unbiased accuracy (standard error over seeds) / recovery.\n")
        _print(names, found, _accuracy)
        print("\nStyle effect / topic effect.\n")
        _print(names, found, lambda own, none, oracle: f"{_mean(own, 'style'):.3f} / {_mean(own, 'topic'):.3f}")
        print()


def _mean(each: list[dict[str, float]], what: str) -> float:
    return float(np.mean([one[what] for one in each]))


def _accuracy(own: list[dict[str, float]], none: list[dict[str, float]], oracle: list[dict[str, float]]) -> str:
    values = [one["accuracy"] for one in own]
    error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    gap = _mean(oracle, "accuracy") - _mean(none, "accuracy")
    recovery = f"{(np.mean(values) - _mean(none, 'accuracy')) / gap:.2f}" if gap >= 0.05 else "–"
    return f"{100 * np.mean(values):.1f} ({100 * error:.1f}) / {recovery}"


def _print(names: list[str], found: dict[tuple[str, str], list[dict[str, float]]], text: Callable[..., str]) -> None:
    print("| method | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for method in METHODS:
        cells = [
            text(found[n, method], found[n, "ERM"], found[n, "oracle"]) if found[n, method] else "no overlap"
            for n in names
        ]
        print(f"| {method} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
