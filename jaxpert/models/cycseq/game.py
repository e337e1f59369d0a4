"""One training step of CycSeq (docs/models/cycseq.md, One training step): the passes of the
generators, the logits of the critics, and the game as one scalar."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxpert.core.errors import InputError
from jaxpert.core.types import Batch, PyTree
from jaxpert.models.cycseq import losses
from jaxpert.models.cycseq.layers import Condition, Picked
from jaxpert.models.cycseq.network import STILL, Generated, GeneratorNoise
from jaxpert.models.cycseq.noise import CriticNoise, StepNoise
from jaxpert.models.cycseq.setup import CycSeq
from jaxpert.nn import adversarial


class PairRows(NamedTuple):
    """A batch as the networks read it."""

    x: Float[Array, "B G"]
    y: Float[Array, "B G"]
    x_condition: Condition
    y_condition: Condition
    mask: Bool[Array, "B"]

    @property
    def weight(self) -> Float[Array, "B"]:
        """1 for real rows, 0 for padding."""
        return self.mask.astype(self.x.dtype)


class Passes(NamedTuple):
    """What the generators make of a batch."""

    fake_y: Generated
    """G(x)"""
    fake_x: Generated
    """F(y)"""
    cycle_x: Generated
    """F(G(x))"""
    cycle_y: Generated
    """G(F(y))"""


class Judged(NamedTuple):
    """Logits of a critic in its own turn."""

    real: Float[Array, "B"]
    fake: Float[Array, "B"]
    mixed: Float[Array, "B"]
    slopes: Float[Array, "B G"]
    """Of what the penalty is taken of, in the expression of the mixed rows."""


class Inside(NamedTuple):
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
    # A batch holds multi-hot rows of few ones: their places are what the networks gather by.
    if net.members == 1:
        place = treatment.argmax(1)[:, None]
        return Picked(columns[place], jnp.take_along_axis(treatment, place, 1))
    # The number of members is fixed, since compiled code has no arrays of varying length.
    weight, place = jax.lax.top_k(treatment, min(net.members, treatment.shape[1]))
    return Picked(columns[place], weight)


def condition_of(
    net: CycSeq, target: Picked, stratum: Int[Array, "B"], dose: Float[Array, "B"] | None
) -> Condition:
    """A condition for the networks."""
    # Strata of the data go to the columns that the model has for them.
    line = jnp.asarray(net.line, jnp.int32)[stratum][:, None]
    batch_column = Picked(line, jnp.ones(line.shape, target.weight.dtype))
    if not net.settings.dose:
        return Condition(target, batch_column, None)
    if dose is None:
        raise InputError(
            "no dose is given, expected one for a model that reads it (model.kwargs.dose): give "
            "log10 of the dose"
        )
    return Condition(target, batch_column, dose[:, None])


def rows_of(net: CycSeq, batch: Batch) -> PairRows:
    """The pairs of a batch."""
    extras, dose = batch.extras, batch.extras.get("dose")
    condition = condition_of(net, picked(net, batch.treatment), batch.stratum, dose)
    # Both rows usually stand under one condition, which is then made once.
    if not {"control_treatment", "control_stratum", "control_dose"} & set(extras):
        return PairRows(batch.x, batch.control, condition, condition, batch.mask)
    of_control = condition_of(
        net,
        picked(net, extras.get("control_treatment", batch.treatment)),
        extras.get("control_stratum", batch.stratum),
        extras.get("control_dose", dose),
    )
    return PairRows(batch.x, batch.control, condition, of_control, batch.mask)


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
    # Without weights nothing is remembered, so the state stays as it is.
    if weight is None:
        return net.generator.apply(variables, x, condition, noise, weight), networks.state  # pyright: ignore
    generated, after = net.generator.apply(
        variables, x, condition, noise, weight, mutable=["batch_stats"]
    )
    return generated, {**networks.state, name: after.get("batch_stats", {})}  # pyright: ignore


def cycle(
    net: CycSeq, params: PyTree, state: PyTree, noise: StepNoise | None, rows: PairRows
) -> tuple[Passes, PyTree]:
    """Both rows there and back; in training batch moments go through the passes in this order.

    The second pass reads the predicted expression, but the true conditions. Without noise it is
    that of evaluation.
    """
    weight, noises = None, (STILL, STILL, STILL, STILL)
    if noise is not None:
        # Weights stand for training: they leave padding out of the moments.
        weight = rows.weight
        noises = noise.p2n, noise.n2p, noise.n2p_cycle, noise.p2n_cycle
    first_p2n, first_n2p, cycle_n2p, cycle_p2n = noises

    # The order of passes decides what is remembered (docs/models/cycseq.md, One training step).
    def run(name: str, x: Array, condition: Condition, noise: GeneratorNoise) -> Generated:
        nonlocal state
        generated, state = generate(net, Networks(params, state), name, x, condition, noise, weight)
        return generated

    # First passes: y~ = G(x), x~ = F(y).
    fake_y = run("p2n", rows.x, rows.x_condition, first_p2n)
    fake_x = run("n2p", rows.y, rows.y_condition, first_n2p)
    # Cycle passes: x^ = F(y~), y^ = G(x~).
    cycle_x = run("n2p", fake_y.expression, rows.x_condition, cycle_n2p)
    cycle_y = run("p2n", fake_x.expression, rows.y_condition, cycle_p2n)
    return Passes(fake_y, fake_x, cycle_x, cycle_y), state


def cycle_terms(
    net: CycSeq,
    x: Float[Array, "B G"],
    condition: Condition,
    back: Generated,
    mask: Bool[Array, "B"],
) -> tuple[Array, Array]:
    """Errors of the row that came back and of its conditions (docs/models/cycseq.md, Cycle loss and
    Condition loss)."""
    s = net.settings
    # The conditions that came back, not those of the first pass, are judged.
    target = losses.condition_error(back.target, condition.target, s.condition_loss)
    stratum = losses.condition_error(back.stratum, condition.stratum, s.condition_loss)
    conditions = losses.row_mean(s.target_weight * target + s.stratum_weight * stratum, mask)
    return losses.expression_error(x, back.expression, mask, s.expression_loss), conditions


def judge(net: CycSeq, params: PyTree, *arguments: Any, method: str | None = None) -> Array:
    """A critic, or one of its methods."""
    return net.critic.apply({"params": params}, *arguments, method=method)  # pyright: ignore


def generator_terms(
    net: CycSeq, passes: Passes, critics: PyTree, noise: StepNoise, rows: PairRows
) -> tuple[Array, dict[str, Array], tuple[Array, Array]]:
    """(loss of both generators, its terms, logits of the fakes)."""
    s, mask = net.settings, rows.mask
    fake_y, fake_x = passes.fake_y, passes.fake_x
    # D_Y judges y~ under the conditions of x, D_X judges x~ under those of y.
    fooled_y = judge(net, critics["y"], fake_y.expression, rows.x_condition, noise.y.generator)
    fooled_x = judge(net, critics["x"], fake_x.expression, rows.y_condition, noise.x.generator)
    terms = {
        "adversarial_p2n": losses.row_mean(adversarial.called_real(fooled_y, s.gan), mask),
        "adversarial_n2p": losses.row_mean(adversarial.called_real(fooled_x, s.gan), mask),
    }
    terms["cycle_x"], terms["condition_x"] = cycle_terms(
        net, rows.x, rows.x_condition, passes.cycle_x, mask
    )
    terms["cycle_y"], terms["condition_y"] = cycle_terms(
        net, rows.y, rows.y_condition, passes.cycle_y, mask
    )
    # The first passes alone (docs/models/cycseq.md, KL term).
    for name, fake in (("p2n", fake_y), ("n2p", fake_x)):
        of_latents = losses.divergence(fake.mean, fake.log_variance, s.kl)
        terms[f"kl_{name}"] = losses.row_mean(of_latents.sum(1), mask)
    # docs/models/cycseq.md, Total.
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
    """Logits of real, fake and mixed rows, these under the conditions of the fake ones.

    A critic's first layer is linear, so that of a mixture is the mixture of those.
    """
    call, mix = partial(judge, net, params), noise.mix
    # The share of expression in the first layer, once for real, fake and mixed rows.
    real, fake = call(side.real, method="expression"), call(side.fake, method="expression")
    # In one, so that gradients reach the table of perturbations by one scatter.
    conditions = call(_joined(side.real_condition, side.fake_condition), method="conditions")
    both = call(_joined(real, fake) + conditions, _joined(noise.real, noise.fake), method="tail")
    # e x + (1 - e) x~, with the conditions of the source of the fake.
    mixed = mix * real + (1 - mix) * fake + conditions[len(real) :]

    def score(first: Float[Array, "B H"]) -> Float[Array, "B"]:
        logits = call(first, noise.mixed, method="tail")
        if net.settings.penalty_of == "logit":
            return logits
        return jax.nn.sigmoid(logits)

    count = len(side.real)
    logits = call(mixed, noise.mixed, method="tail")
    # The chain rule through the first layer: from its output to expression.
    slopes = adversarial.slopes(score, mixed) @ params["first"]["expression"].T
    return Judged(both[:count], both[count:], logits, slopes)


def _joined(*two: PyTree) -> PyTree:
    """The rows of two batches, one after the other."""
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *two)


def critic_terms(
    net: CycSeq, critics: PyTree, noise: StepNoise, rows: PairRows, fakes: tuple[Array, Array]
) -> tuple[Array, dict[str, Array], tuple[Judged, Judged]]:
    """(loss of both critics, its terms, their logits)."""
    fake_y, fake_x = fakes
    # Each critic sees fakes that came from rows of the other state.
    sides = {
        "x": Side(rows.x, rows.x_condition, fake_x, rows.y_condition),
        "y": Side(rows.y, rows.y_condition, fake_y, rows.x_condition),
    }
    total, terms, judged = jnp.zeros((), rows.x.dtype), {}, {}
    for name, side in sides.items():
        judged[name] = judgement(net, critics[name], getattr(noise, name), side)
        of_critic = _critic_terms(net, judged[name], rows.mask)
        for term, value in of_critic.items():
            terms[f"{term}_{name}"] = value
        # The critics are separate players, so that a sum gives each its own gradient.
        total += of_critic["critic"]
    return total, terms, (judged["x"], judged["y"])


def _critic_terms(net: CycSeq, judged: Judged, mask: Bool[Array, "B"]) -> dict[str, Array]:
    """The terms of one critic, its loss ("critic") among them (docs/models/cycseq.md, Adversarial
    loss and Gradient penalty)."""
    s = net.settings
    real = losses.row_mean(adversarial.called_real(judged.real, s.gan), mask)
    fake = losses.row_mean(adversarial.called_fake(judged.fake, s.gan), mask)
    terms = {"real": real, "fake": fake, "critic": adversarial.critic_loss(real, fake, s.gan)}
    # The paper's profile has no penalty, so its slopes are not computed.
    if s.penalty_weight:
        slopes = adversarial.penalty(judged.slopes)
        terms["penalty"] = s.penalty_weight * losses.row_mean(slopes, mask)
        terms["critic"] += terms["penalty"]
    return terms


def objective(
    net: CycSeq, params: PyTree, state: PyTree, noise: StepNoise, rows: PairRows
) -> tuple[Array, tuple[PyTree, dict[str, Array], Inside]]:
    """The game of one step with given noise: (scalar, (state, terms, its inside))."""

    # `game` stops the gradients between the players: all of them step at once.
    def generators(params: PyTree, critics: PyTree) -> tuple[Array, Any, Any]:
        passes, after = cycle(net, params, state, noise, rows)
        total, terms, fooled = generator_terms(net, passes, critics, noise, rows)
        # Critics see the expression of the fakes, whose gradient the game cuts off.
        fakes = passes.fake_y.expression, passes.fake_x.expression
        return total, fakes, (passes, after, terms, fooled)

    def critics(params: PyTree, fakes: Any) -> tuple[Array, Any]:
        total, terms, judged = critic_terms(net, params, noise, rows, fakes)
        return total, (terms, judged)

    # One scalar stands for two losses (docs/models/cycseq.md, One training step).
    value, (passes, after, terms, fooled), (more, judged) = adversarial.game(
        generators, critics, params["generators"], params["critics"]
    )
    return value, (after, terms | more, Inside(passes, *fooled, *judged))
