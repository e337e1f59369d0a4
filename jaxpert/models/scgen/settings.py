"""Settings of scGen: defaults, meanings and ranges, and its configs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxpert.core import config
from jaxpert.core.config import Config, ModelEntry
from jaxpert.core.ranges import DEEPEST, HEAVIEST, WIDEST
from jaxpert.core.settings import setting
from jaxpert.tasks.screen import keys

VARIANTS = config.VARIANTS


@dataclass(frozen=True)
class Settings:
    """Hyperparameters of scGen; the defaults are the published ones (docs/models/scgen.md)."""

    latent_dim: int = setting(100, "width of the latent space", at_least=1, at_most=WIDEST)
    hidden_dim: int = setting(800, "width of the hidden layers", at_least=1, at_most=WIDEST)
    hidden_layers: int = setting(
        2,
        "of the encoder, and of the decoder but for variant=v2, whose decoder has one",
        at_least=1,
        at_most=DEEPEST,
    )
    dropout: float = setting(0.2, "share of hidden values dropped in training", at_least=0, below=1)
    kl_weight: float = setting(
        5e-5,
        "of the KL term beside half the squared error summed over genes (variant=v2 takes half of "
        "it)",
        at_least=0,
        at_most=HEAVIEST,
    )
    variant: str = setting(
        "default",
        "default (leaky ReLU 0.01, affine output), or the public versions: v1 (2019; slope 0.2, "
        "last hidden layer of the decoder not normalised, ReLU on the output, shifts of drawn "
        "latents) or v2 (scvi-tools; one hidden decoder layer, output normalised, leaky and "
        "dropped out)",
        choices=("default", "v1", "v2"),
    )
    delta_from: str = setting(
        "all",
        "training cells behind a stratum's shift: of all strata, or of the others only (its own "
        "where no other has the perturbation)",
        choices=("all", "others"),
    )


KEYS = keys.ScreenConfig
MODELS = {
    "scgen": ModelEntry(
        "jaxpert.models.scgen.model",
        Settings,
        variants={
            "demo": {"latent_dim": 50, "hidden_dim": 200},
            "test": {"latent_dim": 4, "hidden_dim": 16},
        },
    )
}

TRAIN: Mapping[str, Any] = {
    "epochs": 100,
    "batch_size": 32,
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "clip": 0.0,
    "patience": 25,
}
"""As in its tutorials."""
SMALL_TRAIN: Mapping[str, Mapping[str, Any]] = {
    "demo": {"epochs": 40, "batch_size": 64},
    "test": {"epochs": 2, "batch_size": 64},
}
SMALL_DATA: Mapping[str, Mapping[str, Any]] = {
    "demo": {
        "preset": "lines",
        "simulation": "cells=6000,singles=20,genes=500",
        "stratum": "line",
    },
    "test": {"preset": "lines_tiny", "stratum": "line"},
}
"""Simulated lines of the small variants."""


def defaults(model: str = "scgen", variant: str = "full") -> Config:
    """A whole config of scGen: training as in its tutorials, no quality labels."""
    # No quality labels: scGen is told of no artifact, and trains on all cells.
    changes = {
        "data": SMALL_DATA.get(variant, {}),
        "quality": {"multiplier": 0},
        "split": {"kind": "cells"},
        "train": {**TRAIN, **SMALL_TRAIN.get(variant, {})},
        "evaluation": {"pass_cells": 0, "likelihood": ""},
    }
    return keys.defaults(model, MODELS[model], variant, changes)
