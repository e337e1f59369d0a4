"""Effects and control profiles in every form, and every way in which a file can be wrong."""

import gzip

import anndata
import numpy as np
import pandas as pd
import pytest

from jaxpert.core.types import InputError
from jaxpert.data.effects_file import read_effects, read_profile, simulate_files

GENES = ["g1", "g2", "g3"]
CONDITIONS = ["A+ctrl", "B", "A+B"]
VALUES = np.array([[1.0, -2, 0], [0.5, 0, 0.25], [2, -1, 1]])
TEXT = "condition,g1,g2,g3\nA+ctrl,1,-2,0\nB,0.5,0,0.25\nA+B,2,-1,1\n"


def written(folder, form):
    """The same table in one of the forms."""
    path = folder / f"effects{form}"
    if form == ".csv":
        path.write_text("condition,g1,g2,g3\n" + TEXT.split("\n", 1)[1] + "ctrl,0,0,0\n")
    elif form == ".csv.gz":
        path.write_bytes(gzip.compress(TEXT.encode()))
    elif form == ".npz":
        np.savez(path, conditions=CONDITIONS, genes=GENES, effects=VALUES)
    else:
        obs = pd.DataFrame({"condition": CONDITIONS}, index=["x", "y", "z"])
        anndata.AnnData(VALUES, obs=obs, var=pd.DataFrame(index=GENES)).write_h5ad(path)
    return path


@pytest.mark.parametrize("form", [".csv", ".csv.gz", ".npz", ".h5ad"])
def test_every_form_gives_the_same_natural_logarithms(tmp_path, form):
    effects = read_effects(written(tmp_path, form), scale="log2")
    assert effects.conditions == tuple(CONDITIONS) and effects.genes == tuple(GENES)
    np.testing.assert_allclose(effects.log_fold, VALUES * 0.6931471805599453)
    np.testing.assert_array_equal(
        read_effects(written(tmp_path, form), scale="ln").log_fold, VALUES
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("condition,g1,g1\nA,1,2\n", "names 1 genes more than once .*g1"),
        ("condition,g1\nA,1\nA,2\n", "names 1 conditions more than once"),
        ("condition,g1\nA+B,1\nB+A,2\n", "'A\\+B' and 'B\\+A' of the same"),
        ("condition,g1\nA+A,1\n", "'A\\+A', expected different"),
        ("condition,g1\nA,nan\n", "1 effects that are not finite, such as g1 under A"),
        ("condition,g1\nA,high\n", "'high' under 'g1', expected a number"),
        ("condition,g1\nA,\n", "'' under 'g1', expected a number"),
        ("condition,g1\nA,1,2,3\n", "4 cells, expected 2"),
        ("condition,g1\nA,20.5\n", r"fold change of 2\^20.5 .*whether the scale is log2"),
        ("condition,g1\nctrl,1\nA,1\n", "effects of the control 'ctrl' that are not 0"),
        ("condition,g1\nctrl,0\n", "no perturbed condition"),
        ("condition,g1,\nA,1,2\n", "2 genes, some without a name"),
        ("condition,g1\n", "0 conditions"),
    ],
)
def test_bad_tables_are_refused(tmp_path, text, message):
    path = tmp_path / "effects.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_effects(path, scale="log2")


def test_the_scale_has_to_be_said_and_bounds_the_folds(tmp_path):
    with pytest.raises(InputError, match="scale of effects is '', expected one of log2, ln"):
        read_effects(written(tmp_path, ".csv"), scale="")
    path = tmp_path / "large.csv"
    path.write_text("condition,g1\nA,15\n")
    assert read_effects(path, scale="log2").log_fold[0, 0] == pytest.approx(15 * np.log(2))
    with pytest.raises(InputError, match=r"2\^21.64"):
        read_effects(path, scale="ln")


def test_files_that_are_no_tables_are_refused(tmp_path):
    with pytest.raises(InputError, match="no file .*gone.npz"):
        read_effects(tmp_path / "gone.npz", scale="ln")
    with pytest.raises(InputError, match="no table by its name"):
        read_effects(tmp_path / "effects.rds", scale="ln")
    np.savez(tmp_path / "other.npz", genes=GENES)
    with pytest.raises(InputError, match="expected the arrays conditions, genes and effects"):
        read_effects(tmp_path / "other.npz", scale="ln")
    np.savez(tmp_path / "short.npz", genes=GENES, conditions=["A"], effects=VALUES)
    with pytest.raises(InputError, match=r"shape \(3, 3\) for 1 and 3 names"):
        read_effects(tmp_path / "short.npz", scale="ln")


@pytest.mark.parametrize("form", [".csv", ".npz", ".h5ad"])
def test_a_profile_is_taken_by_name(tmp_path, form):
    """In another order, and with a gene more."""
    effects = read_effects(written(tmp_path, ".csv"), scale="ln")
    path = tmp_path / f"control{form}"
    var = pd.DataFrame(
        {"mean": [3.0, 9, 1, 2], "inverse_dispersion": [0.5, 9, 1, 4]},
        index=["g3", "x", "g1", "g2"],
    )
    if form == ".csv":
        var.to_csv(path)
    elif form == ".npz":
        np.savez(path, genes=list(var.index), **{name: var[name] for name in var})
    else:
        anndata.AnnData(np.zeros((1, 4)), var=var).write_h5ad(path)
    profile = read_profile(path, effects)
    np.testing.assert_array_equal(profile.mean, [1, 2, 3])
    np.testing.assert_array_equal(profile.inverse_dispersion, [1, 4, 0.5])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gene,mean\ng1,1\ng2,1\n", "lacks 1 genes of effects.csv .*g3"),
        ("gene,level\ng1,1\ng2,1\ng3,1\n", "expected one named mean"),
        ("gene,mean\ng1,1\ng2,0\ng3,1\n", "mean in .* is not above 0 for 1 genes .*g2"),
        ("gene,mean\ng1,1\ng2,nan\ng3,1\n", "is not above 0 for 1 genes .*g2"),
        ("gene,mean\ng1,1\ng1,1\ng2,1\ng3,1\n", "names 1 genes more than once"),
        (
            "gene,mean,inverse_dispersion\ng1,1,1\ng2,1,-1\ng3,1,inf\n",
            "inverse_dispersion in .* for 2 genes",
        ),
    ],
)
def test_bad_profiles_are_refused(tmp_path, text, message):
    effects = read_effects(written(tmp_path, ".csv"), scale="ln")
    path = tmp_path / "control.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_profile(path, effects)


def test_effects_without_a_control_are_refused():
    with pytest.raises(InputError, match="no control profile for the effects of example_effects"):
        simulate_files("example", "log2", "")


def test_the_small_table_that_comes_along_is_drawn_around():
    cells, truth = simulate_files("example", "log2", "drawn", cells=4, reference_cells=2)
    assert cells.shape == (4 * 14 + 15, 200) and "PERT001+PERT008" in truth.conditions
