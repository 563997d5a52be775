"""Causal graphs, identification, and the estimators that work on tables: propensities, weights, balance, resampling,
sensitivity.

Tables and arrays only, never a model. Nothing heavy is imported until a public name is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {
    "CausalGraph": "structural_models.graph",
    "causal_graph": "structural_models.graph",
    "open_backdoor_paths": "structural_models.graph",
    "preset": "structural_models.graph",
    "read_graph": "structural_models.graph_files",
    "write_graph": "structural_models.graph_files",
    "Estimand": "structural_models.identification",
    "identify": "structural_models.identification",
    "IdentifiedLaw": "structural_models.identified_law",
    "identify_law": "structural_models.identification",
    "ArmProbabilities": "structural_models.propensity",
    "Propensity": "structural_models.propensity",
    "fit_propensity": "structural_models.propensity",
    "cross_fitted_propensity": "structural_models.cross_fitting",
    "inverse_probability_weights": "structural_models.weights",
    "overlap_weights": "structural_models.weights",
    "effective_sample_size": "structural_models.weights",
    "balance_table": "structural_models.balance",
    "arm_summary": "structural_models.balance",
    "overlap_summary": "structural_models.balance",
    "Certificate": "structural_models.adjustability",
    "certify": "structural_models.adjustability",
    "independence_test": "structural_models.stratified_independence",
    "estimate_effects": "structural_models.effects.estimate",
    "Effects": "structural_models.effects.result",
    "severity_effects": "structural_models.effects.mediation",
    "GFormula": "structural_models.effects.g_formula",
    "Stratification": "structural_models.effects.g_formula",
    "InverseProbability": "structural_models.effects.weighting",
    "Overlap": "structural_models.effects.weighting",
    "EntropyBalancing": "structural_models.effects.entropy_balancing",
    "Augmented": "structural_models.effects.augmented",
    "BayesianGFormula": "structural_models.effects.bayesian",
    "e_value": "structural_models.sensitivity.e_values",
    "e_value_of_limit": "structural_models.sensitivity.e_values",
    "e_value_of_risks": "structural_models.sensitivity.e_values",
    "standardised_risk": "structural_models.sensitivity.risk_ratios",
    "ratio_limits": "structural_models.sensitivity.risk_ratios",
    "LinearFit": "structural_models.sensitivity.linear_fit",
    "fit_linear": "structural_models.sensitivity.linear_fit",
    "partial_r2": "structural_models.sensitivity.robustness",
    "robustness_value": "structural_models.sensitivity.robustness",
    "adjusted_estimate": "structural_models.sensitivity.robustness",
    "adjusted_error": "structural_models.sensitivity.robustness",
    "benchmark_bound": "structural_models.sensitivity.robustness",
    "rosenbaum_bounds": "structural_models.sensitivity.matched_pairs",
    "sensitivity_value": "structural_models.sensitivity.matched_pairs",
    "AnswerCells": "structural_models.sensitivity.answer_counts",
    "MarginalBounds": "structural_models.sensitivity.marginal_sensitivity",
    "marginal_bounds": "structural_models.sensitivity.marginal_sensitivity",
    "marginal_interval": "structural_models.sensitivity.marginal_sensitivity",
    "critical_lambda": "structural_models.sensitivity.marginal_sensitivity",
    "misclassification_matrix": "structural_models.sensitivity.misclassification",
    "corrected_counts": "structural_models.sensitivity.misclassification",
    "misclassification_curve": "structural_models.sensitivity.misclassification",
    "tipping_rate": "structural_models.sensitivity.misclassification",
    "Refutations": "structural_models.sensitivity.refuters",
    "refute_contrast": "structural_models.sensitivity.refuters",
    "Independence": "structural_models.implications",
    "implied_independences": "structural_models.implications",
    "Observations": "structural_models.conditional_independence.observations",
    "IndependenceTests": "structural_models.conditional_independence.testing",
    "check_implications": "structural_models.implication_checks",
    "node_permutations": "structural_models.falsification",
    "holm": "structural_models.multiplicity",
    "systematic_resample": "structural_models.resampling",
    "stratified_resample": "structural_models.resampling",
    "matched_pairs": "structural_models.resampling",
    "CategoricalTable": "structural_models.generative.mechanisms",
    "CategoricalLogit": "structural_models.generative.mechanisms",
    "LinearGaussian": "structural_models.generative.mechanisms",
    "Deterministic": "structural_models.generative.mechanisms",
    "bernoulli_logit": "structural_models.generative.mechanisms",
    "StructuralCausalModel": "structural_models.generative.model",
    "enumerated_law": "structural_models.generative.program",
    "twins": "structural_models.generative.twins",
    "necessity_and_sufficiency": "structural_models.generative.necessity",
    "multilevel_posterior": "structural_models.generative.multilevel",
    "latent_model_posterior": "structural_models.generative.latent",
    "proximal_effect": "structural_models.generative.proxies",
    "GraphError": "structural_models.errors",
    "NotIdentified": "structural_models.errors",
    "PositivityError": "structural_models.errors",
    "TableError": "structural_models.errors",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'structural_models' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
