"""Artifact-free cells against predictions made one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpert.core.errors import InputError
from jaxpert.core.streams import Stream
from jaxpert.core.types import Model
from jaxpert.models.cradle import clean_cells
from support.planted_artifact import GENES, PARAMS, fitted, labelled, planted


def log2(x):
    return np.log2(1 + 1e4 * x / x.sum(-1, keepdims=True))


def test_clean_cells_share_draws_and_states():
    model, dataset = planted(0.3), labelled()
    options = {"cells_per_perturbation": 9, "draws": 4, "states": 5, "library": 900.0}
    cells, summary = clean_cells.clean_cells(
        fitted(model), dataset, ["a", "c+b", "ctrl", "a"], **options
    )
    assert list(summary.obs_names) == ["ctrl", "a", "c+b"] and cells.n_obs == 27
    assert list(cells.obs["draw"][:9]) == [0, 1, 2, 3, 0, 1, 2, 3, 0] and list(
        cells.obs["state"][:9]
    ) == [0] * 4 + [1] * 4 + [2]
    key = jax.random.split(jax.random.fold_in(jax.random.key(0), Stream.GENERATE))[0]
    made = np.stack(
        [
            [
                model.predict(
                    PARAMS,
                    {},
                    k,
                    clean_cells.make_request(np.tile(np.float32(t), (5, 1)), library=900.0),
                )
                for k in jax.random.split(key, 4)
            ]
            for t in ([0, 0, 0], [1, 0, 0], [0, 1, 1])
        ]
    )  # [conditions, draws, states, genes]
    counts = cells.X.toarray()
    for i, (draw, state) in enumerate(zip(cells.obs["draw"], cells.obs["state"], strict=True)):
        np.testing.assert_array_equal(counts[i], made[i // 9, draw, state])
    mean = log2(made).mean(2)
    effect = mean - mean[0]
    for name, values in (("", mean), ("effect_", effect)):
        np.testing.assert_allclose(summary.layers[name + "sd"], values.std(1, ddof=1), atol=1e-4)
        np.testing.assert_allclose(
            summary.layers[name + "lower"], np.percentile(values, 2.5, axis=1), atol=1e-4
        )
        np.testing.assert_allclose(
            summary.layers[name + "upper"], np.percentile(values, 97.5, axis=1), atol=1e-4
        )
    np.testing.assert_allclose(summary.X, mean.mean(1), atol=1e-4)
    np.testing.assert_allclose(summary.layers["effect"], effect.mean(1), atol=1e-4)
    error = np.sqrt((log2(made) - log2(made[:1])).var(2, ddof=1).mean(1) / 5)
    np.testing.assert_allclose(summary.layers["effect_error"], error, atol=1e-4)
    assert (
        np.abs(summary.layers["effect"][0]).max() < 1e-6
        and (summary.layers["effect_sd"][1:] > 0.05).any()
    )


def test_libraries_of_passed_control_cells():
    def predict(params, state, key, request):
        return jnp.pad(request.library[:, None], ((0, 0), (0, GENES - 1)))

    dataset = labelled()
    model = Model(None, None, predict)  # pyright: ignore
    cells, _ = clean_cells.clean_cells(
        fitted(model), dataset, ["b"], draws=2, states=60, library=None
    )
    totals = np.asarray(dataset.counts.sum(1)).ravel()
    passed = (dataset.condition == 0) & ~dataset.quality.failed
    made = cells.X.toarray()[:, 0]
    assert set(made) <= set(totals[passed]) and len(set(made)) > 5
    none = labelled(dataset.condition == 0)
    with pytest.raises(InputError, match="no control cell of 'toy' passed quality"):
        clean_cells.clean_cells(fitted(model), none, ["b"], library=None)


def test_clean_cells_that_cannot_be():
    model, make = planted(0.0), clean_cells.clean_cells
    with pytest.raises(InputError, match="'zz'.*a, b, c"):
        make(fitted(model), labelled(), ["a+zz"])
    with pytest.raises(InputError, match="predicts means, expected one that generates counts"):
        make(fitted(model._replace(scale="lognorm")), labelled(), ["a"])
    for bad in ("draws", "states", "cells_per_perturbation"):
        with pytest.raises(InputError, match=f"{bad} is 0"):
            make(fitted(model), labelled(), ["a"], **{bad: 0})
