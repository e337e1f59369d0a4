"""NumPyro programs as losses: equal to NumPyro's own ELBO, and usable without us."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pytest
from numpyro import handlers
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.svi import SVIState
from scipy import stats

from jaxpert.models.cradle import model as cradle_vae
from jaxpert.nn import svi
from support import minibatch

SMALL = {
    name: value for name, value in minibatch.SMALL["cradle_vae"].items() if "particles" not in name
}
BATCH = minibatch.batch()
SEEN = BATCH._replace(x=jnp.asarray(np.linspace(-2, 2, minibatch.CELLS, dtype=np.float32)[:, None]))


def programs(**settings):
    return cradle_vae.programs(minibatch.spec(), **(SMALL | settings))


def sites_of(program, kind="sample"):
    """Names of a program's sites; nothing is computed."""
    names = []

    def run(key):
        trace = handlers.trace(handlers.seed(program, key)).get_trace(BATCH)
        names.extend(name for name, site in trace.items() if site["type"] == kind)
        return 0

    jax.eval_shape(run, jax.random.key(0))
    return set(names)


def random_params(model, guide):
    """Parameters of the programs' shapes; drawing them as the programs do takes longer to compile
    than the rest of a test."""
    rng = np.random.default_rng(0)
    shapes, _ = jax.eval_shape(svi.make_init(model, guide), jax.random.key(0), BATCH)
    return jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), shapes)


# The published form draws the globals a second time, in the guide alone.
@pytest.mark.parametrize("compat", ["default", "reference"])
def test_negative_elbo_is_numpyros_per_cell(compat):
    model, guide = programs(compat=compat)

    @jax.jit
    def both(params, batch):
        key = jax.random.key(1)
        theirs = Trace_ELBO(num_particles=3).loss(key, params, model, guide, batch)
        return svi.make_loss(model, guide, 3)(params, {}, key, batch), theirs

    (value, (state, terms)), theirs = both(random_params(model, guide), BATCH)
    np.testing.assert_allclose(value, theirs / np.sum(BATCH.mask), rtol=1e-5)
    np.testing.assert_allclose(sum(map(float, terms.values())), value, rtol=1e-5)
    assert state == {}
    assert {"x", "z_basal", "mask", "effect", "artifact", "counterfactual"} <= set(terms)
    assert terms["counterfactual"] > 0


def test_programs_train_under_numpyros_own_svi():
    model, guide = programs()
    trainer = SVI(model, guide, optax.adam(1e-2), Trace_ELBO())

    # What `init` sets up in the trainer is needed, its random values are not.
    jax.eval_shape(trainer.init, jax.random.key(0), BATCH)

    @jax.jit
    def run(params, batch):
        start = SVIState(trainer.optim.init(params), None, jax.random.key(0))
        return jax.lax.scan(lambda state, _: trainer.update(state, batch), start, length=60)

    state, losses = jax.device_get(run(random_params(model, guide), BATCH))
    assert np.isfinite(losses).all() and losses[-10:].mean() < 0.9 * losses[:10].mean()
    # Nothing is constrained, so the parameters are those of our own loss.
    params, _ = jax.eval_shape(svi.make_init(model, guide), jax.random.key(0), BATCH)
    assert jax.tree.structure(dict(trainer.get_params(state))) == jax.tree.structure(params)


def test_no_weight_on_the_counterfactual_term_removes_it():
    _, guide = programs()
    _, ablated = programs(cf_weight=0.0)
    assert sites_of(guide) - sites_of(ablated) == {"counterfactual"}


def test_without_a_causal_artifact_it_is_a_free_parameter():
    for program, ablated in zip(programs(), programs(causal_artifact=False), strict=True):
        assert sites_of(program) - sites_of(ablated) == {"artifact"}
        assert "artifact_vector" in sites_of(ablated, "param") - sites_of(program, "param")
    model, guide = programs(causal_artifact=False)

    params = random_params(model, guide)
    assert "artifact_encoder" not in params

    @jax.jit
    def slope(params, batch):
        def loss(vector):
            changed = params | {"artifact_vector": vector}
            return svi.make_loss(model, guide, 1)(changed, {}, jax.random.key(0), batch)

        return jax.grad(loss, has_aux=True)(params["artifact_vector"])[0]

    got = np.asarray(slope(params, BATCH))
    assert got.shape == (4,) and got.all()


def test_init_holds_the_parameters_of_both_programs():
    def model(batch):
        numpyro.param("in_model", lambda key: jax.random.normal(key, (2,)))
        numpyro.param("shared", jnp.zeros(()))

    def guide(batch):
        numpyro.param("in_guide", jnp.ones(3))
        numpyro.param("shared", jnp.zeros(()))

    @jax.jit
    def init(seed):
        return svi.make_init(model, guide)(jax.random.key(seed), BATCH)

    params, state = init(0)
    assert set(params) == {"in_model", "in_guide", "shared"} and state == {}
    np.testing.assert_array_equal(init(0)[0]["in_model"], params["in_model"])
    assert not np.array_equal(init(1)[0]["in_model"], params["in_model"])


def draw_nothing(batch):
    """A guide without latents."""


def test_weights_multiply_and_zero_silences():
    """The first cell's mass is -inf, the second's a fifth of what it was, the third's triple."""
    weight, x = np.float32([0, 0.2, 3]), np.float32([-1, 2, 0.5])

    def total(rate):
        def model(batch):
            with numpyro.plate("cells", 3):
                svi.weighted(
                    lambda: numpyro.sample("x", dist.Gamma(1.0, rate), obs=jnp.asarray(x)),
                    jnp.asarray(weight),
                )()

        return svi.contributions(model, draw_nothing, {}, jax.random.key(0), SEEN)["x"]

    value, slope = jax.jit(jax.value_and_grad(total))(np.float32(2))
    weight, x = weight[1:], x[1:]
    np.testing.assert_allclose(value, (weight * (np.log(2) - 2 * x)).sum(), rtol=1e-5)
    np.testing.assert_allclose(slope, (weight * (0.5 - x)).sum(), rtol=1e-6)


def test_weights_nest_with_the_mask_of_padding():
    def model(batch):
        weight = jnp.array([2.0, 5, 0])
        with numpyro.plate("cells", 3), handlers.mask(mask=jnp.array([True, False, True])):
            svi.weighted(lambda: numpyro.sample("x", dist.Normal(0, 1), obs=jnp.ones(3)), weight)()

    @jax.jit
    def run():
        return svi.contributions(model, draw_nothing, {}, jax.random.key(0), SEEN)

    np.testing.assert_allclose(run()["x"], 2 * stats.norm.logpdf(1.0), rtol=1e-6)


def gaussian_model(batch):
    """z ~ N(0, 1), x ~ N(z, 1), so that x ~ N(0, 2) and z | x ~ N(x / 2, 1 / 2)."""
    with numpyro.plate("cells", minibatch.CELLS):
        z = numpyro.sample("z", dist.Normal(jnp.zeros((minibatch.CELLS, 1)), 1.0).to_event(1))
        numpyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=batch.x)


def gaussian_guide(spread):
    def guide(batch):
        with numpyro.plate("cells", minibatch.CELLS):
            numpyro.sample("z", dist.Normal(batch.x / 2, spread * 0.5**0.5).to_event(1))

    return guide


@functools.partial(jax.jit, static_argnames=("particles", "repeats", "chunk"))
def bound(spread, particles, repeats=1, chunk=5):
    """Bounds of each repeat and cell."""
    guide = gaussian_guide(spread)

    def run(key):
        draws = jax.random.split(key, particles)
        return svi.cell_bound(
            gaussian_model, guide, {}, draws, SEEN, local_sites=("z",), chunk=chunk
        )

    return jax.vmap(run)(jax.random.split(jax.random.key(0), repeats))


EVIDENCE = stats.norm(0, 2**0.5).logpdf(np.asarray(SEEN.x)[:, 0])


@pytest.mark.parametrize("particles", [1, 7])
def test_the_bound_is_the_evidence_where_the_guide_is_the_posterior(particles):
    np.testing.assert_allclose(bound(1.0, particles)[0], EVIDENCE, rtol=1e-5, atol=1e-5)


def test_more_particles_tighten_the_bound():
    bounds = [np.asarray(bound(0.6, particles, repeats=50)) for particles in (1, 10, 200)]
    gaps = [(EVIDENCE - values).mean() for values in bounds]
    # Over 50 repeats of 16 cells the gaps are many standard errors apart.
    assert gaps[0] > 1.5 * gaps[1] > 2 * gaps[2] > 0


def test_the_bound_does_not_depend_on_the_chunk():
    small, whole = (np.asarray(bound(0.6, 10, chunk=chunk)) for chunk in (3, 10))
    np.testing.assert_allclose(small, whole, rtol=1e-5)
