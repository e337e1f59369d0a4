"""What a run was: when, on what, with which versions, how it ended."""

from __future__ import annotations

import importlib.metadata
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxpert.core.fit import Fitted
from jaxpert.core.types import SPLITS, Dataset

PACKAGES = (
    "jaxpert",
    "jax",
    "flax",
    "numpyro",
    "optax",
    "orbax-checkpoint",
    "anndata",
    "scanpy",
    "numpy",
)


def describe(dataset: Dataset) -> dict[str, Any]:
    """The data set in numbers, with every note about what was left out or decided."""
    sizes = dataset.condition_treatments.sum(1)
    perturbed = np.arange(len(sizes)) != dataset.control
    return {
        "name": dataset.name,
        "cells": len(dataset.cells),
        "genes": len(dataset.genes),
        "conditions": len(dataset.conditions),
        "single perturbations": int((perturbed & (sizes == 1)).sum()),
        "combinations": int((sizes > 1).sum()),
        "control cells": int((dataset.condition == dataset.control).sum()),
        "strata": len(dataset.strata),
        "cells per split": {split: len(dataset.rows(split)) for split in SPLITS},
        "notes": list(dataset.notes),
    }


def about(fitted: Fitted, seeds: int, log_rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The run in numbers: the part `run` of metrics.json.

    Args:
        fitted: with its training state and outcome.
        seeds: trained at once.
        log_rows: of metrics.jsonl.
    """
    assert fitted.train is not None and fitted.outcome is not None
    rows = [row for row in log_rows if "train/loss" in row]
    # The first stretch of a call includes warming up.
    speeds = [row["cells_per_second"] for row in rows[1:] or rows]
    # Other versions can change the last digits, so a number is kept with those behind it.
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        # UTC, so that runs from several machines can be put in order.
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "command": command(),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "ended": fitted.outcome.reason,
        "epochs": fitted.outcome.epochs,
        "steps": fitted.outcome.step,
        "best epoch": np.asarray(fitted.train.best.epoch).tolist(),
        "best validation loss": np.asarray(fitted.train.best.loss).tolist(),
        # Every leaf holds all seeds; the size of a model is that of one.
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(fitted.params)) // seeds,
        "cells per second (median)": float(np.median(speeds)) if speeds else None,
        "versions": versions | {"python": sys.version.split()[0]},
    }


def command() -> str:
    """The command line that started the run; empty from a notebook or a test."""
    # Only the two entry points can be repeated; a notebook's arguments name its kernel.
    if sys.argv[0].endswith("main.py"):
        return " ".join(["python", *sys.argv])
    if sys.argv[0].endswith("jaxpert"):
        return " ".join(["jaxpert", *sys.argv[1:]])
    return ""
