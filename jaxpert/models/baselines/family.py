"""The baselines as a family of models, which train, predict and report as all others do."""

from __future__ import annotations

from jaxpert.core.family import Family
from jaxpert.models.baselines import settings
from jaxpert.tasks.screen.task import SCREEN

FAMILY = Family(
    name="baselines",
    title="Baselines",
    task=SCREEN,
    models=settings.MODELS,
    defaults=settings.defaults,
    effects=True,
)
