"""Guide columns: calls and counts, control guides, cells without any guide."""

import numpy as np
import pytest

from jaxpert import data
from jaxpert.core.types import InputError


def guides(screen, rows, names=("KLF1", "FAR2", "NTC"), **columns):
    """Cells of the given counts of each guide."""
    table = np.asarray(rows)
    counts = {f"guide_{name}": table[:, k] for k, name in enumerate(names)}
    return screen(["x"] * len(rows), **counts, **columns)


def cells_of(dataset):
    cells = np.bincount(dataset.condition, minlength=len(dataset.conditions))
    return dict(zip(dataset.conditions, cells.tolist(), strict=True))


CALLS = [[1, 0, 0]] * 4 + [[0, 1, 0]] * 3 + [[0, 0, 1]] * 5 + [[1, 0, 1]] * 2 + [[0, 0, 0]] * 6
READ = {"guide_prefix": "guide_", "perturbation": "absent"}


def test_a_control_guide_is_no_treatment(screen):
    adata = guides(screen, CALLS)
    for control in ("NTC", "ntc", "guide_NTC", ["NT*"]):
        dataset = data.read(adata, control=control, **READ)
        assert cells_of(dataset) == {"KLF1": 6, "FAR2": 3, "NTC": 5}
        assert dataset.treatments == ("FAR2", "KLF1")
        assert any("6 of 20 cells were left out, since no guide" in note for note in dataset.notes)
    on_request = data.read(adata, control="NTC", no_guide="control", **READ)
    assert cells_of(on_request) == {"KLF1": 6, "FAR2": 3, "NTC": 11}
    assert any("'without a guide' (6 cells)" in note for note in on_request.notes)


def test_cells_without_a_guide_are_controls_where_no_guide_is(screen):
    dataset = data.read(guides(screen, CALLS), **READ)
    assert cells_of(dataset) == {"KLF1": 4, "FAR2": 3, "NTC": 5, "KLF1+NTC": 2, "ctrl": 6}
    assert any("called like controls: 'NTC'" in note for note in dataset.notes)
    with pytest.raises(InputError, match="name the control guides in data.control"):
        data.read(guides(screen, CALLS), no_guide="drop", **READ)


def test_counts_are_guides_too(screen):
    counts = np.array(CALLS) * [[7, 1, 9]]
    counts[-1] = [0, 1, 0]
    adata = guides(screen, counts)
    assert cells_of(data.read(adata, control="NTC", **READ)) == {"KLF1": 6, "FAR2": 4, "NTC": 5}
    strict = data.read(adata, control="NTC", guide_threshold=2, **READ)
    assert cells_of(strict) == {"KLF1": 6, "NTC": 5}
    assert any("left out: FAR2" in note for note in strict.notes)
    # Cells with some counts may have a guide after all: they are no controls.
    weak = data.read(adata, guide_threshold=2, **READ)
    assert cells_of(weak) == {"KLF1": 4, "NTC": 5, "KLF1+NTC": 2, "ctrl": 5}
    assert any("4 of 20 cells were left out" in note and "(4 have" in note for note in weak.notes)
    with pytest.raises(InputError, match="no cell has 99 counts of a guide"):
        data.read(adata, guide_threshold=99, control="NTC", **READ)


def test_unequal_counts_are_named(screen):
    adata = guides(screen, [[50, 1, 0], [50, 40, 0], [0, 3, 0], [0, 0, 0]] * 3)
    (note,) = (note for note in data.read(adata, **READ).notes if "ambient" in note)
    assert note.startswith("3 cells carry") and "cell0 (KLF1 50, FAR2 1)" in note
    sure = data.read(adata, guide_threshold=2, **READ)
    assert not any("ambient" in note for note in sure.notes)


def test_columns_that_are_no_guides(screen):
    adata = guides(screen, CALLS, guide_ids=["KLF1"] * 20, guide_coverage=np.linspace(0.1, 3, 20))
    adata.obs["guide_total"] = np.array(CALLS).sum(1)
    adata.obs["guide_called"] = np.array(CALLS)[:, 0].astype(bool)
    dataset = data.read(adata, control="NTC", **READ)
    assert dataset.treatments == ("FAR2", "KLF1", "called")
    (note,) = (note for note in dataset.notes if "are no guides" in note)
    assert "guide_ids, guide_coverage, guide_total" in note
    # A column that may be the guide of cells without another one is not left out silently.
    adata.obs["guide_LOG"] = [0.0] * 14 + [0.7] * 2 + [0.0] * 4
    with pytest.raises(InputError, match="'guide_LOG' .* 2 cells have something in it"):
        data.read(adata, **READ)
    with pytest.raises(InputError, match="no column of 0/1 or counts"):
        data.read(adata, guide_prefix="sgRNA_")


def test_guides_of_one_gene_are_joined(screen):
    adata = guides(screen, CALLS, names=("KLF1_g1", "KLF1_g2", "NT_g1"))
    apart = data.read(adata, control="NT_g1", **READ)
    assert apart.treatments == ("KLF1_g1", "KLF1_g2")
    assert any("guides of one gene" in note for note in apart.notes)
    joined = data.read(adata, control="NT", guide_pattern=r"(.+)_g\d+", **READ)
    assert cells_of(joined) == {"KLF1": 9, "NT": 5}
    with pytest.raises(InputError, match="no guide is like"):
        data.read(adata, control="NT", guide_pattern=r"(.+)_x\d+", **READ)


def test_names_of_conditions_are_unique(screen):
    """Labels of the file name conditions only where nobody else has the name."""
    adata = guides(screen, CALLS)
    adata.obs["condition"] = ["FAR2"] * 4 + ["other"] * 3 + ["NTC"] * 5 + ["x"] * 2 + ["NA"] * 6
    dataset = data.read(adata, control="NTC", guide_prefix="guide_")
    assert cells_of(dataset) == {"KLF1": 6, "other": 3, "NTC": 5}
    twice = guides(screen, [[1, 0, 0], [0, 1, 1], [0, 0, 0]] * 4, names=("A+B", "A", "B"))
    with pytest.raises(InputError, match="would be called 'A.B'"):
        data.read(twice, **READ)


def test_calls_as_texts(screen):
    adata = guides(screen, CALLS)
    for name in ("guide_KLF1", "guide_NTC"):
        adata.obs[name] = adata.obs[name].astype(bool).astype(str).astype("category")
    adata.obs["guide_FAR2"] = adata.obs["guide_FAR2"].astype(str)
    assert cells_of(data.read(adata, control="NTC", **READ)) == {"KLF1": 6, "FAR2": 3, "NTC": 5}


def test_controls_alone(screen):
    dataset = data.read(guides(screen, CALLS), control=["*1", "FAR2", "NTC"], **READ)
    assert dataset.conditions == ("KLF1",) and not dataset.treatments
    assert len(dataset.cells) == 14
