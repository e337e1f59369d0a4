"""What cells without artifacts express on average: the truth against which predictions are scored
(docs/simulator.md, Truth)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxpert.simulate.cells import ARTIFACT_DEPTH, MIXING
from jaxpert.simulate.expectations import generating_table, interpolate, log2_of_rows, log2_tables
from jaxpert.simulate.truth import ARTIFACTS, GI_SCORES, EffectsTruth, Truth, condition_shift


class Reference(NamedTuple):
    """Control cells without artifacts, the same for every condition."""

    log_rate: Float[np.ndarray, "M G"]
    library: Float[np.ndarray, "M"]


class Spoiling(NamedTuple):
    """What artifacts do to the cells of each row, beside shifting their log-rates."""

    depth: Float[np.ndarray, "R 1"]
    """Share of the library that is left."""
    mixing: Float[np.ndarray, "R 1"]
    """Share of foreign reads."""
    profile: Float[np.ndarray, "R G"]
    """Shares of expression of the foreign reads."""


def add_means(truth: Truth, reference_cells: int) -> Truth:
    """Fill in the expected means of conditions, the ambient profile, artifact vectors and
    interaction scores."""
    reference = draw_reference(truth, reference_cells)
    # All conditions share one set of reference cells, drawn once.
    conditions = np.arange(len(truth.conditions))
    proportion, log2 = expected_means(truth, reference, condition_shift(truth, conditions))
    # What floats between the cells is what broke out of them: the mean over the whole screen.
    share = np.bincount(truth.condition, minlength=len(conditions)) / len(truth.condition)
    ambient = (share @ proportion).astype(np.float32)
    # The ambient profile has to be in place before the artifacts that mix it in.
    truth = replace(truth, mean_proportion=proportion, mean_log2=log2, ambient=ambient)
    artifact_proportion, artifact_log2 = _artifact_means(truth, reference)
    return replace(
        truth,
        gi=interaction_scores(truth),
        # The first artifact is "none", so changes are those from a clean control cell.
        artifact_log_fold=np.log(artifact_proportion / artifact_proportion[:1]),
        artifact_log2_shift=artifact_log2 - artifact_log2[:1],
    )


def draw_reference(truth: Truth, number: int) -> Reference:
    """Control cells without artifacts: a Latin hypercube over basal state and depth."""
    from scipy.special import ndtri

    # A stream of its own: asking for more reference cells changes no cell of the screen.
    rng = np.random.default_rng(np.random.SeedSequence(int(truth.seed), spawn_key=(2,)))
    axes, basal = truth.loadings.shape[0], truth.basal.shape[1]
    programs = truth.condition_effects.shape[1]
    # Each axis takes every quantile once, in random order: means over few states are then more
    # exact than over as many random ones. Axes: basal state, two technical ones, depth.
    levels = ndtri((np.arange(number) + 0.5) / number)
    normal = np.stack([rng.permutation(levels) for _ in range(basal + 3)], 1)
    # Only basal and technical axes vary: the programs that perturbations move start at 0.
    latent = np.zeros((number, axes), np.float32)
    latent[:, :basal] = normal[:, :basal]
    latent[:, programs:] = normal[:, basal : basal + 2] * truth.technical_sd
    # Batches stand in equal numbers, so that no batch weighs more by chance.
    batch = rng.permutation(np.arange(number) % len(truth.batch_depth))
    log_rate = truth.base + truth.batch_shift[batch] + latent @ truth.loadings
    library = truth.umis * truth.batch_depth[batch] * np.exp(truth.umis_sd * normal[:, -1])
    return Reference(log_rate, library)


def expected_means(
    truth: Truth,
    reference: Reference,
    shift: Float[np.ndarray, "R G"],
    spoiling: Spoiling | None = None,
) -> tuple[Float[np.ndarray, "R G"], Float[np.ndarray, "R G"]]:
    """Means over cells of expression shares and of log2(1 + 1e4 x / sum x), for rows of log-rate
    shifts.

    All rows share the same reference states (common random numbers), so that differences between
    rows carry next to no sampling error. Given a state, the mean over counts is no sample but the
    exact Gamma-Poisson expectation with sum x replaced by the library
    (`expectations.expected_log2`), read from a table by linear interpolation.
    """
    generating = generating_table(truth.inverse_dispersion)
    depth, mixing, profile = spoiling or (1.0, 0.0, 0.0)
    depth_of_row = np.broadcast_to(depth, (len(shift), 1))
    # Sums over states are kept, not the states, so memory does not grow with their number.
    proportion, log2 = np.zeros(shift.shape, np.float32), np.zeros(shift.shape, np.float32)
    levels = np.unique(depth)
    # One product for all states and depths; rows of EffectsTruth have libraries of their own.
    tables = log2_tables(generating, (reference.library[:, None] * levels).ravel())
    tables = tables.reshape(len(reference.library), len(levels), *tables.shape[1:])
    for log_rate, library, of_levels in zip(*reference, tables, strict=True):
        # Softmax: log-rates are near the logarithms of shares, so their powers need no guard.
        share = np.exp(shift + log_rate)
        total = share.sum(1, keepdims=True)
        share /= total
        # Foreign reads join after the softmax, since they come from outside the cell.
        share = (1 - mixing) * share + mixing * profile
        proportion += share
        if isinstance(truth, EffectsTruth):
            # Rates that are not normalised change the counts of a cell, so every row has its own.
            log2 += log2_of_rows(generating, share, library * depth * total)
            continue
        # A table holds for one library, so rows of one depth go together.
        for level, table in zip(levels, of_levels, strict=True):
            rows = np.flatnonzero(depth_of_row == level)
            log_mean = np.log(share[rows] * np.float32(library * level))
            log2[rows] += interpolate(generating, table, log_mean)
    # Every reference state weighs alike, since the hypercube is stratified.
    return proportion / len(reference.library), log2 / len(reference.library)


def _artifact_means(
    truth: Truth, reference: Reference
) -> tuple[Float[np.ndarray, "A G"], Float[np.ndarray, "A G"]]:
    """Means of control cells under each artifact, at the mean mixing share; a doublet is half the
    mean cell."""
    mixing = np.zeros((len(ARTIFACTS), 1), np.float32)
    profile = np.tile(truth.ambient, (len(ARTIFACTS), 1))
    profile[ARTIFACTS.index("haemoglobin")] = truth.haemoglobin
    for name, bounds in MIXING.items():
        mixing[ARTIFACTS.index(name)] = np.mean(bounds)
    depth = np.array(ARTIFACT_DEPTH)[:, None]
    # The partner's state is unknown, so its expectation, the ambient profile, takes its place.
    doublet = ARTIFACTS.index("doublet")
    mixing[doublet], depth[doublet] = 0.5, 2.0
    shift = truth.artifact_latent @ truth.loadings
    return expected_means(truth, reference, shift, Spoiling(depth, mixing, profile))


def interaction_scores(truth: Truth) -> Float[np.ndarray, "C 6"]:
    """GI_SCORES of every pair from the true mean changes (no noise, so plain least squares)."""
    scores = np.full((len(truth.conditions), len(GI_SCORES)), np.nan)
    # float64, since least squares on small differences loses digits in float32.
    change = truth.mean_log2.astype(float) - truth.mean_log2[0]
    sizes = truth.condition_treatments.sum(1)
    single = np.argmax(truth.condition_treatments[sizes == 1], 1)
    row_of = dict(zip(single.tolist(), np.flatnonzero(sizes == 1).tolist(), strict=True))
    planted, combined = _planted_and_additive(truth, row_of)
    for c in np.flatnonzero(sizes >= 2):
        scores[c, -1] = np.linalg.norm(planted[c] - combined[c])
        # Triples have a residual, but the published fit is defined for two members alone.
        if sizes[c] == 2:
            a, b = np.flatnonzero(truth.condition_treatments[c])
            # A file may hold pairs without their singles.
            if a in row_of and b in row_of:
                scores[c, :-1] = _pair_scores(change[row_of[a]], change[row_of[b]], change[c])
    return scores


def _planted_and_additive(
    truth: Truth, row_of: Mapping[int, int]
) -> tuple[Float[np.ndarray, "C _"], Float[np.ndarray, "C _"]]:
    """Effects of all conditions, and those of their members without an interaction, against which
    the residual is measured; NaN where the file lacks a member."""
    if not isinstance(truth, EffectsTruth):
        return truth.condition_effects, truth.condition_treatments @ truth.effects
    singles = np.full((len(truth.treatments), len(truth.genes)), np.nan)
    for treatment, row in row_of.items():
        singles[treatment] = truth.gene_effects[row]
    additive = np.zeros(truth.gene_effects.shape)
    for c, members in enumerate(truth.condition_treatments):
        # A sum of the members and no product, in which one NaN would spread to all conditions.
        additive[c] = singles[np.flatnonzero(members)].sum(0)
    return truth.gene_effects, additive


def _pair_scores(
    a: np.ndarray, b: np.ndarray, ab: np.ndarray
) -> tuple[float, float, float, float, float]:
    """Norman et al. 2019: ab = c1 a + c2 b by least squares, its magnitude, fit and dominance."""
    singles = np.stack([a, b], 1)
    c1, c2 = np.linalg.lstsq(singles, ab, rcond=None)[0]
    # Coefficients of two signs have no ratio whose logarithm could be taken.
    dominance = abs(np.log10(c1 / c2)) if c1 * c2 > 0 else np.nan
    # An effect of 0 has no correlation; the NaN is what is wanted.
    with np.errstate(invalid="ignore", divide="ignore"):
        fit = np.corrcoef(singles @ [c1, c2], ab)[0, 1]
    return c1, c2, float(np.hypot(c1, c2)), float(fit), float(dominance)
