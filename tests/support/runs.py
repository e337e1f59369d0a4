"""Finished runs that several tests read: made once per session, whichever process asks first."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import pathlib
from collections.abc import Iterator

import pytest

from jaxpert.app import cli
from jaxpert.report import plots
from jaxpert.report.plots import style
from support.paths import ROOT

ONE_DEVICE = "--config.train.devices=1"
"""The suite has eight CPU devices; a run on one of them compiles faster."""

GEARS_SHIPPED = ("--config.model.kwargs.uncertainty=shipped", "--config.train.epochs=1")
"""The run of gears_norman:test that several tests read."""


GEARS_ENSEMBLE = (
    "--config.train.epochs=1",
    "--config.train.seeds=2",
    "--config.evaluation.ensemble=True",
    "--config.split.kind=cells",
    "--config.model.kwargs.uncertainty=gaussian",
)
"""Another, of two seeds that are one model, on cells of trained perturbations."""


class Runs:
    """Finished work directories in a folder that all processes of the session share."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder

    def __call__(self, config: str, *flags: str) -> pathlib.Path:
        """The work directory of `jaxpert train --config=configs/CONFIG FLAGS`; copy it before you
        change it."""
        name = config.replace(":", "_").replace(",", "_")
        digest = hashlib.sha256(" ".join(flags).encode()).hexdigest()[:8]
        work = self.folder / f"{name}-{digest}"
        with locked(self.folder / f"{work.name}.lock"):
            if not (work / "metrics.json").exists():
                file, _, variant = config.partition(":")
                path = f"--config={ROOT}/configs/{file}.py:{variant}"
                with pytest.MonkeyPatch.context() as patch:
                    # UMAP compiles for half a minute; tests/report/test_plots.py is where it runs.
                    patch.setattr(plots, "umap_embedding", lambda latent, seed: latent[:, :2])
                    # Nobody looks at these figures, and fewer dots are packed sooner.
                    patch.setitem(style.STYLE, "savefig.dpi", 50)
                    assert cli.main(["train", path, ONE_DEVICE, *flags, f"--workdir={work}"]) == 0
        return work


@contextlib.contextmanager
def locked(path: pathlib.Path) -> Iterator[None]:
    """Hold a lock that ends with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
