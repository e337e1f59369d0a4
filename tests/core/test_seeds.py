"""Seeds trained together are the runs of those seeds, one by one."""

import jax
import numpy as np
import pytest

from jaxpert import data
from jaxpert.models.cradle import model as cradle_vae
from jaxpert.models.cradle import sams_vae
from jaxpert.tasks.screen import predict as workflow

SIZES = {
    "latent_dim": 8,
    "hidden_dim": 16,
    "embedding_layers": 2,
    "embedding_hidden_dim": 16,
    "particles": 2,
}
SEEDS = 5


@pytest.fixture(scope="module")
def screen():
    cells, _ = data.simulate("tiny")
    cells = data.add_quality(
        data.read(cells, perturbation="perturbation", control="ctrl"), doublets="none", multiplier=3
    )
    return data.add_split(cells, kind="combinations")


@pytest.mark.parametrize("module", [cradle_vae, sams_vae], ids=lambda m: m.__name__.split(".")[-1])
def test_five_seeds_at_once_are_five_single_runs(module, screen):
    model = module.build(data.make_spec(screen), **SIZES)
    options = {"epochs": 2, "batch_size": 64, "learning_rate": 1e-3}

    def run(**which):
        rows = []
        fitted = workflow.fit(model, screen, report=rows.append, **which, **options)
        return (
            fitted,
            [row for row in rows if "train/loss" in row],
            [row for row in rows if "val/loss" in row],
        )

    together = run(seed=3, seeds=SEEDS)
    for i in (0, SEEDS - 1):
        single = run(seed=3 + i)
        for many, one in zip(together[1] + together[2], single[1] + single[2], strict=True):
            for name in one.keys() - {"step", "epoch", "seconds", "cells_per_second"}:
                np.testing.assert_allclose(
                    many[name][i], one[name], rtol=1e-5, atol=1e-6, err_msg=name
                )
        picked = workflow.pick_seed(together[0], i)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
            picked.params,
            single[0].params,
        )
    assert np.ptp(together[1][-1]["train/loss"]) > 0, "seeds should differ"
