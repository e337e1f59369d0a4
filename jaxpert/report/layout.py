"""What a study of many runs compares, and what stands in its tables.

A family hands these data in (`Family.study`); `jaxpert.study` runs and shows whatever they say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

QCPR, QCPR_RESAMPLED = "qcpr", "qcpr_resampled"
"""Share of generated cells that pass the quality criteria, with one library size for all cells and
with those of real cells; named beside the scores of `evaluation.metrics.METRICS`."""


class Variant(NamedTuple):
    """A model as a study trains it."""

    label: str
    """What tables call it."""
    model: str
    """`model.name` of its configs."""
    changes: Mapping[str, Any] = {}
    """{config key: value} that make it another one than the model of its config."""
    per_threshold: bool = True
    """Trained anew for each MAD multiplier; else once on all cells and scored at each."""


class Layout(NamedTuple):
    """What a table shows."""

    table: str
    """Its number in the paper, which the published numbers go by."""
    title: str
    models: tuple[str, ...]
    """Names of variants, a row for each."""
    metrics: tuple[str, ...]
    baselines: bool = False
    """Whether the baselines of the evaluation stand below the models."""


class Reported(NamedTuple):
    """How the paper reports a data set."""

    subset: str
    """"test" where its scores are of unseen perturbations, "all" where cells are held out."""
    vary: str
    """What its seeds are of: "split" or "train"."""


class Study(NamedTuple):
    """A comparison of models over data sets, quality thresholds and seeds.

    Example:
        STUDY = Study(
            title="Toy and its baselines",
            paper="Toy, 2025",
            subject="toy",
            variants={"toy": Variant("Toy", "toy"), "plain": Variant("Plain", "plain")},
            layouts=(Layout("1", "Effects", ("plain", "toy"), ("ate_pearson", "mse")),),
            data={"norman": Reported("test", "split")},
            config=lambda model, data, variant: (f"{model}_{data}", variant),
        )
    """

    title: str
    paper: str
    """As notes cite it."""
    subject: str
    """The variant that is compared with each other one."""
    variants: Mapping[str, Variant]
    """By the names of rows, folders and flags, in the order in which they are run."""
    layouts: tuple[Layout, ...]
    """Every variant stands in one of them; together they give the order of models."""
    data: Mapping[str, Reported]
    """The paper's data sets. Cells of any other file are run with the config of the first."""
    config: Callable[[str, str, str], tuple[str, str]]
    """(model, data set of `data`, variant) -> name of a file in configs/ and the variant of it."""
    published: Path | None = None
    """CSV of printed numbers; None for none."""

    def models_in_order(self) -> tuple[str, ...]:
        """Variants in the order of their first row in the tables."""
        shown: list[str] = []
        for layout in self.layouts:
            shown += layout.models
        # A dict keeps the first place of each model.
        return tuple(dict.fromkeys((*shown, *self.variants)))
