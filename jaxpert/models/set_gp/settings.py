"""Settings of the Gaussian process over perturbation sets, and its configs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxpert.core import config
from jaxpert.core.config import Config, ModelEntry
from jaxpert.core.settings import setting
from jaxpert.tasks.screen import keys

VARIANTS = config.VARIANTS
MOST_COMPONENTS = 200


@dataclass(frozen=True)
class Settings:
    """What is known of the genes, and how finely effects are divided (docs/models/set_gp.md)."""

    perturbation_graphs: tuple[str, ...] = setting(
        ("none",),
        "annotations that tell which genes are alike, joined by commas: ontology "
        "(graphs.ontology), those of graphs.edges, or none",
        joined=True,
    )
    embeddings: str = setting(
        "", "table of vectors of genes (genes x dimensions) that tell which are alike; empty: none"
    )
    responses: bool = setting(
        True, "whether genes are alike whose own expression answers perturbations alike"
    )
    signs: str = setting(
        "",
        "table of 1 and -1 of every treatment (such as activation and repression): like genes "
        "under opposite signs have opposite effects; empty: all are alike",
    )
    components: int = setting(
        25,
        "directions of the effects that get a process each; the rest shares one",
        at_least=1,
        at_most=MOST_COMPONENTS,
    )
    steps: int = setting(
        30, "of the search for the largest marginal likelihood", at_least=1, at_most=10_000
    )
    exact: int = setting(
        1000,
        "most training conditions for which covariances are factorised whole; beyond, kernels "
        "between genes are of the rank `rank`",
        at_least=1,
        at_most=20_000,
    )
    rank: int = setting(128, "of kernels between genes in large screens", at_least=1, at_most=5_000)
    blend: bool = setting(
        True, "whether the process is stacked with the baselines by left-out training conditions"
    )
    runs: tuple[str, ...] = setting(
        (),
        "work directories of finished runs of other models on the same cells, whose predictions "
        "are stacked on the blend, joined by commas",
        joined=True,
    )
    folds: int = setting(
        5,
        "times that training conditions are left out for the weights of the blend and the widths "
        "of intervals; 0: neither",
        at_least=0,
        at_most=100,
    )


KEYS = keys.ScreenConfig
# Simulated screens bring annotations of their own.
ANNOTATED: Mapping[str, Any] = {"perturbation_graphs": "ontology"}
MODELS = {
    "set_gp": ModelEntry(
        "jaxpert.models.set_gp.model",
        Settings,
        variants={"demo": ANNOTATED, "test": {**ANNOTATED, "components": 4, "steps": 10}},
    )
}


def defaults(model: str = "set_gp", variant: str = "full") -> Config:
    """A whole config: no quality labels, no cell left out for lack of annotation."""
    return keys.defaults(model, MODELS[model], variant, keys.COMPUTED)
