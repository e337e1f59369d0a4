"""Departures from additivity under the posterior."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from jaxpert import data
from jaxpert.app import cli
from jaxpert.core.family import Finished, Problem, Run
from jaxpert.core.fit import Fitted
from jaxpert.core.types import InputError
from jaxpert.models.set_gp import pairs, process
from jaxpert.models.set_gp.family import FAMILY
from jaxpert.models.set_gp.fitting import Fitting
from jaxpert.models.set_gp.process import Training
from jaxpert.tasks.screen.keys import ScreenConfig
from support import toy


@pytest.fixture(scope="module")
def fitted():
    """Six singles, and pairs that are half their sum but for one that adds up."""
    rng = np.random.default_rng(0)
    alone = 2 * rng.normal(size=(6, 3)) @ rng.normal(size=(3, 20))
    sets = [row for row in np.eye(6)]
    effects = list(alone)
    for i in range(5):
        sets.append(np.eye(6)[i] + np.eye(6)[i + 1])
        effects.append((1.0 if i == 4 else 0.5) * (alone[i] + alone[i + 1]))
    training = Training(
        np.array(effects) + 0.05 * rng.normal(size=(11, 20)), np.array(sets), np.eye(6)[None]
    )
    with jax.enable_x64(True):
        return process.fit(training, np.ones(11, bool), most=3, steps=40)[0]


def test_the_mean_departure_is_that_of_the_predictions(fitted):
    with jax.enable_x64(True):
        first, second = jnp.eye(6)[:2], jnp.eye(6)[2:4]
        found = pairs.departures(fitted, first, second)
        each = [process.scores(fitted, sets)[0] for sets in (first + second, first, second)]
        np.testing.assert_allclose(found.mean, each[0] - each[1] - each[2], atol=1e-10)
        assert (found.variance > 0).all() and (found.information > 0).all()


def test_the_variance_is_that_of_the_joint_prior(fitted):
    """Without training conditions the posterior is the prior, whose variance can be drawn."""
    with jax.enable_x64(True):
        of = fitted.posterior
        blind = fitted._replace(posterior=of._replace(used=jnp.zeros(11)))
        found = pairs.departures(blind, jnp.eye(6)[:1], jnp.eye(6)[1:2])
        hyper = jax.tree.map(lambda leaf: np.asarray(leaf)[0], of.hyper)
        # m_2 + p + (rho - 1)(e_A + e_B) - 2 m_1, every part independent.
        expected = hyper.mean[1] + hyper.pair + 4 * hyper.mean[0]
        expected += 2 * (hyper.rho - 1) ** 2 * hyper.genes[0]
        assert float(found.variance[0, 0]) == pytest.approx(float(expected), rel=1e-10)


def test_a_run_ranks_its_pairs(run_of, tmp_path):
    work = run_of("set_gp_norman:test")
    assert cli.main(["pairs", str(work), f"--output={tmp_path / 'out'}"]) == 0
    table = pd.read_csv(tmp_path / "out/pairs.csv")
    assert tuple(table.columns) == pairs.COLUMNS
    assert table["probability_strong"].is_monotonic_decreasing
    assert table["probability_strong"].between(0, 1).all()
    assert {"yes", "no"} == set(table["measured"])
    assert cli.main(["pairs", str(work), "--genes=PERT001", f"--output={tmp_path / 'b'}"]) == 2


def test_pairs_need_the_covariances_of_all_training_conditions(fitted, tmp_path):
    problem = Problem(toy.dataset(), data.make_spec(toy.dataset()), feeds=len, sample=len)
    # What a fit of many conditions leaves in the place of a posterior.
    state = dict.fromkeys(Fitting._fields) | {"process": fitted._replace(posterior=None)}
    run = Finished(ScreenConfig(), FAMILY, problem, Fitted(toy.model(), {}, state), {})
    with pytest.raises(InputError) as error:
        pairs.write_pairs([Run("run", tmp_path, run)], tmp_path, pairs.Options())
    assert str(error.value) == (
        f"{tmp_path} has more than model.kwargs.exact training conditions, expected no more, since "
        "covariances are not kept whole there: raise it, or train on fewer"
    )
    assert not list(tmp_path.iterdir())
