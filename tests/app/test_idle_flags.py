"""A flag that would change nothing is refused, and not ignored."""

import pytest

from jaxpert.app import cli
from support import finished_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of a model that draws nothing, and of one that shifts control cells."""
    here, folders = tmp_path_factory.mktemp("runs"), {}
    for name in ("baselines", "scgen"):
        folders[name] = here / name
        finished_run.leave(finished_run.config(name), folders[name])
    folders["cradle"], _ = finished_run.finished()
    return folders


@pytest.mark.parametrize(
    ("name", "flags", "said"),
    [
        ("baselines", ["--seed=0"], "--seed is 0, which changes nothing in predictions of "),
        ("baselines", ["--particles=9"], "--particles is 9, which changes nothing"),
        ("baselines", ["--format=cell-eval", "--cells=9"], "--cells is 9, which changes nothing"),
        ("baselines", ["--format=cell-eval", "--seed=1"], "--seed is 1, which changes nothing"),
        ("scgen", ["--seed=1"], "--seed is 1, which changes nothing in predictions of scgen"),
        ("scgen", ["--particles=9"], ""),
        ("cradle", ["--particles=4", "--seed=1"], ""),
    ],
)
def test_predictions_that_are_not_drawn(name, flags, said, runs, tmp_path, capsys):
    output = tmp_path / "out.h5ad"
    asked = ["predict", str(runs[name]), "PERT001", f"--output={output}", *flags]
    status = cli.main(asked)
    errors = capsys.readouterr().err
    assert status == (2 if said else 0) and said in errors, errors
    assert output.exists() == (not said)


@pytest.mark.parametrize("flag", ["--control=NT", "--train=split", "--layer=raw"])
def test_what_a_run_knows_of_its_cells(flag, tmp_path, capsys):
    folder, _ = finished_run.finished()
    asked = ["score", f"--real={folder}", "--pred=none.h5ad", f"--output={tmp_path}/out"]
    assert cli.main([*asked, flag]) == 2
    said = capsys.readouterr().err
    assert f"{flag.partition('=')[0]} was given, and the real cells are those of a run" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flag", ["--real=cells.h5ad", "--scale=log2", "--schools=False"])
def test_folders_are_scored_already(flag, tmp_path, capsys):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "statistics.npz").touch()
    asked = ["compare", str(tmp_path / "a"), str(tmp_path / "b"), f"--output={tmp_path}/out"]
    assert cli.main([*asked, flag]) == 2
    said = capsys.readouterr().err
    assert "every entry is a folder" in said or "unrecognized arguments: --schools" in said
    assert not (tmp_path / "out").exists()
