"""The GEARS paper's linear baseline: a perturbation spreads along the co-expression graph, one
matrix product a hop.

W = fit_weights(expression, edges)                  # target x source, from training cells
delta = propagate(W, theta, hops=3)                 # "paper": W^3 theta; "script": (W + ... + W^3)
theta + theta
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.core.types import InputError

FORMS = ("paper", "script")


class Propagated(NamedTuple):
    """Predicted means and what they rest on, as those of `models.baselines`."""

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
            "to be one of "
            f"{', '.join(FORMS)} and at least 1 hop"
        )
    spread, total = theta, theta
    for _ in range(hops):
        spread = spread @ weights.T
        total = total + spread
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
    by_gene = expression.tocsc() if hasattr(expression, "tocsc") else np.asarray(expression)
    weights = np.zeros((genes, genes))
    kept = source != target
    source, target = source[kept], target[kept]
    order = np.argsort(target, kind="stable")
    starts = np.searchsorted(target[order], np.arange(genes + 1))
    for gene in np.unique(target):
        neighbours = np.unique(source[order[starts[gene] : starts[gene + 1]]])
        weights[gene, neighbours] = _slopes(
            _dense(by_gene, neighbours), _dense(by_gene, [gene])[:, 0]
        )
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
    lost = np.array([name in set(unmeasured) for name in treatments], bool)
    used = [
        name for t, name in enumerate(treatments) if lost[t] and condition_treatments[:, t].any()
    ]
    note = (
        f"baseline linear_propagation: {len(used)} treatments are no measured genes, so they move "
        "nothing: "
    )
    means = control + propagate(weights, theta, hops=hops, form=form)
    fallback = np.asarray(condition_treatments[:, lost].sum(1) > 0)
    return Propagated(means, fallback, (note + ", ".join(used),) if used else ())


def _dense(expression: Any, columns: Any) -> Float[np.ndarray, "N k"]:
    part = expression[:, columns]
    return np.asarray(part.toarray() if hasattr(part, "toarray") else part, np.float64)


def _slopes(x: Float[np.ndarray, "N k"], y: Float[np.ndarray, "N"]) -> Float[np.ndarray, "k"]:
    """Least squares through the normal equations: k is the few neighbours, N may be all cells."""
    x, y = x - x.mean(0), y - y.mean()
    return np.linalg.lstsq(x.T @ x, x.T @ y, rcond=None)[0]
