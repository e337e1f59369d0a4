"""One training step of CycSeq: the passes of the generators, what the critics say, and the game as
one scalar."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxpert.core.types import Batch, PyTree
from jaxpert.models.cycseq import losses
from jaxpert.models.cycseq.layers import Condition, Picked
from jaxpert.models.cycseq.network import STILL, Generated, GeneratorNoise
from jaxpert.models.cycseq.noise import CriticNoise, StepNoise
from jaxpert.models.cycseq.setup import CycSeq
from jaxpert.nn import adversarial


class Rows(NamedTuple):
    """A batch as the networks read it."""

    x: Float[Array, "B G"]
    y: Float[Array, "B G"]
    x_condition: Condition
    y_condition: Condition
    mask: Bool[Array, "B"]

    @property
    def weight(self) -> Float[Array, "B"]:
        return self.mask.astype(self.x.dtype)


class Passes(NamedTuple):
    """What the generators make of a batch."""

    fake_y: Generated
    fake_x: Generated
    cycle_x: Generated
    cycle_y: Generated


class Judged(NamedTuple):
    """What a critic says in its own turn."""

    real: Float[Array, "B"]
    fake: Float[Array, "B"]
    mixed: Float[Array, "B"]
    slopes: Float[Array, "B G"]
    """Of what the penalty is taken of, in the expression of the mixed rows."""


class Seen(NamedTuple):
    """The inside of a step."""

    passes: Passes
    fooled_y: Float[Array, "B"]
    """Logits of the fakes in the generators' turn."""
    fooled_x: Float[Array, "B"]
    x: Judged
    y: Judged


def picked(net: CycSeq, treatment: Float[Array, "B T"]) -> Picked:
    """Targets of each row as column numbers: as many as a condition of the data has at most."""
    columns = jnp.asarray(net.column, jnp.int32)
    if net.members == 1:
        place = treatment.argmax(1)[:, None]
        return Picked(columns[place], jnp.take_along_axis(treatment, place, 1))
    weight, place = jax.lax.top_k(treatment, min(net.members, treatment.shape[1]))
    return Picked(columns[place], weight)


def condition_of(
    net: CycSeq, target: Picked, stratum: Int[Array, "B"], dose: Float[Array, "B"] | None
) -> Condition:
    """A condition for the networks."""
    line = jnp.asarray(net.line, jnp.int32)[stratum][:, None]
    if net.settings.dose and dose is None:
        raise ValueError(
            "the model reads doses (model.kwargs.dose), but there are none: give log10 of the dose"
        )
    return Condition(
        target,
        Picked(line, jnp.ones(line.shape, target.weight.dtype)),
        dose[:, None] if net.settings.dose and dose is not None else None,
    )


def rows_of(net: CycSeq, batch: Batch) -> Rows:
    """The pairs of a batch."""
    extras, dose = batch.extras, batch.extras.get("dose")
    condition = condition_of(net, picked(net, batch.treatment), batch.stratum, dose)
    own = condition
    if {"control_treatment", "control_stratum", "control_dose"} & set(extras):
        treatment = extras.get("control_treatment", batch.treatment)
        stratum = extras.get("control_stratum", batch.stratum)
        own = condition_of(net, picked(net, treatment), stratum, extras.get("control_dose", dose))
    return Rows(batch.x, batch.control, condition, own, batch.mask)


class Networks(NamedTuple):
    """A generator's parameters and remembered moments, by name."""

    params: PyTree
    state: PyTree


def generate(
    net: CycSeq,
    networks: Networks,
    name: str,
    x: Float[Array, "B G"],
    condition: Condition,
    noise: GeneratorNoise,
    weight: Float[Array, "B"] | None,
) -> tuple[Generated, PyTree]:
    """One pass through generator "p2n" or "n2p": (what it makes, state after it)."""
    variables = {"params": networks.params[name], "batch_stats": networks.state[name]}
    if weight is None:
        return net.generator.apply(variables, x, condition, noise, weight), networks.state  # pyright: ignore
    made, after = net.generator.apply(
        variables, x, condition, noise, weight, mutable=["batch_stats"]
    )
    return made, {**networks.state, name: after.get("batch_stats", {})}  # pyright: ignore


def cycle(
    net: CycSeq, params: PyTree, state: PyTree, noise: StepNoise | None, rows: Rows
) -> tuple[Passes, PyTree]:
    """Both rows there and back; in training batch moments go through the passes in this order.

    The second pass reads the predicted expression, but the true conditions. Without noise it is
    that of evaluation.
    """
    weight = None if noise is None else rows.weight
    first = STILL if noise is None else noise.p2n, STILL if noise is None else noise.n2p
    back = STILL if noise is None else noise.n2p_cycle, STILL if noise is None else noise.p2n_cycle

    def run(name: str, x: Array, condition: Condition, noise: GeneratorNoise) -> Generated:
        nonlocal state
        made, state = generate(net, Networks(params, state), name, x, condition, noise, weight)
        return made

    fake_y = run("p2n", rows.x, rows.x_condition, first[0])
    fake_x = run("n2p", rows.y, rows.y_condition, first[1])
    cycle_x = run("n2p", fake_y.expression, rows.x_condition, back[0])
    cycle_y = run("p2n", fake_x.expression, rows.y_condition, back[1])
    return Passes(fake_y, fake_x, cycle_x, cycle_y), state


def cycle_terms(
    net: CycSeq,
    x: Float[Array, "B G"],
    condition: Condition,
    back: Generated,
    mask: Bool[Array, "B"],
) -> tuple[Array, Array]:
    """Errors of the row that came back and of its conditions (spec 6.2, 6.3)."""
    s = net.settings
    target = losses.condition_error(back.target, condition.target, s.condition_loss)
    stratum = losses.condition_error(back.stratum, condition.stratum, s.condition_loss)
    conditions = losses.row_mean(s.target_weight * target + s.stratum_weight * stratum, mask)
    return losses.expression_error(x, back.expression, mask, s.expression_loss), conditions


def judge(net: CycSeq, params: PyTree, *arguments: Any, method: str | None = None) -> Array:
    """A critic, or one of its methods."""
    return net.critic.apply({"params": params}, *arguments, method=method)  # pyright: ignore


def generator_terms(
    net: CycSeq, passes: Passes, critics: PyTree, noise: StepNoise, rows: Rows
) -> tuple[Array, dict[str, Array], tuple[Array, Array]]:
    """(loss of both generators, its terms, logits of the fakes)."""
    s, mask = net.settings, rows.mask
    fooled_y = judge(
        net, critics["y"], passes.fake_y.expression, rows.x_condition, noise.y.generator
    )
    fooled_x = judge(
        net, critics["x"], passes.fake_x.expression, rows.y_condition, noise.x.generator
    )
    terms = {
        "adversarial_p2n": losses.row_mean(adversarial.called_real(fooled_y, s.gan), mask),
        "adversarial_n2p": losses.row_mean(adversarial.called_real(fooled_x, s.gan), mask),
    }
    for side, x, condition, back in (
        ("x", rows.x, rows.x_condition, passes.cycle_x),
        ("y", rows.y, rows.y_condition, passes.cycle_y),
    ):
        terms[f"cycle_{side}"], terms[f"condition_{side}"] = cycle_terms(
            net, x, condition, back, mask
        )
    for name, made in (("p2n", passes.fake_y), ("n2p", passes.fake_x)):
        terms[f"kl_{name}"] = losses.row_mean(
            losses.divergence(made.mean, made.log_variance, s.kl).sum(1), mask
        )
    total = (
        s.adversarial_weight * (terms["adversarial_p2n"] + terms["adversarial_n2p"])
        + s.cycle_weight
        * (terms["cycle_x"] + terms["condition_x"] + terms["cycle_y"] + terms["condition_y"])
        + s.kl_weight * (terms["kl_p2n"] + terms["kl_n2p"])
    )
    return total, terms | {"generators": total}, (fooled_y, fooled_x)


class Side(NamedTuple):
    """What one critic tells apart."""

    real: Float[Array, "B G"]
    real_condition: Condition
    fake: Float[Array, "B G"]
    fake_condition: Condition


def judgement(net: CycSeq, params: PyTree, noise: CriticNoise, side: Side) -> Judged:
    """What a critic says of real, fake and mixed rows, these under the conditions of the fake ones.

    Its first layer is linear, so that of a mixture is the mixture of those.
    """
    call, mix = partial(judge, net, params), noise.mix
    real, fake = call(side.real, method="expression"), call(side.fake, method="expression")
    # In one, so that gradients reach the table of perturbations by one scatter.
    conditions = call(_joined(side.real_condition, side.fake_condition), method="conditions")
    both = call(_joined(real, fake) + conditions, _joined(noise.real, noise.fake), method="tail")
    mixed = mix * real + (1 - mix) * fake + conditions[len(real) :]

    def score(first: Float[Array, "B H"]) -> Float[Array, "B"]:
        logits = call(first, noise.mixed, method="tail")
        return logits if net.settings.penalty_of == "logit" else jax.nn.sigmoid(logits)

    count = len(side.real)
    logits = call(mixed, noise.mixed, method="tail")
    slopes = adversarial.slopes(score, mixed) @ params["first"]["expression"].T
    return Judged(both[:count], both[count:], logits, slopes)


def _joined(*two: PyTree) -> PyTree:
    """The rows of two batches, one after the other."""
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *two)


def critic_terms(
    net: CycSeq, critics: PyTree, noise: StepNoise, rows: Rows, fakes: tuple[Array, Array]
) -> tuple[Array, dict[str, Array], tuple[Judged, Judged]]:
    """(loss of both critics, its terms, what they say)."""
    s, mask, total, terms = net.settings, rows.mask, jnp.zeros((), rows.x.dtype), {}
    fake_y, fake_x = fakes
    sides = {
        "x": Side(rows.x, rows.x_condition, fake_x, rows.y_condition),
        "y": Side(rows.y, rows.y_condition, fake_y, rows.x_condition),
    }
    seen = {}
    for name, side in sides.items():
        seen[name] = said = judgement(net, critics[name], getattr(noise, name), side)
        terms[f"real_{name}"] = losses.row_mean(adversarial.called_real(said.real, s.gan), mask)
        terms[f"fake_{name}"] = losses.row_mean(adversarial.called_fake(said.fake, s.gan), mask)
        terms[f"critic_{name}"] = adversarial.critic_loss(
            terms[f"real_{name}"], terms[f"fake_{name}"], s.gan
        )
        if s.penalty_weight:
            slopes = adversarial.penalty(said.slopes)
            terms[f"penalty_{name}"] = s.penalty_weight * losses.row_mean(slopes, mask)
            terms[f"critic_{name}"] += terms[f"penalty_{name}"]
        total += terms[f"critic_{name}"]
    return total, terms, (seen["x"], seen["y"])


def objective(
    net: CycSeq, params: PyTree, state: PyTree, noise: StepNoise, rows: Rows
) -> tuple[Array, tuple[PyTree, dict[str, Array], Seen]]:
    """The game of one step with given noise: (scalar, (state, terms, its inside))."""

    def generators(own: PyTree, critics: PyTree) -> tuple[Array, Any, Any]:
        passes, after = cycle(net, own, state, noise, rows)
        total, terms, fooled = generator_terms(net, passes, critics, noise, rows)
        return (
            total,
            (passes.fake_y.expression, passes.fake_x.expression),
            (passes, after, terms, fooled),
        )

    def critics(own: PyTree, fakes: Any) -> tuple[Array, Any]:
        total, terms, seen = critic_terms(net, own, noise, rows, fakes)
        return total, (terms, seen)

    value, (passes, after, terms, fooled), (more, seen) = adversarial.game(
        generators, critics, params["generators"], params["critics"]
    )
    return value, (after, terms | more, Seen(passes, *fooled, *seen))
