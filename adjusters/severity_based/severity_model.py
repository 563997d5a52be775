"""P(severity | ECG), or P(severity | ECG, topic): a head on the ECG's features, or severity asked as a question;
calibrated on held-out patients.

The head is trained with the encoder, on patients whose severity it may memorise. What is predicted with is therefore
re-calibrated on the validation split, whose patients it never saw (sample splitting by patient): new scores are
``sharpness * scores + shift``, fitted by maximum likelihood. With memorised scores left as they are, P(s | E) would
return the observed severity and back-door adjustment would be plain conditioning on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from adjusters.contract import Batch, ContractError, HasFeatureDim, HasFeatures, Scorer

QUESTION = "How severe is the illness?"
MINIMUM_CALIBRATION_ROWS = 50


class SeverityPrior(nn.Module):
    """log P(s), or log P(s | topic).

    Args:
        topics: known topics; empty = topics are not told apart.
        shares: (topics + 1, levels) share of each level among the training rows of each topic, and of all rows last.
    """

    table: Tensor

    def __init__(self, topics: Sequence[str], shares: np.ndarray) -> None:
        super().__init__()
        self.topics = {name: i for i, name in enumerate(topics)}
        self.register_buffer("table", torch.as_tensor(np.log(shares), dtype=torch.float32))

    def index(self, batch: Batch) -> Tensor:
        """(batch,) int64 row of the table; the last for a topic that is unknown or not told."""
        names = batch.topic or (None,) * len(batch)
        found = [self.topics.get(name, len(self.topics)) for name in names]  # type: ignore[arg-type]
        return torch.tensor(found, device=self.table.device)

    def forward(self, batch: Batch) -> Tensor:
        """(batch, levels)."""
        log_shares: Tensor = self.table[self.index(batch)]
        return log_shares


class SeverityModel(nn.Module):
    """Scores of the severity levels given the ECG, and their calibration.

    Args:
        scorer: whose ECG features, or whose answer to :data:`QUESTION`, is used; it is not kept.
        words: one word per level.
        prior: used where there is no ECG.
        from_features: a head on ``scorer.features(batch, "ecg")``; otherwise severity is asked as a question.

    Where the prior tells topics apart, so does the head (what all topics share, and what each adds), or the question
    names the topic.
    """

    sharpness: Tensor
    shift: Tensor
    held_out: Tensor

    def __init__(self, scorer: Scorer, words: Sequence[str], prior: SeverityPrior, *, from_features: bool) -> None:
        super().__init__()
        self.words = tuple(words)
        self.prior = prior
        self.head: nn.Linear | None = None
        self.of_topic: nn.Embedding | None = None
        if from_features:
            assert isinstance(scorer, HasFeatureDim)
            self.head = nn.utils.skip_init(nn.Linear, scorer.feature_dim("ecg"), len(words))
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)
            if prior.topics:
                width = (scorer.feature_dim("ecg") + 1) * len(words)
                self.of_topic = nn.utils.skip_init(nn.Embedding, len(prior.topics) + 1, width)
                nn.init.zeros_(self.of_topic.weight)
        self.register_buffer("sharpness", torch.ones(()))
        self.register_buffer("shift", torch.zeros(len(words)))
        self.register_buffer("held_out", torch.full((4,), float("nan"), dtype=torch.float64))

    def scores(self, scorer: Scorer, batch: Batch, features: Tensor | None = None) -> Tensor:
        """(batch, levels) uncalibrated log-scores; with gradients into the encoder."""
        if self.head is None:
            about = [f"{QUESTION} {name}" for name in batch.topic] if self.prior.topics and batch.topic else QUESTION
            return torch.log_softmax(scorer(batch.asking(about, self.words)), dim=-1)
        if features is None:
            assert isinstance(scorer, HasFeatures)
            features = scorer.features(batch, "ecg")
        features = features.to(self.head.weight.dtype)
        shared = self.head(features)
        if self.of_topic is None:
            return shared
        own = self.of_topic(self.prior.index(batch)).view(len(batch), len(self.words), -1)
        return shared + (own[:, :, :-1] @ features.unsqueeze(-1)).squeeze(-1) + own[:, :, -1]

    def log_probabilities(self, scorer: Scorer, batch: Batch, features: Tensor | None = None) -> Tensor:
        """(batch, levels) calibrated log P(s | E); log P(s) for an item without any ECG."""
        calibrated = torch.log_softmax(self.sharpness * self.scores(scorer, batch, features) + self.shift, dim=-1)
        return torch.where(batch.ecg_present.any(1, keepdim=True), calibrated, self.prior(batch).to(calibrated.dtype))

    def calibrate(self, scores: Tensor, levels: Tensor, patients: Tensor | None = None) -> None:
        """Fit sharpness and shift on held-out rows, and record how good P(s | E) is there.

        Args:
            scores: (rows, levels) from :meth:`scores`.
            levels: (rows,) int64 position of the observed level.
            patients: (rows,) int64; the recorded figures are cross-fitted over two halves of the patients.

        ``held_out`` then holds log-loss and expected calibration error before, and after calibration.
        Raises ContractError for fewer than 50 rows.
        """
        s = levels.cpu().numpy()
        self._calibrate(scores, s, patients, lambda z, at: fit_calibration(z, s[at]), np.eye(scores.shape[1]))

    def calibrate_latent(
        self, scores: Tensor, log_evidence: Tensor, recorded: Tensor, record: Tensor, patients: Tensor | None = None
    ) -> None:
        """The same where the level is not observed, only what depends on it.

        Args:
            scores: (rows, levels) from :meth:`scores`.
            log_evidence: (rows, levels) log P(what is observed of the row | level).
            recorded: (rows,) int64 position of the recorded level, which may be wrong.
            record: (levels, levels), row s is P(recorded level | level s).
            patients: as for :meth:`calibrate`.

        ``held_out`` is that of the prediction of the recorded level. Raises ContractError for fewer than 50 rows.
        """
        e = log_evidence.detach().double().cpu().numpy()
        s, table = recorded.cpu().numpy(), record.detach().double().cpu().numpy()
        self._calibrate(scores, s, patients, lambda z, at: fit_latent_calibration(z, e[at]), table)

    def _calibrate(
        self,
        scores: Tensor,
        observed: np.ndarray,
        patients: Tensor | None,
        fit: Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]],
        record: np.ndarray,
    ) -> None:
        """``fit``: (scores of some rows, those rows) -> sharpness and shift."""
        if len(observed) < MINIMUM_CALIBRATION_ROWS:
            raise ContractError(
                f"P(severity | ECG) needs at least {MINIMUM_CALIBRATION_ROWS} validation items to be calibrated, "
                f"there are {len(observed)}; enlarge the validation split or use prior='marginal'"
            )
        z, everyone = scores.detach().double().cpu().numpy(), np.arange(len(observed))
        sharpness, shift = fit(z, everyone)
        self.sharpness.fill_(sharpness)
        self.shift.copy_(torch.as_tensor(shift))
        group = everyone if patients is None else patients.cpu().numpy()
        before, after = _softmax(z), np.empty_like(z)
        half = np.unique(group, return_inverse=True)[1] % 2
        for fold in (0, 1):
            slope, offset = fit(z[half != fold], everyone[half != fold])
            after[half == fold] = _softmax(slope * z[half == fold] + offset)
        told = [f(p @ record, observed) for p in (before, after) for f in (log_loss, calibration_error)]
        self.held_out.copy_(torch.tensor(told, dtype=torch.float64))


def fit_calibration(scores: np.ndarray, levels: np.ndarray, *, penalty: float = 1.0) -> tuple[float, np.ndarray]:
    """Sharpness (>= 0) and (levels,) shift, summing to zero, that maximise the likelihood of softmax(a z + b).

    A penalty of ``penalty / 2 * (sum of squared shifts + (a - 1)^2)`` on the summed log-likelihood keeps both finite
    when a level is absent. Newton's method on the convex problem, float64.

    Source: Platt 1999; Guo et al. 2017 (temperature and bias).
    """
    rows, k = scores.shape
    z = scores - scores.mean(1, keepdims=True)
    design = np.concatenate([z[:, :, None], np.broadcast_to(np.eye(k), (rows, k, k))], axis=2)
    observed = design[np.arange(rows), levels].sum(0)
    start = np.concatenate([[1.0], np.zeros(k)])
    theta = start.copy()

    def objective(t: np.ndarray) -> float:
        eta = design @ t
        top = eta.max(1, keepdims=True)
        normaliser = float((top[:, 0] + np.log(np.exp(eta - top).sum(1))).sum())
        return normaliser - float(observed @ t) + 0.5 * penalty * float(((t - start) ** 2).sum())

    value = objective(theta)
    for _ in range(100):
        p = _softmax(design @ theta)
        mean = np.einsum("nk,nkd->nd", p, design)
        gradient = mean.sum(0) - observed + penalty * (theta - start)
        second = np.einsum("nk,nkd,nke->de", p, design, design, optimize=True)
        hessian = second - mean.T @ mean + penalty * np.eye(k + 1)
        step = np.linalg.solve(hessian, gradient)
        length = 1.0
        while length > 1e-8 and objective(theta - length * step) > value:
            length /= 2
        theta = theta - length * step
        new = objective(theta)
        if value - new < 1e-10 * max(1.0, abs(value)):
            break
        value = new
    shift = theta[1:] - theta[1:].mean()
    if theta[0] < 0:  # the problem is convex: its constrained optimum lies on the bound, where scores say nothing
        return 0.0, fit_calibration(np.zeros_like(scores), levels, penalty=penalty)[1]
    return float(theta[0]), shift


def fit_latent_calibration(
    scores: np.ndarray, log_evidence: np.ndarray, *, penalty: float = 1.0
) -> tuple[float, np.ndarray]:
    """As :func:`fit_calibration`, of (rows, levels) log P(observed | level) instead of the level itself.

    Maximises sum log sum_s softmax(a z + b)_s P(observed | s), which need not be concave: the optimum nearest to
    a = 1, b = 0 is taken.
    """
    from scipy.optimize import minimize

    k = scores.shape[1]
    z = scores - scores.mean(1, keepdims=True)
    start = np.concatenate([[1.0], np.zeros(k)])

    def objective(t: np.ndarray) -> tuple[float, np.ndarray]:
        eta = t[0] * z + t[1:]
        p, r = _softmax(eta), _softmax(eta + log_evidence)
        value = _log_sum_exp(eta) - _log_sum_exp(eta + log_evidence) + 0.5 * penalty * float(((t - start) ** 2).sum())
        slope = p - r
        gradient = np.concatenate([[(slope * z).sum()], slope.sum(0)]) + penalty * (t - start)
        return value, gradient

    bounds = [(0.0, None)] + [(None, None)] * k
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500})
    return float(found.x[0]), np.asarray(found.x[1:] - found.x[1:].mean())


def _log_sum_exp(scores: np.ndarray) -> float:
    top = scores.max(1)
    return float((top + np.log(np.exp(scores - top[:, None]).sum(1))).sum())


def log_loss(probabilities: np.ndarray, levels: np.ndarray) -> float:
    """Mean negative log-probability of the observed level, nats."""
    own = probabilities[np.arange(len(levels)), levels]
    return float(-np.log(np.clip(own, 1e-300, None)).mean())


def calibration_error(probabilities: np.ndarray, levels: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error, in [0, 1]: |share - mean probability| over equal-count bins, averaged over levels.

    Source: Naeini et al. 2015, class-wise and with equal-count bins.
    """
    errors = []
    for k in range(probabilities.shape[1]):
        order = np.argsort(probabilities[:, k], kind="stable")
        gaps = [
            len(part) * abs(probabilities[part, k].mean() - (levels[part] == k).mean())
            for part in np.array_split(order, min(bins, len(order)))
        ]
        errors.append(sum(gaps) / len(levels))
    return float(np.mean(errors))


def _softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True))
