"""Sizes and strengths of a simulated screen: presets, overrides and their checks."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from math import comb
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxpert.core import settings
from jaxpert.core.errors import InputError
from jaxpert.core.settings import setting

FULL_GENES, FULL_UMIS, FULL_SEEN = 19_018, 13_500.0, 3_200
"""Genes of a whole transcriptome, and the median counts and genes seen per cell over it."""
MT_SYMBOLS = "ND1 ND2 CO1 CO2 ATP8 ATP6 CO3 ND3 ND4L ND4 ND5 ND6 CYB"
MT_GENES = tuple(f"MT-{symbol}" for symbol in MT_SYMBOLS.split())
"""The 13 protein-coding genes of the mitochondrial genome."""
HB_GENES = ("HBA1", "HBA2", "HBB", "HBD", "HBG1", "HBG2")
MAX_SETS = 10_000_000
"""Combinations are chosen from a table of all of them, which must fit into memory."""
FEWEST_CELLS = 4
"""Of every condition in every line: fewer have no mean worth the name."""
MOST_DOSES = 4
"""10, 100, 1,000 and 10,000 nM."""


MOST_CELLS, MOST_GENES = 10_000_000, 200_000
"""Cells of the largest atlases, and transcripts of the largest annotations."""
MOST_UMIS = 1_000_000
"""Median counts of a cell; the deepest protocols count a tenth."""
WIDEST_SD = 5.0
"""On the natural-log scale: two standard deviations are a factor of 20,000."""


def share(default: float, meaning: str) -> Any:
    """A share in [0, 1): all would leave nothing on the other side, such as no clean cell."""
    return setting(default, meaning, at_least=0, below=1)


def spread(default: float, meaning: str) -> Any:
    """A standard deviation on the natural-log scale; 0 for equal values."""
    return setting(default, meaning, at_least=0, at_most=WIDEST_SD)


def number(default: int, meaning: str, at_most: int, at_least: int = 1) -> Any:
    """A number of things."""
    return setting(default, meaning, at_least=at_least, at_most=at_most)


@dataclass(frozen=True)
class Settings:
    """Everything that may be overridden in `simulate`.

    Effects are on the natural-log scale of expression. docs/simulator.md says what each number
    does.
    """

    cells: int = number(6_000, "cells", MOST_CELLS)
    genes: int = number(1_000, "genes", MOST_GENES)
    singles: int = number(30, "perturbed genes, or compounds", MOST_GENES)
    pairs: int = number(40, "combinations of two", MOST_GENES, 0)
    triples: int = number(0, "combinations of three", MOST_GENES, 0)
    batches: int = number(2, "experimental batches", 10_000)
    control_share: float = setting(0.1, "share of control cells", above=0, below=1)
    condition_log_sd: float = spread(0.5, "spread of the number of cells per perturbation")
    umis: float = setting(
        0.0,
        "median counts per cell; 0 takes 13,500 x (genes / 19,018)^(1/3), at most 13,500",
        at_least=0,
        at_most=MOST_UMIS,
    )
    umis_log_sd: float = setting(0.41, "spread of the counts per cell", above=0, at_most=WIDEST_SD)
    batch_gene_sd: float = spread(0.1, "shift of each gene in a batch")
    batch_depth_sd: float = spread(0.1, "shift of the counts per cell in a batch")
    programs: int = number(24, "programs of genes", 1_000)
    basal_programs: int = number(6, "of them, those in which unperturbed cells differ", 1_000)
    loading_share: float = share(0.03, "share of the genes that a program moves")
    loading_scale: float = spread(0.4, "size of its loadings")
    mask_share: float = setting(0.1, "chance that a target moves a program", above=0, below=1)
    response_share: float = share(0.5, "chance that it also moves the one general response program")
    strength_shape: float = setting(
        1.0, "shape of the gamma of strengths", at_least=1e-3, at_most=1e3
    )
    strength_scale: float = setting(1.2, "its scale", above=0, at_most=WIDEST_SD)
    pathways: int = number(5, "pathways of targets", 10_000)
    pathway_share: float = share(0.7, "share of the targets that belong to a pathway")
    pathway_correlation: float = share(0.8, "correlation of the effects within a pathway")
    related_pairs: float = share(0.3, "share of the combinations that lie inside one pathway")
    own_effect: float = setting(
        2.0,
        "effect on the target's own gene: +2 for CRISPRa, -1.5 for CRISPRi and knock-outs",
        at_least=-10,
        at_most=10,
    )
    artifact_share: float = share(0.27, "share of spoilt cells")
    toxic_share: float = share(
        0.1, "share of the targets that raise the rate of dying and stressed cells"
    )
    reference_cells: int = number(
        128, "artifact-free basal states over which the true means are taken", MOST_CELLS
    )
    lines: int = number(1, "cell lines; with several, or with doses, a screen has no pairs", 1_000)
    line_share: float = setting(
        0.7,
        "share of the variance of effects that all lines have in common",
        at_least=0,
        at_most=1,
    )
    line_log_sd: float = spread(
        1.2,
        "spread of the number of cells per line: with 4 lines 62, 23, 11 and 4 % of the cells; 0 "
        "for equal numbers",
    )
    line_gene_share: float = share(0.1, "share of the genes whose base differs in a line")
    line_gene_sd: float = spread(1.0, "size of that difference")
    doses: int = number(
        0,
        "doses of each compound from 10 nM up, tenfold each; 0 for a screen of guides",
        MOST_DOSES,
        0,
    )


PRESETS = {
    "tiny": Settings(cells=600, genes=200, singles=8, pairs=6, pathways=2, reference_cells=64),
    "demo": Settings(),
    "norman": Settings(
        cells=111_255, genes=19_018, singles=105, pairs=131, batches=8, reference_cells=64
    ),
    "dixit": Settings(
        cells=103_420, genes=18_531, singles=10, pairs=45, batches=6, pathways=3, own_effect=-1.5
    ),
    "replogle": Settings(
        cells=118_641, genes=1_187, singles=722, pairs=0, batches=48, pathways=6, own_effect=-1.5
    ),
    "adamson": Settings(
        cells=62_623, genes=17_115, singles=90, pairs=0, batches=4, own_effect=-1.5
    ),
    "genome": Settings(
        cells=1_000_000,
        genes=8_000,
        singles=2_000,
        pairs=0,
        batches=96,
        pathways=6,
        own_effect=-1.5,
        reference_cells=32,
    ),
    "lines": Settings(cells=16_000, singles=60, pairs=0, own_effect=-1.5, lines=4),
    "lines_tiny": Settings(
        cells=900,
        genes=200,
        singles=8,
        pairs=0,
        pathways=2,
        reference_cells=64,
        own_effect=-1.5,
        lines=3,
        line_log_sd=1.0,
    ),
    "doses": Settings(cells=16_000, singles=40, pairs=0, own_effect=-0.5, doses=4),
    "doses_tiny": Settings(
        cells=900,
        genes=200,
        singles=6,
        pairs=0,
        pathways=2,
        reference_cells=64,
        own_effect=-0.5,
        doses=4,
    ),
}


def resolve(preset: str, overrides: dict[str, Any]) -> Settings:
    """The settings of a preset with overrides applied, all of them checked.

    Where `umis` is 0, the median library that suits the number of genes takes its place.

    Raises:
        InputError: for an unknown preset or setting, and for values that make no screen.
    """
    if preset not in PRESETS:
        raise InputError(
            f"there is no simulated screen {preset!r}, expected one of {', '.join(PRESETS)}: "
            "choose one of these"
        )
    known = asdict(PRESETS[preset])
    for name in overrides:
        if name not in known:
            raise InputError(
                f"the simulator has no setting {name!r}, expected one of {', '.join(known)}: "
                "correct it"
            )
    chosen = settings.changed(PRESETS[preset], overrides, "simulation")
    _check(chosen)
    if chosen.umis:
        return chosen
    return replace(chosen, umis=panel_umis(chosen.genes))


def panel_umis(genes: int) -> float:
    """Median library that suits a number of genes."""
    # A panel holds the better-expressed genes, so its library shrinks more slowly than its number
    # of genes: by the cube root (docs/simulator.md, Counts).
    return FULL_UMIS * min(1.0, (genes / FULL_GENES) ** (1 / 3))


def _check(s: Settings) -> None:
    _check_combinations(s)
    _check_genes(s)
    _check_lines(s)
    _check_cells(s)


def _check_combinations(s: Settings) -> None:
    for number, size, name in ((s.pairs, 2, "pairs"), (s.triples, 3, "triples")):
        possible = comb(s.singles, size)
        # The number of possible sets is computed, not listed, so the check itself costs nothing.
        if number > possible:
            raise InputError(
                f"{number} {name} are asked for, expected at most the {possible} that {s.singles} "
                "singles make: raise `singles`"
            )
        if number and possible > MAX_SETS:
            raise InputError(
                f"{name} of {s.singles} singles are too many to choose from, expected fewer sets: "
                "lower `singles`"
            )


def _check_genes(s: Settings) -> None:
    # Besides the basal programs: three that a dying cell loses, and the erythroid-like one.
    if s.programs < s.basal_programs + 4:
        raise InputError(
            f"the simulator has {s.programs} programs, {s.basal_programs} of them basal, expected "
            "at least 4 more than these: raise `programs`"
        )
    # Each class that the quality criteria count needs its genes, and programs need some to load on.
    fewest = max(100, len(gene_classes(s.genes)) + s.singles + 20)
    if s.genes < fewest:
        raise InputError(
            f"the simulator's genes is {s.genes}, expected at least {fewest} for {s.singles} "
            "singles: raise `genes`"
        )


def _check_lines(s: Settings) -> None:
    # The interaction of a pair is planted in one line at full dose alone.
    if (s.lines > 1 or s.doses) and (s.pairs or s.triples):
        raise InputError(
            f"the simulator has {s.pairs} pairs and {s.triples} triples in {s.lines} lines at "
            f"{s.doses} doses, expected none with several lines or doses: set pairs=0 and triples=0"
        )


def _check_cells(s: Settings) -> None:
    conditions = (s.singles + s.pairs + s.triples) * max(s.doses, 1)
    # The smallest line decides, since every line has every perturbation.
    smallest = line_cells(s).min()
    control = smallest * s.control_share
    perturbed = smallest * (1 - s.control_share) / conditions
    if min(control, perturbed) < FEWEST_CELLS:
        where = f" in each of {s.lines} lines (the smallest has {smallest})" if s.lines > 1 else ""
        raise InputError(
            f"the simulator's cells is {s.cells}, expected at least {FEWEST_CELLS} for each of "
            f"{conditions} perturbations and the control{where}: raise `cells`"
        )


def line_cells(s: Settings) -> Int[np.ndarray, "L"]:
    """Cells of every line, in descending order (docs/simulator.md, Lines)."""
    from scipy.special import ndtri

    # Quantiles of a log-normal, not draws: the sizes of a preset are the same for every seed.
    weights = np.exp(s.line_log_sd * ndtri(1 - (np.arange(s.lines) + 0.5) / s.lines))
    # Rounding the edges, not the sizes, makes the sizes add up to all cells.
    edges = np.round(np.concatenate([[0], weights.cumsum() / weights.sum()]) * s.cells).astype(int)
    return np.diff(edges)


def gene_classes(n_genes: int) -> list[str]:
    """Names of the genes that the quality criteria count; small panels hold fewer ribosomal
    ones."""
    # Both subunits in turn, so that a small panel has some of each.
    ribosomal: list[str] = []
    for number in range(1, 41):
        ribosomal += [f"RPS{number}", f"RPL{number}"]
    return [*MT_GENES, *ribosomal[: min(80, n_genes // 5)], *HB_GENES]


def genes_seen(s: Settings) -> float:
    """Expected number of genes with a count in a cell of median depth."""
    # The same reasoning as for the library: (G / 19,018)^(2/3) of the genes seen over a whole
    # transcriptome, so a panel of better-expressed genes shows a larger share of them.
    return FULL_SEEN * min(1.0, s.genes / FULL_GENES) ** (2 / 3)
