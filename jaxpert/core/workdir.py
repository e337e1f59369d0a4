"""The work directory of a run: whose it is, and files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxpert.core.types import InputError

Config = dict[str, Any]


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    os.replace(part, path)


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz file whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    os.replace(part, path)


def flatten(config: Config, prefix: str = "") -> dict[str, Any]:
    """{"data.source": ...}."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        flat |= (
            flatten(value, f"{prefix}{name}.")
            if isinstance(value, dict)
            else {prefix + name: value}
        )
    return flat


def check(config: Config, workdir: Path) -> None:
    """Refuse a folder that belongs to another run."""
    path = workdir / "config.json"
    if workdir.exists() and not workdir.is_dir():
        raise InputError(f"--workdir={workdir} is a file, expected a folder: choose another")
    if not path.exists():
        # A run killed at its very start leaves nothing but a hidden part of its config.
        if workdir.exists() and any(not p.name.startswith(".") for p in workdir.iterdir()):
            raise InputError(
                f"{workdir} holds files but no config.json, expected an empty folder or that of a "
                "run: choose another "
                "--workdir"
            )
        return
    try:
        before = flatten(json.loads(path.read_text()))
    except ValueError as error:
        raise InputError(
            f"{path} is not valid JSON ({error}), expected that of a run: choose another --workdir"
        ) from error
    now = flatten(json.loads(json.dumps(config)))
    differing = [
        key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)
    ]
    if differing:
        listed = "; ".join(
            f"{key} was {before.get(key)!r} and is now {now.get(key)!r}" for key in differing[:5]
        )
        more = f" (and {len(differing) - 5} more)" if len(differing) > 5 else ""
        raise InputError(
            f"{workdir} belongs to a run with another config ({listed}{more}): choose another "
            "--workdir"
        )


@contextlib.contextmanager
def readable_errors(workdir: Path, flag: str = "--workdir") -> Iterator[None]:
    """What the file system says while the work directory is written, as one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(
                f"the disk of {workdir} is full: free some space and run the same command again, "
                "which goes on from "
                "the last checkpoint"
            ) from error
        raise InputError(f"{workdir} cannot be written ({error}): choose another {flag}") from error
