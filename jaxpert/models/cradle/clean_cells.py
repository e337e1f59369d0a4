"""Artifact-free cells of any perturbation, and how sure the model is of what they show
(docs/models/cradle.md, Generated cells)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpert.core.fit import Fitted
from jaxpert.core.streams import Stream
from jaxpert.core.types import Dataset, InputError, PyTree, Request
from jaxpert.data.mapped import totals
from jaxpert.evaluation import pseudobulk
from jaxpert.models.cradle.clean_tables import Drawn, cells_table, summary_table
from jaxpert.models.cradle.remove_artifacts import check_library
from jaxpert.nn.transforms import log2p_normalize
from jaxpert.tasks.screen.predict import listed, make_request, treatments_of

if TYPE_CHECKING:
    from anndata import AnnData


class CleanCells(NamedTuple):
    """What `clean_cells` returns."""

    cells: AnnData
    summary: AnnData


class Numbers(NamedTuple):
    """How much `clean_cells` draws."""

    cells_per_perturbation: int = 100
    """Cells returned of each, taken in turn from the draws."""
    draws: int = 20
    """Of the latents that all cells share (effects, masks), the same for all perturbations."""
    states: int = 100
    """Basal states per draw behind the summary."""


def clean_cells(
    fitted: Fitted,
    dataset: Dataset,
    perturbations: str | Sequence[str],
    *,
    library: float | None = 1e4,
    separator: str | None = None,
    seed: int = 0,
    **numbers: int,
) -> CleanCells:
    """Generate artifact-free cells of perturbations, seen or not, alone or combined ("A+B"), the
    control in front.

    Args:
        fitted: a model that generates counts, one seed.
        dataset: the run's data.
        perturbations: conditions of the data, or treatments joined by `separator`.
        library: total of each generated cell; None takes those of QC-passed control cells at
            random.
        separator: between treatments; None for that of the data, or "+".
        seed: of all draws.
        **numbers: `cells_per_perturbation`, `draws` and `states`, the fields of `Numbers`; another
            one is a TypeError.

    Returns:
        `cells`, an AnnData of counts with `obs` condition, draw and state; and `summary`, one row
        per condition, with what stands behind it in `obs["support"]`: `X` is the posterior mean of
        the mean log2(1 + 1e4 x / sum x), the layers `sd, lower, upper` are its standard deviation
        and 2.5/97.5 % quantiles over the draws, `effect, effect_sd, effect_lower, effect_upper` the
        same of the difference to the control, `effect_error` the part of `effect_sd` that is only
        Monte-Carlo noise. With few draws the quantiles are near the extremes; 100 give fair ones.

    Cells of the same draw and state have the same noise under every perturbation: they are one cell
    as it would look under each, so compare them in pairs; a test between conditions that takes them
    as independent is too careful.

    Example:
        cells, summary = jaxpert.clean_cells(fitted, screen, ["KLF1", "KLF1+FAR2"])
    """
    chosen = Numbers(**numbers)
    _check_request(fitted, chosen)
    wanted, draws, states = chosen
    control = dataset.conditions[dataset.control]
    # The control comes first, also where it is asked for by name; a dict keeps the first of equals.
    names = tuple(dict.fromkeys((control, *listed(perturbations))))
    treatment = treatments_of(dataset, names, separator)
    # Asked first, since sVAE+ refuses conditions that its screen does not hold.
    support = _support(fitted, treatment)
    # The cells that are returned are the first states of every draw.
    kept = math.ceil(wanted / draws)
    states = max(states, kept)
    key = jax.random.fold_in(jax.random.key(seed), Stream.GENERATE)
    key, key_library = jax.random.split(key)
    libraries = _libraries(dataset, library, (draws, states), key_library)
    # The same keys for all conditions, so that their cells differ by the perturbation alone.
    keys = jax.random.split(key, draws)
    conditions = _draw_conditions(
        fitted, dict(zip(names, treatment, strict=True)), keys, libraries, kept
    )
    return CleanCells(
        cells_table(dataset, names, conditions, wanted),
        summary_table(dataset, names, support, conditions, states),
    )


def _support(fitted: Fitted, treatment: Float[np.ndarray, "R T"]) -> list[str]:
    """What stands behind each row, where the model says it."""
    if fitted.model.support is None:
        return ["not known"] * len(treatment)
    return list(fitted.model.support(treatment))


def _draw_conditions(
    fitted: Fitted,
    treatments: dict[str, Float[np.ndarray, "T"]],
    keys: Any,
    libraries: Float[Array, "D S"],
    kept: int,
) -> list[Drawn]:
    """`Drawn` of each named condition."""
    model, conditions = fitted.model, []
    for name, row in treatments.items():
        # Beside the control, whose row of treatments is zero.
        pair = jnp.stack([jnp.zeros(len(row)), jnp.asarray(row)])
        request = make_request(np.zeros((libraries.shape[1], len(row)), np.float32))
        arrays = _draw(
            model.predict, kept, fitted.params, fitted.state, keys, libraries, request, pair
        )
        drawn = Drawn(*map(np.asarray, arrays))
        _check_counts(drawn, name)
        conditions.append(drawn)
    return conditions


def _check_request(fitted: Fitted, chosen: Numbers) -> None:
    if fitted.model.scale != "counts" or not fitted.model.stochastic:
        raise InputError(
            "this model predicts means, expected one that generates counts: take one such as "
            "cradle_vae"
        )
    # A spread over draws, or over the states of a draw, needs two of them.
    for name, least in (("cells_per_perturbation", 1), ("draws", 2), ("states", 2)):
        value = getattr(chosen, name)
        if value < least:
            raise InputError(f"{name} is {value}, expected at least {least}: correct it")


def _libraries(
    dataset: Dataset, library: float | None, shape: tuple[int, int], key: PRNGKeyArray
) -> Float[Array, "D S"]:
    """The library of each draw's states."""
    if library is not None:
        check_library(library)
        return jnp.full(shape, library, jnp.float32)
    rows = pseudobulk.passed_rows(dataset)
    rows = rows[dataset.condition[rows] == dataset.control]
    libraries = totals(dataset.counts, rows).astype(np.float32)
    # A cell without counts would make a generated cell without counts.
    libraries = libraries[libraries > 0]
    if not len(libraries):
        raise InputError(
            f"no control cell of {dataset.name!r} passed quality, expected some to resample "
            "libraries from: give library=10000"
        )
    return jax.random.choice(key, jnp.asarray(libraries), shape)


@partial(jax.jit, static_argnums=(0, 1))
def _draw(
    predict: Callable[..., Array],
    kept: int,
    params: PyTree,
    state: PyTree,
    keys: Any,
    libraries: Float[Array, "D S"],
    request: Request,
    pair: Float[Array, "2 T"],
) -> tuple[Array, Array, Array, Array]:
    """`Drawn` of the second treatment of the pair beside the first: with the same key both have the
    same globals, basal states and noise, so their difference is one of effects."""

    def draw(at: tuple[PRNGKeyArray, Array]) -> tuple[Array, ...]:
        key, library = at

        def cells(treatment: Array) -> Array:
            rows = jnp.broadcast_to(treatment, request.treatment.shape)
            return predict(params, state, key, request._replace(treatment=rows, library=library))

        x = jax.lax.map(cells, pair)
        # A cell without counts cannot be normalised, nor can its twin be compared.
        full = (x.sum(-1) != 0).all(0)
        y = log2p_normalize(jnp.where(full[:, None], x, 1))
        count = jnp.maximum(full.sum(), 1)

        def mean_of(values: Array) -> Array:
            return jnp.where(full[:, None], values, 0).sum(0) / count

        mean, effect = mean_of(y[1]), mean_of(y[1] - y[0])
        squares = jnp.where(full[:, None], (y[1] - y[0] - effect) ** 2, 0)
        # The standard error of a mean of differences: their variance over their number.
        spread = squares.sum(0) / jnp.maximum(count - 1, 1)
        return mean, effect, spread / count, x[1, :kept]

    mean, effect, variance, counts = jax.lax.map(draw, (keys, libraries))
    return mean, effect, jnp.sqrt(variance.mean(0)), counts


def _check_counts(drawn: Drawn, name: str) -> None:
    if not ((drawn.cells >= 0).all() and np.isfinite(drawn.mean).all()):
        raise InputError(
            f"the cells generated of {name!r} are not counts, expected whole numbers from 0: the "
            "training of the model has diverged, train it again with a lower train.learning_rate"
        )
