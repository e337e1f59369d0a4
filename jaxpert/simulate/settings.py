"""Sizes and strengths of a simulated screen: presets, overrides and their checks."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from math import comb
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxpert.core.errors import InputError

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
SHARES = (
    "control_share",
    "loading_share",
    "mask_share",
    "response_share",
    "pathway_share",
    "pathway_correlation",
    "related_pairs",
    "artifact_share",
    "toxic_share",
    "line_gene_share",
)
POSITIVE = (
    "control_share",
    "mask_share",
    "umis_log_sd",
    "strength_shape",
    "strength_scale",
    "reference_cells",
    "batches",
    "singles",
    "pathways",
    "basal_programs",
    "lines",
)
NONNEGATIVE = (
    "pairs",
    "triples",
    "umis",
    "condition_log_sd",
    "batch_gene_sd",
    "batch_depth_sd",
    "loading_scale",
    "doses",
    "line_log_sd",
    "line_gene_sd",
)
MOST_DOSES = 4
"""10, 100, 1,000 and 10,000 nM."""


@dataclass(frozen=True)
class Settings:
    """Everything that may be overridden in `simulate`.

    Effects are on the natural-log scale of expression. docs/simulator.md says what each number
    does.
    """

    cells: int = 6_000
    genes: int = 1_000
    singles: int = 30
    pairs: int = 40
    triples: int = 0
    batches: int = 2
    control_share: float = 0.1
    condition_log_sd: float = 0.5
    """Spread of the number of cells per perturbation."""
    umis: float = 0.0
    """Median counts per cell; 0 takes 13,500 x (genes / 19,018)^(1/3), at most 13,500."""
    umis_log_sd: float = 0.41
    batch_gene_sd: float = 0.1
    batch_depth_sd: float = 0.1
    programs: int = 24
    basal_programs: int = 6
    loading_share: float = 0.03
    loading_scale: float = 0.4
    mask_share: float = 0.1
    response_share: float = 0.5
    """Chance that a target also moves the one general response program (every other program:
    `mask_share`)."""
    strength_shape: float = 1.0
    strength_scale: float = 1.2
    pathways: int = 5
    pathway_share: float = 0.7
    """Share of the targets that belong to a pathway."""
    pathway_correlation: float = 0.8
    related_pairs: float = 0.3
    """Share of the combinations that lie inside one pathway."""
    own_effect: float = 2.0
    """Effect on the target's own gene: +2 for CRISPRa, -1.5 for CRISPRi and knock-outs."""
    artifact_share: float = 0.27
    toxic_share: float = 0.1
    """Share of the targets that raise the rate of dying and stressed cells."""
    reference_cells: int = 128
    """Artifact-free basal states over which the true means are taken."""
    lines: int = 1
    """Cell lines; with several, or with doses, a screen has no pairs."""
    line_share: float = 0.7
    """Share of the variance of effects that all lines have in common."""
    line_log_sd: float = 1.2
    """Spread of the number of cells per line: with 4 lines 62, 23, 11 and 4 % of the cells; 0 for
    equal numbers."""
    line_gene_share: float = 0.1
    """Share of the genes whose base differs in a line."""
    line_gene_sd: float = 1.0
    doses: int = 0
    """Doses of each compound from 10 nM up, tenfold each; 0 for a screen of guides."""


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
            f"there is no simulated screen {preset!r}, expected one of {', '.join(PRESETS)}"
        )
    known = asdict(PRESETS[preset])
    # Overrides are checked before they are applied, so that errors name what the user wrote.
    changes = {name: _checked(name, value, known) for name, value in overrides.items()}
    settings = replace(PRESETS[preset], **changes)
    _check(settings)
    if settings.umis:
        return settings
    # A panel holds the better-expressed genes, so its library shrinks more slowly than its number
    # of genes: by the cube root (docs/simulator.md, Counts).
    share = min(1.0, (settings.genes / FULL_GENES) ** (1 / 3))
    return replace(settings, umis=FULL_UMIS * share)


def _checked(name: str, value: Any, known: dict[str, Any]) -> Any:
    """An override as a number of its setting's type."""
    if name not in known:
        raise InputError(
            f"the simulator has no setting {name!r}, expected one of {', '.join(known)}"
        )
    kind = type(known[name])
    allowed = (int, np.integer) if kind is int else (int, float, np.integer, np.floating)
    # A truth value is an int to Python, but nobody means 1 cell by `cells=True`.
    if isinstance(value, bool) or not isinstance(value, allowed) or not np.isfinite(value):
        word = "whole" if kind is int else "finite"
        raise InputError(f"the simulator's {name} is {value!r}, expected a {word} number")
    return kind(value)


def _check(s: Settings) -> None:
    _check_ranges(s)
    _check_combinations(s)
    _check_genes(s)
    _check_lines(s)
    _check_cells(s)


def _check_ranges(s: Settings) -> None:
    for name in SHARES:
        value = getattr(s, name)
        # A share of 1 would leave nothing on the other side, such as no clean cell.
        if not 0 <= value < 1:
            raise InputError(f"the simulator's {name} is {value}, expected a share in [0, 1)")
    for name in POSITIVE:
        value = getattr(s, name)
        if not value > 0:
            raise InputError(f"the simulator's {name} is {value}, expected more than 0")
    for name in NONNEGATIVE:
        value = getattr(s, name)
        if not value >= 0:
            raise InputError(f"the simulator's {name} is {value}, expected 0 or more")


def _check_combinations(s: Settings) -> None:
    for number, size, name in ((s.pairs, 2, "pairs"), (s.triples, 3, "triples")):
        possible = comb(s.singles, size)
        # The number of possible sets is computed, not listed, so the check itself costs nothing.
        if number > possible:
            raise InputError(
                f"{s.singles} singles make {possible} {name}, not {number}: raise `singles`"
            )
        if number and possible > MAX_SETS:
            raise InputError(
                f"{name} of {s.singles} singles are too many to choose from: lower `singles`"
            )


def _check_genes(s: Settings) -> None:
    # Besides the basal programs: three that a dying cell loses, and the erythroid-like one.
    if s.programs < s.basal_programs + 4:
        raise InputError(
            f"the simulator has {s.programs} programs, {s.basal_programs} of them basal: expected "
            "4 more"
        )
    # Each class that the quality criteria count needs its genes, and programs need some to load on.
    fewest = max(100, len(gene_classes(s.genes)) + s.singles + 20)
    if s.genes < fewest:
        raise InputError(
            f"the simulator's genes is {s.genes}, expected at least {fewest} for {s.singles} "
            "singles"
        )


def _check_lines(s: Settings) -> None:
    if not 0 <= s.line_share <= 1:
        raise InputError(
            f"the simulator's line_share is {s.line_share}, expected a share in [0, 1]"
        )
    if s.doses > MOST_DOSES:
        raise InputError(
            f"the simulator's doses is {s.doses}, expected at most {MOST_DOSES} (10 to 10,000 nM)"
        )
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
