"""scGen beside a model of rows: trained on the training cells, asked for the same rows."""

import numpy as np
import pytest

from jaxpert.models.scgen.translation import fit, training_cells, why_not
from jaxpert.tasks.translation.rows import blocks_of_rows
from support.cycseq_runs import config, problem


@pytest.fixture(scope="module")
def fitted():
    return fit(config(), problem(), 1)


def test_rows_are_predicted_in_both_directions(fitted):
    predictor, notes = fitted
    rows = next(blocks_of_rows(problem().details, "test"))
    predicted = predictor(rows)
    assert set(predicted) == {"n2p", "p2n"} and "1 epochs at most" in notes[0]
    for values in predicted.values():
        assert values.shape == rows.x.shape and np.isfinite(values).all()
    moved = np.abs(predicted["n2p"] - predicted["p2n"]).max(1)
    assert (moved > 1e-3).all()
    again = predictor(rows)
    np.testing.assert_array_equal(again["n2p"], predicted["n2p"])


def test_held_out_cells_are_not_trained_on():
    prepared = problem().details
    dataset, empty = training_cells(prepared, 0)
    used = np.concatenate([dataset.rows("train"), dataset.rows("val")])
    assert empty == 0 and (prepared.dataset.split[used] == 0).all()
    assert len(dataset.rows("val")) == round(0.1 * len(used))
    assert dataset.strata == prepared.pseudobulk.lines


def test_rows_that_it_cannot_predict():
    data = problem()
    prepared = data.details
    assert why_not(data) == ""
    given = prepared._replace(scale=prepared.scale._replace(kind="log2_raw"))
    assert "data.lognorm=log2_raw" in why_not(data._replace(details=given))
    cells = data._replace(details=prepared._replace(unit="cell"))
    assert why_not(cells) == "scGen is compared on means of cells only"
    doses = prepared._replace(pairs=prepared.pairs._replace(dose=np.zeros((1, 2))))
    assert "not steps from one dose" in why_not(data._replace(details=doses))
