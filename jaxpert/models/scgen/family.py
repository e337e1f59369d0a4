"""The family `scgen`: what is asked of it by the parts that all families share."""

from __future__ import annotations

from jaxpert.core.family import Beside, Family
from jaxpert.models.scgen import settings
from jaxpert.models.scgen.translation import check, fit, why_not
from jaxpert.tasks.screen.task import SCREEN

FAMILY = Family(
    name="scgen",
    title="scGen",
    task=SCREEN,
    models=settings.MODELS,
    defaults=settings.defaults,
    beside={"translation": Beside(why_not, check, fit)},
)
