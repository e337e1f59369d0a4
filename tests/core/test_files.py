"""Files that are written whole or not at all."""

import os

import pytest

from jaxpert.core import files


def test_a_file_appears_whole_under_a_name_of_the_process(tmp_path):
    path = tmp_path / "rows.csv"
    files.write_text(path, "before")
    with files.whole(path) as part:
        part.write_text("now")
        assert part.parent == tmp_path and part.name.startswith(".") and part.suffix == ".csv"
        assert str(os.getpid()) in part.name and path.read_text() == "before"
    assert path.read_text() == "now" and list(tmp_path.iterdir()) == [path]


def test_what_fails_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "rows.json"
    files.write_json(path, {"a": 1})
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(path, {"a": float("nan")})
    with pytest.raises(RuntimeError), files.whole(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
