"""Finished runs of two models of the family, with what the paper's figures read of their
results."""

from __future__ import annotations

import pathlib
import shutil

import pytest

from jaxpert.app import reopen
from jaxpert.core import files, workdir
from jaxpert.core.family import Run
from jaxpert.models.cradle.paper.labels import label_of
from jaxpert.tasks.screen.evaluate import score
from jaxpert.tasks.screen.files import effects_arrays
from jaxpert.tasks.screen.measured import measure
from jaxpert.tasks.screen.predict import predict_effects
from support import finished_run


def complete(work: pathlib.Path) -> pathlib.Path:
    """Add predicted effects and their scores."""
    finished = reopen.reopen(work)
    dataset = finished.problem.dataset
    prediction = predict_effects(finished.fitted, dataset, dataset.conditions, particles=4)
    effects = {0: prediction.effects_of(dataset)}
    files.write_arrays(work / "effects.npz", effects_arrays(dataset, effects))
    scores = score(measure(dataset), prediction, 0)["model"]
    workdir.write_metrics(work, finished.metrics | {"model": scores})
    return work


@pytest.fixture(scope="package")
def cradle(tmp_path_factory) -> pathlib.Path:
    work = tmp_path_factory.mktemp("runs") / "cradle"
    shutil.copytree(finished_run.finished()[0], work)
    return complete(work)


@pytest.fixture(scope="package")
def sams(tmp_path_factory) -> pathlib.Path:
    work = tmp_path_factory.mktemp("runs") / "sams"
    raw = finished_run.config()
    small = {"latent_dim": 6, "hidden_dim": 12, "embedding_hidden_dim": 12}
    raw["model"] = {"name": "sams_vae", "kwargs": small}
    finished_run.leave(raw, work)
    return complete(work)


@pytest.fixture(scope="package")
def runs(cradle, sams) -> list[Run]:
    opened = reopen.open_runs([cradle, sams])
    return [run._replace(label=label_of(run.finished.config)) for run in opened]


@pytest.fixture
def saved_figures(monkeypatch) -> list:
    """The matplotlib figures behind the files that are written."""
    from matplotlib.figure import Figure

    figures, save = [], Figure.savefig

    def remember(self, *args, **kwargs):
        figures.append(self)
        return save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", remember)
    return figures
