"""CycSeq as one would first write it in JAX: the yardstick of `make bench`.

The same networks and objective as `jaxpert.models.cycseq` (defaults), with one-hot conditions that
are multiplied, critics applied to [x; p; b] row by row, and the three updates of the published step
one after the other. Noise is a `StepNoise`, drawn here site by site.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxpert.models.cycseq.noise import CriticNoise, GeneratorNoise, StepNoise

KEEP = 0.8
ADAM = {"learning_rate": 2e-4, "b1": 0.5, "b2": 0.9}


def draw(key: Any, cells: int, hidden: tuple[int, ...], blocks: int, latent: int) -> StepNoise:
    """Every mask from a key of its own."""
    keys = iter(
        jax.random.split(key, 4 * (2 * (len(hidden) + 2 * blocks) + 1) + 2 * (4 * len(hidden) + 1))
    )

    def layers():
        return {
            f"drop{i}": jax.random.bernoulli(next(keys), KEEP, (cells, w))
            for i, w in enumerate(hidden, 1)
        }

    def trunk():
        sites = [f"block{i}.drop{j}" for i in range(blocks) for j in (1, 2)]
        return layers() | {
            site: jax.random.bernoulli(next(keys), KEEP, (cells, hidden[-1])) for site in sites
        }

    def generator():
        return GeneratorNoise(trunk(), trunk(), jax.random.normal(next(keys), (cells, 3, latent)))

    def critic():
        return CriticNoise(
            layers(), layers(), layers(), layers(), jax.random.uniform(next(keys), (cells, 1))
        )

    return StepNoise(generator(), generator(), generator(), generator(), critic(), critic())


def _linear(params, x):
    return x @ params["kernel"] + params["bias"]


def _prelu(params, x):
    return jnp.where(x > 0, x, params["slope"] * x)


def _drop(x, keep):
    return jnp.where(keep, x / KEEP, 0)


def _batch_norm(x, params, stats):
    mean, variance, count = x.mean(0), x.var(0), len(x)
    after = {
        "mean": 0.9 * stats["mean"] + 0.1 * mean,
        "variance": 0.9 * stats["variance"] + 0.1 * variance * count / (count - 1),
    }
    return (x - mean) / jnp.sqrt(variance + 1e-5) * params["scale"] + params["bias"], after


def _trunk(h, params, stats, keep):
    after = {}
    for i in range(1, 1 + sum(name.startswith("prelu") for name in params)):
        h = h if i == 1 else _linear(params[f"linear{i}"], h)
        h = _drop(_prelu(params[f"prelu{i}"], h), keep[f"drop{i}"])
    for name in sorted(stats):
        block, moments = params[name], {}
        r, moments["norm1"] = _batch_norm(
            _linear(block["linear1"], h), block["norm1"], stats[name]["norm1"]
        )
        r = _drop(_prelu(block["prelu1"], r), keep[f"{name}.drop1"])
        r, moments["norm2"] = _batch_norm(
            _linear(block["linear2"], r), block["norm2"], stats[name]["norm2"]
        )
        h = _drop(_prelu(block["prelu2"], r + h), keep[f"{name}.drop2"])
        after[name] = moments
    return h + params["attention"]["gamma"] * _linear(params["attention"]["value"], h), after


def _conditions(params, p, b):
    return _linear(params["target"], p), _linear(params["stratum"], b)


def generate(params, stats, noise: GeneratorNoise, x, p, b):
    """((x, p logits, b logits), mean, log variance, statistics)."""
    encoder, decoder, after = params["encoder"], params["decoder"], {}
    joined = jnp.concatenate([x, *_conditions(encoder["conditions"], p, b)], 1)
    h, after["encoder"] = _trunk(
        _linear(encoder["first"], joined),
        encoder["trunk"],
        _blocks(stats, "encoder"),
        noise.encoder,
    )
    heads = _linear(encoder["heads"], h).reshape(len(x), 2, 3, -1)
    mean, log_variance = heads[:, 0], jnp.clip(heads[:, 1], -20, 10)
    z = (mean + jnp.exp(log_variance / 2) * noise.normal).reshape(len(x), -1)
    joined = jnp.concatenate([z, *_conditions(decoder["conditions"], p, b)], 1)
    h, after["decoder"] = _trunk(
        _linear(decoder["first"], joined),
        decoder["trunk"],
        _blocks(stats, "decoder"),
        noise.decoder,
    )
    outputs = [_linear(decoder[name], h) for name in ("expression", "target", "stratum")]
    outputs[0] = _prelu(decoder["prelu"], outputs[0])
    return outputs, mean, log_variance, {side: {"trunk": blocks} for side, blocks in after.items()}


def _blocks(stats, side):
    return stats[side]["trunk"]


def judge(params, keep, x, p, b):
    """Logit of each row."""
    h = jnp.concatenate([x, p, b], -1)
    for i in range(1, 1 + sum(name.startswith("prelu") for name in params)):
        layer = params["first"] if i == 1 else params[f"linear{i}"]
        h = _drop(_prelu(params[f"prelu{i}"], _linear(layer, h)), keep[f"drop{i}"])
    return _linear(params["last"], h)[..., 0]


def _cycle_error(back, x, p, b):
    expression = ((x - back[0]) ** 2).mean() / (x.var() + 1e-8)
    target, stratum = (
        optax.softmax_cross_entropy(logits, true).mean()
        for logits, true in zip(back[1:], (p, b), strict=True)
    )
    return expression + 0.1 * target + 0.1 * stratum


def _divergence(mean, log_variance):
    return 0.5 * (jnp.exp(log_variance) + mean**2 - 1 - log_variance).mean((0, 2)).sum()


def generator_loss(generators, critics, state, noise: StepNoise, x, y, p, b):
    """(loss, (fakes, statistics))."""
    p2n, n2p = generators["p2n"], generators["n2p"]
    fake_y, mean_y, log_y, stats_g = generate(p2n, state["p2n"], noise.p2n, x, p, b)
    fake_x, mean_x, log_x, stats_f = generate(n2p, state["n2p"], noise.n2p, y, p, b)
    back_x, _, _, stats_f = generate(n2p, stats_f, noise.n2p_cycle, fake_y[0], p, b)
    back_y, _, _, stats_g = generate(p2n, stats_g, noise.p2n_cycle, fake_x[0], p, b)
    adversarial = (
        jax.nn.softplus(-judge(critics["y"], noise.y.generator, fake_y[0], p, b)).mean()
        + jax.nn.softplus(-judge(critics["x"], noise.x.generator, fake_x[0], p, b)).mean()
    )
    cycle = _cycle_error(back_x, x, p, b) + _cycle_error(back_y, y, p, b)
    divergence = _divergence(mean_y, log_y) + _divergence(mean_x, log_x)
    total = adversarial + 10 * cycle + 0.01 * divergence
    return total, ((fake_x[0], fake_y[0]), {"p2n": stats_g, "n2p": stats_f})


def critic_loss(critic, noise: CriticNoise, real, fake, p, b):
    """Log loss and a penalty on the slope of the logit between real and fake rows."""
    mixed = noise.mix * real + (1 - noise.mix) * fake
    slopes = jax.vmap(jax.grad(lambda x, keep, p, b: judge(critic, keep, x, p, b)))(
        mixed, noise.mixed, p, b
    )
    penalty = ((jnp.linalg.norm(slopes, axis=1) - 1) ** 2).mean()
    called = jax.nn.softplus(-judge(critic, noise.real, real, p, b)).mean()
    return called + jax.nn.softplus(judge(critic, noise.fake, fake, p, b)).mean() + penalty


def optimizers() -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """Of both generators together, and of each critic."""
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(**ADAM)), optax.adam(**ADAM)


def start(params: Any) -> Any:
    """First optimiser states."""
    generators, critics = optimizers()
    return generators.init(params["generators"]), {
        name: critics.init(one) for name, one in params["critics"].items()
    }


def step(
    params: Any, state: Any, moments: Any, noise: StepNoise, x, y, p, b
) -> tuple[Any, Any, Any, Any]:
    """(params, state, optimiser states, loss) after the three updates."""
    generators, critics = optimizers()
    value = jax.value_and_grad(generator_loss, has_aux=True)
    (loss, (fakes, state)), slopes = value(
        params["generators"], params["critics"], state, noise, x, y, p, b
    )
    updates, first = generators.update(slopes, moments[0])
    after: dict = {"generators": optax.apply_updates(params["generators"], updates), "critics": {}}
    later = {}
    for name, real, fake in (("x", x, fakes[0]), ("y", y, fakes[1])):
        own = params["critics"][name]
        more, slopes = jax.value_and_grad(critic_loss)(own, getattr(noise, name), real, fake, p, b)
        updates, later[name] = critics.update(slopes, moments[1][name])
        after["critics"][name] = optax.apply_updates(own, updates)
        loss += more
    return after, state, (first, later), loss


def joined(params: Any) -> Any:
    """Parameters of `jaxpert.models.cycseq` with one kernel for each first layer."""

    def join(layer, *blocks):
        return {
            "kernel": jnp.concatenate([layer[block] for block in blocks]),
            "bias": layer["bias"],
        }

    def side(part, block):
        return part | {"first": join(part["first"], block, "target", "stratum")}

    generators = {
        name: {
            "encoder": side(one["encoder"], "expression"),
            "decoder": side(one["decoder"], "latent"),
        }
        for name, one in params["generators"].items()
    }
    return {
        "generators": generators,
        "critics": {k: side(v, "expression") for k, v in params["critics"].items()},
    }
