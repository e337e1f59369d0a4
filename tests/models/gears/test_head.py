"""The uncertainty head as a standard deviation of mean effects."""

import jax
import numpy as np
import pytest

from jaxpert.core.family import Problem
from jaxpert.models.gears import changes
from jaxpert.models.gears import model as gears
from jaxpert.models.gears.family import FAMILY
from jaxpert.tasks.screen.asking import make_request
from support import pairs_screen


def asked(fitted):
    net = gears.details_of(fitted.model)
    request = make_request(np.eye(len(net.spec.treatments), dtype=np.float32))
    return net, request, (fitted.params, fitted.state)


def test_a_mean_over_n_cells_has_the_variance_of_a_cell_over_n():
    fitted = pairs_screen.fitted(uncertainty="gaussian", uncertainty_head="gene")
    net, request, learned = asked(fitted)
    made = jax.jit(fitted.model.effect_deviation)(*learned, jax.random.key(0), request)
    change = changes.changes_of_treatments(net, *learned, request.treatment)
    perturbed = np.delete(net.spec.condition_cells, net.spec.control)
    cells = np.median(perturbed[perturbed > 0])
    assert cells > 1
    # On the log2 scale a variance of natural logarithms is divided by ln(2)^2.
    expected = np.exp(change.log_variance) / np.log(2) ** 2 / cells
    np.testing.assert_allclose(np.asarray(made) ** 2, expected, rtol=1e-4)


@pytest.mark.parametrize("uncertainty", ["none", "shipped"])
def test_other_heads_tell_no_variance(uncertainty):
    assert pairs_screen.fitted(uncertainty=uncertainty).model.effect_deviation is None


def test_sets_of_genes_without_cells_are_told_of_too():
    fitted, dataset = pairs_screen.fitted(uncertainty="gaussian"), pairs_screen.dataset()
    problem = Problem(dataset, None, None, None)
    made = FAMILY.predict(problem, fitted, ["g0", "far+g1"])
    assert (made.layers["effect_sd"][1:] > 0).all() and (made.layers["effect_sd"][0] == 0).all()
    assert (made.layers["measured_sd"] >= made.layers["effect_sd"]).all()
    # A few perturbations of a small screen are too few for widths.
    assert "width_90" not in made.obs and "no intervals" in made.uns["intervals"]
