"""Settings of the baselines as models, and their configs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxpert.core import config
from jaxpert.core.config import Config, ModelEntry
from jaxpert.core.settings import setting
from jaxpert.evaluation.baseline_names import BASELINES
from jaxpert.tasks.screen import keys

VARIANTS = config.VARIANTS


@dataclass(frozen=True)
class Settings:
    """A baseline has no hyperparameters; what it may know beside the cells is said here."""

    perturbation_graphs: tuple[str, ...] = setting(
        ("none",),
        "annotations to know, joined by commas: ontology (graphs.ontology), those of graphs.edges, "
        "or none",
        joined=True,
    )


KEYS = keys.ScreenConfig
# Simulated screens bring annotations of their own.
ANNOTATED: Mapping[str, Any] = {"perturbation_graphs": "ontology"}
MODELS = {
    name: ModelEntry(
        "jaxpert.models.baselines.model",
        Settings,
        variants={"demo": ANNOTATED, "test": ANNOTATED},
        named=True,
    )
    for name in BASELINES
}


def defaults(model: str = "shrunken_additive", variant: str = "full") -> Config:
    """A whole config of a baseline: no quality labels, no cell left out for lack of annotation."""
    return keys.defaults(model, MODELS[model], variant, keys.COMPUTED)
