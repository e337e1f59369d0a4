"""Effects that a model predicts for rows of treatments: what is generated, in which strata, and how
often."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxpert.core.ensemble import Ensemble, between, members_of
from jaxpert.core.fit import Fitted
from jaxpert.core.types import Dataset, InputError, Request
from jaxpert.data.mapped import rows_of
from jaxpert.evaluation import generate, pseudobulk, strata


def make_request(
    treatment: Float[Any, "R T"],
    *,
    library: float = 1e4,
    failed: float = 0.0,
    stratum: int = 0,
) -> Request:
    """Cells of one stratum (the first) with one library size and artifact flag."""
    rows = len(treatment)
    return Request(
        treatment=jnp.asarray(treatment, jnp.float32),
        library=jnp.full(rows, library, jnp.float32),
        stratum=jnp.full(rows, stratum, jnp.int32),
        failed=jnp.full(rows, failed, jnp.float32),
    )


def check_particles(particles: int, name: str = "particles") -> None:
    """Refuse numbers of generated cells that make no groups, of which the error of a mean is
    taken."""
    if particles < 2 or particles % min(20, particles // 2):
        raise InputError(
            f"{name} is {particles}, expected a multiple of 20, or an even number below 40: "
            "correct it"
        )


def ask_effects(
    fitted: Fitted | Ensemble,
    dataset: Dataset,
    treatment: Float[np.ndarray, "R T"],
    key: PRNGKeyArray,
    *,
    particles: int,
    library: float,
) -> generate.Effects:
    """Predicted effects of rows of treatments, the control in front; of several seeds those of
    their mixture."""
    if fitted.model.stochastic:
        check_particles(particles)
    members = members_of(fitted)
    if len(members) == 1:
        return _ask_one(members[0], dataset, treatment, key, particles, library)
    parts = []
    for number, member in enumerate(members):
        # Keys of their own: only errors of independent draws add up as `mixed` adds them.
        own = jax.random.fold_in(key, number)
        parts.append(_ask_one(member, dataset, treatment, own, particles, library))
    share = np.full(len(treatment), 1 / len(parts))
    mixed = generate.mixed([(share, part) for part in parts])
    # Cells of a mixture differ within each seed, and by the means of the seeds.
    means = np.stack([part.moments.mean for part in parts])
    spread = np.sqrt(mixed.moments.sd**2 + means.var(0))
    return mixed._replace(
        moments=mixed.moments._replace(sd=spread),
        seed_sd=between(np.stack([part.effect for part in parts])),
    )


def _ask_one(
    fitted: Fitted,
    dataset: Dataset,
    treatment: Float[np.ndarray, "R T"],
    key: PRNGKeyArray,
    particles: int,
    library: float,
) -> generate.Effects:
    """The same of one model.

    A model that shifts given cells is asked in each stratum for itself, where effects are measured
    so (`evaluation.strata`): the effect of a condition is the mean over the strata of its cells.
    """
    ask = partial(
        generate.effect_intervals,
        fitted.model,
        fitted.params,
        fitted.state,
        key,
        particles=particles,
        # Groups give the Monte-Carlo error, which needs two particles in each.
        groups=min(20, particles // 2),
    )
    request = make_request(treatment, library=library)
    if not fitted.model.needs_control:
        return ask(request)
    if strata.strata_of(dataset) is None:
        return ask(request, controls=_dense(dataset, _control_rows(dataset)[:particles]))
    return _within_strata(ask, dataset, treatment, library, particles)


def _control_rows(dataset: Dataset) -> Int[np.ndarray, "n"]:
    """Training control cells that pass quality, for models that shift a given cell."""
    rows = pseudobulk.passed_rows(dataset, "train")
    return rows[dataset.condition[rows] == dataset.control]


def _dense(dataset: Dataset, rows: Int[np.ndarray, "n"]) -> Float[Array, "n G"]:
    return jnp.asarray(rows_of(dataset.counts, rows).toarray(), jnp.float32)


def _within_strata(
    ask: Callable[..., generate.Effects],
    dataset: Dataset,
    treatment: Float[np.ndarray, "R T"],
    library: float,
    particles: int,
) -> generate.Effects:
    """Effects of shifted control cells, stratum by stratum, weighted as measured ones are."""
    controls = _control_rows(dataset)
    weights = _stratum_weights(dataset, treatment)
    parts: list[tuple[Float[np.ndarray, "R"], generate.Effects]] = []
    # Strata whose control cells are not trained on cannot be asked for; others stand in.
    weights[:, ~np.isin(np.arange(weights.shape[1]), dataset.stratum[controls])] = 0
    weights[weights.sum(1) == 0] = weights[0]
    weights /= weights.sum(1, keepdims=True)
    for number in np.flatnonzero(weights.any(0)):
        here = controls[dataset.stratum[controls] == number]
        # As many as there are particles at most, in the proportions of the strata.
        most = max(1, round(particles * len(here) / len(controls)))
        asked = make_request(treatment, library=library, stratum=int(number))
        effects = ask(asked, controls=_dense(dataset, here[:most]))
        parts.append((weights[:, number], effects))
    return generate.mixed(parts)


def _stratum_weights(
    dataset: Dataset, treatment: Float[np.ndarray, "R T"]
) -> Float[np.ndarray, "R S"]:
    """Share of each asked condition's cells in each stratum; for what no cell received those of the
    control."""
    shares = strata.shares_of(dataset, pseudobulk.passed_rows(dataset))
    known = {row.tobytes(): c for c, row in enumerate(dataset.condition_treatments)}
    rows = [known.get(row.tobytes(), dataset.control) for row in treatment]
    return shares[rows]
