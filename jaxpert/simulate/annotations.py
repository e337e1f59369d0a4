"""Gene sets under which the pathways of a simulated screen show, with a stated share of wrong and
missing ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool

from jaxpert.core.errors import InputError
from jaxpert.core.paths import path_of
from jaxpert.simulate.truth import Truth

PATHWAY_TERMS, LONE_TERMS = 6, 3
"""Annotation terms of each pathway, and of each target that belongs to none."""


def draw_annotations(
    truth: Truth, *, wrong: float = 0.2, missing: float = 0.2, seed: int = 0
) -> tuple[list[str], Bool[np.ndarray, "M T"]]:
    """Names and members of annotation terms.

    Of the true annotations of a pathway a share `missing` is left out; of those written a share
    `wrong` names targets of other pathways. Both counts are exact up to rounding, over all terms
    together.
    """
    if not (0 <= wrong < 1 and 0 <= missing < 1):
        raise InputError(
            f"wrong is {wrong} and missing {missing}, expected shares in [0, 1): correct it"
        )
    # The screen's seed takes part, so that two screens have different faults.
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(truth.seed),)))
    pathways = np.repeat(np.arange(truth.pathway.max() + 1), PATHWAY_TERMS)
    true = pathways[:, None] == truth.pathway
    written = true.copy()
    # A permutation, not a chance for each entry, makes the share exact.
    left_out = rng.permutation(np.flatnonzero(true))[: round(missing * true.sum())]
    written.flat[left_out] = False
    # So many that, added to the true ones, they are the share `wrong` of the sum.
    n_wrong = min(round(wrong / (1 - wrong) * written.sum()), int((~true).sum()))
    # Wrong entries are drawn where nothing true is, so a left-out entry is never restored.
    written.flat[rng.permutation(np.flatnonzero(~true))[:n_wrong]] = True
    lone = np.repeat(np.flatnonzero(truth.pathway < 0), LONE_TERMS)
    members = np.concatenate([written, lone[:, None] == np.arange(len(truth.treatments))])
    return _term_names(truth, pathways, lone), members


def _term_names(truth: Truth, pathways: np.ndarray, lone: np.ndarray) -> list[str]:
    names: list[str] = []
    for i, pathway in enumerate(pathways):
        names.append(f"pathway {pathway + 1} process {i % PATHWAY_TERMS + 1}")
    for i, target in enumerate(lone):
        names.append(f"{truth.treatments[target]} process {i % LONE_TERMS + 1}")
    return [f"{name} (SIM:{i + 1:07d})" for i, name in enumerate(names)]


def write_gmt(
    truth: Truth, path: str | Path, *, wrong: float = 0.2, missing: float = 0.2, seed: int = 0
) -> None:
    """Write the annotations as a GMT file (term, empty description, members), as Gene Ontology
    collections come."""
    names, members = draw_annotations(truth, wrong=wrong, missing=missing, seed=seed)
    lines: list[str] = []
    for name, row in zip(names, members, strict=True):
        if row.any():
            lines.append("\t".join([name, "", *truth.treatments[row]]))
    path_of(path).write_text("\n".join(lines) + "\n")


def write_edges(
    truth: Truth,
    path: str | Path,
    *,
    wrong: float = 0.2,
    missing: float = 0.2,
    threshold: float = 0.1,
    seed: int = 0,
) -> None:
    """Write the edges (CSV source, target, importance) between targets whose terms have a Jaccard
    index > threshold."""
    _, members = draw_annotations(truth, wrong=wrong, missing=missing, seed=seed)
    # Jaccard index of two targets' terms: shared / (terms of one + terms of the other - shared).
    shared = members.T.astype(float) @ members
    size = members.sum(0)
    jaccard = shared / np.maximum(size[:, None] + size - shared, 1)
    lines = ["source,target,importance"]
    for source, target in np.argwhere(jaccard > threshold):
        names = f"{truth.treatments[source]},{truth.treatments[target]}"
        lines.append(f"{names},{jaccard[source, target]:.6g}")
    path_of(path).write_text("\n".join(lines) + "\n")


def simulated_terms(truth: Truth, seed: int = 0) -> dict[str, frozenset[str]]:
    """Annotation terms of each target, as `write_gmt` writes them; a target without terms is left
    out."""
    names, members = draw_annotations(truth, seed=seed)
    terms = np.asarray(names, object)
    of_target: dict[str, frozenset[str]] = {}
    for target, has in zip(truth.treatments, members.T, strict=True):
        if has.any():
            of_target[str(target)] = frozenset(terms[has])
    return of_target
