"""Files that are written whole or not at all, and come back as they were written."""

import os

import numpy as np
import pytest

from jaxpert.core import files, texts
from jaxpert.core.errors import InputError


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


def test_files_come_back(tmp_path):
    files.write_json(tmp_path / "a.json", {"a": [1, "é"]})
    files.write_arrays(tmp_path / "a.npz", {"x": np.arange(3)})
    assert texts.read_json(tmp_path / "a.json", "one") == {"a": [1, "é"]}
    assert files.read_arrays(tmp_path / "a.npz", ["x"], "one")["x"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, None])
def test_damaged_json_is_named(tmp_path, content):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="a.json cannot be read .*, expected that of a run"):
        texts.read_json(path, "that of a run")


@pytest.mark.parametrize("damage", ["absent", "empty", "text", "cut", "flipped", "other"])
def test_damaged_arrays_are_named(tmp_path, damage):
    path = tmp_path / "a.npz"
    files.write_arrays(path, {"y" if damage == "other" else "x": np.arange(500)})
    whole = path.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    path.write_bytes(
        {"empty": b"", "text": b"x,y", "cut": whole[:middle], "flipped": flipped}.get(damage, whole)
    )
    if damage == "absent":
        path.unlink()
    with pytest.raises(InputError, match="a.npz cannot be read .*, expected that of a run"):
        files.read_arrays(path, ["x"], "that of a run")
