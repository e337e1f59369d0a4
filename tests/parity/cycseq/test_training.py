"""Published CycSeq steps, every array of each: passes, losses, clipped gradients, weights after
Adam, and optimisers.

float64: forward at 1e-12, losses at 1e-12, gradients, weights and batch moments at 1e-9.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxpert.core import optim
from jaxpert.core.types import Batch
from jaxpert.models.cycseq import game as cycseq_game
from jaxpert.models.cycseq import losses
from jaxpert.models.cycseq import model as cycseq
from jaxpert.models.cycseq.noise import CriticNoise, StepNoise
from support import cycseq_published as published
from support.cycseq_published import GENES, LATENTS, Arrays

LOOPS = {"train_loop_nodrop": 3, "train_loop_drop": 2}
CALLS = {"G_fwd": "fake_y", "F_fwd": "fake_x", "F_cyc": "cycle_x", "G_cyc": "cycle_y"}
NETS = {"G": "p2n", "F": "n2p"}
CRITICS = {"D_X": "x", "D_Y": "y"}


def near(got, expected, tolerance=1e-12):
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


def trees_near(got, expected, tolerance):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    jax.tree.map(partial(near, tolerance=tolerance), got, expected)


def weights(a: Arrays, prefix: str, which=(*NETS, *CRITICS)) -> tuple[dict, dict, dict]:
    """(params, state, arrays without place in ours) of the networks named."""
    params, state, unused = {"generators": {}, "critics": {}}, {}, {}
    for name in which:
        arrays = a.under(f"{prefix}{name}/")
        if name in CRITICS:
            params["critics"][CRITICS[name]] = published.critic(arrays, GENES)
        else:
            params["generators"][NETS[name]], state[NETS[name]], unused[name] = published.generator(
                arrays
            )
    return params, state, unused


def make_batch(a: Arrays, at: str) -> Batch:
    """A step's rows; X and Y may have different conditions."""
    cells = jnp.arange(8)
    conditions = {f"{one}_{side}": a[f"{at}{one}_{side}"] for one in "pb" for side in "XY"}
    stratum = {side: conditions[f"b_{side}"].argmax(1) for side in "XY"}
    extras = {"control_treatment": conditions["p_Y"], "control_stratum": stratum["Y"]}
    condition = conditions["p_X"].argmax(1) + 1
    return Batch(
        a[f"{at}x_X"],
        a[f"{at}x_Y"],
        conditions["p_X"],
        condition,
        stratum["X"],
        cells >= 0,
        cells,
        extras,
    )


def step_noise(a: Arrays, at: str) -> StepNoise:
    """What the published step drew."""

    def passed(call: str):
        return published.generator_noise(a, f"{at}{call}/mask/", f"{at}{call}/")

    def judged(side: str, fooled: str) -> CriticNoise:
        calls = (fooled, f"D{side}_real", f"D{side}_fake", f"D{side}_hat")
        keep = (published.masks(a, f"{at}{call}/mask/") for call in calls)
        return CriticNoise(*keep, a[f"{at}gp_eps_{side}"])

    passes = (passed(call) for call in ("G_fwd", "F_fwd", "F_cyc", "G_cyc"))
    return StepNoise(*passes, judged("X", "DX_on_fakeX"), judged("Y", "DY_on_fakeY"))


def stepper(net: cycseq.CycSeq, steps: optax.GradientTransformation):
    @jax.jit
    def step(params, state, moments, noise, batch):
        rows = cycseq_game.rows_of(net, batch)

        def objective(params):
            value, inside = cycseq_game.objective(net, params, state, noise, rows)
            return value, inside

        (value, (after, terms, seen)), slopes = jax.value_and_grad(objective, has_aux=True)(params)
        updates, moments = steps.update(slopes, moments, params)
        return optax.apply_updates(params, updates), after, moments, value, terms, seen, slopes

    return step


@pytest.mark.parametrize("name", LOOPS)
def test_published_steps(cycseq_arrays, name):
    with jax.enable_x64(True):
        a = Arrays(cycseq_arrays(name))
        net = published.make_net(GENES)
        params, state, _ = weights(a, "w0/")
        steps = optim.build("adam", 2e-4, betas=(0.5, 0.9), clip=1.0, clip_parts=("generators",))
        moments, step = jax.jit(steps.init)(params), stepper(net, steps)
        for i in range(LOOPS[name]):
            at, batch = f"s{i}/", make_batch(a, f"s{i}/")
            params, state, moments, value, terms, seen, slopes = step(
                params, state, moments, step_noise(a, at), batch
            )
            same_passes(a, at, batch, seen)
            same_losses(a, at, value, terms, seen)
            same_gradients(a, at, slopes)
            expected, expected_state, unused = weights(a, f"{at}w_after/")
            trees_near(params, expected, 1e-9)
            trees_near(state, expected_state, 1e-9)
            for net_name, arrays in unused.items():  # never trained
                for key, leaf in arrays.items():
                    near(leaf, a[f"w0/{net_name}/{key}"], 0)
        assert not a.left(), "arrays of the fixture that nothing was compared with"


def same_passes(a: Arrays, at: str, batch: Batch, seen: cycseq_game.Inside) -> None:
    given = {
        "G_fwd": batch.x,
        "F_fwd": batch.control,
        "F_cyc": seen.passes.fake_y.expression,
        "G_cyc": seen.passes.fake_x.expression,
    }
    for call, ours in CALLS.items():
        made = getattr(seen.passes, ours)
        near(given[call], a[f"{at}{call}/in_x"])
        near(made.expression, a[f"{at}{call}/x_hat"])
        near(made.target, a[f"{at}{call}/p_hat"])
        near(made.stratum, a[f"{at}{call}/b_hat"])
        for number, latent in enumerate(LATENTS):
            near(made.mean[:, number], a[f"{at}{call}/mu_{latent}"])
            near(made.log_variance[:, number], a[f"{at}{call}/logvar_{latent}"])
    fakes = {"X": seen.passes.fake_x.expression, "Y": seen.passes.fake_y.expression}
    for side, real in (("X", batch.x), ("Y", batch.control)):
        said, mix, fake = getattr(seen, side.lower()), a[f"{at}gp_eps_{side}"], fakes[side]
        read = {
            "real": real,
            "fake": fake,
            "hat": mix * real + (1 - mix) * fake,
            f"on_fake{side}": fake,
        }
        fooled = getattr(seen, f"fooled_{side.lower()}")
        logits = {"real": said.real, "fake": said.fake, "hat": said.mixed, f"on_fake{side}": fooled}
        for call, rows in read.items():
            near(rows, a[f"{at}D{side}_{call}/in_x"])
            near(jax.nn.sigmoid(logits[call])[:, None], a[f"{at}D{side}_{call}/prob"])
        near(said.slopes, a[f"{at}gp_grad_{side}"])


def same_losses(a: Arrays, at: str, value, terms: dict, seen: cycseq_game.Inside) -> None:
    named = {
        "loss_GAN_XY": "adversarial_p2n",
        "loss_GAN_YX": "adversarial_n2p",
        "loss_G_total": "generators",
    }
    for side in "XY":
        named |= {
            f"loss_D{side}_real": f"real_{side.lower()}",
            f"loss_D{side}_fake": f"fake_{side.lower()}",
        }
        named |= {
            f"loss_D_{side}": f"critic_{side.lower()}",
            f"gp_{side}": f"penalty_{side.lower()}",
        }
        near(
            terms[f"cycle_{side.lower()}"] + terms[f"condition_{side.lower()}"],
            a[f"{at}loss_cycle_{side}"],
        )
    for theirs, ours in named.items():
        near(terms[ours], a[f"{at}{theirs}"])
    for theirs, made in (("G", seen.passes.fake_y), ("F", seen.passes.fake_x)):
        latents = losses.divergence(made.mean, made.log_variance, "mean").mean(0)
        near(latents, jnp.stack([a[f"{at}kl_{theirs}_{latent}"] for latent in LATENTS]))
        near(terms[f"kl_{NETS[theirs]}"], latents.sum())
    near(value, a[f"{at}loss_G_total"] + a[f"{at}loss_D_X"] + a[f"{at}loss_D_Y"])
    near(
        1 - losses.r2(a[f"{at}x_X"], seen.passes.cycle_x.expression).mean(),
        a[f"{at}one_minus_r2"],
        1e-7,
    )


def same_gradients(a: Arrays, at: str, slopes) -> None:
    """The published generators' are stored clipped; those of their unused parameters are 0."""
    norm = optax.tree.norm(slopes["generators"])
    near(norm, a[f"{at}grad_norm_GF_before_clip"], 1e-9)
    expected, _, unused = weights(a, f"{at}grad/")
    clipped = jax.tree.map(
        lambda leaf: leaf * jnp.minimum(1, 1 / (norm + 1e-6)), slopes["generators"]
    )
    trees_near(clipped, expected["generators"], 1e-9)
    trees_near(slopes["critics"], expected["critics"], 1e-9)
    for arrays in unused.values():
        assert all(not leaf.any() for leaf in arrays.values())


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_published_optimisers(cycseq_arrays, name):
    a = Arrays(cycseq_arrays("optim"))
    rate, stored = {"adam": (2e-4, "adam_b05_b09_lr2e4"), "rmsprop": (1e-5, "rmsprop_lr1e5")}[name]
    with jax.enable_x64(True):
        # Only Adam reads them.
        steps = optim.build(name, rate, betas=(0.5, 0.9))
        expected = a[stored]
        params = {"weights": expected[0]}
        moments, update = jax.jit(steps.init)(params), jax.jit(steps.update)
        for gradient, after in zip(a["grads"], expected[1:], strict=True):
            updates, moments = update({"weights": gradient}, moments, params)
            params = optax.apply_updates(params, updates)
            near(params["weights"], after, 1e-14)


def test_published_rates(cycseq_arrays):
    """One step per epoch; the rate of every epoch of the published and the paper's schedules."""
    a = Arrays(cycseq_arrays("optim"))
    schedules = {
        "lr_reference_100": (2e-4, 0.5, 10),
        "lr_paper_pretrain_100": (2e-4, 0.9, 10),
        "lr_paper_finetune_30": (1e-5, 0.9, 3),
    }
    with jax.enable_x64(True):
        for name, schedule in schedules.items():
            rates = optim.decayed(*schedule)
            near(rates(jnp.arange(len(a.arrays[name]))), a[name], 1e-15)
    assert a.left() == {"grads", "adam_b05_b09_lr2e4", "rmsprop_lr1e5"}
