"""`jaxpert benchmark` from its flags to its files."""

import jax
import pytest

from jaxpert.app import cli, families
from jaxpert.app import run as app_run
from jaxpert.core.errors import InputError
from jaxpert.study import benchmark
from jaxpert.tasks.screen import load
from support.board_runs import Counting


@pytest.fixture(autouse=True)
def imported():
    """Before anything is patched, since tasks take over what their modules hold on import."""
    families.all_families()


@pytest.fixture
def stub(monkeypatch):
    """Runs that train nothing, on data that are never read."""
    run = Counting()
    monkeypatch.setattr(app_run, "run", run)
    monkeypatch.setattr(load, "load", lambda *_: None)
    return run


def test_help_names_flags_of_its_own_and_of_the_data(capsys):
    assert cli.main(["benchmark", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"--{flag}" in said for flag in (*benchmark.FLAGS, "perturbation", "control", "set"))
    assert cli.main(["--help"]) == 0 and "jaxpert benchmark DATA" in capsys.readouterr().out


def test_what_is_missing_is_trained_and_laid_out(stub, tmp_path, capsys):
    argv = ["benchmark", "demo", "--models=cradle_vae,scgen,svae_plus", f"--workdir={tmp_path}"]
    argv.append("--seeds=0,1")
    assert cli.main(argv) == 0
    assert len(stub.works) == 4 + 2 and len(set(stub.works)) == 4 + 2
    said = capsys.readouterr().err
    assert "not trained: demo__auto-svae_plus" in said and "error" not in said
    written = {path.name for path in tmp_path.glob("leaderboard.*")}
    assert written == {"leaderboard.html", "leaderboard.md", "leaderboard.csv"}
    table = (tmp_path / "leaderboard.md").read_text()
    assert "at most 30 epochs" in table and "it answers the task translation" in table
    before = {path: path.read_bytes() for path in tmp_path.glob("leaderboard.*")}
    # Only what was refused is tried again, since its cause may have been mended.
    assert cli.main(argv) == 0 and len(stub.works) == 6 + 2
    assert cli.main([*argv, "--only_tables"]) == 0 and len(stub.works) == 6 + 2
    assert {path: path.read_bytes() for path in before} == before


def test_the_demo_trains_one_seed_and_says_so(stub, tmp_path):
    argv = ["benchmark", "demo", "--models=cradle_vae,scgen", f"--workdir={tmp_path}"]
    assert cli.main(argv) == 0 and len(stub.works) == 2
    table = (tmp_path / "leaderboard.md").read_text()
    assert "With one seed nothing tells how much seeds differ" in table
    more = [*argv, "--seeds=0,1"]
    assert cli.main(more) == 0 and len(stub.works) == 4
    assert "With one seed" not in (tmp_path / "leaderboard.md").read_text()


def test_wrong_data_leave_nothing(monkeypatch, tmp_path, capsys):
    def refuse(*_):
        raise InputError("all 5 cells are control cells, expected others too: check data.control")

    folder = tmp_path / "none"
    monkeypatch.setattr(load, "load", refuse)
    assert cli.main(["benchmark", "demo", f"--workdir={folder}"]) == 2
    assert "all 5 cells are control cells" in capsys.readouterr().err
    assert cli.main(["benchmark", "nowhere.h5ad", f"--workdir={folder}"]) == 2
    assert "the data are 'nowhere.h5ad'" in capsys.readouterr().err
    assert cli.main(["benchmark", "demo", "--only_tables", f"--workdir={folder}"]) == 2
    assert "expected that of a benchmark" in capsys.readouterr().err
    (tmp_path / "there").mkdir()
    asked = ["benchmark", "demo", "--only_tables", "--figures", f"--workdir={tmp_path}/there"]
    assert cli.main(asked) == 2
    assert "--figures was given beside --only_tables" in capsys.readouterr().err
    assert not folder.exists()


def test_numbers_below_one_are_refused(stub, tmp_path, capsys):
    for flag in ("--epochs=0", "--epochs=2,3", "--at_once=0"):
        assert cli.main(["benchmark", "demo", flag, f"--workdir={tmp_path}/none"]) == 2
        name, _, value = flag.partition("=")
        said = capsys.readouterr().err
        assert f"{name} is '{value}', expected a whole number, at least 1" in said
    assert not stub.works


def test_data_that_fit_no_model_are_refused_by_the_status(stub, tmp_path, capsys):
    argv = ["benchmark", "demo", "--models=svae_plus", f"--workdir={tmp_path}"]
    assert cli.main(argv) == 2
    said = capsys.readouterr().err
    assert "no model could be trained (svae_plus: combinations were found, expected none" in said
    assert (tmp_path / "leaderboard.md").exists()


def test_compiled_programs_serve_the_next_run(monkeypatch):
    before = jax.config.jax_compilation_cache_dir
    try:
        jax.config.update("jax_compilation_cache_dir", None)
        with benchmark.shared_programs():
            assert "jaxpert-programs-" in str(jax.config.jax_compilation_cache_dir)
        assert jax.config.jax_compilation_cache_dir is None
        jax.config.update("jax_compilation_cache_dir", "of/the/user")
        with benchmark.shared_programs():
            assert jax.config.jax_compilation_cache_dir == "of/the/user"
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
