"""Fits to data sets that allow a baseline in a part of them and not in the whole."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxpert
from jaxpert import data
from jaxpert.evaluation.baselines.seen import training_of
from jaxpert.models.set_gp import fitting, model
from jaxpert.models.set_gp.settings import Settings
from jaxpert.tasks.screen.asking import make_request

SILENT = 7


def test_a_baseline_that_the_whole_does_not_allow_is_no_part_of_the_blend(monkeypatch):
    """Where every gene was given alone `annotation_weighted` is not made, though the genes that a
    fold leaves out would need it."""
    cells, truth = data.simulate("tiny")
    counts = cells.X.tolil()
    counts[:, SILENT] = 0
    cells.X = counts.tocsr()
    dataset = jaxpert.add_split(data.read(cells, perturbation="perturbation"), kind="no_test")
    dataset = data.add_graphs(dataset, terms=data.simulated_terms(truth))
    alone = dataset.condition_treatments[dataset.condition_treatments.sum(1) == 1]
    assert alone.any(0).all() and dataset.terms
    # Every predictor gets a weight, so that one that cannot be made would be met.
    everyone = lambda evidence, effects, count: np.ones((5, count)) / count  # noqa: E731
    monkeypatch.setattr(fitting.blend, "stacked", everyone)
    whole = fitting.rules_of(training_of(dataset), fitting.CANDIDATES)
    assert "annotation_weighted" not in whole and "additive" in whole
    made = fitting.fit(Settings(components=3, steps=3, folds=2), dataset)
    assert 1 < made.weights.shape[1] == 1 + len(made.rules) <= 1 + len(whole)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(made))
    # A gene that no cell has a count of is not known to the last digit.
    request = make_request(dataset.condition_treatments, library=1e4)
    single = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, np.float32)), made)
    said = model.deviation({}, single._asdict(), request)
    some = np.asarray(dataset.condition_treatments).any(1)
    sure = np.asarray(said.effect)[some]
    assert (sure[:, SILENT] > 0.005 * sure.mean(1)).all()
