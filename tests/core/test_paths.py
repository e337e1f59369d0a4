"""`~` in every path that a user gives."""

import pathlib

import pytest

from jaxpert.app import training
from jaxpert.core.errors import InputError
from jaxpert.core.paths import is_there, path_of
from jaxpert.core.settings import paths_of
from jaxpert.data.sources import load
from support.paths import ROOT


def test_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert path_of("~/runs") == tmp_path / "runs" and path_of("~") == tmp_path
    assert path_of("a/~/b") == pathlib.Path("a/~/b")
    # Nobody's home stays as it is, and is then found to be no file.
    assert path_of("~nobody_of_this_name/x") == pathlib.Path("~nobody_of_this_name/x")
    config = "--config=cradle_norman:test"
    assert training.parse([config, "--workdir=~/runs/mine"])[1] == tmp_path / "runs/mine"


LONG = "x" * 256
PATHS = [LONG, f"a/{LONG}/b", "é" * 128, "y/" * 2048 + "z"]


@pytest.mark.parametrize("text", PATHS)
def test_what_no_file_system_takes_is_refused(text):
    with pytest.raises(InputError, match="is too long .*, expected at most 4,095 bytes and 255 in"):
        path_of(text)
    assert not is_there(text)


def test_what_it_just_takes_is_a_path(tmp_path):
    name = "x" * 255
    (tmp_path / name).write_text("")
    assert is_there(str(tmp_path / name)) and path_of(name) == pathlib.Path(name)
    with pytest.raises(InputError, match="holds a zero byte"):
        path_of("~\0/x")


def test_long_names_in_every_place_end_in_the_sentence(tmp_path):
    """Not in the OSError of whichever function asks the file system first."""
    config = "--config=cradle_norman:test"
    for call in (
        lambda: training.parse([config, f"--workdir={tmp_path / LONG}"]),
        lambda: training.parse([f"--config={LONG}"]),
        lambda: load(f"{LONG}.h5ad"),
        lambda: load(LONG),
    ):
        with pytest.raises(InputError, match="is too long"):
            call()
    # A joined list is tried as one path first, and a long one is none.
    names = tuple(f"edges{'x' * 200}{number}.csv" for number in range(21))
    assert paths_of(names, ",".join(names)) == names


def test_there_is_one_way_to_expand_it():
    sources = sorted((ROOT / "jaxpert").rglob("*.py"))
    elsewhere = [path for path in sources if "expanduser" in path.read_text()]
    assert [path.name for path in elsewhere] == ["paths.py"]
