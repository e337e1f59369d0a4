"""The linear model between gene and perturbation embeddings, as published."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from jaxpert.evaluation.baselines.rule import for_all, rule_of, summed
from jaxpert.evaluation.baselines.training import (
    Baseline,
    Training,
    baseline,
    control_of,
    note_on,
    seen_in,
    uses,
)
from jaxpert.evaluation.leading import LARGE, leading_right


def linear(training: Training, *, components: int = 10, ridge: float = 0.1) -> Baseline:
    """Ridge regression between gene and perturbation embeddings of the training pseudobulk.

    Y ~ G W P' + b with Y the training effects `[G, P]`, b their mean, G the first `components`
    principal component scores of the genes over the training means, and P the rows of G of the
    perturbed genes (Ahlmann-Eltze et al., Nature Methods 2025). A combination is embedded as the
    sum of its genes; a treatment that is no measured gene embeds as 0, so that it gets the mean
    effect b, and is named in the notes. With W = 0 it is `mean_perturbation`.
    """
    control, seen = control_of(training), seen_in(training)
    # G: rows are genes, so that a perturbation is embedded by the row of its own gene.
    genes = _principal_scores(training.means[training.cells > 0].T, components)
    treatment = rows_of_genes(training, genes)
    perturbation = summed(training.condition_treatments, treatment)
    y = (training.means[seen] - control).T
    b = y.mean(1, keepdims=True)
    # W = (G'G + r I)^-1 G' (Y - b) P (P'P + r I)^-1, the two ridge regressions one after the other.
    w = _ridge(genes, ridge) @ (y - b) @ _ridge(perturbation[seen], ridge).T
    # c + b + G W P' (docs/evaluation.md, "Baselines"), with treatments as rows.
    rule = rule_of(
        control,
        len(training.treatments),
        shared=for_all(b[:, 0]),
        treatment=treatment @ w.T @ genes.T,
    )
    lost = unmeasured(training)
    what = (
        "not among the measured genes, so it has no embedding and adds nothing to the mean effect"
    )
    notes = note_on(training, "linear", lost, what)
    return baseline(training, rule, uses(training, lost), notes)


def unmeasured(training: Training) -> np.ndarray:
    """Numbers of the treatments that are no measured gene."""
    return np.flatnonzero(~np.isin(training.treatments, training.genes))


def rows_of_genes(training: Training, genes: Float[np.ndarray, "G K"]) -> Float[np.ndarray, "T K"]:
    """The embedding of each treatment: that of its gene, 0 where it is no measured one."""
    column = {name: g for g, name in enumerate(training.genes)}
    rows = np.zeros((len(training.treatments), genes.shape[1]))
    for t, name in enumerate(training.treatments):
        if name in column:
            rows[t] = genes[column[name]]
    return rows


def _principal_scores(x: Float[np.ndarray, "G C"], components: int) -> Float[np.ndarray, "G K"]:
    """Principal component scores of the rows of `x`."""
    # Scores are U S of the centred rows; the full matrices would be genes by genes.
    centred = x - x.mean(0)
    if min(x.shape) > LARGE:
        return centred @ leading_right(centred, components)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    return (u * s)[:, :components]


def _ridge(x: Float[np.ndarray, "N K"], strength: float) -> Float[np.ndarray, "K N"]:
    """Return (x'x + strength I)^-1 x'."""
    # Solved and not inverted, which rounds less.
    return np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T)
