"""A scikit-learn pipeline, with the question and without it, trained by scikit-learn alone and audited.

Run: python sklearn_model.py OUT

The same two models on the command line, which calls a function without arguments for the scorer:

    cd OUT
    PYTHONPATH=path/to/examples causalecg score sklearn_model:ecg_and_question --cohort cohort --out asked
    PYTHONPATH=path/to/examples causalecg score sklearn_model:ecg_only --cohort cohort --out asked
    causalecg audit asked --run sklearn_model:ecg_and_question
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from causalecg import Cohort, InputError, ScoreSet, run_suite, score, write_report
from causalecg.audits.verdicts import overall
from causalecg.benchmark.cohort import simulate_cohort

#: The median beat is read at these times after the steepest part of the QRS complex, s.
LAGS = np.arange(-0.24, 0.52, 0.04)
LEADS = 12


def median_beat(ecg, rate):
    """(12, samples) mV at ``rate`` Hz -> (12 * lags,) mV: the median over its beats, lead by lead."""
    slope = np.abs(np.diff(ecg, axis=1)).sum(0)
    slope = np.convolve(slope, np.ones(round(0.08 * rate)), mode="same")
    least, beats, apart = 0.4 * slope.max(), [], round(0.3 * rate)
    lags = np.round(LAGS * rate).astype(int)
    while (at := int(slope.argmax())) and slope[at] > least:
        if at + lags[0] >= 0 and at + lags[-1] < ecg.shape[1]:
            beats.append(ecg[:, at + lags])
        slope[max(at - apart, 0) : at + apart] = 0
    return np.median(beats, axis=0).ravel() if beats else np.full(ecg.shape[0] * len(lags), np.nan)


def table(ecg, present, questions, rate):
    """(items, 2, 12, samples) mV -> what the pipeline takes: features of both ECGs, NaN where absent, and the words."""
    beats = np.full((*present.shape, LEADS * len(LAGS)), np.nan)
    for place in np.argwhere(present):
        beats[tuple(place)] = median_beat(ecg[tuple(place)], rate)
    return pd.DataFrame(beats.reshape(len(ecg), -1)).rename(columns=str).assign(words=[q or "" for q in questions])


def pipeline(*, words):
    """An absent ECG counts as the average one: it says nothing."""
    beats = [str(i) for i in range(2 * LEADS * len(LAGS))]
    ecg = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler())
    parts = [("ecg", ecg, beats)] + [("words", CountVectorizer(ngram_range=(1, 2), binary=True), "words")] * words
    return make_pipeline(ColumnTransformer(parts), LogisticRegression(max_iter=1000))


def trained(cohort, *, words):
    """Fitted on the training items, each with its answer as the class."""
    items = cohort.split("train")
    present = np.array([[len(ids) > 0, len(ids) > 1] for ids in items["ecg_ids"]])
    ecg = np.zeros((*present.shape, LEADS, cohort.signals.samples), dtype=np.float32)
    ecg[present] = cohort.signals.read([cohort.ecg_rows[name] for ids in items["ecg_ids"] for name in ids])
    inputs = table(ecg, present, items["question"], cohort.signals.rate_hz)
    return pipeline(words=words).fit(inputs, items["answer"].str[0])


class Scorer:
    """The adapter: log P(answer) of every candidate. The rate is the cohort's: a batch does not say it."""

    def __init__(self, fitted, rate):
        self.fitted, self.rate = fitted, rate
        self.column = {name: i for i, name in enumerate(fitted.classes_)}

    def __call__(self, batch):
        if batch.kind != "one":
            raise InputError("this pipeline gives one answer; leave questions with a set of answers out (kind set)")
        inputs = table(batch.ecg.numpy(), batch.ecg_present.numpy(), batch.question, self.rate)
        log_p = np.log(np.clip(self.fitted.predict_proba(inputs), 1e-12, None))
        scores = torch.full(batch.candidate_ids.shape, float("-inf"), dtype=torch.float64)
        for i, names in enumerate(batch.candidates):
            for j, name in enumerate(names):  # an answer that training never saw is all but impossible
                scores[i, j] = log_p[i, self.column[name]] if name in self.column else np.log(1e-12)
        return scores


def scorer(cohort, *, words):
    return Scorer(trained(cohort, words=words), cohort.signals.rate_hz)


def ecg_and_question():
    """For ``causalecg score``: trained anew on the folder ``cohort``, so that nothing has to be unpickled."""
    return scorer(Cohort.open("cohort"), words=True)


def ecg_only():
    return scorer(Cohort.open("cohort"), words=False)


def main(out, items=4000, rho=0.99):
    cohort = Cohort.open(simulate_cohort(out / "cohort", rho=rho, items=items, test_items=items // 2))
    for name, words in (("ecg_and_question", True), ("ecg_only", False)):
        made = scorer(cohort, words=words)
        score(made, cohort, split="test", run_id=name, severity="simulated", out=out / "scores")
    scores = ScoreSet.open(out / "scores")
    results = [result for name in scores.runs for result in run_suite(scores, run_id=name)]
    for name in scores.runs:
        print(f"{name}: {overall(result for result in results if result.run_id == name)}")
    print("report:", write_report(out / "report", score_set=scores, results=results, cohort=cohort))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
