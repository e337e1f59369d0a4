"""The work directory of a run: whose it is, and what can be read back from it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxpert.core import files, locks, log
from jaxpert.core.config import Config, flatten
from jaxpert.core.errors import InputError

FORMAT = 2
"""Number of the form of a work directory, kept in config.json. Runs of form 1 have none, and keys
of every task in their config."""
CONFIG, METRICS, LOCK = "config.json", "metrics.json", ".lock"


class Kept(NamedTuple):
    """Config of a run, and the form of its files."""

    config: Config
    format: int


def folder_names(folders: Sequence[Path]) -> list[str]:
    """Name of each folder, with that of the folder above it where two are alike."""
    names = [folder.name for folder in folders]
    told_apart = []
    for folder, name in zip(folders, names, strict=True):
        if names.count(name) > 1:
            name = f"{folder.parent.name}_{name}"
        told_apart.append(name)
    return told_apart


def write_config(workdir: Path, config: Config) -> None:
    """Keep the config of a run, with the form of its files."""
    files.write_json(workdir / CONFIG, {"format": FORMAT, **config})


@contextlib.contextmanager
def alone(folder: Path, flag: str = "--workdir") -> Iterator[None]:
    """Be the only process that writes to a folder; the lock ends with the process, however it dies.

    Raises InputError where another process is at it.
    """
    with contextlib.ExitStack() as stack:
        # Only what concerns the lock is explained so, not what happens while it is held.
        with readable_errors(folder, flag):
            held = stack.enter_context(locks.hold(folder / LOCK))
        if held is False:
            raise InputError(
                f"another process is writing to {folder} (it holds {LOCK} there), expected a "
                f"folder that nobody is at: wait for its end, or choose another {flag}"
            )
        if held is None:
            log.say(
                f"note: the file system of {folder} knows no locks: start no second process there"
            )
        yield


def check_place(folder: Path, flag: str = "--workdir") -> None:
    """Refuse a folder that nobody could make or write to, before anything is read for it."""
    _check_place(folder, folder, flag)


def check_file_place(path: Path, flag: str = "--output") -> None:
    """The same for a file that is to be written, and for the folder that it will be in."""
    if path.is_dir():
        raise InputError(f"{flag}={path} is a folder, expected the name of a file: choose another")
    _check_place(path, path.parent, flag)


def _check_place(given: Path, folder: Path, flag: str) -> None:
    # What is there already of the path: the folder, or one above it.
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        kind = "is" if there == given else f"lies in {there}, which is"
        raise InputError(f"{flag}={given} {kind} a file, expected a folder: choose another")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(
            f"{flag}={given} cannot be written (there is no right to write in {there}), expected "
            f"a place where this user may write: choose another {flag}"
        )


def check(config: Config, workdir: Path, defaults: Config | None = None) -> None:
    """Refuse a folder that belongs to another run; keys that its config did not have yet count as
    their `defaults`."""
    path = workdir / CONFIG
    check_place(workdir)
    if not path.exists():
        # A run killed at its very start leaves nothing but a hidden part of its config.
        strange = workdir.exists() and any(not p.name.startswith(".") for p in workdir.iterdir())
        if not strange:
            return
        # Another process may have written it since it was looked for.
        if not path.exists():
            raise InputError(
                f"{workdir} holds files but no config.json, expected an empty folder or that of a "
                "run: choose another --workdir"
            )
    # Through JSON and back, where tuples become lists, as in what is compared with.
    before = read_config(workdir)
    now, absent = (flatten(json.loads(json.dumps(c))) for c in (config, defaults or {}))
    then = absent | flatten(before.config)
    # Before keys are compared, since those of an older form differ in any case.
    if before.format < FORMAT:
        raise InputError(
            f"{workdir} was begun by an older version of jaxpert (format {before.format}), whose "
            f"training cannot go on here, expected format {FORMAT}: choose another --workdir; a "
            "finished run can still be asked with jaxpert predict"
        )
    differing = [key for key in sorted(then.keys() | now.keys()) if then.get(key) != now.get(key)]
    if differing:
        changes = [f"{k} was {then.get(k)!r} and is now {now.get(k)!r}" for k in differing[:5]]
        more = f" (and {len(differing) - 5} more)" if len(differing) > 5 else ""
        raise InputError(
            f"{workdir} belongs to a run with another config ({'; '.join(changes)}{more}), "
            "expected the same one: choose another --workdir, or give the settings that it had"
        )


def read_config(workdir: Path) -> Kept:
    """Config of the run in a folder, whether finished or not, and the form of its files.

    Raises InputError where there is no such folder or run.
    """
    if not workdir.is_dir():
        raise InputError(
            f"there is no folder {workdir}, expected that of a finished run: check the path of the "
            "run"
        )
    if not (workdir / CONFIG).exists():
        raise InputError(
            f"{workdir} has no config.json, expected the folder of a finished run: give the "
            "--workdir of jaxpert train"
        )
    config = _read_mapping(workdir / CONFIG)
    # The first form wrote no number.
    number = config.pop("format", 1)
    if type(number) is not int or not 1 <= number <= FORMAT:
        raise InputError(
            f"{workdir / CONFIG} says that its format is {number!r}, expected a number up to "
            f"{FORMAT}: a newer version of jaxpert may have written it, so use that one"
        )
    return Kept(config, number)


def read_metrics(workdir: Path) -> dict[str, Any]:
    """Results of the run in a folder; they are what tells a finished one."""
    if not (workdir / METRICS).exists():
        raise InputError(
            f"the run in {workdir} is not finished (it has no metrics.json), expected a finished "
            "one: run its command again, which goes on from the last checkpoint"
        )
    return _read_mapping(workdir / METRICS)


def write_metrics(workdir: Path, metrics: Mapping[str, Any]) -> None:
    """Write the results; this is what makes a run a finished one."""
    files.write_json(workdir / METRICS, metrics)


@contextlib.contextmanager
def readable_errors(workdir: Path, flag: str = "--workdir") -> Iterator[None]:
    """What the file system says while the work directory is written, as one sentence."""
    try:
        yield
    except OSError as error:
        # A full disk loses nothing of the run, so its message says how to go on.
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(
                f"the disk of {workdir} is full, expected room for what a run leaves: free some "
                "space and run the same command again, which goes on from the last checkpoint"
            ) from error
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(
                f"{flag} is too long a name ({len(str(workdir))} signs, {str(workdir)[:60]}...), "
                f"expected one that the file system takes: choose another {flag}"
            ) from error
        # What fails elsewhere, such as a library's cache, is no fault of this folder.
        if isinstance(error.filename, str) and not _is_within(error.filename, workdir):
            raise
        raise InputError(
            f"{workdir} cannot be written ({error}), expected a place where this user may write: "
            f"choose another {flag}"
        ) from error


def _is_within(path: str, folder: Path) -> bool:
    """Whether a path is a folder, in it or beside it (a file's unfinished part), or one that it is
    in (which may be a file)."""
    absolute, place = Path(path).absolute(), folder.absolute()
    if absolute.is_relative_to(place) or place.is_relative_to(absolute):
        return True
    return absolute.parent == place.parent


def _read_mapping(path: Path) -> dict[str, Any]:
    """The mapping that a JSON file holds."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} cannot be read ({error}), expected that of a run: choose another folder, or "
            "run its command again in a new one"
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            f"{path} holds a {type(content).__name__}, expected the mapping that a run leaves: "
            "choose another folder, or run its command again in a new one"
        )
    return content
