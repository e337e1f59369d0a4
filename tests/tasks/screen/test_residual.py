"""Bases: what a model sees of a training perturbation is predicted without it."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse

import jaxpert
from jaxpert import data
from jaxpert.app.base import predictor
from jaxpert.core.types import InputError
from jaxpert.evaluation.baselines.seen import training_of
from jaxpert.tasks.screen import residual
from support import minibatch, pairs_screen

LN2 = np.log(2)


@pytest.fixture(scope="module")
def screen():
    return pairs_screen.dataset()


def fitted(screen, name="additive"):
    return residual.fit_base(name, predictor(name, data.make_spec(screen)), screen)


@pytest.fixture(scope="module")
def base(screen):
    return fitted(screen)


def effects(screen):
    """Measured changes of the training conditions, on the natural logarithm."""
    means = training_of(screen).means
    return LN2 * (means - means[screen.control])


@pytest.mark.parametrize("combinations", [0, 1, 14])
def test_every_set_is_asked_for_once_of_a_fit_without_it(combinations):
    genes = 7
    table = np.eye(genes)
    i, j = np.triu_indices(genes, 1)
    sets = np.concatenate([table, (table[i] + table[j])[:combinations]])
    folds = list(residual.folds_of(sets, np.random.default_rng(0)))
    asked = np.sum([fold.asked for fold in folds], axis=0)
    np.testing.assert_array_equal(asked, 1)
    for fold in folds:
        assert not (fold.asked & fold.used).any()
        of_singles = sets[fold.asked].sum(1) == 1
        assert of_singles.all() or not of_singles.any()
        if of_singles.all():
            # As a gene that no cell had, alone or in company.
            assert not sets[fold.used][:, sets[fold.asked].any(0)].any()
        else:
            np.testing.assert_array_equal(fold.used, ~fold.asked)


def test_left_out_changes_are_those_of_the_other_perturbations(screen, base):
    effect = effects(screen)
    assert base.trained.tolist() == [False] + 6 * [True] + 2 * [False]
    # A single is never given alone to its fit: the mean of the other singles stands in.
    for single in (1, 2, 3, 4):
        others = [c for c in (1, 2, 3, 4) if c != single]
        expected = effect[others].mean(0)
        np.testing.assert_allclose(base.left_out[single], expected, rtol=1e-4, atol=1e-5)
    # A pair is the sum of its singles, which are all there.
    np.testing.assert_allclose(base.left_out[5], effect[1] + effect[2], rtol=1e-4, atol=1e-5)
    assert not base.left_out[[0, 7, 8]].any()


def test_a_model_sees_left_out_changes_of_training_and_whole_ones_of_the_rest(screen, base):
    spec, effect = data.make_spec(screen), effects(screen)
    table = residual.table_of(base, spec)
    np.testing.assert_array_equal(table[base.trained], base.left_out[base.trained])
    np.testing.assert_allclose(table[7], effect[2] + effect[3], rtol=1e-4, atol=1e-5)
    # A triple that the data have no cell of, and nothing.
    asked = jnp.asarray([[1, 1, 1, 0], [0, 0, 0, 0]], jnp.float32)
    changes = residual.changes_of(base, spec, asked)
    np.testing.assert_allclose(changes[0], effect[1] + effect[2] + effect[3], rtol=1e-4, atol=1e-5)
    assert not changes[1].any() and not table[screen.control].any()


def scaled(screen, condition):
    """The same screen with other cells of a condition: its counts in another order of genes."""
    counts = screen.counts.toarray()
    rows = screen.condition == condition
    counts[rows] = np.roll(counts[rows], 5, axis=1)
    return replace(screen, counts=sparse.csr_matrix(counts))


@pytest.mark.parametrize("name", ["additive", "shrunken_additive", "set_gp"])
def test_own_cells_and_held_out_cells_never_tell(screen, name):
    before = fitted(screen, name)
    other = fitted(scaled(screen, 5), name)
    np.testing.assert_allclose(other.left_out[5], before.left_out[5], rtol=1e-3, atol=1e-4)
    assert abs(other.left_out - before.left_out).max() > 1e-3 or name != "set_gp"
    held_out = fitted(scaled(screen, 7), name)
    np.testing.assert_array_equal(held_out.left_out, before.left_out)


def test_a_fitted_table_would_leave_nothing_to_learn(screen, base):
    """Why left-out predictions are taken: the additive model of all cells tells singles back."""
    full = base.predict(base.state, jnp.asarray(screen.condition_treatments))
    error = abs(effects(screen)[1:5] - np.asarray(full)[1:5]).max()
    assert error < 1e-4 < abs(effects(screen)[1:5] - base.left_out[1:5]).mean()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("addtive", r"model.kwargs.base is 'addtive', expected none or one of no_change"),
        ("gears", r"model.kwargs.base is 'gears', expected none or one of no_change"),
        ("annotation_weighted", r"base=annotation_weighted cannot be made \(.*annotations"),
        ("matching_mean", r""),
    ],
)
def test_what_is_no_base_of_these_data_is_refused(screen, name, said):
    if not said:
        assert jaxpert.make_spec(screen, base=name).base is not None
        return
    with pytest.raises(InputError, match=said):
        jaxpert.make_spec(screen, base=name)


def test_a_base_that_a_part_of_training_does_not_allow_is_refused(screen):
    one_pair = replace(screen, split=np.where(screen.condition >= 6, 2, 0))
    with pytest.raises(InputError, match=r"base=scaled_additive without .* cannot be made"):
        jaxpert.make_spec(one_pair, base="scaled_additive")


def test_a_model_that_is_trained_is_no_base(screen):
    with pytest.raises(InputError, match="'gears', which is trained by steps or generates cells"):
        residual.fit_base("gears", minibatch.built("gears"), screen)


def test_settings_and_spec_name_the_same_base(screen):
    spec = jaxpert.make_spec(screen, base="additive")
    with pytest.raises(InputError, match="is 'none' and the spec holds the base 'additive'"):
        jaxpert.sams_vae.build(spec)
    with pytest.raises(InputError, match="is 'additive' and the spec holds the base 'none'"):
        jaxpert.sams_vae.build(data.make_spec(screen), base="additive")
