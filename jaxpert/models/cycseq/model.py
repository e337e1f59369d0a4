"""CycSeq: two generators that translate expression between the perturbed and the control state, and
their critics.

Rows are pairs of one perturbed and one control row (means over 50 cells) of one line, on the scale
log2(1 + 1e4 x / sum x), with the perturbation and the line as conditions of both. What holds the
generators to the cells is the cycle (there and back gives the row itself); the pairing is only used
through the conditions. Differs from the published code in what docs/models/cycseq.md (Paper and
code) lists: log loss, PReLU heads, cross-entropy in the right order of arguments, predictions from
latent means; `profile="reference"` restores the published numbers. Source: CycSeq, IJCAI 2025.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxpert.core.errors import InputError
from jaxpert.core.parallel import psum
from jaxpert.core.types import Batch, Model, PyTree, Request, Spec, Validation
from jaxpert.models.cycseq import losses
from jaxpert.models.cycseq.checks import check, support
from jaxpert.models.cycseq.game import Networks, condition_of, cycle, generate, objective, rows_of
from jaxpert.models.cycseq.grow import grow, with_placeholder
from jaxpert.models.cycseq.layers import Picked
from jaxpert.models.cycseq.network import STILL
from jaxpert.models.cycseq.noise import draw
from jaxpert.models.cycseq.settings import PROFILES, Settings
from jaxpert.models.cycseq.setup import GENERATORS, CycSeq, initial, make
from jaxpert.nn.transforms import log2p_normalize, lognorm_to_log2

__all__ = [
    "PROFILES",
    "CycSeq",
    "Inputs",
    "Settings",
    "build",
    "grow",
    "make",
    "model_of",
    "translate",
    "with_placeholder",
]


def build(spec: Spec, **settings: Any) -> Model:
    """CycSeq for the data that `spec` describes.

    Batches hold pairs, already on the model's scale: `x` the perturbed row, `control` the control
    row, `treatment` the perturbation of both, `stratum` their line. For unpaired rows
    `extras["control_treatment"]` and `extras["control_stratum"]` give the conditions of the control
    row; with `dose=True` `extras["dose"]` is log10 of the dose (and `extras["control_dose"]` that
    of the control row, where it differs).

    `params` is {"generators": {"p2n", "n2p"}, "critics": {"x", "y"}}; each generator has an
    "encoder" (conditions, first, trunk, heads) and a "decoder" (conditions, first, trunk,
    expression, target, stratum), so that "generators.n2p.encoder.trunk" is a path to freeze. The
    loss is one scalar whose gradient is that of the game (see `adversarial.game`) and whose value
    means nothing: `Model.validate` chooses the parameters. Train with the gradient norm of
    "generators" clipped to 1.

    Args:
        spec: genes, treatments and strata.
        **settings: fields of `settings.Settings`; another one is a TypeError.

    Raises:
        InputError: for a setting out of range, a treatment or line without column.

    Example:
        model = jaxpert.cycseq.build(jaxpert.make_spec(rows), profile="paper", latent_dim=64)
    """
    return model_of(make(spec, **settings))


def model_of(net: CycSeq) -> Model:
    """The model of networks that `make` or `grow` gave."""
    return Model(
        name="cycseq",
        settings=net.settings,
        details=net,
        init=partial(init, net),
        loss=partial(loss, net),
        predict=partial(predict, net),
        check=partial(check, net),
        support=partial(support, net),
        validate=Validation(partial(validation_sums, net), validation_score),
        scale="log2",
        stochastic=net.settings.samples > 0,
        needs_control=True,
    )


def init(net: CycSeq, key: PRNGKeyArray, batch: Batch) -> tuple[PyTree, PyTree]:
    """`Model.init`; shapes are known from `net`."""
    del batch
    return initial(net, key)


def loss(
    net: CycSeq, params: PyTree, state: PyTree, key: PRNGKeyArray, batch: Batch
) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
    """`Model.loss`."""
    rows = rows_of(net, batch)
    # All noise is drawn beforehand, so that the number of devices changes nothing.
    noise = draw(key, batch.slot, net.generator.sizes, net.generator.shape, rows.x.dtype)
    value, (state, terms, _) = objective(net, params, state, noise, rows)
    return value, (state, terms)


def validation_sums(
    net: CycSeq, params: PyTree, state: PyTree, key: PRNGKeyArray, batch: Batch
) -> dict[str, Array]:
    """Sums over pairs of the errors there and back and of the one-pass R2, with latent means and
    remembered moments."""
    rows = rows_of(net, batch)
    # Without noise: latent means and remembered moments, as in evaluation.
    passes, _ = cycle(net, params["generators"], state, None, rows)
    # One pass each way and back, with latent means and remembered moments.
    per_pair = {
        "cycle_x": losses.squared_error(rows.x, passes.cycle_x.expression),
        "cycle_y": losses.squared_error(rows.y, passes.cycle_y.expression),
        "r2_n2p": losses.r2(rows.x, passes.fake_x.expression),
        "r2_p2n": losses.r2(rows.y, passes.fake_y.expression),
        "pairs": jnp.ones(len(rows.x), rows.x.dtype),
    }
    sums = {}
    for name, values in per_pair.items():
        # Padding counts in no sum.
        sums[name] = jnp.where(rows.mask, values, 0).sum()
    # Over all devices.
    return psum(sums)


def validation_score(sums: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
    """Mean over pairs of the squared error of both cycles (no adversarial part: its scale moves
    with the critics)."""
    mean = {name: total / sums["pairs"] for name, total in sums.items() if name != "pairs"}
    # No adversarial part (docs/models/cycseq.md, Choice of the epoch).
    return mean["cycle_x"] + mean["cycle_y"], mean


class Inputs(NamedTuple):
    """Rows to translate, on the model's scale, and what they are translated under."""

    x: Float[Array, "R G"]
    """Control rows for direction "n2p", perturbed rows for "p2n"."""
    treatment: Float[Array, "R T"] | Int[Array, "R"]
    """The perturbation to apply or to take away: multi-hot over `spec.treatments`, or one number
    per row."""
    stratum: Int[Array, "R"]
    """Line of each row, index into `spec.strata`."""
    dose: Float[Array, "R"] | None = None
    """log10 of the dose, for a model that reads it."""


def translate(
    net: CycSeq,
    params: PyTree,
    state: PyTree,
    inputs: Inputs,
    *,
    direction: str = "n2p",
    key: PRNGKeyArray | None = None,
    samples: int | None = None,
) -> Float[Array, "R G"]:
    """Translate rows on the model's scale from one state to the other, as in evaluation (remembered
    moments).

    Args:
        inputs: rows and their conditions.
        direction: "n2p" (control to perturbed) or "p2n".
        key: for `samples` > 0.
        samples: decoded draws of the latents to average; None for the model's setting, 0 decodes
            their means.
    """
    if direction not in GENERATORS:
        raise InputError(
            f"direction is {direction!r}, expected one of {', '.join(GENERATORS)}: correct it"
        )
    target = _targets(net, inputs)
    condition = condition_of(net, target, inputs.stratum, inputs.dose)
    networks = Networks(params["generators"], state)
    generated, _ = generate(net, networks, direction, inputs.x, condition, STILL, None)
    draws = net.settings.samples if samples is None else samples
    # The means of the latents are already decoded in the pass above.
    if not draws:
        return generated.expression
    if key is None:
        raise InputError(
            "no key is given, expected one for samples of the latents: give it, or samples=0"
        )
    variables = {"params": params["generators"][direction], "batch_stats": state[direction]}
    mean, spread = generated.mean, jnp.exp(generated.log_variance / 2)

    # Only the decoder runs again: the encoder's moments do not change between draws.
    def decode_draw(key: PRNGKeyArray) -> Float[Array, "R G"]:
        z = mean + spread * jax.random.normal(key, mean.shape, mean.dtype)
        return net.generator.apply(variables, z, condition, method="decode")  # pyright: ignore

    # One draw after the other, so that memory does not grow with their number.
    return jax.lax.map(decode_draw, jax.random.split(key, draws)).mean(0)


def _targets(net: CycSeq, inputs: Inputs) -> Picked:
    """Targets of each row as column numbers, which spares a product with a one-hot matrix."""
    # Not by `picked`: a request may have more targets than any training condition.
    columns, dtype = jnp.asarray(net.column, jnp.int32), inputs.x.dtype
    if inputs.treatment.ndim == 1:
        # One number per row names its only target.
        return Picked(columns[inputs.treatment][:, None], jnp.ones((len(inputs.x), 1), dtype))
    return Picked(columns, inputs.treatment.astype(dtype))


def predict(
    net: CycSeq, params: PyTree, state: PyTree, key: PRNGKeyArray, request: Request
) -> Float[Array, "R G"]:
    """`Model.predict`: each row's control (raw counts; the mean training control where none is
    given), perturbed."""
    if request.control is None:
        # The control of the data is on the natural logarithm, the model on base 2.
        mean = lognorm_to_log2(jnp.asarray(net.spec.control_mean, request.treatment.dtype))
        x = jnp.broadcast_to(mean, (len(request.treatment), len(mean)))
    else:
        x = log2p_normalize(request.control)
    inputs = Inputs(x, request.treatment, request.stratum)
    return translate(net, params, state, inputs, key=key)
