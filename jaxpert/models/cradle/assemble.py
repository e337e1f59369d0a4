"""The `Model` around the programs of a Gamma-Poisson VAE: what all five can be asked."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpert.core.types import Batch, Dataset, Latent, Model, PyTree, Request, Spec
from jaxpert.models.cradle.effect_deviation import effect_deviation
from jaxpert.models.cradle.offsets import BLOCK, Offsets
from jaxpert.nn import svi
from jaxpert.nn.distributions import CellNormal, LibraryGammaPoisson

Blocks = dict[str, Array]
"""Latents of cells by name: `basal`, and where the model has them `perturbation` and `artifact`."""


class Inside(NamedTuple):
    """What a Gamma-Poisson VAE must say of itself; `assemble` makes the rest."""

    model: svi.Program
    guide: svi.Program
    shared: Callable[[PyTree, PRNGKeyArray], dict[str, Array]]
    """As `Latent.shared`."""
    encode: Callable[[PyTree, dict[str, Array], Batch], tuple[Array, Array, Blocks]]
    """(params, shared, batch) -> mean and standard deviation of the basal posterior, and the other
    blocks."""
    blocks: Callable[[dict[str, Array], Array, Array], Blocks]
    """(shared, treatment, failed) -> the blocks other than the basal one."""
    counts: Callable[[PyTree, Blocks, Float[Array, "B"]], LibraryGammaPoisson]
    """(params, blocks, library) -> distribution of their counts; over a base the blocks hold its
    rows."""
    site: str = "z_basal"
    """The programs' name of the per-cell latent."""


def assemble(name: str, inside: Inside, net: Any, tables: tuple[str, ...], **options: Any) -> Model:
    """The `Model` around a VAE's programs.

    Args:
        name: of the model.
        inside: the programs and their parts.
        net: what they close over, with the model's `settings` and `spec`.
        tables: that the programs read from `Batch.extras`.
        **options: further fields of the model, and those of `check`, `support` and
            `effect_deviation` that are its own.
    """
    settings, inside = net.settings, _over_base(inside, net.offsets)

    def score(params: PyTree, state: PyTree, key: PRNGKeyArray, batch: Batch) -> Float[Array, "B"]:
        # A key for each of the S samples (docs/models/cradle.md, 5.6 Predictive IWELBO).
        draws = jax.random.split(key, settings.score_particles)
        return svi.cell_bound(
            inside.model, inside.guide, params, draws, batch, local_sites=(inside.site,)
        )

    def decode(params: PyTree, blocks: Blocks, library: Array) -> Float[Array, "B G"]:
        return inside.counts(params, blocks, library).mean

    # What a model says of itself in `options` takes the place of these.
    usual = {
        "check": no_demands,
        "support": partial(treatments_trained, net.spec),
        "effect_deviation": partial(effect_deviation, inside, settings.latent_dim),
    }
    return Model(
        init=svi.make_init(inside.model, inside.guide),
        loss=svi.make_loss(inside.model, inside.guide, settings.particles),
        predict=partial(_predict, inside, settings.latent_dim),
        score=score,
        embed=partial(_embed, inside),
        latent=Latent(shared=inside.shared, cells=partial(_draw_cells, inside), decode=decode),
        tables=tables,
        name=name,
        settings=settings,
        details=net,
        base=net.spec.base,
        **usual | options,
    )


def _over_base(inside: Inside, offsets: Offsets | None) -> Inside:
    """With the rows of the base as one more block; as it is without a base."""
    if offsets is None:
        return inside

    def encode(
        params: PyTree, shared: dict[str, Array], batch: Batch
    ) -> tuple[Array, Array, Blocks]:
        mean, std, known = inside.encode(params, shared, batch)
        return mean, std, known | {BLOCK: offsets.rows(batch)}

    def blocks(shared: dict[str, Array], treatment: Array, failed: Array) -> Blocks:
        return inside.blocks(shared, treatment, failed) | {BLOCK: offsets.asked(treatment)}

    return inside._replace(encode=encode, blocks=blocks)


def no_demands(dataset: Dataset) -> tuple[str, ...]:
    """A check that every data set passes."""
    return ()


def treatments_trained(spec: Spec, treatment: Float[np.ndarray, "R T"]) -> tuple[str, ...]:
    """Which treatments of each row no training cell received: their latents are the prior's; else
    whether the row has training cells of its own."""
    treatments, untrained = np.asarray(spec.treatments, object), spec.treatment_cells == 0
    table = np.asarray(spec.condition_treatments) != 0
    trained = set(map(tuple, table[np.asarray(spec.condition_cells) > 0]))
    support = []
    for row in np.asarray(treatment) != 0:
        names = treatments[row & untrained].tolist()
        if names:
            support.append(f"no training cells: {', '.join(names)}")
        elif tuple(row) in trained:
            support.append("trained")
        else:
            support.append("new combination of trained treatments")
    return tuple(support)


def _predict(
    inside: Inside,
    latent_dim: int,
    params: PyTree,
    state: PyTree,
    key: PRNGKeyArray,
    request: Request,
) -> Float[Array, "R G"]:
    """Counts of one generated cell per row (docs/models/cradle.md, Generated cells): fresh globals
    that all rows share, and a basal state z_b ~ N(0, I) for each."""
    key_shared, key_z, key_x = jax.random.split(key, 3)
    # One draw of masks and embeddings for all rows: a row is one cell of each condition.
    shared = inside.shared(params, key_shared)
    basal = jax.random.normal(key_z, (request.treatment.shape[0], latent_dim))
    blocks = {"basal": basal, **inside.blocks(shared, request.treatment, request.failed)}
    return inside.counts(params, blocks, request.library).sample(key_x)


def _embed(
    inside: Inside, params: PyTree, state: PyTree, key: PRNGKeyArray, batch: Batch
) -> dict[str, Array]:
    """Posterior mean of the basal state (`z_basal`) and the other blocks (`z_perturbation` ...) at
    one draw of the globals."""
    mean, _, blocks = inside.encode(params, inside.shared(params, key), batch)
    # What a base gives the decoder is no latent.
    latents = {f"z_{name}": block for name, block in blocks.items() if name != BLOCK}
    return {"z_basal": mean} | latents


def _draw_cells(inside: Inside, params: PyTree, key: PRNGKeyArray, batch: Batch) -> Blocks:
    """`Latent.cells`."""
    key_shared, key_z = jax.random.split(key)
    # The noise goes by the cell's slot, so that it does not depend on how cells are batched.
    mean, std, blocks = inside.encode(params, inside.shared(params, key_shared), batch)
    return {"basal": CellNormal(mean, std, batch.slot).sample(key_z), **blocks}
