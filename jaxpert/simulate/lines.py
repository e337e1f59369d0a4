"""Draw several cell lines, or compounds at several doses: conditions of a simulated screen beyond
one line."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from jaxpert.simulate.settings import Settings
from jaxpert.simulate.truth import DOSES, VEHICLE

EC50_MEDIAN, EC50_LOG_SD = 700.0, 1.8
"""Of the compounds, in nM; natural log."""
SLOPES = (0.7, 2.0)
"""Range of the Hill slopes."""
EXTRA_TARGETS = (0.4, 0.35, 0.25)
"""Chance that a compound's annotation names 0, 1 or 2 genes beside its own."""


def hill(
    dose: Float[np.ndarray, "..."], ec50: Float[np.ndarray, "..."], slope: Float[np.ndarray, "..."]
) -> np.ndarray:
    """Share of the full effect at a dose; 0 at dose 0."""
    return dose**slope / (dose**slope + ec50**slope)


def draw_lines(
    rng: np.random.Generator, s: Settings, targets: dict[str, Any], base: np.ndarray
) -> dict[str, Any]:
    """Lines, what each does to the base and to the effects, and the conditions: every perturbation
    in every line.

    The effect of a target in a line is sqrt(share) x shared + sqrt(1 - share) x specific, where a
    target's specific effects have, over lines, the size of its shared one: so `line_share` is the
    shared part of the variance and, but for sampling, the correlation between lines.
    """
    effects = _line_effects(rng, s, targets)
    compounds = _draw_compounds(rng, s, targets) if s.doses else _guides(s, targets)
    doses = np.array(DOSES[: s.doses]) if s.doses else np.ones(1)
    line, target, dose = (
        part.ravel() for part in np.meshgrid(*_axes(s, len(doses)), indexing="ij")
    )
    control = target < 0
    kept = ~control | (dose == 0)
    line, target, dose, control = line[kept], target[kept], dose[kept], control[kept]
    scale = np.where(control, 0.0, 1.0)
    if s.doses:
        t = target[~control]
        scale[~control] = hill(doses[dose[~control]], compounds["ec50"][t], compounds["slope"][t])
    names = np.where(control, VEHICLE if s.doses else "ctrl", compounds["treatments"][target])
    nanomolar = np.where(control, 0.0, doses[dose]) if s.doses else np.full(len(line), np.nan)
    lines = np.array([f"line{i + 1}" for i in range(s.lines)])
    return compounds | {
        "conditions": _unique_names(names, nanomolar, lines[line]),
        "condition_treatments": (
            (target[:, None] == np.arange(s.singles)) & ~control[:, None]
        ).astype(np.float32),
        "condition_effects": (scale[:, None] * effects[line, target]).astype(np.float32),
        "kind": np.full(len(line), ""),
        "perturbation": names,
        "line": line,
        "dose": nanomolar,
        "scale": scale.astype(np.float32),
        "lines": lines,
        "line_effects": effects,
        "line_shift": _line_shift(rng, s, base),
    }


def _axes(s: Settings, doses: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lines, targets with the control (-1) first, doses."""
    return np.arange(s.lines), np.arange(-1, s.singles), np.arange(doses)


def _unique_names(names: np.ndarray, dose: np.ndarray, lines: np.ndarray) -> np.ndarray:
    parts = zip(names, dose, lines, strict=True)
    return np.array(
        [f"{name} {d:g} nM in {line}" if d > 0 else f"{name} in {line}" for name, d, line in parts]
    )


def _line_effects(
    rng: np.random.Generator, s: Settings, targets: dict[str, Any]
) -> Float[np.ndarray, "L T K"]:
    """Effect of each target on each program in each line."""
    shared = targets["effects"]
    probability = np.full(s.programs, s.mask_share)
    probability[s.basal_programs] = s.response_share
    specific = rng.normal(size=(s.lines, *shared.shape)) * (
        rng.random((s.lines, *shared.shape)) < probability
    )
    norm = np.sqrt((specific**2).sum((0, 2)) / s.lines)
    size = np.sqrt((shared.astype(float) ** 2).sum(1))
    specific *= (size / np.where(norm > 0, norm, 1))[:, None]
    if s.lines == 1:
        return shared[None]
    return (np.sqrt(s.line_share) * shared + np.sqrt(1 - s.line_share) * specific).astype(
        np.float32
    )


def _line_shift(
    rng: np.random.Generator, s: Settings, base: np.ndarray
) -> Float[np.ndarray, "L G"]:
    """Sparse log-folds of the base; the first line is the base itself."""
    moved = rng.random((s.lines, len(base))) < s.line_gene_share
    shift = moved * rng.normal(0, s.line_gene_sd, moved.shape)
    shift[0] = 0
    return shift.astype(np.float32)


def _draw_compounds(
    rng: np.random.Generator, s: Settings, targets: dict[str, Any]
) -> dict[str, Any]:
    """Compounds in place of guides: their dose response, and the genes that their annotation
    names."""
    genes, pathway = targets["treatments"], targets["pathway"]
    annotated = []
    for t in range(s.singles):
        others = np.flatnonzero(
            (pathway == pathway[t]) & (pathway >= 0) & (np.arange(s.singles) != t)
        )
        extra = min(int(rng.choice(len(EXTRA_TARGETS), p=EXTRA_TARGETS)), len(others))
        annotated.append(
            ";".join([genes[t], *np.sort(genes[rng.choice(others, extra, replace=False)])])
        )
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
