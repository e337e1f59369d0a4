"""Remove the artifact from cells that failed quality, with a trained model; or generate
artifact-free cells.

python experiments/remove_artifacts.py --run=runs/norman --output=clean.h5ad

--run=FOLDER             of a finished run of CRADLE-VAE
--output=FILE.h5ad       the cells without their artifact (X, and the layers sd, with_artifact and
corrected) --source=FILE.h5ad       cells of another file, read and labelled as the run's data were
(default: the run's data) --perturbations=A,A+B    also generate artifact-free cells of these, into
FILE_generated.h5ad (counts) and
                         FILE_summary.h5ad (means and effects with their uncertainty)
--cells=failed           or all: cells that passed come back as the model sees them
--draws=50               posterior draws
--generated_cells=100    cells to generate of each perturbation
--library=10000          total counts of each cell written
--run_seed=0             which seed of a run with train.seeds above 1
--seed=0                 of the posterior draws
--overwrite              replace files that are there
"""

import os
import sys
from pathlib import Path
from typing import Any

from absl import flags

from jaxpert.app.flags import UNDONE, guarded, leave, read_flags


def main(argv: list[str]) -> int:
    """Return the exit status: 0 for done, 2 for bad input."""
    if {"--help", "-h", "--helpfull"} & set(argv):
        print(__doc__)
        return 0
    return guarded(lambda: remove(parse(argv)), UNDONE)


def parse(argv: list[str]) -> flags.FlagValues:
    """The flags, checked as far as can be done before anything is loaded."""
    from jaxpert.core.types import InputError

    values = flags.FlagValues()
    for name in ("run", "output", "source", "perturbations"):
        flags.DEFINE_string(name, "", "", flag_values=values)
    flags.DEFINE_enum("cells", "failed", ["failed", "all"], "", flag_values=values)
    for name, default in (("draws", 50), ("generated_cells", 100), ("run_seed", 0), ("seed", 0)):
        flags.DEFINE_integer(name, default, "", flag_values=values)
    flags.DEFINE_float("library", 1e4, "", flag_values=values)
    flags.DEFINE_bool("overwrite", False, "", flag_values=values)
    read_flags(values, argv)
    for name, example in (("run", "runs/norman"), ("output", "clean.h5ad")):
        if not values[name].value:
            raise InputError(f"no --{name} was given, expected e.g. --{name}={example}")
    for path in outputs(values).values():
        check_output(path, values.overwrite)
    return values


def outputs(asked: flags.FlagValues) -> dict[str, Path]:
    """The files to write, by what they hold."""
    path = Path(asked.output).expanduser()
    kinds = ("removed", "generated", "summary") if asked.perturbations else ("removed",)
    return {
        kind: path if kind == "removed" else path.with_name(f"{path.stem}_{kind}.h5ad")
        for kind in kinds
    }


def check_output(path: Path, overwrite: bool) -> None:
    """Refuse what could not be written in the end."""
    from jaxpert.core.types import InputError

    if path.suffix != ".h5ad":
        raise InputError(
            f"--output={path} is no name of an .h5ad file, expected one such as {path.stem}.h5ad"
        )
    if not path.parent.is_dir():
        raise InputError(
            f"there is no folder {path.parent} to write {path.name} in: make it, or choose "
            "another --output"
        )
    if path.is_dir():
        raise InputError(f"{path} is a folder, expected a file to write: choose another --output")
    if path.exists() and not overwrite:
        raise InputError(
            f"{path} is there already: choose another --output, or give --overwrite to replace it"
        )
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"the folder {path.parent} cannot be written: choose another --output")


def remove(asked: flags.FlagValues) -> int:
    """Do what was asked, write all files or none, and say what came out."""
    from jaxpert.app.reopen import read_like, reopen
    from jaxpert.core import log
    from jaxpert.models.cradle import remove_artifacts as artifacts
    from jaxpert.models.cradle.clean_cells import clean_cells

    finished = reopen(asked.run, seed=asked.run_seed)
    artifacts.artifact_latent(finished.fitted.model)
    dataset = read_like(finished, asked.source) if asked.source else finished.dataset
    for note in dataset.notes if asked.source else ():
        log.say(f"note: {note}")
    names = [name for name in asked.perturbations.split(",") if name]
    tables: dict[str, Any] = {}
    if names:
        separator = finished.config["data"]["separator"] or "+"
        tables["generated"], tables["summary"] = clean_cells(
            finished.fitted,
            finished.dataset,
            names,
            cells_per_perturbation=asked.generated_cells,
            library=asked.library,
            draws=asked.draws,
            separator=separator,
            seed=asked.seed,
        )
    options = {
        "cells": asked.cells,
        "draws": asked.draws,
        "library": asked.library,
        "seed": asked.seed,
    }
    removed = tables["removed"] = artifacts.remove_artifacts(finished.fitted, dataset, **options)
    paths = outputs(asked)
    write_all({paths[kind]: table for kind, table in tables.items()})
    print(artifacts.describe_removal(removed))
    if finished.truth is not None and not asked.source:
        print(
            artifacts.describe_recovery(
                artifacts.removal_recovery(removed, dataset, finished.truth)
            )
        )
    if names:
        print(
            f"{tables['generated'].n_obs} artifact-free cells of "
            f"{', '.join(tables['summary'].obs_names)} generated"
        )
    print("written: " + ", ".join(map(str, paths.values())))
    return 0


def write_all(tables: dict[Path, Any]) -> None:
    """Write every file beside its place, and put them in place only when all are whole."""
    from jaxpert.core.types import InputError

    parts = {path: path.with_name(f".{path.name}.part") for path in tables}
    try:
        for path, table in tables.items():
            table.write_h5ad(parts[path])
        for path, part in parts.items():
            os.replace(part, path)
    except OSError as error:
        raise InputError(
            f"{error.filename or parts} could not be written ({error}): choose another --output"
        ) from error
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


if __name__ == "__main__":
    leave(main(sys.argv))
