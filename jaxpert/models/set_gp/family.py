"""The Gaussian process over perturbation sets as a family of models."""

from __future__ import annotations

from jaxpert.core.family import Command, Family
from jaxpert.models.set_gp import pairs, settings, splits
from jaxpert.tasks.screen.task import SCREEN

FAMILY = Family(
    name="set_gp",
    title="Gaussian process over sets",
    task=SCREEN,
    models=settings.MODELS,
    defaults=settings.defaults,
    effects=True,
    commands={
        "tables": Command(
            "Scores of runs on several splits of one screen: every group of held-out conditions "
            "beside every baseline, with intervals, and the coverage of the model's own.",
            splits.Options,
            splits.write,
            many=True,
        ),
        "pairs": Command(
            "How far each pair of genes is to depart from the sum of its genes, how sure that is, "
            "and which to measure next.",
            pairs.Options,
            pairs.write_pairs,
        ),
    },
)
