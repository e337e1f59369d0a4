"""Artifact removal against answers known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpert import data
from jaxpert.core.errors import InputError
from jaxpert.core.streams import Stream
from jaxpert.models.cradle import remove_artifacts as artifacts
from support import toy
from support.planted_artifact import (
    ARTIFACT,
    BASE,
    EFFECT,
    GENES,
    PARAMS,
    fitted,
    labelled,
    planted,
)

DRAWS = 7


def softmax(x):
    e = np.exp(x)
    return e / e.sum(-1, keepdims=True)


def expected_draws(dataset, rows, noise, library, seed=0):
    """Clean and kept expectations [draws, cells, genes], with the keys of `remove_artifacts`."""
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), Stream.REMOVE), DRAWS)
    effect = dataset.condition_treatments[dataset.condition[rows]] @ EFFECT
    clean, kept = [], []
    for key in keys:
        cell = [
            np.asarray(jax.random.normal(jax.random.fold_in(key, i), (GENES,)))
            for i in range(len(rows))
        ]
        log_rate = BASE + noise * np.stack(cell) + effect
        shift = (
            dataset.quality.failed[rows][:, None]
            * ARTIFACT
            * (1 + 0.5 * float(jax.random.normal(key)))
        )
        clean.append(library * softmax(log_rate))
        kept.append(library * softmax(log_rate + shift))
    return np.stack(clean), np.stack(kept)


def test_removal_gives_back_the_planted_cells():
    """Without noise the answer does not depend on any draw, but the artifact's does."""
    dataset = labelled()
    rows = np.flatnonzero(dataset.quality.failed)
    removed = artifacts.remove_artifacts(fitted(planted(0.0)), dataset, draws=DRAWS, library=500.0)
    truth = 500 * softmax(BASE + dataset.condition_treatments[dataset.condition[rows]] @ EFFECT)
    np.testing.assert_allclose(removed.X, truth, rtol=1e-5)
    np.testing.assert_allclose(removed.layers["sd"], 0, atol=1e-3)
    np.testing.assert_allclose(
        removed.layers["with_artifact"], expected_draws(dataset, rows, 0.0, 500)[1].mean(0), 1e-4
    )
    assert (np.abs(removed.layers["with_artifact"] - truth) > 1).mean() > 0.5
    assert list(removed.obs_names) == [f"cell{i}" for i in rows]
    assert list(removed.var_names) == list(dataset.genes)
    assert list(removed.obs["condition"]) == [
        dataset.conditions[c] for c in dataset.condition[rows]
    ]
    assert set(removed.obs["split"]) == {"train", "val"} and removed.obs["failed"].all()


def test_moments_over_draws_in_blocks_of_cells(monkeypatch):
    monkeypatch.setattr(artifacts, "BLOCK_VALUES", 20 * GENES)
    dataset = labelled()
    removed = artifacts.remove_artifacts(fitted(planted(0.7)), dataset, cells="all", draws=DRAWS)
    clean, kept = expected_draws(dataset, np.arange(len(dataset.cells)), 0.7, 1e4)
    np.testing.assert_allclose(removed.X, clean.mean(0), rtol=1e-4)
    np.testing.assert_allclose(removed.layers["sd"], clean.std(0, ddof=1), rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(removed.layers["with_artifact"], kept.mean(0), rtol=1e-4)
    passed = ~dataset.quality.failed
    np.testing.assert_array_equal(removed.X[passed], removed.layers["with_artifact"][passed])


def test_corrected_cells_keep_their_own_noise():
    dataset = labelled()
    removed = artifacts.remove_artifacts(fitted(planted(0.0)), dataset, draws=DRAWS)
    rows = np.flatnonzero(dataset.quality.failed)
    expected = (
        dataset.counts[rows].toarray() * np.asarray(removed.X) / removed.layers["with_artifact"]
    )
    corrected = removed.layers["corrected"].toarray()
    np.testing.assert_allclose(
        corrected, 1e4 * expected / expected.sum(1, keepdims=True), rtol=1e-4
    )
    assert ((corrected == 0) == (dataset.counts[rows].toarray() == 0)).all()


def test_memory_does_not_grow_with_the_draws():
    model, batch = planted(0.7), data.make_batch(labelled(), np.arange(100))
    sizes = [
        artifacts.removal_over_draws.lower(
            model.latent, PARAMS, jax.random.split(jax.random.key(0), n), batch, jnp.ones(100)
        )
        .compile()
        .memory_analysis()
        .temp_size_in_bytes
        for n in (4, 400)
    ]
    assert sizes[1] < sizes[0] + 100 * GENES * 4 * 4


def test_what_cannot_be_done_is_said():
    model = planted(0.0)
    remove = artifacts.remove_artifacts
    latent = model.latent
    assert latent is not None

    def without(*given):
        blocks = latent.cells(*given)
        return {name: block for name, block in blocks.items() if name != "artifact"}

    blind = model._replace(latent=latent._replace(cells=without))
    for unfit, said in (
        (model._replace(latent=None), "no latent space"),
        (blind, "latents are basal, perturbation"),
    ):
        with pytest.raises(InputError, match=f"{said}.*CRADLE-VAE"):
            remove(fitted(unfit), labelled())
    with pytest.raises(InputError, match="none of the 203 cells of 'toy' fails quality"):
        remove(fitted(model), labelled(np.zeros(203, bool)))
    with pytest.raises(InputError, match="no quality labels"):
        remove(fitted(model), toy.dataset())
    for bad, said in (
        ({"draws": 1}, "draws is 1"),
        ({"library": 0.0}, "library is 0"),
        ({"cells": "bad"}, "'bad'"),
    ):
        with pytest.raises(InputError, match=said):
            remove(fitted(model), labelled(), **bad)
