"""GEARS as a family of models (`core.family`)."""

from __future__ import annotations

from jaxpert.core.family import Beside, Command, Family
from jaxpert.models.gears import evaluate, pairs_command, predict_sets, settings, translation
from jaxpert.models.gears.paper import figures, tables
from jaxpert.models.gears.paper.labels import SECTION
from jaxpert.tasks.screen.task import SCREEN

FAMILY = Family(
    name="gears",
    title="GEARS",
    task=SCREEN,
    models=settings.MODELS,
    defaults=settings.defaults,
    predict=predict_sets.predict,
    scores=evaluate.scores,
    section=SECTION,
    commands={
        "figures": Command(
            "Figures 2 to 5 of the paper and the extended ones, with a table of published numbers "
            "beside ours. What a run cannot carry is left out; the table says what and why.",
            figures.Options,
            figures.draw,
            many=True,
        ),
        "tables": Command(
            "Scores of the runs, with published numbers beside them.",
            tables.Options,
            tables.write,
            many=True,
        ),
        "pairs": Command(
            "Predict pairs of genes, score their interactions and rank them: which to measure "
            "next.",
            pairs_command.Options,
            pairs_command.write_pairs,
        ),
    },
    beside={"translation": Beside(translation.why_not, translation.check, translation.fit)},
)
