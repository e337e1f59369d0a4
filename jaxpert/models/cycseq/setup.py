"""From settings and data to the CycSeq networks and what its functions close over; fine-tuning a
trained one."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, PRNGKeyArray

from jaxpert.core.types import InputError, PyTree, Spec
from jaxpert.models.cycseq.layers import Condition, Picked
from jaxpert.models.cycseq.network import STILL, Critic, Generator, Shape, Sizes
from jaxpert.nn.adversarial import KINDS

GENERATORS, CRITICS = ("p2n", "n2p"), ("x", "y")
"""Perturbed to control (G in the paper) and control to perturbed (F); critics of perturbed and of
control rows."""

CHOICES: dict[str, tuple] = {
    "profile": ("default", "paper", "reference"),
    "columns": ("genes", "perturbed"),
    "attention": ("single", "tokens", None),
    "residual": ("normalized", "plain"),
    "expression_head": ("prelu", "tanh"),
    "condition_head": ("identity", "tanh"),
    "gan": KINDS,
    "penalty_of": ("logit", "probability"),
    "expression_loss": ("scaled", "mse"),
    "condition_loss": ("cross_entropy", "binary", "swapped"),
    "kl": ("mean", "sum"),
}


@dataclass(frozen=True)
class Settings:
    """Hyperparameters; the defaults are profile "default" (spec section 10, last column).

    A profile changes what `PROFILES` lists, and everything can be set by itself. The rows of the
    spec's table that concern cells, splits and the optimiser are settings of the data and of
    training.
    """

    profile: str = "default"
    """"default", "paper" (the printed equations, every weight 1) or "reference" (the published
    code's numbers)."""
    columns: str = "genes"
    """Perturbation columns: one per measured gene and one per unmeasured target, so that any gene
    can be asked for ("genes"), or one per treatment ("perturbed")."""
    hidden: Sequence[int] = (1024, 512, 256)
    """Widths of the linear layers, of generators and critics."""
    latent_dim: int = 128
    embedding_dim: int = 32
    blocks: int = 2
    """Residual blocks of encoder and decoder each."""
    residual: str = "normalized"
    """"normalized" (as published) or "plain" (the paper's: no normalisation, no dropout at the
    end)."""
    attention: str | None = "single"
    """"single" (over one token, which makes it a gated linear layer), "tokens" (over parts of the
    row), or None."""
    tokens: int = 16
    batch_norm: bool = False
    """Also normalise the encoder's linear layers."""
    lookup: bool = False
    """Embed conditions by normal tables without bias."""
    dropout: float = 0.2
    residual_dropout: float | None = None
    """In residual blocks; None for `dropout` (the published switch turns off only that of the
    linear layers)."""
    expression_head: str = "prelu"
    """"tanh" needs rows scaled into [-1, 1]."""
    condition_head: str = "identity"
    clamp: bool = True
    """Keep log variances of the latents within [-20, 10]."""
    dose: bool = False
    """Read `Batch.extras["dose"] [B]`, log10 of the dose, in generators and critics."""
    gan: str = "log"
    penalty_weight: float = 1.0
    penalty_of: str = "logit"
    """Whose slope the penalty draws towards 1."""
    expression_loss: str = "scaled"
    """Mean squared error over the batch's variance, or as it is ("mse")."""
    condition_loss: str = "cross_entropy"
    """"binary" for the published loss in the right order of arguments, "swapped" for the published
    order."""
    kl: str = "mean"
    """Over the dimensions of a latent."""
    adversarial_weight: float = 1.0
    cycle_weight: float = 10.0
    kl_weight: float = 0.01
    target_weight: float = 0.1
    """Of the perturbation in the cycle loss, whose expression term has weight 1."""
    stratum_weight: float = 0.1
    samples: int = 0
    """Decoded draws of the latents that a prediction averages; 0 decodes their means."""
    placeholders: int = 2
    """Batch columns kept free for lines of later data (`grow`)."""
    lines: Sequence[str] | None = None
    """Names of the batch columns in use; None for the strata of the data."""
    targets: Sequence[str] | None = None
    """Names of the perturbation columns; None for those that `columns` says."""


PROFILES: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {
        "columns": "perturbed",
        "residual": "plain",
        "attention": "tokens",
        "penalty_weight": 0.0,
        "kl": "sum",
        "cycle_weight": 1.0,
        "kl_weight": 1.0,
        "target_weight": 1.0,
        "stratum_weight": 1.0,
    },
    "reference": {
        "expression_head": "tanh",
        "condition_head": "tanh",
        "clamp": False,
        "gan": "lsgan",
        "penalty_weight": 10.0,
        "penalty_of": "probability",
        "expression_loss": "mse",
        "condition_loss": "swapped",
        "samples": 1,
    },
}
"""What each profile sets otherwise than the defaults."""


class CycSeq(NamedTuple):
    """What the pure functions close over."""

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


def make(spec: Spec, **settings: Any) -> CycSeq:
    """The networks for the data that `spec` describes; settings as in `build`."""
    profile = settings.get("profile", "default")
    s = Settings(**(PROFILES.get(profile, {}) | settings))
    _check(s)
    targets, lines = _targets(spec, s), tuple(spec.strata if s.lines is None else s.lines)
    sizes = Sizes(
        genes=len(spec.genes),
        targets=len(targets),
        strata=len(lines) + s.placeholders,
        dose=s.dose,
        hidden=tuple(s.hidden),
        rate=s.dropout,
    )
    shape = Shape(
        embedding=s.embedding_dim,
        latent=s.latent_dim,
        blocks=s.blocks,
        residual_rate=s.dropout if s.residual_dropout is None else s.residual_dropout,
        normalized_blocks=s.residual == "normalized",
        attention=s.attention,
        tokens=s.tokens,
        batch_norm=s.batch_norm,
        lookup=s.lookup,
        clamp=s.clamp,
        expression_head=s.expression_head,
        condition_head=s.condition_head,
    )
    members = int((np.asarray(spec.condition_treatments) != 0).sum(1).max(initial=1))
    return CycSeq(
        spec=spec,
        settings=s,
        generator=Generator(sizes, shape),
        critic=Critic(sizes),
        targets=targets,
        column=_places(spec.treatments, targets, "perturbation", "targets"),
        lines=lines,
        line=_places(spec.strata, lines, "batch", "lines"),
        members=max(1, members),
    )


def initial(net: CycSeq, key: PRNGKeyArray) -> tuple[PyTree, PyTree]:
    """Parameters and batch moments before training (spec 3.7)."""
    one, keys = Picked(jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1))), jax.random.split(key, 4)
    x = jnp.zeros((1, len(net.spec.genes)))
    condition = Condition(one, one, jnp.zeros((1, 1)) if net.settings.dose else None)
    # Networks of one kind together: half as much to compile.
    generators = jax.vmap(lambda key: net.generator.init(key, x, condition, STILL, None))(keys[:2])
    critics = jax.vmap(lambda key: net.critic.init(key, x, condition, {}))(keys[2:])

    def each(variables: PyTree, names: tuple[str, ...]) -> dict[str, PyTree]:
        return {
            name: jax.tree.map(operator.itemgetter(i), variables) for i, name in enumerate(names)
        }

    params = {
        "generators": each(generators["params"], GENERATORS),
        "critics": each(critics["params"], CRITICS),
    }
    return params, each(generators.get("batch_stats", {}), GENERATORS)


def _check(s: Settings) -> None:
    for name, allowed in CHOICES.items():
        if getattr(s, name) not in allowed:
            shown = ", ".join(map(str, allowed))
            raise InputError(
                f"model.kwargs.{name} is {getattr(s, name)!r}, expected one of {shown}"
            )
    at_least = {"blocks": 0, "samples": 0, "placeholders": 0}
    for field in fields(s):
        value, least = getattr(s, field.name), at_least.get(field.name, 1)
        if field.type == "int" and (
            isinstance(value, bool) or not isinstance(value, int) or value < least
        ):
            raise InputError(
                f"model.kwargs.{field.name} is {value!r}, expected a whole number, at least {least}"
            )
        if field.name.endswith("_weight") and value < 0:
            raise InputError(f"model.kwargs.{field.name} is {value}, expected 0 or more")
        if field.name.endswith("dropout") and value is not None and not 0 <= value < 1:
            raise InputError(
                f"model.kwargs.{field.name} is {value}, expected at least 0 and less than 1"
            )
    if not s.hidden or min(s.hidden) < 1:
        raise InputError(
            f"model.kwargs.hidden is {s.hidden!r}, expected widths such as (1024, 512, 256)"
        )
    if s.attention == "tokens" and s.hidden[-1] % s.tokens:
        raise InputError(
            f"model.kwargs.tokens is {s.tokens}, expected a divisor of the last width "
            f"{s.hidden[-1]}: set another"
        )


def _targets(spec: Spec, s: Settings) -> tuple[str, ...]:
    if s.targets is not None:
        return tuple(s.targets)
    if s.columns == "perturbed":
        return tuple(spec.treatments)
    measured = set(spec.genes)
    return (*spec.genes, *(name for name in spec.treatments if name not in measured))


def _places(
    names: Sequence[str], columns: Sequence[str], what: str, setting: str
) -> Int[np.ndarray, "_"]:
    place = {name: i for i, name in enumerate(columns)}
    missing = [name for name in names if name not in place]
    if missing:
        raise InputError(
            f"{len(missing)} names of the data have no {what} column ({', '.join(missing[:4])}), "
            "expected all among "
            f"model.kwargs.{setting}: add them to the trained model with cycseq.grow"
        )
    return np.array([place[name] for name in names], int)


def changed(net: CycSeq, spec: Spec, **settings: Any) -> CycSeq:
    """The networks for other data, with all settings but the given ones kept."""
    kept = {name: value for name, value in asdict(net.settings).items() if name not in settings}
    return make(spec, **kept, **settings)
