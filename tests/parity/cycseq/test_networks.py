"""The CycSeq networks against the published ones, every array of every fixture: float64 at 1e-12,
float32 at 2e-5."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpert.models.cycseq import game as cycseq_game
from jaxpert.models.cycseq import losses
from jaxpert.models.cycseq.layers import Picked, Residual, SingleAttention
from jaxpert.models.cycseq.noise import CriticNoise
from jaxpert.nn import adversarial
from support import cycseq_published as published
from support.cycseq_published import HEADS, HIDDEN, LATENTS, Arrays


class Case(NamedTuple):
    train: bool = False
    dropped: bool = False
    settings: dict = {}


GENERATORS = {
    "gen_eval": Case(),
    "gen_train_nodrop": Case(train=True),
    "gen_train_drop": Case(train=True, dropped=True),
    "gen_eval_embed": Case(settings={"lookup": True}),
    "gen_eval_batchnorm": Case(settings={"batch_norm": True, "condition_head": "identity"}),
    "gen_eval_noatt": Case(settings={"attention": "none", "blocks": 1}),
}
CRITICS = ("disc_eval", "disc_eval_sharp", "disc_train_drop")


@pytest.fixture
def near(precision):
    tolerance = {"float64": 1e-12, "float32": 2e-5}[precision]
    return partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance)


@pytest.fixture
def load(cycseq_arrays, precision):
    """`load("gen_eval")` -> its arrays, all of which the test must have used in the end."""
    loaded = []

    def one(name: str) -> Arrays:
        loaded.append(Arrays(cycseq_arrays(name), precision))
        return loaded[-1]

    yield one
    assert not set.union(*(arrays.left() for arrays in loaded)), (
        "arrays of the fixture that nothing was compared with"
    )


def trees_near(near, got, expected):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    jax.tree.map(near, got, expected)


@pytest.mark.parametrize("name", GENERATORS)
def test_generators(load, near, name):
    a, case = load(name), GENERATORS[name]
    net = published.make_net(5, **case.settings)
    params, state, _ = published.generator(a.under("w/G/"), net.settings.batch_norm)
    condition = published.condition(a["p"], a["b"])
    noise = published.generator_noise(a, "mask/G/", "")
    assert bool(noise.encoder) == bool(noise.decoder) == case.dropped
    weight = jnp.ones(6, a.precision) if case.train else None
    apply = partial(
        net.generator.apply, capture_intermediates=True, mutable=["batch_stats", "intermediates"]
    )
    variables = {"params": params, "batch_stats": state}
    made, after = jax.jit(apply)(variables, a["x"], condition, noise, weight)
    near(made.expression, a["x_hat"])
    near(made.target, a["p_hat"])
    near(made.stratum, a["b_hat"])
    for i, latent in enumerate(LATENTS):
        near(made.mean[:, i], a[f"mu_{latent}"])
        near(made.log_variance[:, i], a[f"logvar_{latent}"])
        near(made.z[:, i], a[f"z_{latent}"])
    if case.train:
        _, expected, unused = published.generator(a.under("w_after/G/"))
        trees_near(near, after["batch_stats"], expected)
        for key, value in unused.items():  # made, never used
            near(value, a[f"w/G/{key}"])
    inside = {
        key: value
        for side in ("encoder", "decoder")
        for key, value in activations(after, side).items()
    }
    same_activations(near, a, inside, made)


def activations(captured, side: str) -> dict:
    """What every layer gave, by published names."""
    short, tree = {"encoder": "enc", "decoder": "dec"}[side], captured["intermediates"][side]
    found = {
        f"{short}.emb_p": tree["conditions"]["target"],
        f"{short}.emb_b": tree["conditions"]["stratum"],
    }
    found[f"{short}.fc1"] = tree["first"]
    names = {"linear": "fc", "norm": "bn", "prelu": "prelu", "drop": "drop"}

    def walk(prefix: str, tree: dict) -> None:
        for name, one in tree.items():
            if name.startswith("block"):
                found[f"{prefix}res{name[5:]}"] = one
                walk(f"{prefix}res{name[5:]}.", one)
            elif name == "attention":
                found[f"{prefix}attention"] = one
                found[f"{prefix}att.v"] = one["value"]
            elif name[:-1] in names:
                found[f"{prefix}{names[name[:-1]]}{name[-1]}"] = one

    walk(f"{short}.", tree["trunk"])
    values = {name: one["__call__"][0] for name, one in found.items()}
    for name in list(values):
        if ".bn" in name:
            values[name] = values[name](values[name.replace(".bn", ".fc")])
    if side == "decoder":
        values |= {
            f"dec.{ours}": tree[name]["__call__"][0] for ours, name in published.OUTPUTS.items()
        }
        return values
    heads = jnp.split(tree["heads"]["__call__"][0], 6, 1)
    return values | {f"enc.{head}": value for head, value in zip(HEADS, heads, strict=True)}


def same_activations(near, a: Arrays, inside: dict, made) -> None:
    inside |= {"dec.tanh": made.expression, "dec.out_p.1": made.target, "dec.out_b.1": made.stratum}
    for side in ("enc", "dec"):
        if f"act/{side}.att.q:out" in a:
            same_attention(near, a, side, inside)
    for key in a.arrays:
        if key.startswith("act/") and not key.endswith((".att.q:out", ".att.k:out", "softmax:out")):
            got = inside[key.removeprefix("act/").removesuffix(":out")]
            near(got, a[key].reshape(got.shape))


def same_attention(near, a: Arrays, side: str, inside: dict) -> None:
    """Queries and keys, which ours has not, lead to a softmax of 1."""
    h = inside[f"{side}.res1"]
    q, k = (h @ a[f"w/G/{side}.att.{one}.W"].T + a[f"w/G/{side}.att.{one}.b"] for one in "qk")
    near(q, a[f"act/{side}.att.q:out"][:, 0])
    near(k, a[f"act/{side}.att.k:out"][:, 0])
    near(jax.nn.softmax((q * k).sum(1)[:, None, None]), a[f"act/{side}.attention.softmax:out"])


def test_attention(load, near):
    a = load("attention")
    params = {
        "gamma": a["w/gamma"][0],
        "value": {"kernel": a["w/value_conv.W"].T, "bias": a["w/value_conv.b"]},
    }

    def total(params):
        out = SingleAttention(8).apply({"params": params}, a["x"])
        return (a["cotangent"] * out).sum(), out

    (_, out), slopes = jax.jit(jax.value_and_grad(total, has_aux=True))(params)
    near(out, a["out"])
    near(slopes["gamma"], a["grad/gamma"][0])
    near(slopes["value"]["kernel"], a["grad/value_conv.W"].T)
    near(slopes["value"]["bias"], a["grad/value_conv.b"])
    for unused in ("query", "key"):  # ours has neither
        for leaf in "Wb":
            assert a[f"w/{unused}_conv.{leaf}"].any() and not a[f"grad/{unused}_conv.{leaf}"].any()


def test_residual(load, near):
    a = load("residual")
    named = {f"enc.res0.{name}": value for name, value in a.under("w/").items()}
    params, state, _ = published.generator(named)
    block = Residual(8, 0.2)
    apply = jax.jit(partial(block.apply, mutable=["batch_stats"]))
    variables = {
        "params": params["encoder"]["trunk"]["block0"],
        "batch_stats": state["encoder"]["trunk"]["block0"],
    }
    near(apply(variables, a["x"], {}, None)[0], a["out_eval"])
    out, after = apply(variables, a["x"], published.masks(a, "mask/"), jnp.ones(6, a.precision))
    near(out, a["out_train"])
    _, expected, _ = published.generator(
        {f"enc.res0.{name}": value for name, value in a.under("w_after/").items()}
    )
    trees_near(near, after["batch_stats"], expected["encoder"]["trunk"]["block0"])


@pytest.mark.parametrize("name", CRITICS)
def test_critics(load, near, name, precision):
    a, net = load(name), published.make_net(5)
    params, condition = published.critic(a.under("w/"), 5), published.condition(a["p"], a["b"])
    keep = published.masks(a, "mask/")
    assert bool(keep) == name.endswith("drop")
    apply = partial(net.critic.apply, capture_intermediates=True, mutable=["intermediates"])
    logits, captured = jax.jit(apply)({"params": params}, a["x"], condition, keep)
    near(jax.nn.sigmoid(logits)[:, None], a["prob"])
    inside = captured["intermediates"]
    near(a["act/sigmoid:out"], a["prob"])
    first = jax.jit(
        partial(net.critic.apply, method=lambda self, x, c: self.expression(x) + self.conditions(c))
    )
    near(first({"params": params}, a["x"], condition), a["act/fc1:out"])
    for i in range(1, len(HIDDEN) + 1):
        near(inside[f"prelu{i}"]["__call__"][0], a[f"act/prelu{i}:out"])
        near(inside[f"drop{i}"]["__call__"][0], a[f"act/dropout{i}:out"])
    for ours, theirs in (("linear2", "fc2"), ("linear3", "fc3"), ("last", "fc4")):
        near(inside[ours]["__call__"][0], a[f"act/{theirs}:out"])
    if not keep:
        same_penalty(near, a, net, params, condition)


def same_penalty(near, a: Arrays, net, params, condition) -> None:
    """The gradient penalty's input gradient, value and gradient in the parameters."""

    def penalty(params):
        noise = CriticNoise({}, {}, {}, {}, jnp.ones((6, 1), a.precision))
        said = cycseq_game.judgement(
            net, params, noise, cycseq_game.Side(a["x"], condition, a["x"], condition)
        )
        return 10 * adversarial.penalty(said.slopes).mean(), said

    (value, said), slopes = jax.jit(jax.value_and_grad(penalty, has_aux=True))(params)
    near(said.slopes, a["gp_input_grad"])
    near(jax.nn.sigmoid(said.mixed)[:, None], a["prob"])
    near(value, a["gp"])
    trees_near(near, slopes, published.critic(a.under("gp_grad/"), 5))


def test_losses(load, near, precision):
    a = load("losses")
    p, b = (Picked(a[one].argmax(1)[:, None], jnp.ones((6, 1), precision)) for one in "pb")
    mask = jnp.ones(6, bool)

    def error(kind, which, logits):
        return losses.condition_error(logits, {"p": p, "b": b}[which], kind).mean()

    def whole(kind, x, target, stratum):
        return losses.expression_error(a["x"], x, mask, "mse") + 0.1 * (
            error(kind, "p", target) + error(kind, "b", stratum)
        )

    received = a["rec_x"], a["rec_p"], a["rec_b"]
    value, slopes = jax.jit(jax.value_and_grad(partial(whole, "swapped"), (0, 1, 2)))(*received)
    near(value, a["cycle_loss_as_called"])
    for slope, one in zip(slopes, "xpb", strict=True):
        near(slope, a[f"grad_rec_{one}"])
    near(whole("binary", *received), a["cycle_loss_args_in_intended_order"])
    near(losses.expression_error(a["x"], a["rec_x"], mask, "mse"), a["term_gene_mse"])
    guarded = 1 + losses.SMALLEST_VARIANCE / losses.total_variance(a["x"], mask)
    near(losses.expression_error(a["x"], a["rec_x"], mask, "scaled") * guarded, a["paper_rec"])
    for which in "pb":
        near(error("swapped", which, a[f"rec_{which}"]), a[f"term_{which}_as_called"])
        near(error("binary", which, a[f"rec_{which}"]), a[f"term_{which}_intended"])
        near(error("cross_entropy", which, a[f"rec_{which}"]), a[f"paper_ce_{which}"])
    mean, log_variance = a["mu"][:, None], a["logvar"][:, None]
    near(losses.divergence(mean, log_variance, "mean").mean(), a["kl_mean"])
    near(losses.divergence(mean, log_variance, "sum").sum(), a["kl_sum"])
    near(losses.divergence(mean, log_variance, "sum").mean(), a["kl_paper_sum_dims_mean_batch"])
    logits = jnp.log(a["prob"]) - jnp.log1p(-a["prob"])
    for kind, prefix in (("lsgan", "gan_{}_lsgan"), ("log", "paper_gan_{}")):
        near(adversarial.called_real(logits, kind).mean(), a[prefix.format("real")])
        near(adversarial.called_fake(logits, kind).mean(), a[prefix.format("fake")])
    rounded = {"float64": 1e-7, "float32": 2e-5}[precision]  # by the published code
    np.testing.assert_allclose(
        1 - losses.r2(a["x"], a["rec_x"]).mean(), a["r2_loss_1_minus_mean_r2"], rtol=rounded
    )
    near(abs(a["x"] - a["rec_x"]).mean(), a["l1"])  # no loss of ours
    assert a["y"].shape == a["x"].shape  # entered none of the published numbers
