"""Draw several cell lines, or compounds at several doses: conditions of a simulated screen beyond
one line.

docs/simulator.md describes them (sections Lines and Doses).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.simulate.settings import Settings
from jaxpert.simulate.truth import DOSES, VEHICLE

EC50_MEDIAN, EC50_LOG_SD = 700.0, 1.8
"""Of the compounds, in nM; natural log."""
SLOPES = (0.7, 2.0)
"""Range of the Hill slopes."""
EXTRA_TARGETS = (0.4, 0.35, 0.25)
"""Chance that a compound's annotation names 0, 1 or 2 genes beside its own."""


class Grid(NamedTuple):
    """Line, target and dose of every condition, as indices; line by line, its control first."""

    line: Int[np.ndarray, "C"]
    target: Int[np.ndarray, "C"]
    """-1 for the control."""
    dose: Int[np.ndarray, "C"]

    def control(self) -> Bool[np.ndarray, "C"]:
        return self.target < 0


def hill(
    dose: Float[np.ndarray, "..."], ec50: Float[np.ndarray, "..."], slope: Float[np.ndarray, "..."]
) -> np.ndarray:
    """Share of the full effect at a dose; 0 at dose 0."""
    # Hill equation (docs/simulator.md, Doses).
    return dose**slope / (dose**slope + ec50**slope)


def draw_lines(
    rng: np.random.Generator, s: Settings, targets: dict[str, Any], base: np.ndarray
) -> dict[str, Any]:
    """Lines, what each does to the base and to the effects, and the conditions: every perturbation
    in every line."""
    effects = _draw_line_effects(rng, s, targets)
    compounds = _draw_compounds(rng, s, targets) if s.doses else _guides(s, targets)
    # Without doses there is one column of full strength, so that both kinds share the code below.
    doses = np.array(DOSES[: s.doses]) if s.doses else np.ones(1)
    grid = _grid(s, len(doses))
    control = grid.control()
    scale = np.where(control, 0.0, 1.0)
    if s.doses:
        treated = grid.target[~control]
        scale[~control] = hill(
            doses[grid.dose[~control]], compounds["ec50"][treated], compounds["slope"][treated]
        )
        nanomolar = np.where(control, 0.0, doses[grid.dose])
    else:
        nanomolar = np.full(len(control), np.nan)
    lines = np.array([f"line{i + 1}" for i in range(s.lines)])
    untreated = VEHICLE if s.doses else "ctrl"
    names = np.where(control, untreated, compounds["treatments"][grid.target])
    multi_hot = (grid.target[:, None] == np.arange(s.singles)) & ~control[:, None]
    # A dose scales every effect of its compound by the same share of the full effect.
    # The control's index -1 picks the last target's row, which its scale of 0 takes away.
    condition_effects = scale[:, None] * effects[grid.line, grid.target]
    return compounds | {
        "conditions": _unique_names(names, nanomolar, lines[grid.line]),
        "condition_treatments": multi_hot.astype(np.float32),
        "condition_effects": condition_effects.astype(np.float32),
        "kind": np.full(len(control), ""),
        "perturbation": names,
        "line": grid.line,
        "dose": nanomolar,
        "scale": scale.astype(np.float32),
        "lines": lines,
        "line_effects": effects,
        "line_shift": _draw_line_shift(rng, s, base),
    }


def _grid(s: Settings, doses: int) -> Grid:
    """Every perturbation at every dose in every line, with one control per line."""
    axes = np.meshgrid(
        np.arange(s.lines), np.arange(-1, s.singles), np.arange(doses), indexing="ij"
    )
    whole = Grid(*(axis.ravel() for axis in axes))
    # One control per line suffices, since a vehicle has no dose.
    kept = ~whole.control() | (whole.dose == 0)
    return Grid(*(part[kept] for part in whole))


def _unique_names(names: np.ndarray, dose: np.ndarray, lines: np.ndarray) -> np.ndarray:
    unique: list[str] = []
    for name, nanomolar, line in zip(names, dose, lines, strict=True):
        at = f" {nanomolar:g} nM" if nanomolar > 0 else ""
        unique.append(f"{name}{at} in {line}")
    return np.array(unique)


def _draw_line_effects(
    rng: np.random.Generator, s: Settings, targets: dict[str, Any]
) -> Float[np.ndarray, "L T K"]:
    """Effect of each target on each program in each line.

    It is sqrt(share) x shared + sqrt(1 - share) x specific, where a target's specific effects have,
    over lines, the size of its shared one: so `line_share` is the shared part of the variance and,
    but for sampling, the correlation between lines.
    """
    shared = targets["effects"]
    probability = np.full(s.programs, s.mask_share)
    probability[s.basal_programs] = s.response_share  # the general response, as for the shared part
    # A specific effect has the sparsity of the shared ones, so lines differ in which programs move.
    specific = rng.normal(size=(s.lines, *shared.shape)) * (
        rng.random((s.lines, *shared.shape)) < probability
    )
    # Give each target's specific effects the norm of its shared ones; a target whose specific
    # effects are all 0 keeps them.
    norm = np.sqrt((specific**2).sum((0, 2)) / s.lines)
    size = np.sqrt((shared.astype(float) ** 2).sum(1))
    specific *= (size / np.where(norm > 0, norm, 1))[:, None]
    # One line has nothing to differ from, so its effects are the shared ones in full.
    if s.lines == 1:
        return shared[None]
    mixed = np.sqrt(s.line_share) * shared + np.sqrt(1 - s.line_share) * specific
    return mixed.astype(np.float32)


def _draw_line_shift(
    rng: np.random.Generator, s: Settings, base: np.ndarray
) -> Float[np.ndarray, "L G"]:
    """Sparse log-folds of the base; the first line is the base itself."""
    moved = rng.random((s.lines, len(base))) < s.line_gene_share
    # Every line is drawn before the first is set to 0, so streams do not depend on it.
    shift = moved * rng.normal(0, s.line_gene_sd, moved.shape)
    shift[0] = 0
    return shift.astype(np.float32)


def _draw_compounds(
    rng: np.random.Generator, s: Settings, targets: dict[str, Any]
) -> dict[str, Any]:
    """Compounds in place of guides: their dose response, and the genes that their annotation
    names."""
    genes, pathway = targets["treatments"], targets["pathway"]
    annotated: list[str] = []
    for target in range(s.singles):
        # A compound hits relatives of its own target: the extra genes are of the same pathway.
        relatives = (pathway == pathway[target]) & (pathway >= 0)
        relatives[target] = False
        others = np.flatnonzero(relatives)
        extra = min(int(rng.choice(len(EXTRA_TARGETS), p=EXTRA_TARGETS)), len(others))
        # Sorted, so that the place of a gene in the annotation does not tell the true target.
        more = np.sort(genes[rng.choice(others, extra, replace=False)])
        annotated.append(";".join([genes[target], *more]))
    return {
        "treatments": np.array([f"DRUG{t + 1:03d}" for t in range(s.singles)]),
        "target_genes": np.array(annotated),
        "ec50": EC50_MEDIAN * np.exp(EC50_LOG_SD * rng.normal(size=s.singles)),
        "slope": rng.uniform(*SLOPES, s.singles),
    }


def _guides(s: Settings, targets: dict[str, Any]) -> dict[str, Any]:
    """The same fields of a screen of guides, which have neither dose nor annotation."""
    names, none = targets["treatments"], np.full(s.singles, np.nan)
    return {"treatments": names, "target_genes": names, "ec50": none, "slope": none}
