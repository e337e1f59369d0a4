"""The settings of GEARS, and what its configs change of the keys that all models share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxpert.core.config import Config, ModelEntry
from jaxpert.core.ranges import DEEPEST, HEAVIEST, MOST, WIDEST
from jaxpert.core.settings import setting
from jaxpert.tasks.screen import keys
from jaxpert.tasks.screen.keys import ScreenConfig

NAME = "gears"
NONE = "none"
"""Stands for no graph and for no uncertainty head."""
REFERENCE = "reference"
"""The value of `compat` for the published behaviour."""
ABSENT = ("refuse", "isolated", "average")
"""What may stand in for a gene that no perturbation graph holds."""
KEYS = ScreenConfig


@dataclass(frozen=True)
class Settings:
    """Hyperparameters; the defaults are the published code's (docs/models/gears.md, Paper and
    code)."""

    hidden_dim: int = setting(
        64, "width of embeddings and hidden layers", at_least=1, at_most=WIDEST
    )
    gene_layers: int = setting(1, "hops along the co-expression graph", at_least=1, at_most=DEEPEST)
    perturbation_layers: int = setting(
        1, "hops along graphs of perturbed genes", at_least=1, at_most=DEEPEST
    )
    graph: str = setting(
        "sgconv",
        "operator on all graphs: sgconv (weighted), gcn, gat (unweighted)",
        choices=("sgconv", "gcn", "gat"),
    )
    coexpression_graph: str = setting(
        "coexpression",
        "graph of measured genes: coexpression, one of graphs.edges, or none",
        filled=True,
    )
    perturbation_graphs: tuple[str, ...] = setting(
        ("ontology",),
        "graphs of perturbed genes, joined by commas: ontology, those of graphs.edges, or none",
        joined=True,
    )
    position_weight: float = setting(
        0.2, "of the position embedding beside the gene embedding", at_least=0, at_most=HEAVIEST
    )
    cross_gene: bool = setting(True, "whether the decoder sees all genes at once")
    shared_decoder: bool = setting(False, "one read-out for all genes instead of one each")
    loss: str = setting("autofocus", "autofocus or mse", choices=("autofocus", "mse"))
    genes: str = setting(
        "expressed",
        "genes the loss sees: expressed ones of the condition, or all",
        choices=("expressed", "all"),
    )
    gamma: float = setting(
        2.0, "exponent beyond the square in the autofocus loss", at_least=0, at_most=10
    )
    direction: str = setting(
        "sign",
        "direction loss: sign (as published, without gradient) or tanh",
        choices=("sign", "tanh"),
    )
    direction_weight: float = setting(
        0.1, "weight of the direction loss", at_least=0, at_most=HEAVIEST
    )
    uncertainty: str = setting(
        NONE,
        "none, shipped (as the published code) or gaussian (a likelihood)",
        choices=(NONE, "shipped", "gaussian"),
    )
    uncertainty_weight: float = setting(
        1.0, "of the uncertainty term of the shipped form", at_least=0, at_most=HEAVIEST
    )
    uncertainty_head: str = setting(
        "shared",
        "one head shared by all genes, or one for each gene",
        choices=("shared", "gene"),
    )
    signs: Mapping[str, int | float] | None = setting(
        None, "+1 (activated) or -1 (repressed) for each treatment; None: all +1", internal=True
    )
    absent: str = setting(
        "refuse",
        "a perturbed gene in no graph: refuse it, give it an isolated node, or the average of the "
        "trained ones",
        choices=ABSENT,
    )
    compat: str = setting(
        "default",
        "default, or reference for the published behaviour within a batch",
        choices=("default", REFERENCE),
    )
    control_draws: int = setting(
        300,
        "with compat=reference: control cells per prediction, one of which sees the graph",
        at_least=1,
        at_most=MOST,
    )
    base: str = setting(
        "none",
        "predictor over which the network learns what is left: none, a baseline by name, or "
        "another that is computed from effects",
        filled=True,
    )


MODELS: dict[str, ModelEntry] = {
    NAME: ModelEntry("jaxpert.models.gears.model", Settings, {"test": {"hidden_dim": 8}})
}

# Published numbers hold only with the published schedule, so all of it is set here.
SECTIONS: Mapping[str, Mapping[str, Any]] = {
    "split": {"kind": "simulation", "seed": 1},
    "quality": {"multiplier": 0},
    "train": {
        "epochs": 20,
        "batch_size": 32,
        "learning_rate": 1e-3,
        "decay": 0.5,
        "decay_every": 1,
        "weight_decay": 5e-4,
        "clip": 1.0,
        "clip_kind": "value",
        "patience": 0,
        "drop_last": True,
        "pairing": "cell",
    },
    "evaluation": {"scores_of": NAME, "pass_cells": 0, "likelihood": "", "umap_cells": 0},
}
"""What GEARS changes of the shared keys: training as published (docs/models/gears.md, Optimiser
and schedule), no quality labels, the paper's scores."""
SMALL: Mapping[str, Mapping[str, Any]] = {
    "demo": {"epochs": 15, "batch_size": 64},
    "test": {"epochs": 2},
}
"""What the variants on the simulated screen change of `train` beside that."""


def defaults(model: str = NAME, variant: str = "full") -> Config:
    """A whole config of GEARS at a variant: full, demo or test."""
    # The variant's epochs and batches replace the published ones.
    train = {**SECTIONS["train"], **SMALL.get(variant, {})}
    return keys.defaults(model, MODELS[model], variant, {**SECTIONS, "train": train})
