"""CycSeq configs of the `test` variant, and the problems that they stand for."""

from __future__ import annotations

import functools
import runpy
from typing import Any

from jaxpert.app import run
from jaxpert.core.family import Problem
from support.paths import ROOT


def raw_config(stage: str = "pretrain", **changes: Any) -> dict[str, Any]:
    """A config as its file holds it, with SECTION__KEY=value changed (`kwargs__` for
    model.kwargs)."""
    path = ROOT / f"configs/cycseq_{stage}.py"
    config = runpy.run_path(str(path))["get_config"]("test").to_dict()
    config["train"]["devices"] = 1
    for key, value in changes.items():
        section, name = key.split("__", 1)
        values = config["model"]["kwargs"] if section == "kwargs" else config[section]
        values[name] = value
    return config


def config(stage: str = "pretrain", **changes: Any) -> Any:
    """The same as the task's dataclass, every value checked."""
    return run.read(raw_config(stage, **changes))[0]


def prepare(stage: str = "pretrain", **changes: Any) -> run.Prepared:
    """Everything of a run before training."""
    return run.prepare(*run.read(raw_config(stage, **changes)))


@functools.cache
def problem() -> Problem:
    """The data of pre-training, read once."""
    return prepare().problem
