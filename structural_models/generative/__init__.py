"""Structural causal models that can be run: drawn from, intervened on, conditioned on, and replayed for a unit.

>>> import numpy as np
>>> from structural_models import CategoricalTable, StructuralCausalModel, bernoulli_logit, preset, twins
>>> scm = StructuralCausalModel(
...     preset("severity_visible"),
...     {
...         "severity": CategoricalTable(("mild", "severe"), [0.7, 0.3]),
...         "question": CategoricalTable(("plain", "urgent"), [[0.8, 0.2], [0.2, 0.8]], ("severity",)),
...         "ecg": CategoricalTable(("normal", "abnormal"), [[0.8, 0.2], [0.4, 0.6]], ("severity",)),
...         "answer": bernoulli_logit(
...             -2.0, {"severity": [0, 1], "question": [0, 0.5], "ecg": [0, 2]}, levels=("no", "yes")
...         ),
...     },
... )
>>> seen, done = scm.law("answer", given={"question": "urgent"}), scm.law("answer", do={"question": "urgent"})
>>> print(seen.round(3), done.round(3))
[0.495 0.505] [0.618 0.382]
>>> round(scm.probability({"answer": "yes"}, do={"question": "urgent"}, given={"ecg": "abnormal"}), 3)
0.732
>>> rng = np.random.default_rng(0)
>>> print(twins(scm, scm.sample(1000, rng=rng), do={"question": "urgent"}, rng=rng).label)
coupling-dependent (inverse_cdf): no data, not even of an experiment, can tell one coupling from another
"""
