"""The family `cycseq`: what is asked of it by the parts that all families share."""

from __future__ import annotations

from jaxpert.core.family import Command, Family
from jaxpert.models.cycseq import settings, start
from jaxpert.models.cycseq.paper import figures, tables
from jaxpert.models.cycseq.paper.labels import SECTION
from jaxpert.models.cycseq.predict import predict
from jaxpert.models.cycseq.translation import build, predictor
from jaxpert.tasks.translation.task import TRANSLATION

FAMILY = Family(
    name="cycseq",
    title="CycSeq",
    task=TRANSLATION,
    models=settings.MODELS,
    defaults=settings.defaults,
    build=build,
    predict=predict,
    predictor=predictor,
    section=SECTION,
    commands={
        "figures": Command(
            "Draw Figures 2 to 6 of the CycSeq paper.", figures.Options, figures.draw, many=True
        ),
        "tables": Command(
            "Write Tables 1 and 2 of the CycSeq paper, published numbers beside ours.",
            tables.Options,
            tables.write,
            many=True,
        ),
    },
    start=start.start,
)
