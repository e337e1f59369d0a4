"""Draw a simulated screen up to its counts: genes and programs here, perturbations and cells in
their own files."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jaxpert.simulate.cells import draw_cells
from jaxpert.simulate.effects import draw_conditions, draw_targets
from jaxpert.simulate.lines import draw_lines
from jaxpert.simulate.settings import Settings, gene_classes, genes_seen
from jaxpert.simulate.truth import ARTIFACTS, GI_SCORES, LineTruth, Truth

MT_SHARE, MT_LOG_SD = 0.034, 0.45
RIBO_SHARE, RIBO_LOG_SD = 0.22, 0.28
HB_READS = 0.01
"""Expected haemoglobin reads of a clean cell: were they common in under half of the cells, their
MAD would be 0 and the criterion would fail every cell with one read."""
MIN_INVERSE_DISPERSION = 0.1
MAX_LOADING = 0.8
ABUNDANT = 1e-3
"""Shares of expression above this move less, by the square root: one gene must not fill a cell."""


def draw(s: Settings, seed: int) -> Truth:
    """A truth whose expected means are still zero; `simulator_means.add_means` fills them."""
    names = ("genes", "programs", "targets", "combinations", "cells", "lines")
    streams = [
        np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, i)))
        for i in range(len(names))
    ]
    genes = draw_genes(streams[0], s)
    programs = draw_programs(streams[1], s, genes["genes"], genes["base"])
    targets = draw_targets(streams[2], s, genes["genes"])
    several = s.lines > 1 or s.doses > 0
    conditions = (
        draw_lines(streams[5], s, targets, genes["base"])
        if several
        else draw_conditions(streams[3], s, targets)
    )
    toxicity = conditions["condition_treatments"] @ targets["toxicity"]
    cells = draw_cells(
        streams[4], s, genes, toxicity * conditions["scale"] if several else toxicity
    )
    n_conditions, n_genes, n_artifacts = len(conditions["conditions"]), s.genes, len(ARTIFACTS)
    empty = {
        "mean_proportion": np.zeros((n_conditions, n_genes), np.float32),
        "mean_log2": np.zeros((n_conditions, n_genes), np.float32),
        "gi": np.full((n_conditions, len(GI_SCORES)), np.nan),
        "ambient": np.zeros(n_genes, np.float32),
        "artifact_log_fold": np.zeros((n_artifacts, n_genes), np.float32),
        "artifact_log2_shift": np.zeros((n_artifacts, n_genes), np.float32),
    }
    kind = LineTruth if several else Truth
    return kind(seed=np.array(seed), **genes, **programs, **targets | conditions, **cells, **empty)


def _starts(genes: np.ndarray, *prefixes: str) -> Bool[np.ndarray, "G"]:
    return np.logical_or.reduce([np.char.startswith(genes, p) for p in prefixes])


def draw_genes(rng: np.random.Generator, s: Settings) -> dict[str, Any]:
    """Names, baseline log-rates, dispersions, and how far batches shift them."""
    named = gene_classes(s.genes)
    width = len(str(max(s.genes, 1000)))
    targets = [f"PERT{i + 1:03d}" for i in range(s.singles)]
    rest = s.genes - len(named) - s.singles
    genes = np.array(named + targets + [f"SIM{i + 1:0{width}d}" for i in range(rest)])
    mt, ribo, hb = _starts(genes, "MT-"), _starts(genes, "RPS", "RPL"), _starts(genes, "HB")
    spread = rng.normal(size=s.genes)
    # Structural genes vary less between cells than others of their level: they take the upper half
    # of the dispersions.
    inverse_dispersion = np.exp(np.log(2.45) + 1.24 * np.where(mt | ribo, np.abs(spread), spread))
    inverse_dispersion = np.maximum(inverse_dispersion, MIN_INVERSE_DISPERSION)
    shape = np.where(
        rng.random(s.genes) < 0.6, rng.normal(size=s.genes), rng.normal(-4, 1.2, s.genes)
    )
    is_target = _starts(genes, "PERT")
    shape[is_target] = rng.normal(0.3, 0.6, is_target.sum())
    base = np.zeros(s.genes)
    hb_share = HB_READS / s.umis
    for members, share in ((mt, MT_SHARE), (ribo, RIBO_SHARE), (hb, hb_share)):
        weights = np.exp(rng.normal(0, 0.6, members.sum()))
        base[members] = np.log(share * weights / weights.sum())
    others = ~(mt | ribo | hb)
    left = np.log(1 - MT_SHARE - RIBO_SHARE - hb_share)
    base[others] = left + fit_baseline(
        shape[others], inverse_dispersion[others], s, np.exp(left), base[~others]
    )
    batch_depth = np.exp(rng.normal(0, s.batch_depth_sd, s.batches))
    return {
        "genes": genes,
        "base": base.astype(np.float32),
        "inverse_dispersion": inverse_dispersion.astype(np.float32),
        "umis": np.array(s.umis),
        "umis_sd": np.array(np.sqrt(max(s.umis_log_sd**2 - s.batch_depth_sd**2, 1e-4))),
        "batch_depth": batch_depth / np.exp(np.log(batch_depth).mean()),
        "batch_shift": rng.normal(0, s.batch_gene_sd, (s.batches, s.genes)).astype(np.float32),
        "technical_sd": np.array(
            [
                _remaining_sd(MT_LOG_SD, base[mt], inverse_dispersion[mt]),
                _remaining_sd(RIBO_LOG_SD, base[ribo], inverse_dispersion[ribo]),
            ]
        ),
    }


def fit_baseline(
    shape: np.ndarray, r: np.ndarray, s: Settings, share: float, named: np.ndarray
) -> np.ndarray:
    """Log-shares `scale x shape`, normalised, with the scale at which the wanted number of genes is
    seen."""

    def seen(log_share: np.ndarray) -> float:
        return float(-np.expm1(-r * np.log1p(s.umis * share * np.exp(log_share) / r)).sum())

    def log_share(scale: float) -> np.ndarray:
        return scale * shape - np.log(np.exp(scale * shape).sum())

    wanted = genes_seen(s) - np.minimum(s.umis * np.exp(named), 1).sum()
    low, high = 0.0, 6.0
    for _ in range(50):
        scale = (low + high) / 2
        low, high = (scale, high) if seen(log_share(scale)) > wanted else (low, scale)
    return log_share(low)


def _remaining_sd(total: float, base: np.ndarray, r: np.ndarray) -> float:
    """Log-sd left for the common axis of a gene class once its genes' own dispersion is taken
    off."""
    share = np.exp(base) / np.exp(base).sum()
    return float(np.sqrt(max(total**2 - (share**2 / r).sum(), 1e-4)))


def draw_programs(
    rng: np.random.Generator, s: Settings, genes: np.ndarray, base: np.ndarray
) -> dict[str, Any]:
    """Sparse heavy-tailed loadings, the axes of structural genes, and what artifacts do to both."""
    mt, ribo, hb = _starts(genes, "MT-"), _starts(genes, "RPS", "RPL"), _starts(genes, "HB")
    loaded = rng.random((s.programs, s.genes)) < s.loading_share
    size = rng.laplace(0, s.loading_scale, loaded.shape).clip(-MAX_LOADING, MAX_LOADING)
    size *= np.minimum(1, np.sqrt(ABUNDANT / np.exp(base)))
    loadings = np.concatenate([loaded * size * ~(mt | ribo | hb), [mt, ribo]])
    loadings[s.programs - 1, hb] = 0.75  # the erythroid-like program
    latent = np.zeros((len(ARTIFACTS), s.programs + 2))
    cytoplasmic = rng.choice(np.arange(s.basal_programs, s.programs), 3, replace=False)
    latent[ARTIFACTS.index("dying"), cytoplasmic] = -1
    latent[ARTIFACTS.index("dying"), -2] = np.log(5)
    moved = rng.choice(s.programs - 1, 6, replace=False)
    direction = rng.normal(size=6)
    latent[ARTIFACTS.index("stressed"), moved] = 2.5 * direction / np.linalg.norm(direction)
    latent[ARTIFACTS.index("stressed"), -2] = np.log(2)
    return {
        "loadings": loadings.astype(np.float32),
        "artifact_latent": latent.astype(np.float32),
        "haemoglobin": _spread_over(rng, hb).astype(np.float32),
    }


def _spread_over(
    rng: np.random.Generator, members: Bool[np.ndarray, "G"]
) -> Float[np.ndarray, "G"]:
    weights = members * rng.gamma(2.0, size=len(members))
    return weights / weights.sum()
