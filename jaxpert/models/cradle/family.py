"""CRADLE-VAE and the baselines of its paper, as a family."""

from __future__ import annotations

from jaxpert.core.family import Command, Family
from jaxpert.models.cradle import settings
from jaxpert.models.cradle.clean import CleanOptions, clean
from jaxpert.models.cradle.interpret_files import InterpretOptions, write_interpretation
from jaxpert.models.cradle.paper.figures import FigureOptions, draw
from jaxpert.models.cradle.paper.study import STUDY
from jaxpert.tasks.screen.task import SCREEN

FAMILY = Family(
    name="cradle",
    title="CRADLE-VAE",
    task=SCREEN,
    models=settings.MODELS,
    defaults=settings.defaults,
    commands={
        "figures": Command(
            "Figures 3 (and 5 to 8), 4 and 9 of the CRADLE-VAE paper; runs of one data set are "
            "drawn side by side.",
            FigureOptions,
            draw,
            many=True,
        ),
        "interpret": Command(
            "Which latent factors perturbations move, which perturbations are alike, and which "
            "genes factors move; tables and heat maps.",
            InterpretOptions,
            write_interpretation,
        ),
        "clean": Command(
            "Cells that failed quality as they would look without their artifact, and "
            "artifact-free cells of any perturbation.",
            CleanOptions,
            clean,
        ),
    },
    study=STUDY,
)
