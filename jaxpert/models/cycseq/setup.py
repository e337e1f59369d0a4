"""From settings and data to the CycSeq networks and what its functions close over."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from jaxpert.core import settings as core_settings
from jaxpert.core.types import InputError, PyTree, Spec
from jaxpert.models.cycseq.critic import Critic
from jaxpert.models.cycseq.layers import Condition, Picked
from jaxpert.models.cycseq.network import STILL, Generator, Shape, Sizes
from jaxpert.models.cycseq.settings import PROFILES, Settings

GENERATORS, CRITICS = ("p2n", "n2p"), ("x", "y")
"""Perturbed to control (G in the paper) and control to perturbed (F); critics of perturbed and of
control rows."""


class CycSeq(NamedTuple):
    """What the pure functions close over (`Model.details`)."""

    spec: Spec
    settings: Settings
    generator: Generator
    critic: Critic
    targets: tuple[str, ...]
    """Names of the perturbation columns."""
    column: Int[np.ndarray, "T"]
    """Column of each treatment."""
    lines: tuple[str, ...]
    """Names of the batch columns; `settings.placeholders` free ones follow."""
    line: Int[np.ndarray, "S"]
    """Column of each stratum."""
    members: int
    """Most targets that a condition has."""
    unit_scale: Float[np.ndarray, "G"] | None
    """Largest training value of each gene, by which rows are divided where they end in tanh."""


def make(spec: Spec, **settings: Any) -> CycSeq:
    """The networks for the data that `spec` describes; settings as in `model.build`."""
    s = checked(**settings)
    targets = _targets(spec, s)
    lines, unit_scale = s.lines, None
    if lines is None:
        lines = spec.strata
    if s.unit_scale is not None:
        unit_scale = np.array(s.unit_scale)
    sizes = Sizes(
        # Free columns count, so that later lines need no wider network.
        genes=len(spec.genes),
        targets=len(targets),
        strata=len(lines) + s.placeholders,
        dose=s.dose,
        hidden=s.hidden,
        rate=s.dropout,
    )
    # Static, so that conditions are gathers of as many columns.
    members = (np.asarray(spec.condition_treatments) != 0).sum(1).max(initial=1)
    return CycSeq(
        spec=spec,
        settings=s,
        generator=Generator(sizes, _shape(s)),
        critic=Critic(sizes),
        targets=targets,
        column=_places(spec.treatments, targets, "perturbation", "targets"),
        lines=lines,
        line=_places(spec.strata, lines, "batch", "lines"),
        members=max(1, int(members)),
        unit_scale=unit_scale,
    )


def _shape(s: Settings) -> Shape:
    """What is the generator's own."""
    residual_rate = s.residual_dropout
    # One rate for all layers, where residual blocks have none of their own.
    if residual_rate is None:
        residual_rate = s.dropout
    return Shape(
        embedding=s.embedding_dim,
        latent=s.latent_dim,
        blocks=s.blocks,
        residual_rate=residual_rate,
        normalized_blocks=s.residual == "normalized",
        attention=s.attention,
        tokens=s.tokens,
        batch_norm=s.batch_norm,
        lookup=s.lookup,
        clamp=s.clamp,
        expression_head=s.expression_head,
        condition_head=s.condition_head,
    )


def checked(**given: Any) -> Settings:
    """Settings with the defaults of their profile.

    Raises:
        TypeError: for a name that is no setting.
        InputError: for a value out of range.
    """
    # The profile gives defaults, so what is given by name wins.
    profile = PROFILES.get(given.get("profile", "default"), {})
    values = profile | given
    for name in ("hidden", "lines", "targets", "unit_scale"):
        if isinstance(values.get(name), list):  # as JSON holds them
            values[name] = tuple(values[name])
    s = Settings(**values)
    core_settings.check(s, "model.kwargs")
    # Tokens are equal parts of the row (docs/models/cycseq.md, Attention).
    if s.attention == "tokens" and s.hidden[-1] % s.tokens:
        raise InputError(
            f"model.kwargs.tokens is {s.tokens}, expected a divisor of the last width "
            f"{s.hidden[-1]}: set another"
        )
    return s


def changed(net: CycSeq, spec: Spec, **settings: Any) -> CycSeq:
    """The networks for other data, with all settings but the given ones kept."""
    return make(spec, **asdict(net.settings) | settings)


def initial(net: CycSeq, key: PRNGKeyArray) -> tuple[PyTree, PyTree]:
    """Parameters and batch moments before training (docs/models/cycseq.md, Initial values)."""
    # Two generators and two critics.
    keys = jax.random.split(key, 4)
    # One row of any values: shapes do not depend on the batch.
    column = Picked(jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1)))
    x = jnp.zeros((1, len(net.spec.genes)))
    dose = jnp.zeros((1, 1)) if net.settings.dose else None
    condition = Condition(column, column, dose)

    def generator(key: PRNGKeyArray) -> PyTree:
        return net.generator.init(key, x, condition, STILL, None)

    def critic(key: PRNGKeyArray) -> PyTree:
        return net.critic.init(key, x, condition, {})

    # Networks of one kind together: half as much to compile.
    generators, critics = jax.vmap(generator)(keys[:2]), jax.vmap(critic)(keys[2:])
    params = {
        "generators": _unstacked(generators["params"], GENERATORS),
        "critics": _unstacked(critics["params"], CRITICS),
    }
    # Without normalisation there is nothing to remember.
    return params, _unstacked(generators.get("batch_stats", {}), GENERATORS)


def _unstacked(variables: PyTree, names: tuple[str, ...]) -> dict[str, PyTree]:
    """Variables with a leading axis over networks, by the names of these."""
    by_name = {}
    for i, name in enumerate(names):
        by_name[name] = jax.tree.map(operator.itemgetter(i), variables)
    return by_name


def _targets(spec: Spec, s: Settings) -> tuple[str, ...]:
    """Names of the perturbation columns."""
    if s.targets is not None:
        return s.targets
    # Columns of the data's own treatments alone, in the paper's manner.
    if s.columns == "perturbed":
        return spec.treatments
    # Targets that are not measured follow the genes, so that genes keep their numbers.
    measured = set(spec.genes)
    return (*spec.genes, *(name for name in spec.treatments if name not in measured))


def _places(
    names: Sequence[str], columns: Sequence[str], what: str, setting: str
) -> Int[np.ndarray, "_"]:
    """Number of each name's column."""
    place = {name: i for i, name in enumerate(columns)}
    missing = [name for name in names if name not in place]
    if missing:
        raise InputError(
            f"{len(missing)} names of the data have no {what} column ({', '.join(missing[:4])}), "
            f"expected all among model.kwargs.{setting}: add them to the trained model with "
            "cycseq.grow"
        )
    return np.array([place[name] for name in names], int)
