"""Draw the genes and the expression programs of a simulated screen.

docs/simulator.md describes both (sections Counts, Effects and Artifacts).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxpert.simulate.settings import Settings, gene_classes, genes_seen
from jaxpert.simulate.truth import ARTIFACTS

MT_SHARE, MT_LOG_SD = 0.034, 0.45
RIBO_SHARE, RIBO_LOG_SD = 0.22, 0.28
HB_READS = 0.01
"""Expected haemoglobin reads of a clean cell: were they common in under half of the cells, their
MAD would be 0 and the criterion would fail every cell with one read."""
MEDIAN_INVERSE_DISPERSION, DISPERSION_LOG_SD = 2.45, 1.24
MIN_INVERSE_DISPERSION = 0.1
SMALLEST_VARIANCE = 1e-4
"""Of logarithms, where what is left of a wanted variance would be negative."""
MAX_LOADING = 0.8
ERYTHROID_LOADING = 0.75
ABUNDANT = 1e-3
"""Shares of expression above this move less, by the square root: one gene must not fill a cell."""


class GeneClasses(NamedTuple):
    """The genes that the quality criteria count, and the targets."""

    mitochondrial: Bool[np.ndarray, "G"]
    ribosomal: Bool[np.ndarray, "G"]
    haemoglobin: Bool[np.ndarray, "G"]
    target: Bool[np.ndarray, "G"]

    def structural(self) -> Bool[np.ndarray, "G"]:
        """Genes that have an axis of their own and take part in no program."""
        return self.mitochondrial | self.ribosomal


def classify(genes: np.ndarray) -> GeneClasses:
    """The classes of genes by their names."""

    def starts(*prefixes: str) -> Bool[np.ndarray, "G"]:
        return np.logical_or.reduce([np.char.startswith(genes, prefix) for prefix in prefixes])

    return GeneClasses(starts("MT-"), starts("RPS", "RPL"), starts("HB"), starts("PERT"))


def draw_genes(rng: np.random.Generator, s: Settings) -> dict[str, Any]:
    """Names, baseline log-rates, dispersions, and how far batches shift them."""
    genes = _names(s)
    classes = classify(genes)
    r = draw_inverse_dispersions(rng, classes)
    base = _draw_baseline(rng, s, classes, r)
    batch_depth = np.exp(rng.normal(0, s.batch_depth_sd, s.batches))
    # The wanted spread of libraries is that between all cells: what batches add is taken off.
    umis_variance = max(s.umis_log_sd**2 - s.batch_depth_sd**2, SMALLEST_VARIANCE)
    return {
        "genes": genes,
        "base": base.astype(np.float32),
        "inverse_dispersion": r.astype(np.float32),
        "umis": np.array(s.umis),
        "umis_sd": np.array(np.sqrt(umis_variance)),
        # The geometric mean of the depths is 1, so that the median library stays as set.
        "batch_depth": batch_depth / np.exp(np.log(batch_depth).mean()),
        "batch_shift": rng.normal(0, s.batch_gene_sd, (s.batches, s.genes)).astype(np.float32),
        "technical_sd": technical_sd(classes, base, r),
    }


def technical_sd(
    classes: GeneClasses, base: Float[np.ndarray, "G"], r: Float[np.ndarray, "G"]
) -> Float[np.ndarray, "2"]:
    """Spread of the mitochondrial and the ribosomal axis over cells."""
    mt, ribo = classes.mitochondrial, classes.ribosomal
    return np.array(
        [
            # The dispersion of genes adds to their class's spread, so it is taken off.
            _remaining_sd(MT_LOG_SD, base[mt], r[mt]),
            _remaining_sd(RIBO_LOG_SD, base[ribo], r[ribo]),
        ]
    )


def _names(s: Settings) -> np.ndarray:
    """The genes of the quality criteria, the targets, then invented names."""
    named = gene_classes(s.genes)
    width = len(str(max(s.genes, 1000)))
    targets = [f"PERT{i + 1:03d}" for i in range(s.singles)]
    rest = s.genes - len(named) - s.singles
    return np.array(named + targets + [f"SIM{i + 1:0{width}d}" for i in range(rest)])


def draw_inverse_dispersions(
    rng: np.random.Generator, classes: GeneClasses
) -> Float[np.ndarray, "G"]:
    """Log-normal inverse dispersions r; the variance of a count of mean m is m + m^2 / r."""
    spread = rng.normal(size=len(classes.target))
    # Structural genes vary less between cells than others of their level: they take the upper half
    # of the dispersions.
    spread = np.where(classes.structural(), np.abs(spread), spread)
    r = np.exp(np.log(MEDIAN_INVERSE_DISPERSION) + DISPERSION_LOG_SD * spread)
    return np.maximum(r, MIN_INVERSE_DISPERSION)


def _draw_baseline(
    rng: np.random.Generator, s: Settings, classes: GeneClasses, r: Float[np.ndarray, "G"]
) -> Float[np.ndarray, "G"]:
    """Log-shares of expression: every class of the quality criteria has its share of the reads,
    the other genes are fitted to the number of genes that a cell shows."""
    # Two kinds of genes: three fifths are expressed, the others are silent in most cells.
    expressed = rng.random(s.genes) < 0.6
    # The second normal lies far lower: rarely seen genes make up a long tail.
    shape = np.where(expressed, rng.normal(size=s.genes), rng.normal(-4, 1.2, s.genes))
    # Targets are expressed: a gene that nobody sees could not be seen to change.
    shape[classes.target] = rng.normal(0.3, 0.6, classes.target.sum())
    base = np.zeros(s.genes)
    hb_share = HB_READS / s.umis
    for members, share in (
        (classes.mitochondrial, MT_SHARE),
        (classes.ribosomal, RIBO_SHARE),
        (classes.haemoglobin, hb_share),
    ):
        weights = np.exp(rng.normal(0, 0.6, members.sum()))
        base[members] = np.log(share * weights / weights.sum())
    # Haemoglobin has no axis, but its share of the reads is fixed as well.
    others = ~(classes.structural() | classes.haemoglobin)
    left = np.log(1 - MT_SHARE - RIBO_SHARE - hb_share)
    fitted = fit_baseline(shape[others], r[others], s, np.exp(left), base[~others])
    base[others] = left + fitted
    return base


def fit_baseline(
    shape: np.ndarray, r: np.ndarray, s: Settings, share: float, named: np.ndarray
) -> np.ndarray:
    """Log-shares `scale x shape`, normalised, with the scale at which the wanted number of genes is
    seen."""

    def seen(log_share: np.ndarray) -> float:
        # A gene is seen unless its Gamma-Poisson count is 0: P(x > 0) = 1 - (1 + m / r)^-r.
        mean_over_r = s.umis * share * np.exp(log_share) / r
        return float(-np.expm1(-r * np.log1p(mean_over_r)).sum())

    def log_share(scale: float) -> np.ndarray:
        return scale * shape - np.log(np.exp(scale * shape).sum())

    # Genes of the named classes are seen as well, so what they show is taken off what is wanted.
    wanted = genes_seen(s) - np.minimum(s.umis * np.exp(named), 1).sum()
    # Bisection: a larger scale gives more reads to fewer genes, so fewer genes are seen.
    low, high = 0.0, 6.0
    for _ in range(50):
        scale = (low + high) / 2
        if seen(log_share(scale)) > wanted:
            low = scale
        else:
            high = scale
    return log_share(low)


def _remaining_sd(total: float, base: np.ndarray, r: np.ndarray) -> float:
    """Log-sd left for the common axis of a gene class once its genes' own dispersion is taken
    off."""
    # The class's share is a weighted mean of its genes, each with relative variance 1 / r.
    share = np.exp(base) / np.exp(base).sum()
    return float(np.sqrt(max(total**2 - (share**2 / r).sum(), SMALLEST_VARIANCE)))


def draw_programs(
    rng: np.random.Generator, s: Settings, classes: GeneClasses, base: np.ndarray
) -> dict[str, Any]:
    """Sparse heavy-tailed loadings, the axes of structural genes, and what artifacts do to both."""
    loaded = rng.random((s.programs, s.genes)) < s.loading_share
    size = rng.laplace(0, s.loading_scale, loaded.shape).clip(-MAX_LOADING, MAX_LOADING)
    # Abundant genes move less (docs/simulator.md, Effects), by the root of their share.
    size *= np.minimum(1, np.sqrt(ABUNDANT / np.exp(base)))
    loadings = np.concatenate(
        [
            loaded * size * ~(classes.structural() | classes.haemoglobin),
            [classes.mitochondrial, classes.ribosomal],
        ]
    )
    loadings[s.programs - 1, classes.haemoglobin] = ERYTHROID_LOADING
    artifact_latent = _draw_artifact_latent(rng, s)
    # Haemoglobin reads that float between cells: a random profile over its genes.
    weights = classes.haemoglobin * rng.gamma(2.0, size=s.genes)
    return {
        "loadings": loadings.astype(np.float32),
        "artifact_latent": artifact_latent.astype(np.float32),
        # A file may have no such gene, and a profile of zeros then.
        "haemoglobin": (weights / max(weights.sum(), 1e-12)).astype(np.float32),
    }


def _draw_artifact_latent(rng: np.random.Generator, s: Settings) -> Float[np.ndarray, "A Q"]:
    """Shift of each kind of artifact on the programs and on the two axes of structural genes; the
    last axis but one is the mitochondrial (docs/simulator.md, Artifacts)."""
    latent = np.zeros((len(ARTIFACTS), s.programs + 2))
    dying, stressed = latent[ARTIFACTS.index("dying")], latent[ARTIFACTS.index("stressed")]
    # A dying cell leaks its cytoplasm and keeps its mitochondria: 5 times the reads.
    # Programs that are not basal, since a basal one also varies in healthy cells.
    cytoplasmic = rng.choice(np.arange(s.basal_programs, s.programs), 3, replace=False)
    dying[cytoplasmic] = -1
    dying[-2] = np.log(5)
    # A stressed cell moves along one direction, which an artifact model should learn. The last
    # program, the erythroid-like one, stays.
    moved = rng.choice(s.programs - 1, 6, replace=False)
    direction = rng.normal(size=6)
    stressed[moved] = 2.5 * direction / np.linalg.norm(direction)
    stressed[-2] = np.log(2)
    return latent
