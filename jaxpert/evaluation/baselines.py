"""Predictions that need no learning: what every model has to beat.

All of them see pseudobulk means of the QC-passed TRAINING cells only
(`evaluation.pseudobulk.observed_means(dataset, "train")`), on whatever log scale those are, and
predict a mean for every condition, the control included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.core.types import InputError

Means = Float[np.ndarray, "C G"]


class Training(NamedTuple):
    """What baselines may know: training pseudobulk and what each condition perturbs."""

    means: Means
    """Mean log expression of each condition's training cells; rows without cells are never read."""
    cells: Int[np.ndarray, "C"]
    """Training cells behind each mean."""
    condition_treatments: Float[np.ndarray, "C T"]
    """Multi-hot; the control's row is zero."""
    control: int
    conditions: Sequence[str]
    treatments: Sequence[str]
    genes: Sequence[str]


class Baseline(NamedTuple):
    """Predicted means and what they rest on."""

    means: Means
    fallback: Bool[np.ndarray, "C"]
    """Conditions for which training held too little, so that (part of) the mean effect stands
    in."""
    notes: tuple[str, ...] = ()
    """One sentence for each thing that had to be replaced."""


def no_change(training: Training) -> Baseline:
    """Every condition looks like control."""
    return _constant(training, _control(training))


def mean_perturbation(training: Training) -> Baseline:
    """Every perturbation looks like the unweighted mean of the training perturbations' profiles."""
    seen = _seen(training)
    # Unweighted, so that well-measured perturbations count no more than others.
    return _constant(training, training.means[seen].mean(0))


def additive(training: Training) -> Baseline:
    """Control plus the sum of the effects that each treatment has alone in training.

    A single perturbation seen in training therefore gets its own training mean. For a treatment
    never given alone in training the mean effect of the single perturbations (of all perturbations,
    where there are no singles) stands in; such treatments are named in the notes and the conditions
    marked in `fallback`.
    """
    control, seen = _control(training), _seen(training)
    sizes = training.condition_treatments.sum(1)
    singles = seen[sizes[seen] == 1]
    alone = training.condition_treatments[singles].argmax(1)
    averaged, source = singles, "the single perturbations"
    if not len(singles):
        averaged, source = seen, "all perturbations"
    stand_in = training.means[averaged].mean(0) - control
    # All begin with the stand-in; those given alone then get an effect of their own.
    effect = np.tile(stand_in, (training.condition_treatments.shape[1], 1))
    effect[alone] = training.means[singles] - control
    never = np.setdiff1d(np.arange(len(effect)), alone)
    fallback = _uses(training, never)
    note = f"never given alone in training, so the mean effect of {source} stands in"
    # A note is worth writing only for treatments that some condition has.
    used = never[training.condition_treatments[:, never].any(0)]
    # c + sum_t effect_t (docs/evaluation.md, "Baselines").
    means = _keep_control(training, control + training.condition_treatments @ effect)
    return Baseline(means, fallback, _note("additive", used, training.treatments, note))


def linear(training: Training, *, components: int = 10, ridge: float = 0.1) -> Baseline:
    """Ridge regression between gene and perturbation embeddings of the training pseudobulk.

    Y ~ G W P' + b with Y the training effects `[G, P]`, b their mean, G the first `components`
    principal component scores of the genes over the training means, and P the rows of G of the
    perturbed genes (Ahlmann-Eltze et al., Nature Methods 2025). A combination is embedded as the
    sum of its genes; a treatment that is no measured gene embeds as 0, so that it gets the mean
    effect b, and is named in the notes. With W = 0 it is `mean_perturbation`.
    """
    control, seen = _control(training), _seen(training)
    # G: rows are genes, so that a perturbation is embedded by the row of its own gene.
    genes = _principal_scores(training.means[training.cells > 0].T, components)
    column = {name: g for g, name in enumerate(training.genes)}
    measured = np.isin(training.treatments, training.genes)
    treatment = np.zeros((len(training.treatments), genes.shape[1]))
    for t in np.flatnonzero(measured).tolist():
        treatment[t] = genes[column[training.treatments[t]]]
    perturbation = training.condition_treatments @ treatment
    y = (training.means[seen] - control).T
    b = y.mean(1, keepdims=True)
    # W = (G'G + r I)^-1 G' (Y - b) P (P'P + r I)^-1, the two ridge regressions one after the other.
    w = _ridge(genes, ridge) @ (y - b) @ _ridge(perturbation[seen], ridge).T
    # c + b + G W P' (docs/evaluation.md, "Baselines"), with conditions as rows.
    means = control + b.T + perturbation @ w.T @ genes.T
    fallback = _uses(training, np.flatnonzero(~measured))
    note = (
        "not among the measured genes, so it has no embedding and adds nothing to the mean effect"
    )
    notes = _note("linear", np.flatnonzero(~measured), training.treatments, note)
    return Baseline(_keep_control(training, means), fallback, notes)


BASELINES: dict[str, Callable[[Training], Baseline]] = {
    "no_change": no_change,
    "mean_perturbation": mean_perturbation,
    "additive": additive,
    "linear": linear,
}
"""The ones that stand beside every model."""


def _control(training: Training) -> np.ndarray:
    if training.cells[training.control] == 0:
        raise InputError(
            "the training split holds no control cell that passes quality control, expected at "
            "least one for the baselines: check `data.control`, `split.kind` or loosen the "
            "quality criteria"
        )
    return training.means[training.control]


def _seen(training: Training) -> np.ndarray:
    """Perturbations with training cells."""
    seen = np.flatnonzero(training.cells > 0)
    seen = seen[seen != training.control]
    if not len(seen):
        raise InputError(
            "no perturbation has a training cell that passes quality control, expected at least "
            "one for the baselines: check `split.kind` or loosen the quality criteria"
        )
    return seen


def _uses(training: Training, treatments: Int[np.ndarray, "_"]) -> Bool[np.ndarray, "C"]:
    """Conditions that contain any of the treatments."""
    return training.condition_treatments[:, treatments].sum(1) > 0


def _constant(training: Training, profile: np.ndarray) -> Baseline:
    means = np.tile(profile, (len(training.cells), 1))
    return Baseline(_keep_control(training, means), np.zeros(len(training.cells), bool))


def _keep_control(training: Training, means: np.ndarray) -> np.ndarray:
    """The control row is always the training control itself, so that effects are differences to
    it."""
    means[training.control] = _control(training)
    return means


def _principal_scores(x: Float[np.ndarray, "G C"], components: int) -> Float[np.ndarray, "G K"]:
    """Principal component scores of the rows of `x`."""
    # Scores are U S of the centred rows; the full matrices would be genes by genes.
    u, s, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    return (u * s)[:, :components]


def _ridge(x: Float[np.ndarray, "N K"], strength: float) -> Float[np.ndarray, "K N"]:
    """Return (x'x + strength I)^-1 x'."""
    # Solved and not inverted, which rounds less.
    return np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T)


def _note(
    baseline: str, which: np.ndarray, treatments: Sequence[str], what: str
) -> tuple[str, ...]:
    if not len(which):
        return ()
    names = ", ".join(np.asarray(treatments, str)[which])
    return (f"baseline {baseline}: {len(which)} treatments are {what}: {names}",)
