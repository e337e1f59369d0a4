"""What the decoder of a Gamma-Poisson VAE is given of a base: log fold changes of each gene
(docs/models/residual.md, "VAEs")."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import special

from jaxpert.core.types import Base, Batch, Spec
from jaxpert.tasks.screen.residual import base_of, changes_of

PER = 1e4
PSEUDOCOUNT = 0.1
"""Per 10,000: genes with fewer counts have no fold change that could be told from noise."""
FEWEST, STEPS, MOST_SUMMED = 1e-6, 600, 160
"""Of the curve from expected counts to mean logarithms: its least count, its points, and the counts
up to which the Poisson distribution is summed."""
BLOCK = "base"
"""Name of the block of a cell's latents that holds its row."""


class Offsets(NamedTuple):
    """A base as log fold changes."""

    base: Base
    spec: Spec
    table: Float[np.ndarray, "C G"]
    """Those of every condition of the data, zeros for the control."""

    def rows(self, batch: Batch) -> Float[Array, "B G"]:
        """Of the cells of a batch."""
        return jnp.asarray(self.table, batch.x.dtype)[batch.condition]

    def asked(self, treatment: Float[Array, "R T"]) -> Float[Array, "R G"]:
        """Of any sets of treatments."""
        return fold_changes(self.base, self.spec, treatment)


def offsets_of(spec: Spec, name: str) -> Offsets | None:
    """The base that the settings name; None for "none"."""
    base = base_of(spec, name)
    if base is None:
        return None
    asked = jnp.asarray(spec.condition_treatments, jnp.float32)
    table = jax.jit(partial(fold_changes, base, spec))(asked)
    return Offsets(base, spec, np.asarray(table))


def fold_changes(base: Base, spec: Spec, treatment: Float[Array, "R T"]) -> Float[Array, "R G"]:
    """ln (y_S + c) / (y_0 + c) of expected counts y, from changes of mean ln(1 + 1e4 x / sum x)."""
    control = jnp.asarray(spec.control_mean, treatment.dtype)
    moved = control + changes_of(base, spec, treatment)
    logs, means = (jnp.asarray(part, treatment.dtype) for part in curve(base.library))
    few = PSEUDOCOUNT * base.library / PER
    before, after = (jnp.exp(jnp.interp(of, means, logs)) + few for of in (control, moved))
    return jnp.log(after / before)


def curve(library: float) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """ln y and the mean of ln(1 + 1e4 x / L) over counts x ~ Poisson(y) of cells of L counts.

    A mean logarithm is no logarithm of a mean: at 1,000 counts in a cell a gene of half a count
    has 1.0, where ln(1 + 1e4 y / L) is 1.8.
    """
    logs = np.linspace(np.log(FEWEST), np.log(library), STEPS)
    rates, unit = np.exp(logs), PER / library
    x = np.arange(MOST_SUMMED)
    # ln p(x) = x ln y - y - ln x!, summed where few counts are likely.
    log_mass = x * logs[:, None] - rates[:, None] - special.gammaln(x + 1)
    summed = np.exp(log_mass) @ np.log1p(unit * x)
    # Of many counts the second-order expansion around their mean is exact to three digits.
    bend = 0.5 * rates * (unit / (1 + unit * rates)) ** 2
    means = np.where(rates < MOST_SUMMED / 4, summed, np.log1p(unit * rates) - bend)
    return logs, means


def relieved(offsets: Offsets | None, batch: Batch) -> Float[Array, "B G"]:
    """Counts of the batch as they would be without the base's effect: what encoders read."""
    return batch.x if offsets is None else batch.x * jnp.exp(-offsets.rows(batch))


def relieved_profiles(
    offsets: Offsets | None, profiles: Float[Array, "C G"]
) -> Float[Array, "C G"]:
    """The same of a profile of every condition."""
    return profiles if offsets is None else profiles * jnp.exp(-offsets.table)
