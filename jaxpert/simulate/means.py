"""What cells without artifacts express on average: the truth against which predictions are
scored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from jaxpert.simulate.cells import ARTIFACT_DEPTH, MIXING
from jaxpert.simulate.truth import ARTIFACTS, GI_SCORES, Truth, condition_shift

LOG_MEANS = np.linspace(-14.0, 10.0, 128)
SCALE = 1e4


def add_means(truth: Truth, reference_cells: int) -> Truth:
    """Fill in the expected means of conditions, the ambient profile, artifact vectors and
    interaction scores."""
    states = draw_reference(truth, reference_cells)
    conditions = np.arange(len(truth.conditions))
    proportion, log2 = expected_means(truth, states, condition_shift(truth, conditions))
    share = np.bincount(truth.condition, minlength=len(conditions)) / len(truth.condition)
    ambient = (share @ proportion).astype(np.float32)
    truth = replace(truth, mean_proportion=proportion, mean_log2=log2, ambient=ambient)
    artifact_proportion, artifact_log2 = _artifact_means(truth, states)
    return replace(
        truth,
        gi=interaction_scores(truth),
        artifact_log_fold=np.log(artifact_proportion / artifact_proportion[:1]),
        artifact_log2_shift=artifact_log2 - artifact_log2[:1],
    )


def draw_reference(
    truth: Truth, number: int
) -> tuple[Float[np.ndarray, "M G"], Float[np.ndarray, "M"]]:
    """Log-rates and libraries of control cells without artifacts: a Latin hypercube over basal
    state and depth."""
    from scipy.special import ndtri

    rng = np.random.default_rng(np.random.SeedSequence(int(truth.seed), spawn_key=(2,)))
    axes, programs, b = (
        truth.loadings.shape[0],
        truth.condition_effects.shape[1],
        truth.basal.shape[1],
    )
    levels = ndtri((np.arange(number) + 0.5) / number)
    normal = np.stack([rng.permutation(levels) for _ in range(b + 3)], 1)
    latent = np.zeros((number, axes), np.float32)
    latent[:, :b] = normal[:, :b]
    latent[:, programs:] = normal[:, b : b + 2] * truth.technical_sd
    batch = rng.permutation(np.arange(number) % len(truth.batch_depth))
    log_rate = truth.base + truth.batch_shift[batch] + latent @ truth.loadings
    return log_rate, truth.umis * truth.batch_depth[batch] * np.exp(truth.umis_sd * normal[:, -1])


def expected_means(
    truth: Truth,
    states: tuple[np.ndarray, np.ndarray],
    shift: Float[np.ndarray, "R G"],
    depth: Float[np.ndarray, "R 1"] | float = 1.0,
    mixing: Float[np.ndarray, "R 1"] | float = 0.0,
    profile: Float[np.ndarray, "R G"] | float = 0.0,
) -> tuple[Float[np.ndarray, "R G"], Float[np.ndarray, "R G"]]:
    """Means over cells of expression shares and of log2(1 + 1e4 x / sum x), for rows of log-rate
    shifts.

    All rows share the same reference states (common random numbers), so that differences between
    rows carry next to no sampling error. Given a state, the mean over counts is no sample but the
    exact Gamma-Poisson expectation with sum x replaced by the library (`expected_log2`), read from
    a table by linear interpolation.
    """
    proportion, log2 = np.zeros(shift.shape, np.float32), np.zeros(shift.shape, np.float32)
    for log_rate, library in zip(*states, strict=True):
        share = np.exp(shift + log_rate)
        share /= share.sum(1, keepdims=True)
        share = (1 - mixing) * share + mixing * profile
        proportion += share
        for level in np.unique(depth):
            rows = np.flatnonzero(np.broadcast_to(depth, (len(shift), 1)) == level)
            table = _gene_table(truth.inverse_dispersion, library * level)
            log2[rows] += _interpolate(table, np.log(share[rows] * np.float32(library * level)))
    return proportion / len(states[1]), log2 / len(states[1])


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
    for t in np.exp(np.arange(-18.0, 4.0, step)):
        thinned = -np.expm1(-SCALE / library * t)
        total += np.exp(-t) * -np.expm1(-r * np.log1p(mean * thinned / r))
    return total * step / np.log(2)


def _gene_table(r: Float[np.ndarray, "G"], library: float) -> Float[np.ndarray, "L G"]:
    """`expected_log2` over LOG_MEANS for every gene, by interpolation between 24 dispersions."""
    log_r = np.log(r)
    grid = np.linspace(log_r.min(), log_r.max() + 1e-3, 24)
    table = expected_log2(np.exp(LOG_MEANS)[:, None], np.exp(grid), library)
    place = (log_r - grid[0]) / (grid[1] - grid[0])
    low = np.minimum(place.astype(int), len(grid) - 2)
    weight = (place - low).astype(np.float32)
    table = table.astype(np.float32)
    return table[:, low] + weight * np.diff(table)[:, low]


def _interpolate(
    table: Float[np.ndarray, "L G"], log_mean: Float[np.ndarray, "R G"]
) -> Float[np.ndarray, "R G"]:
    place = (log_mean - np.float32(LOG_MEANS[0])) * np.float32(1 / (LOG_MEANS[1] - LOG_MEANS[0]))
    np.clip(place, 0, len(LOG_MEANS) - 1.001, out=place)
    low = place.astype(np.int32)
    place -= low
    low *= table.shape[1]
    low += np.arange(table.shape[1], dtype=np.int32)
    first = table.ravel().take(low)
    low += table.shape[1]
    place *= table.ravel().take(low) - first
    return first + place


def _artifact_means(
    truth: Truth, states: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Means of control cells under each artifact, at the mean mixing share; a doublet is half the
    mean cell."""
    mixing = np.zeros((len(ARTIFACTS), 1), np.float32)
    profile = np.tile(truth.ambient, (len(ARTIFACTS), 1))
    profile[ARTIFACTS.index("haemoglobin")] = truth.haemoglobin
    for name, bounds in MIXING.items():
        mixing[ARTIFACTS.index(name)] = np.mean(bounds)
    depth = np.array(ARTIFACT_DEPTH)[:, None]
    doublet = ARTIFACTS.index("doublet")
    mixing[doublet], depth[doublet] = 0.5, 2.0
    return expected_means(
        truth, states, truth.artifact_latent @ truth.loadings, depth, mixing, profile
    )


def interaction_scores(truth: Truth) -> Float[np.ndarray, "C 6"]:
    """GI_SCORES of every pair from the true mean changes (no noise, so plain least squares)."""
    scores = np.full((len(truth.conditions), len(GI_SCORES)), np.nan)
    change = truth.mean_log2.astype(float) - truth.mean_log2[0]
    sizes = truth.condition_treatments.sum(1)
    single = np.argmax(truth.condition_treatments[sizes == 1], 1)
    row_of = dict(zip(single, np.flatnonzero(sizes == 1), strict=True))
    combined = truth.condition_treatments @ truth.effects
    for c in np.flatnonzero(sizes >= 2):
        scores[c, -1] = np.linalg.norm(truth.condition_effects[c] - combined[c])
        if sizes[c] == 2:
            a, b = (change[row_of[t]] for t in np.flatnonzero(truth.condition_treatments[c]))
            scores[c, :-1] = _pair_scores(a, b, change[c])
    return scores


def _pair_scores(
    a: np.ndarray, b: np.ndarray, ab: np.ndarray
) -> tuple[float, float, float, float, float]:
    singles = np.stack([a, b], 1)
    c1, c2 = np.linalg.lstsq(singles, ab, rcond=None)[0]
    dominance = abs(np.log10(c1 / c2)) if c1 * c2 > 0 else np.nan
    fit = np.corrcoef(singles @ [c1, c2], ab)[0, 1]
    return c1, c2, float(np.hypot(c1, c2)), float(fit), float(dominance)
