"""Stacking and intervals from left-out conditions."""

import numpy as np
import pytest

from jaxpert.models.set_gp import blend, evidence, sets


def made(rng, *, better: bool, conditions=40, genes=50):
    """Evidence in which the second predictor is right, or the process is."""
    truth = rng.normal(size=(conditions, genes))
    noisy = truth + rng.normal(size=truth.shape)
    right = truth + 0.05 * rng.normal(size=truth.shape)
    predictors = [noisy, right] if better else [right, noisy]
    found = evidence.Evidence(
        ("set_gp", "other"),
        np.ones(conditions, int),
        np.arange(conditions),
        np.stack(predictors),
        np.full(truth.shape, 0.5),
        np.full(truth.shape, 0.2),
    )
    return found, truth


@pytest.mark.parametrize("better", [True, False])
def test_weight_goes_to_what_predicts_left_out_conditions(better):
    found, truth = made(np.random.default_rng(0), better=better)
    weights = blend.stacked(found, truth, 2)
    assert (weights >= 0).all()
    assert (weights[1, 1] > 0.7) == better and (weights[1, 1] < 0.1) != better
    # A group without evidence rests on the process alone.
    np.testing.assert_array_equal(weights[2], [1, 0])


def test_few_conditions_are_pulled_towards_the_process():
    found, truth = made(np.random.default_rng(0), better=True, conditions=1)
    assert blend.stacked(found, truth, 2)[1, 0] > 0.8


def test_without_evidence_the_process_stands_alone():
    weights = blend.stacked(None, np.zeros((3, 4)), 3)
    np.testing.assert_array_equal(weights, [[1, 0, 0]] * (len(sets.GROUPS) + 1))
    assert (blend.widths(None, np.zeros((3, 4)), weights) == 1).all()


def test_widths_make_left_out_values_covered():
    rng = np.random.default_rng(1)
    found, truth = made(rng, better=False, conditions=200)
    weights = blend.stacked(found, truth, 2)
    factors = blend.widths(found, truth, weights)
    error = np.abs(np.tensordot(weights[1], found.predicted, 1) - truth)
    # The deviation was 0.5 and the error about 0.05, so that widths shrink tenfold.
    assert factors[1] == pytest.approx([0.1, 0.1], rel=0.15)
    covered = (error <= 1.645 * factors[1, 1] * found.deviation).mean()
    assert covered == pytest.approx(0.9, abs=0.02)


def test_every_gene_is_left_out_with_all_that_has_it():
    whole = np.vstack([np.eye(10), np.eye(10) + np.roll(np.eye(10), 1, axis=1)])
    for used in evidence.left_out(whole, 7, np.random.default_rng(0)):
        unseen = ~whole[used].any(0)
        assert unseen.any() and not whole[used][:, unseen].any()
        assert used.sum() >= evidence.FEWEST_LEFT
    assert list(evidence.left_out(np.eye(5), 3, np.random.default_rng(0))) == []


def test_groups_say_what_a_set_is_to_training():
    trained = np.array([[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 1, 1, 0, 0]], float)
    asked = np.array(
        [
            [0, 0, 0, 1, 0],  # never seen
            [1, 1, 0, 0, 0],  # a pair of seen genes
            [0, 0, 1, 0, 0],  # seen in a pair alone
            [1, 0, 0, 1, 0],
            [0, 0, 0, 1, 1],
            [0, 1, 1, 0, 0],  # trained
            [0, 0, 0, 0, 0],
        ],
        float,
    )
    groups = np.asarray(sets.groups_of(asked, sets.known_of(trained)))
    np.testing.assert_array_equal(groups, [0, 1, 1, 2, 3, sets.TRAINED, sets.TRAINED])


def test_widths_of_true_effects_leave_the_noise_of_measurements_out():
    rng = np.random.default_rng(2)
    found, truth = made(rng, better=False, conditions=200)
    noise = np.full(truth.shape, 0.01)
    noisy = truth + 0.1 * rng.standard_normal(truth.shape)
    weights = blend.stacked(found, noisy, 2)
    control = np.zeros(truth.shape[1])
    factors = blend.effect_widths(found, noisy, noise, weights, control)
    error = np.abs(np.tensordot(weights[1], found.predicted, 1) - truth)
    # The claim is a variance of 0.2, and the error about 0.05, half of the noise.
    assert factors[1, 1] < 0.35
    assert (error <= 1.645 * factors[1, 1] * np.sqrt(found.variance)).mean() > 0.85
    # A group of which nothing was left out has the widths of all that was.
    np.testing.assert_allclose(factors[0], factors[1])
    np.testing.assert_array_equal(factors[-1], [1, 1])


def test_of_many_left_out_conditions_some_are_predicted(monkeypatch):
    monkeypatch.setattr(evidence, "MOST", 2)
    whole = np.eye(30)
    effects = np.random.default_rng(0).normal(size=(30, 4))

    def refit(used):
        zeros = lambda asked: np.zeros((len(asked), 4))  # noqa: E731
        return {"set_gp": zeros}, lambda asked: (zeros(asked), zeros(asked))

    found = evidence.gather(effects, whole, 3, refit)
    assert found is not None and found.predicted.shape == (1, 6, 4)
    assert len(set(found.condition.tolist())) == 6
