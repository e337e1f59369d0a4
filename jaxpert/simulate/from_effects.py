"""A screen drawn around the effects of a file: real structure, known truth, any number of cells
(docs/simulator.md, Effects of a file)."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpert.core import settings
from jaxpert.core.errors import InputError
from jaxpert.core.settings import setting
from jaxpert.simulate.cells import draw_states
from jaxpert.simulate.counts import matrix
from jaxpert.simulate.genes import (
    GeneClasses,
    draw_inverse_dispersions,
    draw_programs,
    fit_baseline,
    technical_sd,
)
from jaxpert.simulate.means import add_means
from jaxpert.simulate.screen import MAX_NNZ, check_seed, no_means, streams_of, to_anndata
from jaxpert.simulate.settings import (
    FEWEST_CELLS,
    HB_GENES,
    MOST_CELLS,
    MOST_UMIS,
    Settings,
    number,
    panel_umis,
    share,
    spread,
)
from jaxpert.simulate.truth import EffectsTruth

CONTROL, SEPARATOR = "ctrl", "+"
"""As the screen names its control cells, and joins the members of a combination."""
RIBOSOMAL = re.compile(r"RP[SL]\d+[A-Z]?\d*")
HAEMOGLOBIN = {*HB_GENES, "HBE1", "HBM", "HBQ1", "HBZ"}


class Effects(NamedTuple):
    """Log fold changes of a screen against its control, checked (`data.read_effects`)."""

    name: str
    """Of the file, for messages."""
    conditions: tuple[str, ...]
    """Perturbed ones as the file names them: A, A+ctrl or A+B."""
    genes: tuple[str, ...]
    log_fold: Float[np.ndarray, "P G"]
    """Natural logarithms."""


class Profile(NamedTuple):
    """Expression of the control cells over the genes of the effects (`data.read_profile`)."""

    mean: Float[np.ndarray, "G"]
    """Any unit: shares of the sum are what counts."""
    inverse_dispersion: Float[np.ndarray, "G"] | None = None
    """r of the variance m + m^2 / r; None draws it as the presets do."""


@dataclass(frozen=True)
class EffectsSettings:
    """What may be set of a screen around the effects of a file; the rest follows from the file."""

    cells: int = number(100, "cells of every perturbation", MOST_CELLS, FEWEST_CELLS)
    control_cells: int = number(
        0, "control cells; 0: cells x the square root of the perturbations", MOST_CELLS, 0
    )
    batches: int = number(1, "experimental batches", 10_000)
    umis: float = setting(
        0.0,
        "median counts of a control cell; 0 takes 13,500 x (genes / 19,018)^(1/3), at most 13,500",
        at_least=0,
        at_most=MOST_UMIS,
    )
    umis_log_sd: float = setting(0.41, "spread of the counts per cell", above=0, at_most=5)
    batch_gene_sd: float = spread(0.1, "shift of each gene in a batch")
    batch_depth_sd: float = spread(0.1, "shift of the counts per cell in a batch")
    programs: int = number(24, "programs of genes in which cells vary or artifacts show", 1_000)
    basal_programs: int = number(6, "of them, those in which control cells differ", 1_000)
    loading_share: float = share(0.03, "share of the genes that a program moves")
    loading_scale: float = spread(0.4, "size of its loadings")
    artifact_share: float = share(0.0, "share of spoilt cells")
    reference_cells: int = number(
        64, "artifact-free basal states over which the true means are taken", MOST_CELLS
    )


def simulate_effects(
    effects: Effects,
    profile: Profile | None = None,
    *,
    seed: int = 0,
    workers: int | None = None,
    **overrides: Any,
) -> tuple[Any, EffectsTruth]:
    """Draw cells whose expected log fold changes are those of a file, and return them with the
    truth behind them.

    The expected count of a gene is library x its share in control x e^effect; cells differ by
    library, batch and basal programs, alike in all conditions, so the ratio of expected counts is
    exactly the file's. Pairs are drawn around what was measured of the pair, so what they have
    beyond the sum of their singles is real. The AnnData is that of `simulate`: raw counts, columns
    `perturbation` (as in the file, control "ctrl") and `batch`.

    Args:
        effects: from `data.read_effects`.
        profile: of the control, from `data.read_profile`; None draws shares as the presets do and
            gives the genes of the steadiest effects the highest ones, since ratios of rare genes
            are the noisy ones.
        seed: the same seed gives the same bytes.
        workers: threads that draw the counts; their number changes no count.
        overrides: fields of `EffectsSettings`, e.g. `cells=200`.

    Raises:
        InputError: for settings that make no screen.

    Example:
        effects = read_effects("effects.csv", scale="log2")
        cells, truth = simulate_effects(effects, read_profile("control.csv", effects), cells=50)
    """
    check_seed(seed)
    chosen = _resolve(effects, overrides)
    truth = add_means(_draw(effects, profile, chosen, seed), chosen.reference_cells)
    assert isinstance(truth, EffectsTruth)
    counts = matrix(truth, workers)
    return to_anndata(truth, counts, slice(None), f"around the effects of {effects.name}"), truth


def members_of(condition: str) -> tuple[str, ...]:
    """Perturbations of a condition: A of A+ctrl, A and B of A+B."""
    return tuple(name for name in condition.split(SEPARATOR) if name != CONTROL)


def _resolve(effects: Effects, overrides: dict[str, Any]) -> EffectsSettings:
    known = asdict(EffectsSettings())
    for name in overrides:
        if name not in known:
            raise InputError(
                f"a screen around the effects of a file has no setting {name!r}, expected one of "
                f"{', '.join(known)}: correct it (the file has the genes and perturbations)"
            )
    chosen = settings.changed(EffectsSettings(), overrides, "simulation")
    # Besides the basal programs: three that a dying cell loses, and the erythroid-like one.
    if chosen.programs < chosen.basal_programs + 4:
        raise InputError(
            f"the simulator has {chosen.programs} programs, {chosen.basal_programs} of them basal, "
            "expected at least 4 more than these: raise `programs`"
        )
    cells = chosen.cells * len(effects.conditions) + _control_cells(effects, chosen)
    # Every count may be nonzero where the library is large, so the bound is that of all entries.
    if cells > MOST_CELLS or cells * len(effects.genes) > MAX_NNZ:
        raise InputError(
            f"{cells:,} cells x {len(effects.genes):,} genes are asked for, expected at most "
            f"{MOST_CELLS:,} cells and {MAX_NNZ:,} counts of one int32-indexed matrix: lower "
            "`cells`"
        )
    return chosen


def _control_cells(effects: Effects, chosen: EffectsSettings) -> int:
    # With n sqrt(P) control cells beside P times n, the P differences from control have the
    # smallest mean error for their number of cells.
    return chosen.control_cells or round(chosen.cells * np.sqrt(len(effects.conditions)))


def _draw(
    effects: Effects, profile: Profile | None, chosen: EffectsSettings, seed: int
) -> EffectsTruth:
    """All that generates the screen, its means still 0."""
    streams = streams_of(seed)
    conditions = _conditions(effects)
    numbers = np.full(len(effects.conditions) + 1, chosen.cells)
    numbers[0] = _control_cells(effects, chosen)
    s = _as_settings(effects, chosen, conditions["treatments"], int(numbers.sum()))
    classes = _classify(effects.genes)
    log_share, r = _control(streams["genes"], s, effects, profile, classes)
    genes = _around(streams["genes"], s, effects, classes, (log_share, r))
    programs = draw_programs(streams["programs"], s, classes, log_share)
    # A log-normal basal state has mean e^(variance / 2): taken off, the mean is the profile's.
    moved = np.square(programs["loadings"][: s.basal_programs]).sum(0)
    moved += np.square(genes["technical_sd"]) @ np.square(programs["loadings"][-2:])
    genes["base"] = (log_share - moved / 2).astype(np.float32)
    of_cell = streams["cells"].permutation(np.repeat(np.arange(len(numbers)), numbers))
    # No target is toxic: the file says nothing of it.
    cells = draw_states(streams["cells"], s, genes, np.zeros(len(numbers)), of_cell)
    nothing = _untold(len(conditions["treatments"]), len(numbers), s.programs)
    parts = genes | programs | conditions | nothing | cells
    return EffectsTruth(seed=np.array(seed), **parts, **no_means(s, len(numbers)))


def _as_settings(
    effects: Effects, chosen: EffectsSettings, treatments: np.ndarray, cells: int
) -> Settings:
    """The settings as the parts of the presets take them."""
    values = asdict(chosen)
    del values["control_cells"]
    values |= {"cells": cells, "genes": len(effects.genes), "singles": len(treatments), "pairs": 0}
    values["umis"] = chosen.umis or panel_umis(len(effects.genes))
    return Settings(**values)


def _conditions(effects: Effects) -> dict[str, Any]:
    """Names, members and effects of all conditions, the control first."""
    members = [members_of(name) for name in effects.conditions]
    treatments = sorted({name for names in members for name in names})
    place = {name: i for i, name in enumerate(treatments)}
    multi_hot = np.zeros((len(members) + 1, len(treatments)), np.float32)
    for row, names in enumerate(members, 1):
        multi_hot[row, [place[name] for name in names]] = 1
    none = np.zeros((1, len(effects.genes)))
    gene = {name: i for i, name in enumerate(effects.genes)}
    return {
        "conditions": np.array([CONTROL, *effects.conditions]),
        "treatments": np.array(treatments),
        "condition_treatments": multi_hot,
        "gene_effects": np.concatenate([none, effects.log_fold]).astype(np.float32),
        "own_gene": np.array([gene.get(name, -1) for name in treatments]),
    }


def _untold(treatments: int, conditions: int, programs: int) -> dict[str, Any]:
    """What the effects of a file say nothing of."""
    return {
        "masks": np.zeros((treatments, programs), bool),
        "strengths": np.zeros(treatments),
        "effects": np.zeros((treatments, programs), np.float32),
        "own_effect": np.zeros(treatments, np.float32),
        "pathway": np.full(treatments, -1),
        "toxicity": np.zeros(treatments),
        "kind": np.full(conditions, ""),
        "condition_effects": np.zeros((conditions, programs), np.float32),
    }


def _classify(genes: tuple[str, ...]) -> GeneClasses:
    """The classes of real symbols; targets need no class, since no effect is drawn for them."""
    upper = [name.upper() for name in genes]
    return GeneClasses(
        np.array([name.startswith("MT-") for name in upper]),
        np.array([RIBOSOMAL.fullmatch(name) is not None for name in upper]),
        np.array([name in HAEMOGLOBIN for name in upper]),
        np.zeros(len(genes), bool),
    )


def _control(
    rng: np.random.Generator,
    s: Settings,
    effects: Effects,
    profile: Profile | None,
    classes: GeneClasses,
) -> tuple[Float[np.ndarray, "G"], Float[np.ndarray, "G"]]:
    """Log-shares and inverse dispersions of the control."""
    # Drawn in any case, so that a profile leaves the other draws as they are.
    drawn = draw_inverse_dispersions(rng, classes)
    shape = rng.normal(size=s.genes)
    if profile is not None:
        r = drawn if profile.inverse_dispersion is None else profile.inverse_dispersion
        return np.log(profile.mean / profile.mean.sum()), r
    # Shares as the presets draw them, the highest to the genes whose effects vary least.
    fitted = fit_baseline(shape, drawn, s, 1.0, np.zeros(0))
    return np.sort(fitted)[::-1][_rank(effects.log_fold.std(0))], drawn


def _rank(values: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    return np.argsort(np.argsort(values, kind="stable"), kind="stable")


def _around(
    rng: np.random.Generator,
    s: Settings,
    effects: Effects,
    classes: GeneClasses,
    control: tuple[Float[np.ndarray, "G"], Float[np.ndarray, "G"]],
) -> dict[str, Any]:
    """Names, dispersions, libraries and batches, as `genes.draw_genes` gives them."""
    log_share, r = control
    # Batches differ by gene, but their mean over batches leaves the profile as it is.
    shift = rng.normal(0, s.batch_gene_sd, (s.batches, s.genes))
    shift -= np.log(np.exp(shift).mean(0))
    depth = np.exp(rng.normal(0, s.batch_depth_sd, s.batches))
    # With several batches what they add to the spread of libraries is taken off.
    between = s.batch_depth_sd**2 if s.batches > 1 else 0.0
    return {
        "genes": np.array(effects.genes),
        "inverse_dispersion": r.astype(np.float32),
        "umis": np.array(s.umis),
        "umis_sd": np.array(np.sqrt(max(s.umis_log_sd**2 - between, 1e-4))),
        "batch_depth": depth / np.exp(np.log(depth).mean()),
        "batch_shift": shift.astype(np.float32),
        "technical_sd": technical_sd(classes, log_share, r),
    }
