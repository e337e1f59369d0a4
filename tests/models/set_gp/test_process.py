"""What holds for the fitted processes whatever the data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpert.models.set_gp import marginal, process
from jaxpert.models.set_gp.marginal import Data
from jaxpert.models.set_gp.process import Training

OPTIONS = {"most": 3, "steps": 15}


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def screen():
    """Twelve singles and eight pairs, 0.7 times the sum of their singles, with noise."""
    rng = np.random.default_rng(0)
    alone = rng.normal(size=(12, 3)) @ rng.normal(size=(3, 30))
    sets = np.eye(12)
    for i, j in zip(rng.permutation(12)[:8], range(8), strict=True):
        row = np.zeros(12)
        row[[i, (i + 1 + j % 3) % 12]] = 1
        sets = np.vstack([sets, row])
    sets = np.unique(sets, axis=0)
    weight = np.where(sets.sum(1) == 1, 1, 0.7)
    effects = weight[:, None] * (sets @ alone) + 0.1 * rng.normal(size=(len(sets), 30))
    return Training(effects, sets, np.eye(12)[None])


def fitted(training, used=None, **options):
    used = np.ones(len(training.sets), bool) if used is None else used
    return process.fit(training, used, **(OPTIONS | options))[0]


def effects_of(of, sets):
    return np.asarray(process.predict(of, jnp.asarray(sets)))


def test_the_empty_set_is_zero(screen):
    of = fitted(screen)
    nothing = jnp.zeros((1, 12))
    made = process.predict_all(of, nothing)
    for part in made:
        assert (np.asarray(part) == 0).all()


def test_the_order_of_genes_and_of_conditions_is_irrelevant(screen):
    genes, rows = (
        np.random.default_rng(1).permutation(30),
        np.random.default_rng(2).permutation(len(screen.sets)),
    )
    mixed = screen._replace(effects=screen.effects[rows][:, genes], sets=screen.sets[rows])
    asked = np.vstack([screen.sets, np.ones((1, 12))])
    one, other = (
        process.predict_all(fitted(screen), asked),
        process.predict_all(fitted(mixed), asked),
    )
    np.testing.assert_allclose(np.asarray(one.effect)[:, genes], other.effect, atol=1e-6)
    np.testing.assert_allclose(np.asarray(one.variance)[:, genes], other.variance, atol=1e-6)


def test_an_unrelated_condition_changes_nothing(screen):
    """One of a gene that is like no other, under the same directions and hyperparameters."""
    used = np.ones(len(screen.sets), bool)
    alone = np.flatnonzero(screen.sets.sum(1) == 1)
    lonely = [c for c in alone if screen.sets[:, screen.sets[c].argmax()].sum() == 1]
    if not lonely:
        c = alone[0]
        gene = screen.sets[c].argmax()
        used[(screen.sets[:, gene] == 1) & (screen.sets.sum(1) > 1)] = False
        lonely = [c]
    # The mean of singles is shared by all; without it nothing else is.
    of = fitted(screen, used)
    hyper = of.posterior.hyper._replace(mean=jnp.zeros_like(of.posterior.hyper.mean))
    parts = process.components_of(screen.effects, used, 3)
    without = used.copy()
    without[lonely[0]] = False
    made = [process.design_of(screen, u) for u in (used, without)]
    scores = np.where(without[:, None], parts.scores, 0)
    rest = np.where(without[:, None], parts.rest, 0)
    build = lambda p, d: process.posterior(p, hyper, d, screen.kernels, screen.sets)  # noqa: E731
    both = build(parts, made[0]), build(parts._replace(scores=scores, rest=rest), made[1])
    others = np.array([row for row in screen.sets if not row[screen.sets[lonely[0]].argmax()]])
    answers = [process.scores(of._replace(posterior=p), jnp.asarray(others)) for p in both]
    np.testing.assert_allclose(answers[0][0], answers[1][0], atol=1e-10)
    np.testing.assert_allclose(answers[0][1], answers[1][1], atol=1e-10)


def test_two_copies_of_a_condition_halve_its_noise(screen):
    """Two measurements with a known error are worth one with half the error."""
    of = fitted(screen)
    hyper = jax.tree.map(lambda leaf: leaf[0], of.posterior.hyper)
    hyper = hyper._replace(noise=jnp.zeros(2), pair=jnp.asarray(0.0))
    answers = []
    for sets, error in (([0, 0, 1], 0.2), ([0, 1], 0.1)):
        rows = screen.sets[screen.sets.sum(1) == 1][sets]
        known = np.array([error] * (len(sets) - 1) + [0.3])
        z = np.array([1.0] * (len(sets) - 1) + [-0.5])
        training = Training(np.zeros((len(sets), 1)), rows, screen.kernels)
        made = process.design_of(training, np.ones(len(sets), bool))
        data = Data(jnp.asarray(z[:, None]), jnp.asarray(known))
        covariance = np.asarray(marginal.covariance(hyper, made, data))
        asked = screen.sets[screen.sets.sum(1) == 1][3]
        cross = np.asarray(hyper.mean[0]) + np.asarray(hyper.genes[0]) * (rows @ asked)
        answers.append(cross @ np.linalg.solve(covariance, z))
    assert answers[0] == pytest.approx(answers[1], abs=1e-12)


def test_planted_pairs_are_found(screen):
    """A pair that was left out is nearer to its truth than the sum of its singles is."""
    pairs = np.flatnonzero(screen.sets.sum(1) > 1)
    used = np.ones(len(screen.sets), bool)
    used[pairs[:3]] = False
    of = fitted(screen, used, steps=40)
    singles = screen.effects[screen.sets.sum(1) == 1]
    order = screen.sets[screen.sets.sum(1) == 1].argmax(1)
    alone = singles[np.argsort(order)]
    asked, truth = screen.sets[pairs[:3]], screen.effects[pairs[:3]]
    error = ((effects_of(of, asked) - truth) ** 2).mean()
    assert error < 0.5 * ((asked @ alone - truth) ** 2).mean()


def test_weights_add_up_to_the_mean(screen):
    """The weights of training conditions times their scores are the posterior mean."""
    of = fitted(screen)
    parts = process.components_of(screen.effects, np.ones(len(screen.sets), bool), 3)
    asked = screen.sets[:4]
    weights = np.asarray(process.weights(of, jnp.asarray(asked)))
    assert weights.shape == (4, len(screen.sets))
    one = of._replace(scale=of.scale * np.array([1, 0, 0]))
    leading = np.asarray(process.weights(one, jnp.asarray(asked)))
    each, _ = process.scores(of, jnp.asarray(asked))
    np.testing.assert_allclose(leading @ parts.scores[:, 0], np.asarray(each)[:, 0], atol=1e-8)
