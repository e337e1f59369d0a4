"""What sets the Gamma-Poisson VAEs apart: masks, guides, additivity, and what each can be asked."""

import functools
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpert import data
from jaxpert.core.errors import InputError
from jaxpert.models.cradle import (
    conditional_vae,
    cpa_vae,
    sams_vae,
    settings,
    svae_plus,
)
from jaxpert.models.cradle import model as cradle_vae
from jaxpert.nn import svi
from support import minibatch
from support.published import given_noise

MODULES = {
    "cradle_vae": cradle_vae,
    "sams_vae": sams_vae,
    "cpa_vae": cpa_vae,
    "svae_plus": svae_plus,
    "conditional_vae": conditional_vae,
}
ADDITIVE = ("cradle_vae", "sams_vae", "cpa_vae")


def started(model):
    return jax.jit(model.init)(jax.random.key(0), minibatch.batch())[0]


@functools.cache
def asked(name):
    """A model with initial parameters: what its cells share, and the latents of the minibatch."""
    model = minibatch.built(name)
    params, draw = started(model), jax.jit(model.latent.shared)
    blocks = jax.jit(model.latent.cells)(params, jax.random.key(2), minibatch.batch())
    # The key from which `cells` draws what cells share.
    return draw(params, jax.random.split(jax.random.key(2))[0]), blocks


def small(module, name, **settings):
    return module.build(minibatch.spec(), **(minibatch.SMALL[name] | settings))


@pytest.mark.parametrize("name", ADDITIVE)
def test_perturbations_add(name):
    shared, blocks = asked(name)
    effect, perturbation = np.asarray(shared["effect"]), np.asarray(blocks["perturbation"])
    assert effect.shape == (3, 4)
    np.testing.assert_allclose(perturbation[4], effect[0] + effect[1], rtol=1e-6)
    np.testing.assert_array_equal(perturbation[0], 0)


@pytest.mark.parametrize("name", ["cradle_vae", "sams_vae", "svae_plus"])
def test_effects_are_exact_zeros_outside_the_mask(name):
    shared, _ = asked(name)
    mask, inclusion = np.asarray(shared["mask"]), np.asarray(shared["inclusion"])
    assert set(np.unique(mask)) <= {0.0, 1.0}
    np.testing.assert_array_equal(shared["effect"], np.asarray(shared["embedding"]) * mask)
    assert ((inclusion > 0) & (inclusion < 1)).all()


def test_only_failed_cells_of_cradle_vae_carry_the_artifact():
    artifact = np.asarray(asked("cradle_vae")[1]["artifact"])
    failed = np.asarray(minibatch.batch().extras["failed"]) == 1
    assert (artifact[~failed] == 0).all()
    assert (artifact[failed] == artifact[failed][0]).all() and artifact[failed].any()


def test_the_guides_of_sams_vae():
    correlated = started(minibatch.built("sams_vae"))
    free = started(small(sams_vae, "sams_vae", guide="mean_field"))
    assert "embedding_encoder" in correlated and "effect_loc" not in correlated
    assert "embedding_encoder" not in free and (free["effect_loc"] == 0).all()


@pytest.mark.parametrize(("module", "name"), [(sams_vae, "sams_vae"), (cpa_vae, "cpa_vae")])
def test_the_mean_field_encoder_does_not_see_the_perturbation(module, name):
    batch, key = minibatch.batch(), jax.random.key(3)
    changed = batch._replace(treatment=1 - batch.treatment)
    for hidden in (True, False):
        model = small(module, name, mean_field_encoder=hidden)
        params = started(model)
        embed = jax.jit(model.embed)
        before, after = (embed(params, {}, key, b)["z_basal"] for b in (batch, changed))
        assert np.array_equal(before, after) == hidden


def test_cpa_vae_is_sams_vae_with_every_mask_entry_one():
    """With mask logits and prior near 1 the mean-field SAMS-VAE has CPA-VAE's terms."""
    sizes = {k: v for k, v in minibatch.SMALL_VAE.items() if "particles" not in k}
    sams = sams_vae.programs(minibatch.spec(), **sizes, guide="mean_field", mask_prior=0.9999999)
    cpa = cpa_vae.programs(minibatch.spec(), **sizes)
    params = started(small(sams_vae, "sams_vae", guide="mean_field")) | {
        "mask_logits": jnp.full((3, 4), 60.0)
    }
    bare = {name: value for name, value in params.items() if name != "mask_logits"}
    draw = {
        "effect": jnp.full((1, 3, 4), 0.3),
        "z_basal": jnp.linspace(-1, 1, 64).reshape(1, 16, 4),
    }
    both = draw | {"mask": jnp.full((1, 3, 4), 0.5)}
    batch = minibatch.batch()
    objective = partial(svi.negative_elbo, seeded=given_noise)
    _, terms = jax.jit(partial(objective, *sams))(params, both, batch)
    _, expected = jax.jit(partial(objective, *cpa))(bare, draw, batch)
    for site, value in expected.items():
        np.testing.assert_allclose(terms[site], value, rtol=1e-5)
    np.testing.assert_allclose(terms["mask"], 0, atol=1e-5)


def test_masks_of_svae_plus_cost_nothing_beyond_their_probabilities():
    def of_prior(beta):
        model = small(svae_plus, "svae_plus", mask_beta=beta)
        key, batch = jax.random.key(0), minibatch.batch()
        _, (_, terms) = jax.jit(model.loss)(started(model), {}, key, batch)
        assert terms["mask"] == 0
        return terms["mask_prob"]

    # -log Beta(p; 1, b) = -log b - (b - 1) log(1 - p), and at the start p = 1 / 2 everywhere.
    few, many = (-np.log(beta) - (beta - 1) * np.log(0.5) for beta in (3.0, 6.0))
    np.testing.assert_allclose(of_prior(6.0) / of_prior(3.0), many / few, rtol=1e-5)


@pytest.fixture(scope="module")
def pairs():
    screen, _ = data.simulate("tiny", cells=300, genes=120)
    cells = data.add_quality(
        data.read(screen, perturbation="perturbation", control="ctrl"), doublets="none"
    )
    return data.add_split(cells, kind="combinations")


def test_svae_plus_refuses_combinations_until_told_what_they_are(pairs):
    refuse, own = (
        svae_plus.build(data.make_spec(pairs), combinations=c) for c in ("refuse", "own")
    )
    with pytest.raises(
        InputError, match=r"holds 6 combinations such as '.*\+.*', for which sVAE\+ has no rule"
    ):
        refuse.check(pairs)
    assert "latents of its own" in own.check(pairs)[0]
    singles = np.flatnonzero(pairs.condition_treatments.sum(1) < 2)
    alone = replace(
        pairs,
        conditions=tuple(np.array(pairs.conditions)[singles]),
        condition_treatments=pairs.condition_treatments[singles],
    )
    assert refuse.check(alone) == ()


def test_svae_plus_says_what_it_knows_of_a_condition(pairs):
    model = svae_plus.build(data.make_spec(pairs), combinations="own")
    held_out = np.setdiff1d(
        pairs.condition[pairs.rows("test")], pairs.condition[pairs.rows("train")]
    )
    words = model.support(pairs.condition_treatments)
    assert {words[c] for c in held_out} == {"no training cells"} and words[
        pairs.control
    ] == "trained"
    known = {tuple(row) for row in pairs.condition_treatments}
    new = next(
        row
        for row in np.eye(8)[:, None] + np.eye(8)
        for row in row
        if row.max() == 1 and tuple(row) not in known
    )
    with pytest.raises(InputError, match=r"sVAE\+ has no latents for 'PERT\d+\+PERT\d+'"):
        model.support(new[None].astype(np.float32))


@pytest.mark.parametrize("name", ADDITIVE)
def test_a_treatment_without_training_cells_rests_on_the_prior(name):
    spec = minibatch.spec()
    spec = replace(spec, treatment_cells=np.array([50, 40, 0]))
    model = MODULES[name].build(spec, **minibatch.SMALL[name])
    assert model.support(minibatch.TREATMENTS) == ("trained",) * 3 + (
        "no training cells: c",
        "trained",
    )
    whole = minibatch.batch()
    batch = minibatch.rows(whole, np.flatnonzero(np.asarray(whole.condition) != 3))
    tables = {"treatment_cells": jnp.array([50, 40, 0])}
    batch = batch._replace(extras=batch.extras | tables)
    params = started(model)
    slopes = jax.jit(jax.grad(model.loss, has_aux=True))(params, {}, jax.random.key(1), batch)[0]
    table = slopes["effect_loc" if name == "cpa_vae" else "mask_logits"]
    assert (table[2] == 0).all() and table[:2].any(), (
        "its latents are outside the loss, so they stay the initial ones"
    )
    drawn = jax.jit(model.predict)(params, {}, jax.random.key(2), minibatch.request())
    assert np.isfinite(drawn).all()


@pytest.mark.parametrize("name", MODULES)
def test_a_model_says_what_it_is(name):
    model = minibatch.built(name)
    assert model.name == name
    assert model.settings == settings.MODELS[name].settings(**minibatch.SMALL[name])
    assert model.details.settings is model.settings


@pytest.mark.parametrize(
    ("name", "options", "tables"),
    [
        ("cradle_vae", {}, {"treatment_cells", "failed_cells", "reference", "has_reference"}),
        ("cradle_vae", {"cf_weight": 0.0}, {"treatment_cells", "failed_cells"}),
        ("sams_vae", {}, {"treatment_cells"}),
        ("cpa_vae", {}, {"treatment_cells"}),
        ("svae_plus", {}, {"condition_cells"}),
        ("conditional_vae", {}, set()),
    ],
)
def test_a_loss_reads_the_tables_that_its_model_names(name, options, tables):
    model = small(MODULES[name], name, **options)
    assert set(model.tables) == tables
    batch = minibatch.batch()
    params, state = jax.eval_shape(model.init, jax.random.key(0), batch)
    for left_out in (None, *tables):
        kept = {"failed", *tables} - {left_out}
        some = batch._replace(extras={key: batch.extras[key] for key in kept})
        arguments = model.loss, params, state, jax.random.key(1), some
        if left_out is None:
            assert jax.eval_shape(*arguments)[0].shape == ()
        else:
            with pytest.raises(KeyError, match=left_out):
                jax.eval_shape(*arguments)


def test_settings_are_checked():
    with pytest.raises(
        InputError, match="model.kwargs.guide is 'free', expected one of correlated, mean_field"
    ):
        small(sams_vae, "sams_vae", guide="free")
    with pytest.raises(
        InputError, match="model.kwargs.latent_dim is 0, expected a whole number, at least 1"
    ):
        small(cpa_vae, "cpa_vae", latent_dim=0)
    with pytest.raises(InputError, match="model.kwargs.recon_alpha is 2.0, expected"):
        small(cradle_vae, "cradle_vae", recon_alpha=2.0)
    with pytest.raises(TypeError, match="mask_prior"):
        small(cpa_vae, "cpa_vae", mask_prior=0.1)
