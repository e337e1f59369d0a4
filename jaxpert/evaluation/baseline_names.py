"""Names of the baselines and what each predicts, for code that must not wait for JAX."""

from __future__ import annotations

BASELINES: dict[str, str] = {
    "no_change": "the control",
    "mean_perturbation": "the mean of the trained perturbations, each counted once",
    "mean_cell": "the mean of all trained perturbed cells",
    "mean_same_size": "the mean of the trained perturbations of as many treatments",
    "additive": "the sum of what each treatment does alone",
    "scaled_additive": "that sum times one factor, fitted to the trained combinations",
    "shrunken_additive": "the sum of effects shrunken by the noise of their cells (James-Stein)",
    "matching_mean": "the mean of the profiles of each treatment alone",
    "nearest_perturbation": "the trained perturbation that is most alike",
    "annotation_weighted": "the sum, genes never given alone taking effects of annotated relatives",
    "linear": "ridge regression of fixed rank and strength between embeddings",
    "linear_tuned": "the same, rank and strength chosen inside training",
    "linear_annotations": "the same, perturbations embedded by their annotations",
    "linear_other_screen": "the same, perturbations embedded by another screen",
}
"""{name: what it predicts}, in the order of tables."""
NOT_MADE = " is not made: "
"""Between "baseline NAME" and the reason, in the note on one that the data do not allow."""
