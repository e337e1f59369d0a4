"""Requests of similar sizes share a program, and what is added to them changes nothing."""

import jax
import numpy as np
import pytest

from jaxpert.core.types import Model, Request
from jaxpert.evaluation.generate import effect_intervals, generated_counts
from jaxpert.evaluation.row_blocks import padded, shared_rows


def request(rows):
    ones = np.ones(rows, np.float32)
    treatment = np.arange(rows, dtype=np.float32)[:, None]
    return Request(treatment, 1e4 * ones, np.zeros(rows, np.int32), 0 * ones)


@pytest.fixture
def noisy():
    """A model that draws counts, and the numbers of rows for which it was traced."""
    traced = []

    def predict(params, state, key, request):
        traced.append(request.treatment.shape[0])
        shape = (request.treatment.shape[0], 4)
        return jax.random.poisson(key, 5.0 + request.treatment, shape).astype(float)

    return Model(init=None, loss=None, predict=predict), traced


@pytest.mark.parametrize("rows, made_for", [(1, 8), (8, 8), (9, 16), (64, 64), (65, 128)])
def test_programs_are_made_for_few_numbers_of_rows(rows, made_for):
    assert shared_rows(rows) == made_for
    assert len(padded(request(rows), made_for).library) == made_for


def test_rows_that_follow_change_no_draw_and_compile_nothing(noisy):
    model, traced = noisy
    arguments = model, {}, {}, jax.random.key(0)
    few, many = (generated_counts(*arguments, request(rows), cells_per_row=3) for rows in (2, 7))
    few, many = few.toarray().reshape(3, 2, 4), many.toarray().reshape(3, 7, 4)
    np.testing.assert_array_equal(few, many[:, :2])
    # Cells of other numbers and rows find the program made.
    before = len(traced)
    more = generated_counts(*arguments, request(5), cells_per_row=27)
    assert more.shape == (135, 4)
    # Those are the shapes that `block_sizes` asks for; a program would trace 8 rows.
    assert traced[before:].count(8) == 0


def test_effects_of_rows_do_not_depend_on_what_else_is_asked(noisy):
    arguments = noisy[0], {}, {}, jax.random.key(1)
    few, many = (effect_intervals(*arguments, request(n), particles=40) for n in (3, 6))
    np.testing.assert_array_equal(few.effect, many.effect[:3])
    np.testing.assert_array_equal(few.error, many.error[:3])
    assert len(few.moments.mean) == 3
