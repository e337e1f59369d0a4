"""The VAEs over a base: where the base enters, what is learned beside it, and that it is never in
the way without one."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpert
from jaxpert import data
from jaxpert.app import families
from jaxpert.models.cradle import offsets
from jaxpert.models.cradle.offsets import BLOCK
from jaxpert.models.cradle.settings import MODELS
from support import minibatch
from support.bases import base_of, planted

EFFECT = np.random.default_rng(0).normal(0, 0.5, (3, minibatch.GENES)).astype(np.float32)


@functools.cache
def over(name, scale=1.0):
    """A model over the base whose effects are multiplied by a number."""
    spec = minibatch.spec()
    spec = replace(spec, base=base_of(np.float32(scale) * EFFECT, spec))
    return families.module_of(name).build(spec, **minibatch.SMALL[name], base="additive")


@functools.cache
def started(name):
    return jax.jit(minibatch.built(name).init)(jax.random.key(0), minibatch.batch())


@functools.cache
def numbers(name, scale=None):
    """Loss, terms and gradients at the same parameters, without a base and over one."""
    model = minibatch.built(name) if scale is None else over(name, scale)
    step = jax.jit(minibatch.gradients(model))
    return minibatch.numbers(step(*started(name), jax.random.key(1), minibatch.batch()))


def fold_changes(name):
    """What the base multiplies the rates of every condition by, as logarithms."""
    return over(name).details.offsets.table


@pytest.mark.parametrize("library", [40, 1000, 20_000])
def test_fold_changes_are_those_of_expected_counts(library):
    """Poisson cells of known rates: their mean logarithms give the rates' ratio back."""
    rng = np.random.default_rng(0)
    share = np.array([0.3, 0.05, 0.01, 0.003, 0.6])
    change = np.array([-1.0, 0.8, -0.5, 1.0, 0.0])
    means = []
    for rate in (library * share, library * share * np.exp(change)):
        cells = rng.poisson(rate, (200_000, 5))
        means.append(np.log1p(1e4 * cells / library).mean(0))
    spec = replace(
        minibatch.spec(),
        genes=tuple("abcde"),
        control_mean=means[0],
        treatments=("t",),
        condition_treatments=np.array([[0], [1]], np.float32),
        conditions=("ctrl", "t"),
        condition_cells=np.array([5, 5]),
        treatment_cells=np.array([5]),
        log_mean=np.zeros(5),
        log_std=np.ones(5),
    )
    base = base_of((means[1] - means[0])[None].astype(np.float32), spec, library=float(library))
    got = offsets.fold_changes(base, spec, jnp.ones((1, 1)))[0]
    few = offsets.PSEUDOCOUNT / 1e4
    expected = np.log((share * np.exp(change) + few) / (share + few))
    np.testing.assert_allclose(got, expected, atol=0.04)
    assert not offsets.fold_changes(base, spec, jnp.zeros((1, 1))).any()


@pytest.mark.parametrize("name", MODELS)
def test_a_base_without_effects_changes_nothing(name):
    np.testing.assert_allclose(numbers(name, 0.0), numbers(name), rtol=1e-5, atol=1e-6)
    assert abs(numbers(name, 1.0)[0] - numbers(name)[0]) > 1e-3


@pytest.mark.parametrize("name", MODELS)
def test_the_base_multiplies_expected_counts(name):
    """Whatever the network says of a cell, the ratio of its genes is that of the base."""
    model, batch = over(name), minibatch.batch()
    params, key = started(name)[0], jax.random.key(2)
    blocks = model.latent.cells(params, key, batch)
    expected = fold_changes(name)[np.asarray(batch.condition)]
    np.testing.assert_allclose(blocks[BLOCK], expected, rtol=1e-4, atol=1e-5)
    library = jnp.full(minibatch.CELLS, 1e6)
    with_base = model.latent.decode(params, blocks, library)
    bare = blocks | {BLOCK: jnp.zeros_like(blocks[BLOCK])}
    ratio = with_base / model.latent.decode(params, bare, library)
    shared = np.log(ratio) - expected
    np.testing.assert_allclose(shared, np.broadcast_to(shared[:, :1], shared.shape), atol=1e-3)
    # Rates are shared out anew, so that the library stays what it is.
    np.testing.assert_allclose(with_base.sum(1), 1e6, rtol=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_the_base_is_no_latent(name):
    embedded = over(name).embed(started(name)[0], {}, jax.random.key(3), minibatch.batch())
    assert embedded.keys() == {"z_basal", "z_perturbation"} | (
        {"z_artifact"} if name == "cradle_vae" else set()
    )


@pytest.mark.parametrize("name", ["cradle_vae", "cpa_vae", "conditional_vae"])
def test_encoders_read_cells_as_they_would_be_without_the_base(name):
    """A cell multiplied by the fold change of its perturbation is encoded as it was before."""
    model, plain, batch = over(name), minibatch.built(name), minibatch.batch()
    params = started(name)[0]
    moved = fold_changes(name)[np.asarray(batch.condition)]
    changed = batch._replace(x=batch.x * jnp.exp(jnp.asarray(moved, batch.x.dtype)))
    before = plain.embed(params, {}, jax.random.key(3), batch)
    after = model.embed(params, {}, jax.random.key(3), changed)
    np.testing.assert_allclose(after["z_basal"], before["z_basal"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["sams_vae", "svae_plus"])
def test_generated_cells_have_the_effect_of_the_base(name):
    """With 40,000 cells of one set: their mean ratio to those of a base without effects, at the
    same noise."""
    treatment = np.repeat(minibatch.TREATMENTS[[1]], 20_000, axis=0)
    request = minibatch.request(treatment, library=1e4)
    params, key = started(name)[0], jax.random.key(4)
    means = []
    for scale in (0.0, 1.0):
        drawn = jax.jit(over(name, scale).predict)(params, {}, key, request)
        means.append(np.log(np.asarray(drawn, float).mean(0)))
    shared = means[1] - means[0] - fold_changes(name)[1]
    np.testing.assert_allclose(shared, shared.mean(), atol=0.1)


def test_what_is_left_over_the_base_is_learned():
    """The base knows every effect on half of the genes; the model learns the other half, of pairs
    that it has not seen too, and does not count the first one twice."""
    screen, truth, held_out = planted()
    known = np.arange(len(screen.genes)) < 12
    spec, library = data.make_spec(screen), float(np.median(np.asarray(screen.counts.sum(1))))
    half = np.where(known, truth[1:8], 0)
    spec = replace(spec, base=base_of(half, spec, library=library))
    model = jaxpert.cpa_vae.build(spec, latent_dim=8, hidden_dim=32, particles=1, base="additive")
    fitted = jaxpert.fit(model, screen, epochs=60, batch_size=128, learning_rate=3e-3)
    for conditions in (np.arange(1, 8), held_out):
        names = [screen.conditions[c] for c in conditions]
        made = jaxpert.predict(fitted, screen, names, particles=300, library=library)
        effect = made.layers["effect"][1:] * np.log(2)
        for genes, least, like in ((known, 0.7, 0.9), (~known, 0.3, 0.75)):
            predicted, true = effect[:, genes].ravel(), truth[conditions][:, genes].ravel()
            assert least < predicted @ true / (true @ true) < 1.4
            assert np.corrcoef(predicted, true)[0, 1] > like
