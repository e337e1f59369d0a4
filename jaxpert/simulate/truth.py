"""What a simulated screen is made of: the `Truth` and its file (docs/simulator.md, Truth)."""

from __future__ import annotations

import zipfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.core.errors import InputError
from jaxpert.core.paths import path_of

ARTIFACTS = ("none", "dying", "stressed", "ambient", "doublet", "haemoglobin")
"""Names behind `Truth.artifact`."""
KINDS = ("additive", "synergy", "suppression", "epistasis", "redundancy", "neomorphism")
"""Interactions of combinations."""
GI_SCORES = ("c1", "c2", "magnitude", "fit", "dominance", "residual")
"""Columns of `Truth.gi`."""
VEHICLE, DOSES = "vehicle", (10.0, 100.0, 1_000.0, 10_000.0)
"""Control and doses (nM) of a screen of compounds."""


@dataclass(frozen=True)
class Truth:
    """All that generated a screen, and what a perfect model would predict; arrays only, never given
    to a model.

    Axes: C conditions (control first), T targets, K programs, Q = K + 2 axes of expression (the
    programs, then the mitochondrial and the ribosomal genes), S batches, A artifact kinds, N cells.
    Log-folds are natural logs of the rate unless a name says log2. The log-rate of a clean cell is
    `base + batch_shift + own-gene effects + latent @ loadings`, its counts Gamma-Poisson with mean
    library x softmax and inverse dispersion per gene.
    """

    seed: Int[np.ndarray, ""]
    genes: np.ndarray
    conditions: np.ndarray
    treatments: np.ndarray
    condition_treatments: Float[np.ndarray, "C T"]
    base: Float[np.ndarray, "G"]
    inverse_dispersion: Float[np.ndarray, "G"]
    umis: Float[np.ndarray, ""]
    """Median library."""
    umis_sd: Float[np.ndarray, ""]
    """Log-sd of the library within a batch."""
    batch_shift: Float[np.ndarray, "S G"]
    batch_depth: Float[np.ndarray, "S"]
    loadings: Float[np.ndarray, "Q G"]
    technical_sd: Float[np.ndarray, "2"]
    """Log-sd over cells of the mitochondrial and ribosomal axes; the dispersion of their genes adds
    to it."""
    masks: Bool[np.ndarray, "T K"]
    strengths: Float[np.ndarray, "T"]
    effects: Float[np.ndarray, "T K"]
    """Effect of each single target on each program; 0 outside its mask."""
    own_gene: Int[np.ndarray, "T"]
    own_effect: Float[np.ndarray, "T"]
    pathway: Int[np.ndarray, "T"]
    """-1 where a target belongs to none."""
    toxicity: Float[np.ndarray, "T"]
    """Log-odds by which a target raises the share of dying and stressed cells."""
    kind: np.ndarray
    """Per condition, one of KINDS; "" for the control and singles."""
    condition_effects: Float[np.ndarray, "C K"]
    """Program shifts of each condition, interactions included."""
    artifact_latent: Float[np.ndarray, "A Q"]
    """Shift of each artifact kind; the row of "stressed" is the direction an artifact model should
    find."""
    haemoglobin: Float[np.ndarray, "G"]
    """Profile mixed into contaminated cells."""
    ambient: Float[np.ndarray, "G"]
    """Mean profile of the screen, mixed into near-empty droplets."""
    condition: Int[np.ndarray, "N"]
    batch: Int[np.ndarray, "N"]
    artifact: Int[np.ndarray, "N"]
    library: Float[np.ndarray, "N"]
    """Library the cell would have had without its artifact."""
    basal: Float[np.ndarray, "N b"]
    """Basal state: the first b programs."""
    technical: Float[np.ndarray, "N 2"]
    """Shifts of the mitochondrial and ribosomal axes."""
    mixing: Float[np.ndarray, "N"]
    """Share of ambient or haemoglobin reads; 0 for other cells."""
    partner: Int[np.ndarray, "N"]
    """For doublets the cell of the same batch whose state the second cell has; else -1."""
    mean_proportion: Float[np.ndarray, "C G"]
    """Artifact-free mean expression: the mean over basal states, batches and depths of the
    softmax."""
    mean_log2: Float[np.ndarray, "C G"]
    """Artifact-free mean of log2(1 + 1e4 x / sum x), the scale of average treatment effects."""
    gi: Float[np.ndarray, "C 6"]
    """GI_SCORES of each pair: least-squares fit ab = c1 a + c2 b of the true `mean_log2` changes,
    sqrt(c1^2 + c2^2), Pearson correlation of the fit, |log10 c1/c2|, and the norm of the
    interaction in program space; NaN but for pairs (the residual also for triples)."""
    artifact_log_fold: Float[np.ndarray, "A G"]
    """Log-fold of the mean proportions of control cells with each artifact over clean ones."""
    artifact_log2_shift: Float[np.ndarray, "A G"]
    """The same difference on the scale of `mean_log2`."""


@dataclass(frozen=True)
class LineTruth(Truth):
    """Truth of a screen with several lines (L) or with doses: a condition is a perturbation in a
    line, at a dose.

    `conditions` are unique names such as "PERT001 in line2"; line by line, the line's control
    first. Means, effects and shifts are those of each condition; batches are crossed with lines.
    """

    perturbation: np.ndarray
    """[C] as in the file: "ctrl" or "vehicle", else one of `treatments`."""
    line: Int[np.ndarray, "C"]
    dose: Float[np.ndarray, "C"]
    """nM, 0 for the vehicle; NaN in a screen without doses."""
    scale: Float[np.ndarray, "C"]
    """Share of the full effect: the Hill curve at the dose, 1 without doses, 0 for the control."""
    lines: np.ndarray
    line_effects: Float[np.ndarray, "L T K"]
    """Full effect of each target in each line; `effects` is the part that all lines share, before
    its weight."""
    line_shift: Float[np.ndarray, "L G"]
    """Sparse log-folds of the base; 0 for the first line."""
    ec50: Float[np.ndarray, "T"]
    """nM; NaN in a screen without doses, like `slope`."""
    slope: Float[np.ndarray, "T"]
    target_genes: np.ndarray
    """[T] annotated target genes of each compound joined by ";"; each guide's own gene without
    doses."""

    def control_of(self, condition: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """Control condition of the same line."""
        # Conditions are ordered by line and its control is first, so its place is the line's start.
        first = np.searchsorted(self.line, np.arange(len(self.lines)))
        return first[self.line[condition]]


@dataclass(frozen=True)
class EffectsTruth(Truth):
    """Truth of a screen drawn around the effects of a file (docs/simulator.md, Effects of a file).

    The log-rate has `gene_effects` in place of programs and own genes, and is not normalised: the
    expected count of a gene is library x share in control x e^effect whatever the other genes do,
    so log folds of expected counts are those of the file. `base` is what makes the mean over
    basal states that of the control profile. What the file cannot tell is empty: `masks`,
    `strengths`, `effects` and `own_effect` are 0, `pathway` is -1 and `kind` "". The residual of
    `gi` is the norm over genes.
    """

    gene_effects: Float[np.ndarray, "C G"]
    """Natural log folds of every condition, 0 for the control."""


def pool_truth(truth: Truth) -> Truth:
    """A truth with one condition for each perturbation as the file names it.

    Means and effects are averaged over lines and doses, weighted by cells; a truth without lines
    comes back as it is.
    """
    if not isinstance(truth, LineTruth):
        return truth
    # `np.unique` sorts by name; the order of the file has the control first.
    names, first, of = np.unique(truth.perturbation, return_index=True, return_inverse=True)
    order = np.argsort(first)
    cells = np.bincount(truth.condition, minlength=len(of))
    weight = (of == order[:, None]) * cells
    weight = weight / weight.sum(1, keepdims=True)
    # The first condition of a perturbation stands for what all lines and doses of it share.
    rows = first[order]
    changed = {
        "conditions": names[order],
        "condition_treatments": truth.condition_treatments[rows],
        "kind": truth.kind[rows],
        "gi": truth.gi[rows],
        # Ranks of the sorted names become places in the order of the file.
        "condition": np.argsort(order)[of][truth.condition].astype(np.int32),
    }
    for name in ("condition_effects", "mean_proportion", "mean_log2"):
        # Weighted by cells, as the mean of measured cells of a pooled condition is.
        changed[name] = (weight @ getattr(truth, name)).astype(np.float32)
    return Truth(**{f.name: changed.get(f.name, getattr(truth, f.name)) for f in fields(Truth)})


def own_shift(truth: Truth, condition: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n T"]:
    """Log-rate shift of the targets' own genes."""
    shift = truth.condition_treatments[condition] * truth.own_effect
    if isinstance(truth, LineTruth):
        # A dose moves the own gene by the share of the full effect that it has.
        return shift * truth.scale[condition, None]
    return shift


def condition_shift(truth: Truth, condition: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n G"]:
    """Log-rate shift of conditions: programs (with interactions), the targets' own genes, and the
    line."""
    programs = truth.condition_effects.shape[1]
    shift = truth.condition_effects[condition] @ truth.loadings[:programs]
    shift[:, truth.own_gene] += own_shift(truth, condition)
    if isinstance(truth, EffectsTruth):
        return shift + truth.gene_effects[condition]
    if isinstance(truth, LineTruth):
        return shift + truth.line_shift[truth.line[condition]]
    return shift


def cell_latent(truth: Truth, rows: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n Q"]:
    """Basal state, perturbation and technical axes of cells, without their artifacts."""
    latent = np.concatenate(
        [truth.condition_effects[truth.condition[rows]], truth.technical[rows]], 1
    )
    # Basal programs are the first ones, and perturbations add to the same axes.
    latent[:, : truth.basal.shape[1]] += truth.basal[rows]
    return latent


def cell_proportions(
    truth: Truth, rows: Int[np.ndarray, "n"], latent: Float[np.ndarray, "n Q"] | None = None
) -> Float[np.ndarray, "n G"]:
    """Expected expression of cells as shares of the whole; without artifacts unless `latent` has
    them."""
    rate = _rates(truth, rows, latent)
    # Softmax; log-rates are near the logarithms of shares, so their powers need no guard.
    rate /= rate.sum(1, keepdims=True)
    return rate


def cell_rates(
    truth: Truth, rows: Int[np.ndarray, "n"], latent: Float[np.ndarray, "n Q"] | None = None
) -> Float[np.ndarray, "n G"]:
    """Expected counts of cells over their library: shares, but for an `EffectsTruth`, whose genes
    do not push one another aside."""
    if isinstance(truth, EffectsTruth):
        return _rates(truth, rows, latent)
    return cell_proportions(truth, rows, latent)


def _rates(
    truth: Truth, rows: Int[np.ndarray, "n"], latent: Float[np.ndarray, "n Q"] | None
) -> Float[np.ndarray, "n G"]:
    """The powers of the log-rates."""
    latent = cell_latent(truth, rows) if latent is None else latent
    # log rate = base + batch + own genes + line + loadings (basal + perturbation + artifact), added
    # up in place, since the array is [n, G].
    log_rate = latent @ truth.loadings
    log_rate += truth.base
    log_rate += truth.batch_shift[truth.batch[rows]]
    log_rate[:, truth.own_gene] += own_shift(truth, truth.condition[rows])
    if isinstance(truth, LineTruth):
        log_rate += truth.line_shift[truth.line[truth.condition[rows]]]
    if isinstance(truth, EffectsTruth):
        log_rate += truth.gene_effects[truth.condition[rows]]
    return np.exp(log_rate, out=log_rate)


def save_truth(truth: Truth, path: str | Path) -> None:
    """Write the truth as one compressed .npz of plain arrays."""
    np.savez_compressed(path_of(path), **asdict(truth))


def load_truth(path: str | Path) -> Truth:
    """Read what `save_truth` wrote."""
    try:
        # Files of others may come in, so nothing is unpickled.
        with path_of(path).open("rb") as file, np.load(file, allow_pickle=False) as stored:
            kind = _kind(stored)
            return kind(**{f.name: stored[f.name] for f in fields(kind)})
    except FileNotFoundError:
        raise InputError(
            f"no truth at {path}, expected the .npz that save_truth wrote beside the screen: check "
            "the path"
        ) from None
    except (KeyError, OSError, EOFError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} is no truth of a simulated screen ({error}), expected what save_truth wrote: "
            "write it anew by save_truth"
        ) from None


def _kind(stored: Any) -> type[Truth]:
    """Told by the field that only this kind of truth has."""
    if "line_shift" in stored:
        return LineTruth
    return EffectsTruth if "gene_effects" in stored else Truth
