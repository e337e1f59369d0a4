"""Tables of effects in place of cells: what is read, and what is refused in a sentence."""

import anndata
import numpy as np
import pandas as pd
import pytest

from jaxpert.core.types import InputError
from jaxpert.data.effects_table import is_table, read_table

LABELS = ["A+ctrl", "B+ctrl", "A+B"]
VALUES = np.array([[0.5, -1, 0], [-0.25, 2, 0], [0.0, 0.75, -3]])


def h5ad(path, labels=LABELS, values=VALUES, **layers):
    obs = pd.DataFrame({"condition": labels}, index=[f"r{i}" for i in range(len(labels))])
    var = pd.DataFrame(index=["g1", "g2", "A"])
    anndata.AnnData(np.asarray(values, float), obs=obs, var=var, layers=layers).write_h5ad(path)
    return path


def test_a_file_of_effects_is_read_as_it_is(tmp_path):
    path = h5ad(tmp_path / "screen.h5ad")
    assert is_table(path, "condition")
    dataset = read_table(path)
    assert dataset.scale == "effects" and dataset.errors is None
    assert dataset.genes == ("g1", "g2", "A") and dataset.treatments == ("A", "B")
    row = {name: dataset.counts[c].toarray()[0] for c, name in enumerate(_names(dataset))}
    np.testing.assert_array_equal(row["A+B"], VALUES[2])
    np.testing.assert_array_equal(row["ctrl"], 0)
    # A stored zero is a measured effect of 0.
    assert (np.diff(dataset.counts.indptr) == 3).all()
    assert any("without standard errors" in note for note in dataset.notes)


def _names(dataset):
    return [dataset.conditions[c] for c in dataset.condition]


def test_sheets_and_other_labels_are_read_too(tmp_path):
    path = tmp_path / "effects.csv"
    pd.DataFrame(VALUES, index=["NT_A", "B_NT", "B_A"], columns=["g1", "g2", "A"]).to_csv(path)
    assert is_table(path, "condition")
    dataset = read_table(path, control="NT", separator="_")
    assert dataset.treatments == ("A", "B") and len(dataset.conditions) == 4


def test_standard_errors_come_in_a_layer(tmp_path):
    path = h5ad(tmp_path / "s.h5ad", standard_error=np.full((3, 3), 0.1))
    dataset = read_table(path)
    assert dataset.errors.shape == (4, 3)
    assert (dataset.errors[dataset.condition == dataset.control] == 0).all()


def test_a_control_of_zeros_may_stand_there(tmp_path):
    path = h5ad(tmp_path / "s.h5ad", ["ctrl", *LABELS[:2]], np.vstack([np.zeros(3), VALUES[:2]]))
    assert len(read_table(path).conditions) == 3


def test_cells_are_no_effects(tmp_path):
    """Counts are not, and neither are cells that were centred."""
    counts = h5ad(tmp_path / "counts.h5ad", values=np.abs(VALUES).round())
    cells = h5ad(tmp_path / "cells.h5ad", ["A+ctrl", "A+ctrl", "ctrl"])
    assert not is_table(counts, "condition") and not is_table(cells, "condition")


@pytest.mark.parametrize(
    ("labels", "values", "layers", "said"),
    [
        (LABELS, np.where(VALUES == 2, np.nan, VALUES), {}, "1 effects that are not finite.*g2"),
        (["A+ctrl", "ctrl+A", "B+ctrl"], VALUES, {}, "1 conditions more than once"),
        (["ctrl", "B+ctrl", "A+B"], VALUES, {}, "effects of the control 'ctrl' that are not 0"),
        (
            LABELS,
            VALUES,
            {"standard_error": np.where(VALUES == 2, 0, 0.1)},
            r"1 conditions without a standard error.*B\+ctrl",
        ),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path, labels, values, layers, said):
    path = h5ad(tmp_path / "s.h5ad", labels, values, **layers)
    with pytest.raises(InputError, match=said):
        read_table(path)
