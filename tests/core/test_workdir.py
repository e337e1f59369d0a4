"""What the file system says of a work directory."""

import errno
from pathlib import Path

import pytest

from jaxpert.core import workdir
from jaxpert.core.errors import InputError


@pytest.mark.parametrize("name", ["work", "work/figures/a.png", ".work.12.part.h5ad", ""])
def test_what_fails_in_a_folder_is_said_of_it(tmp_path, name):
    failed = str(tmp_path / name) if name else None
    with (
        pytest.raises(InputError, match="work cannot be written"),
        workdir.readable_errors(tmp_path / "work"),
    ):
        raise OSError(errno.EACCES, "Permission denied", failed)


def test_places_that_cannot_be_written_are_refused_at_once(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    workdir.check_place(tmp_path / "new/folder")
    for name, part in (("file", "is a file"), ("file/x/y", "file, which is a file")):
        with pytest.raises(InputError, match=f"--output=.*{part}, expected a folder"):
            workdir.check_place(tmp_path / name, "--output")
    # A superuser may write anywhere.
    monkeypatch.setattr(workdir.os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(InputError, match="no right to write in .*: choose another --workdir"):
        workdir.check_place(tmp_path / "new")


def test_places_of_files_that_cannot_be_written_are_refused_at_once(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    workdir.check_file_place(tmp_path / "file")
    workdir.check_file_place(tmp_path / "new/folder/x.h5ad")
    path = tmp_path / "file/x.h5ad"
    for wrong, sentence in (
        (path, f"lies in {tmp_path}/file, which is a file, expected a folder: choose another"),
        (tmp_path, "is a folder, expected the name of a file: choose another"),
    ):
        with pytest.raises(InputError) as error:
            workdir.check_file_place(wrong)
        assert str(error.value) == f"--output={wrong} {sentence}"
    monkeypatch.setattr(workdir.os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(InputError) as error:
        workdir.check_file_place(tmp_path / "x.h5ad")
    assert str(error.value) == (
        f"--output={tmp_path}/x.h5ad cannot be written (there is no right to write in {tmp_path}), "
        "expected a place where this user may write: choose another --output"
    )


def test_what_fails_elsewhere_is_not(tmp_path):
    with pytest.raises(OSError, match="Read-only"), workdir.readable_errors(tmp_path / "work"):
        raise OSError(errno.EROFS, "Read-only file system", "/usr/lib/cache")
    # A full disk is, whichever file met it.
    with (
        pytest.raises(InputError, match="is full, expected room .*: free some space"),
        workdir.readable_errors(tmp_path / "work"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device", "/usr/lib/cache")


def test_what_fails_while_a_folder_is_locked_is_not_the_locks_fault(tmp_path):
    with pytest.raises(OSError, match="elsewhere"), workdir.alone(tmp_path):
        raise OSError(errno.EIO, "elsewhere")


def test_a_config_that_appears_while_one_looks_is_compared_and_not_refused(tmp_path, monkeypatch):
    """Another process of the same run claims the folder at that moment."""
    listed = Path.iterdir

    def and_then_claimed(folder):
        workdir.write_config(tmp_path, {"seed": 0})
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", and_then_claimed)
    workdir.check({"seed": 0}, tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(InputError, match="seed was 0 and is now 1"):
        workdir.check({"seed": 1}, tmp_path)
