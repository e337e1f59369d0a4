"""Ask finished runs: open them, let a family's command write into an empty folder, and move its
files to where the user wants them, all or none."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxpert.app import families
from jaxpert.app.reopen import open_runs
from jaxpert.core import workdir
from jaxpert.core.errors import InputError
from jaxpert.core.family import Command, Family
from jaxpert.core.paths import path_of


def run_command(
    family: Family, name: str, folders: Sequence[str], output: str | Path, options: Any
) -> list[Path]:
    """Run a command of a family on finished runs; returns the files written.

    Raises InputError where a run is of another family, or cannot be read back.
    """
    command = command_of(family, name)
    if not command.many and len(folders) > 1:
        raise InputError(
            f"{name} takes one run, {len(folders)} were given, expected one: leave the others out"
        )
    output = path_of(output).absolute()
    workdir.check_place(output, "--output")
    # Every run is opened before the work begins, so that a bad one costs nothing.
    runs = open_runs(folders)
    for run in runs:
        if run.finished.family.name != family.name:
            raise InputError(
                f"{run.workdir} is a run of {run.finished.family.title} and {folders[0]} one of "
                f"{family.title}, expected runs of one family: give these apart"
            )
    with staged(output) as part:
        command.work(runs, part, options)
        return moved(part, output)


def command_of(family: Family, name: str) -> Command:
    """A command of a family."""
    if name not in family.commands:
        have = ", ".join(family.commands) or "none of its own"
        raise InputError(
            f"{family.title} has no command {name!r}, expected one of its commands ({have}): "
            "choose one of these"
        )
    return family.commands[name]


def family_of_run(folder: str | Path) -> Family:
    """The family of the model of a run."""
    folder = path_of(folder).absolute()
    model = workdir.read_config(folder).config.get("model")
    name = model.get("name") if isinstance(model, Mapping) else None
    # The file may have been changed by hand, or be that of another program.
    if not isinstance(name, str) or name not in families.models():
        raise InputError(
            f"config.json of {folder} names no model that is known, expected one of "
            f"{', '.join(sorted(families.models()))} as its model.name: give the --workdir of "
            "jaxpert train"
        )
    return families.load(families.family_name_of(name))


@contextlib.contextmanager
def staged(output: Path) -> Iterator[Path]:
    """An empty folder beside the files to come, gone afterwards whatever happens."""
    with workdir.readable_errors(output, "--output"):
        # Beside its place, and so on the same disk, where a move is a rename.
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part", dir=output) as part:
            yield Path(part)


def moved(part: Path, output: Path) -> list[Path]:
    """Move every file of a staged folder; returns where they are now."""
    targets = []
    for path in sorted(path for path in part.rglob("*") if path.is_file()):
        target = output / path.relative_to(part)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Replaced and not copied: nobody sees half a file.
        os.replace(path, target)
        targets.append(target)
    return targets
