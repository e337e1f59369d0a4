"""The command `clean` on a finished run: the files it writes, what it says, what it refuses."""

import anndata
import numpy as np
import pytest

from jaxpert import simulate
from jaxpert.app import cli, reopen
from jaxpert.core import settings
from jaxpert.core.errors import InputError
from jaxpert.models.cradle.clean import CleanOptions, clean
from support import finished_run


@pytest.fixture(scope="module")
def runs():
    return reopen.open_runs([finished_run.finished()[0]])


def test_command_writes_all_it_says(capsys, tmp_path):
    run, asked = str(finished_run.finished()[0]), "--perturbations=PERT001,PERT001+PERT002"
    options = [asked, "--draws=3", "--generated_cells=6", f"--output={tmp_path}/out"]
    assert cli.main(["clean", run, *options]) == 0
    said = "".join(capsys.readouterr())
    assert "had failed quality" in said and "removal gains" in said
    assert "18 artifact-free cells of ctrl, PERT001, PERT001+PERT002" in said
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["clean.h5ad", "clean_generated.h5ad", "clean_summary.h5ad"]
    cleaned, made = (
        anndata.read_h5ad(tmp_path / f"out/clean{name}.h5ad") for name in ("", "_generated")
    )
    assert np.asarray(cleaned.X).sum(1) == pytest.approx(1e4, rel=1e-3)
    assert list(made.obs["condition"].unique()) == ["ctrl", "PERT001", "PERT001+PERT002"]
    assert made.n_obs == 18


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ({"perturbations": "NOPE"}, "'NOPE'"),
        ({"data": "nowhere.h5ad"}, "there is no file nowhere.h5ad"),
        ({"draws": 1}, "draws is 1"),
        ({"cells": "some"}, "'some', expected one of failed, all"),
        ({"library": -1.0}, "library is -1"),
        ({"generated_cells": 0}, "generated_cells is 0"),
        ({"generated_cells": 6}, "--generated_cells is 6, and no perturbations are named"),
    ],
)
def test_what_is_refused_writes_nothing(flag, said, runs, tmp_path):
    with pytest.raises(InputError, match=said):
        clean(runs, tmp_path, settings.read(CleanOptions, flag))
    assert not list(tmp_path.iterdir())


def test_cells_of_another_file(runs, capsys, tmp_path):
    """The same cells with their genes in another order come out the same."""
    cells, _ = simulate.simulate("tiny", seed=0)
    cells[:, ::-1].copy().write_h5ad(tmp_path / "screen.h5ad")
    for name, source in (("own", ""), ("other", str(tmp_path / "screen.h5ad"))):
        (tmp_path / name).mkdir()
        clean(runs, tmp_path / name, CleanOptions(data=source, draws=3))
        said = capsys.readouterr().err
        assert ("removal gains" in said) == (name == "own")
    assert "fail quality by the thresholds" in said
    own, other = (anndata.read_h5ad(tmp_path / name / "clean.h5ad") for name in ("own", "other"))
    assert list(own.obs_names) == list(other.obs_names)
    assert list(own.var_names) == list(other.var_names)
    np.testing.assert_allclose(own.X, other.X, rtol=1e-5)
    assert set(other.obs["split"]) == {"none"}
    cells[:, :50].copy().write_h5ad(tmp_path / "few.h5ad")
    with pytest.raises(InputError, match="lacks 150 of the 200 genes"):
        clean(runs, tmp_path, CleanOptions(data=str(tmp_path / "few.h5ad"), draws=3))
