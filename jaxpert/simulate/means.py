"""What cells without artifacts express on average: the truth against which predictions are scored
(docs/simulator.md, Truth)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxpert.simulate.cells import ARTIFACT_DEPTH, MIXING
from jaxpert.simulate.truth import ARTIFACTS, GI_SCORES, EffectsTruth, Truth, condition_shift

LOG_MEANS = np.linspace(-14.0, 10.0, 128)
"""Log-means at which expectations are tabulated."""
DISPERSIONS = 24
"""Inverse dispersions at which they are."""
SCALE = 1e4
LIBRARY_STEP = 0.1
"""Of the natural logarithm of libraries, between those that have a table."""


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
    exact Gamma-Poisson expectation with sum x replaced by the library (`expected_log2`), read from
    a table by linear interpolation.
    """
    depth, mixing, profile = spoiling or (1.0, 0.0, 0.0)
    depth_of_row = np.broadcast_to(depth, (len(shift), 1))
    # Sums over states are kept, not the states, so memory does not grow with their number.
    proportion, log2 = np.zeros(shift.shape, np.float32), np.zeros(shift.shape, np.float32)
    for log_rate, library in zip(*reference, strict=True):
        # Softmax: log-rates are near the logarithms of shares, so their powers need no guard.
        share = np.exp(shift + log_rate)
        total = share.sum(1, keepdims=True)
        share /= total
        # Foreign reads join after the softmax, since they come from outside the cell.
        share = (1 - mixing) * share + mixing * profile
        proportion += share
        if isinstance(truth, EffectsTruth):
            # Rates that are not normalised change the counts of a cell, so every row has its own.
            log2 += _log2_of_rows(truth.inverse_dispersion, share, library * depth * total)
            continue
        # A table holds for one library, so rows of one depth go together.
        for level in np.unique(depth):
            rows = np.flatnonzero(depth_of_row == level)
            table = _gene_table(truth.inverse_dispersion, library * level)
            log2[rows] += _interpolate(table, np.log(share[rows] * np.float32(library * level)))
    # Every reference state weighs alike, since the hypercube is stratified.
    return proportion / len(reference.library), log2 / len(reference.library)


def expected_log2(
    mean: Float[np.ndarray, "..."], r: Float[np.ndarray, "..."], library: float
) -> Float[np.ndarray, "..."]:
    """E log2(1 + c x) for x ~ Gamma-Poisson and c = 1e4 / library.

    ln(1 + c x) = int (e^-t / t) (1 - e^(-c t x)) dt turns the expectation into one integral over
    the probability generating function (1 + mean (1 - s) / r)^-r, here by the trapezoid rule in ln
    t.
    """
    step = 0.25
    total = np.zeros(np.broadcast_shapes(mean.shape, r.shape))
    # The integrand vanishes at both ends of this range; in ln t the factor 1 / t is gone.
    for t in np.exp(np.arange(-18.0, 4.0, step)):
        thinned = -np.expm1(-SCALE / library * t)  # 1 - s for s = e^(-c t)
        total += np.exp(-t) * -np.expm1(-r * np.log1p(mean * thinned / r))
    return total * step / np.log(2)


def _log2_of_rows(
    r: Float[np.ndarray, "G"], share: Float[np.ndarray, "R G"], library: Float[np.ndarray, "R 1"]
) -> Float[np.ndarray, "R G"]:
    """`expected_log2` of rows that each have a library: linear in its logarithm between the tables
    of two libraries 10 % apart, which is exact to 5e-4."""
    log_mean = np.log(share * library).astype(np.float32)
    place = np.log(library[:, 0]) / LIBRARY_STEP
    low = np.floor(place)
    log2 = np.zeros(share.shape, np.float32)
    for level in np.unique([low, low + 1]):
        # A row reads the table below it and the one above it, each by its nearness.
        weight = np.maximum(0, 1 - np.abs(place - level)).astype(np.float32)
        rows = np.flatnonzero(weight)
        table = _gene_table(r, float(np.exp(level * LIBRARY_STEP)))
        log2[rows] += weight[rows, None] * _interpolate(table, log_mean[rows])
    return log2


def _gene_table(r: Float[np.ndarray, "G"], library: float) -> Float[np.ndarray, "L G"]:
    """`expected_log2` over LOG_MEANS for every gene, by interpolation between 24 dispersions."""
    log_r = np.log(r)
    # The end lies above the largest one, so that every gene has a grid point on either side.
    grid = np.linspace(log_r.min(), log_r.max() + 1e-3, DISPERSIONS)
    table = expected_log2(np.exp(LOG_MEANS)[:, None], np.exp(grid), library)
    place = (log_r - grid[0]) / (grid[1] - grid[0])
    low = np.minimum(place.astype(int), len(grid) - 2)
    weight = (place - low).astype(np.float32)
    # Half the memory; interpolation between the rows is coarser than float32 rounding.
    table = table.astype(np.float32)
    return table[:, low] + weight * np.diff(table)[:, low]


def _interpolate(
    table: Float[np.ndarray, "L G"], log_mean: Float[np.ndarray, "R G"]
) -> Float[np.ndarray, "R G"]:
    """The table's values at each gene's log-mean, linear between two rows.

    It runs over [R, G] once for every reference state, so arrays are reused in place, and both rows
    are read at flat positions.
    """
    place = (log_mean - np.float32(LOG_MEANS[0])) * np.float32(1 / (LOG_MEANS[1] - LOG_MEANS[0]))
    # Stay below the last row, so that every place has a row above it.
    np.clip(place, 0, len(LOG_MEANS) - 1.001, out=place)
    low = place.astype(np.int32)
    place -= low  # now the weight of the upper row
    # The position in the flat table is row times genes plus gene, built in the same array.
    low *= table.shape[1]
    low += np.arange(table.shape[1], dtype=np.int32)
    first = table.ravel().take(low)
    low += table.shape[1]
    place *= table.ravel().take(low) - first
    return first + place


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
