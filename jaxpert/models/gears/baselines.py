"""The GEARS paper's linear baseline: a perturbation spreads along the co-expression graph, one
matrix product a hop (docs/models/gears.md, Baselines).

Example:
    weights = fit_weights(expression, source, target)  # target x source, from training cells
    delta = propagate(weights, theta, hops=3)  # W W W theta
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.core.types import InputError

FORMS = ("paper", "script")


class Propagated(NamedTuple):
    """Predicted means and what they rest on, as those of `evaluation.baselines`."""

    means: Float[np.ndarray, "C G"]
    fallback: Bool[np.ndarray, "C"]
    """Conditions of which some treatment is no measured gene, so that it moves nothing."""
    notes: tuple[str, ...] = ()


def propagate(
    weights: Float[np.ndarray, "G G"],
    theta: Float[np.ndarray, "*P G"],
    *,
    hops: int = 3,
    form: str = "paper",
) -> Float[np.ndarray, "*P G"]:
    """Change of every gene when `theta` (+1 or -1 at the perturbed genes) spreads over `weights
    [target, source]`.

    "paper": W^hops theta (the text has 3 hops). "script": (W + W^2 + ... + W^hops) theta + theta
    (the authors' last runs have 1 hop). Leading axes of `theta` are perturbations.
    """
    if form not in FORMS or hops < 1:
        raise InputError(
            f"linear propagation was asked for with form={form!r} and hops={hops}, expected form "
            f"to be one of {', '.join(FORMS)} and at least 1 hop: correct it"
        )
    # The last power and the running sum of powers; the sum starts with theta itself.
    spread, total = theta, theta
    for _ in range(hops):
        # A row of theta is a perturbation, so that W theta is theta W' here.
        spread = spread @ weights.T
        total = total + spread
    # Both forms of docs/models/gears.md, Baselines.
    return spread if form == "paper" else total


def fit_weights(
    expression: Any, source: Int[np.ndarray, "E"], target: Int[np.ndarray, "E"]
) -> np.ndarray:
    """W [target, source]: each gene's expression regressed on that of its neighbours in the graph,
    G x G.

    `expression [N, G]` is log-normalised, of training cells (dense or `scipy.sparse`). Ordinary
    least squares with an intercept, which the change does not need; of least norm where neighbours
    say the same. Self edges are left out, so that the diagonal is zero. Differs from the authors'
    scripts, which leave 10 % of the cells out twice, in using all.
    """
    genes = expression.shape[1]
    # Columns of one gene are read again and again, so sparse cells are stored by gene.
    by_gene = expression.tocsc() if hasattr(expression, "tocsc") else np.asarray(expression)
    weights = np.zeros((genes, genes))
    # A self edge would explain a gene by itself.
    kept = source != target
    source, target = source[kept], target[kept]
    # Sorted by target, so that the edges into a gene lie side by side.
    order = np.argsort(target, kind="stable")
    starts = np.searchsorted(target[order], np.arange(genes + 1))
    for gene in np.unique(target):
        # Repeated edges would count a neighbour twice.
        neighbours = np.unique(source[order[starts[gene] : starts[gene + 1]]])
        own = _dense(by_gene, [gene])[:, 0]
        weights[gene, neighbours] = _slopes(_dense(by_gene, neighbours), own)
    return weights


def theta_of(
    condition_treatments: Float[np.ndarray, "C T"],
    treatments: Sequence[str],
    genes: Sequence[str],
    sign: Mapping[str, float] | None = None,
) -> tuple[Float[np.ndarray, "C G"], tuple[str, ...]]:
    """+1 (or the treatment's `sign`: -1 for a knock-out) at the perturbed genes of each condition,
    and the treatments that are no measured gene."""
    place = {name: g for g, name in enumerate(genes)}
    theta = np.zeros((len(condition_treatments), len(genes)))
    for t, name in enumerate(treatments):
        # A treatment that is no measured gene has no place to spread from.
        if name in place:
            theta[:, place[name]] += condition_treatments[:, t] * (sign or {}).get(name, 1.0)
    return theta, tuple(name for name in treatments if name not in place)


def linear_propagation(
    control: Float[np.ndarray, "G"],
    weights: Float[np.ndarray, "G G"],
    condition_treatments: Float[np.ndarray, "C T"],
    treatments: Sequence[str],
    genes: Sequence[str],
    *,
    sign: Mapping[str, float] | None = None,
    hops: int = 3,
    form: str = "paper",
) -> Propagated:
    """Control plus the propagated change, for every condition; a treatment that is no measured gene
    moves nothing and is named in the notes."""
    theta, unmeasured = theta_of(condition_treatments, treatments, genes, sign)
    means = control + propagate(weights, theta, hops=hops, form=form)
    lost = np.isin(np.array(treatments, str), np.array(unmeasured, str))
    fallback = np.asarray(condition_treatments[:, lost].sum(1) > 0)
    # Only treatments that some condition has are worth a note.
    used = lost & (condition_treatments != 0).any(0)
    if not used.any():
        return Propagated(means, fallback)
    note = (
        f"baseline linear_propagation: {used.sum()} treatments are no measured genes, so they move "
        f"nothing: {', '.join(np.array(treatments, str)[used].tolist())}"
    )
    return Propagated(means, fallback, (note,))


def _dense(expression: Any, columns: Any) -> Float[np.ndarray, "N k"]:
    part = expression[:, columns]
    # Only the few columns that are asked for are made dense.
    if hasattr(part, "toarray"):
        part = part.toarray()
    return np.asarray(part, np.float64)


def _slopes(x: Float[np.ndarray, "N k"], y: Float[np.ndarray, "N"]) -> Float[np.ndarray, "k"]:
    """Least squares through the normal equations: k is the few neighbours, N may be all cells."""
    # Centring both sides stands for the intercept.
    x, y = x - x.mean(0), y - y.mean()
    # Of least norm, so that neighbours that say the same share the weight.
    return np.linalg.lstsq(x.T @ x, x.T @ y, rcond=None)[0]
