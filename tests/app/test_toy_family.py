"""A family of models written into a temporary folder, as docs/architecture.md says: it trains, is
scored, reported and reopened, and no file of the project knows of it."""

import json
import sys

import pytest

import jaxpert
from jaxpert.app import cli, families, reopen

SETTINGS = """
from dataclasses import dataclass

from jaxpert.core.config import ModelEntry
from jaxpert.core.settings import setting
from jaxpert.tasks.screen.keys import ScreenConfig as KEYS
from jaxpert.tasks.screen import keys


@dataclass(frozen=True)
class Settings:
    ridge: float = setting(0.1, "pull of the effects towards 0", at_least=0)


MODELS = {"toy_regression": ModelEntry("toy_family.model", Settings, {"test": {"ridge": 0.01}})}


def defaults(model, variant="full"):
    changes = {"quality": {"multiplier": 0}, "evaluation": {"pass_cells": 0, "likelihood": ""}}
    changes["train"] = {"epochs": 4, "batch_size": 64, "learning_rate": 0.1, "patience": 0}
    return keys.defaults(model, MODELS[model], variant, changes)
"""
MODEL = '''
import jax.numpy as jnp

from jaxpert.core import settings as core_settings
from jaxpert.core.parallel import psum
from jaxpert.core.types import Model
from jaxpert.nn.transforms import log1p_normalize
from toy_family.settings import Settings


def build(spec, **settings):
    """Log-normalised expression as a line of effects."""
    chosen = Settings(**settings)
    core_settings.check(chosen, "model.kwargs")

    def init(key, batch):
        genes = batch.x.shape[1]
        effect = jnp.zeros((batch.treatment.shape[1], genes))
        return {"effect": effect, "base": jnp.asarray(spec.control_mean)}, {}

    def loss(params, state, key, batch):
        y = log1p_normalize(jnp.where(batch.mask[:, None], batch.x, 1))
        error = ((y - params["base"] - batch.treatment @ params["effect"]) ** 2).mean(1)
        mean = psum(jnp.where(batch.mask, error, 0).sum()) / psum(batch.mask.sum())
        return mean + chosen.ridge * (params["effect"] ** 2).mean(), (state, {"mse": mean})

    def predict(params, state, key, request):
        return params["base"] + request.treatment @ params["effect"]

    return Model(
        init, loss, predict, scale="lognorm", stochastic=False,
        name="toy_regression", settings=chosen,
    )
'''
FAMILY = """
from jaxpert.core.family import Family
from jaxpert.tasks.screen.task import SCREEN
from toy_family import settings

FAMILY = Family("toy", "Toy", SCREEN, settings.MODELS, settings.defaults)
"""
CONFIG = """
from ml_collections import ConfigDict

from toy_family.settings import defaults


def get_config(variant="full"):
    return ConfigDict(defaults("toy_regression", variant))
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The family's package and config; returns the config's path."""
    package = tmp_path / "toy_family"
    package.mkdir()
    for name, text in {
        "__init__": "",
        "settings": SETTINGS,
        "model": MODEL,
        "family": FAMILY,
    }.items():
        (package / f"{name}.py").write_text(text)
    (tmp_path / "toy_screen.py").write_text(CONFIG)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(families, "FAMILIES", {"toy": "toy_family"})
    yield tmp_path / "toy_screen.py"
    for name in [name for name in sys.modules if name.split(".")[0] == "toy_family"]:
        del sys.modules[name]
    families.load.cache_clear()


def test_a_family_in_five_places(toy, tmp_path, capsys):
    work = tmp_path / "work"
    assert cli.main(["train", f"--config={toy}:test", f"--workdir={work}"]) == 0
    metrics = json.loads((work / "metrics.json").read_text())
    scores = metrics["model"]["train"]
    assert scores["ate_pearson"] > 0.5, "a line through the effects finds those of training"
    assert "additive" in metrics["baselines"] and metrics["verdict"]
    assert "toy_regression" in (work / "report.html").read_text()

    finished = reopen.reopen(work)
    assert finished.family.name == "toy" and finished.config.model.kwargs.ridge == 0.01

    capsys.readouterr()
    output = tmp_path / "out.h5ad"
    asked = ["predict", str(work), "PERT001+PERT002", f"--output={output}"]
    assert cli.main(asked) == 0, capsys.readouterr().err
    assert output.exists() and output.with_suffix(".csv").exists()

    fitted, cells = jaxpert.load(work)
    predicted = jaxpert.predict(fitted, cells, "PERT001")
    assert list(predicted.obs_names) == ["control", "PERT001"] or len(predicted) == 2

    assert cli.main(["train", f"--config={toy}:test", "--config.model.kwargs.ridge=-1"]) == 2
    assert (
        "model.kwargs.ridge is -1.0, expected a finite number, at least 0"
        in capsys.readouterr().err
    )
