"""Widths from left-out perturbations cover what they promise, whatever moves genes together."""

import numpy as np
import pytest
from scipy import stats

from jaxpert.core.types import LEVELS
from jaxpert.evaluation import conformal

GENES = 60


def away(rng, perturbations, *, wrong, together, spread):
    """|error| over a standard deviation that is `wrong` times the true one.

    Genes share a part `together` of their errors, and perturbations differ in size by the factor
    exp(N(0, spread)).
    """
    shared = rng.normal(size=(perturbations, 1)) * rng.normal(size=(1, GENES))
    own = rng.normal(size=(perturbations, GENES))
    error = np.sqrt(together) * shared + np.sqrt(1 - together) * own
    size = np.exp(spread * rng.normal(size=(perturbations, 1)))
    return np.abs(size * error) / wrong


def covered(held_out, new):
    factors = conformal.widths(held_out)
    normal = stats.norm.ppf((1 + np.array(LEVELS)) / 2)
    return [
        (new <= factor * quantile).mean() for factor, quantile in zip(factors, normal, strict=True)
    ]


@pytest.mark.parametrize("perturbations", [9, 20, 60])
@pytest.mark.parametrize(
    "kind",
    [
        {"wrong": 0.2, "together": 0.0, "spread": 0.0},
        {"wrong": 5.0, "together": 0.8, "spread": 0.3},
        {"wrong": 1.0, "together": 0.5, "spread": 1.0},
    ],
)
def test_new_perturbations_are_covered_as_promised(perturbations, kind):
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        both = away(rng, perturbations + 20, **kind)
        found.append(covered(both[:perturbations], both[perturbations:]))
    for level, share in zip(LEVELS, np.mean(found, axis=0), strict=True):
        # The last perturbation counts as badly as the worst, which is 1 / (n + 1) too much at most.
        assert level - 0.015 <= share <= level + 0.015 + 1 / (perturbations + 1), (level, share)


def test_genes_of_one_perturbation_are_no_observations_of_their_own():
    """A perturbation that is all wrong, one in ten, is what 90 % intervals may miss; one that is
    copied ten times over in its genes tells no more."""
    rng = np.random.default_rng(1)
    few = away(rng, 12, wrong=1.0, together=0.5, spread=0.5)
    np.testing.assert_allclose(conformal.widths(few), conformal.widths(np.tile(few, (1, 10))))


def test_the_least_width_that_is_enough():
    rows = np.tile(np.arange(1.0, 11.0), (9, 1))
    # Nine rows alike, each half covered at 5: 9 x 0.5 + 0.5 = 0.5 (9 + 1).
    assert conformal.threshold(rows, 0.5) == 5
    assert conformal.threshold(rows, 0.51) == 6
    worse = np.vstack([rows, rows[:1] + 100])
    # One row in ten is never covered: (9 x 0.5 + 0) < 0.5 x 11.
    assert conformal.threshold(worse, 0.5) == 7


def test_too_few_perturbations_give_no_width():
    assert np.isnan(conformal.widths(np.ones((conformal.FEWEST - 1, GENES)))).all()
    assert np.isfinite(conformal.widths(np.ones((conformal.FEWEST, GENES)))).all()


def test_errors_that_are_infinitely_far_give_no_width():
    rows = np.ones((12, GENES))
    rows[:, ::2] = np.inf
    factors = conformal.widths(rows)
    assert np.isfinite(factors[0]) and np.isnan(factors[1])
