"""How the report, the figures and the tables call scores, groups of perturbations and runs of
GEARS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from jaxpert.core.family import Run
from jaxpert.core.files import file_name
from jaxpert.core.workdir import folder_names
from jaxpert.report.sections import Score, Section

SECTION = Section(
    title="Scores of the GEARS paper",
    text=(
        "Means over the held-out conditions of each group, on ln(1 + 1e4 x / sum x): all of them, "
        "then by how many of their genes training saw. The correlation of changes is the paper's "
        "headline number; the mean of the training perturbations often beats models on it. Every "
        "other score of the published code is in metrics.json."
    ),
    scores={
        "normalised_mse_de": Score(
            "MSE, top 20, over no change",
            -1,
            "Squared error on the 20 genes that differ most from control, divided by that of "
            "predicting no change: below 1 something was learned.",
        ),
        "mse_de": Score(
            "MSE, top 20 genes", -1, "Squared error of the mean on the 20 genes that differ most."
        ),
        "mse": Score(
            "MSE, all genes", -1, "Squared error of the mean over all genes; most do not move."
        ),
        "pearson_delta": Score(
            "Pearson of changes",
            1,
            "Correlation over genes of predicted and measured change from control; undefined "
            "where no change is predicted.",
        ),
        "pearson_delta_de": Score(
            "Pearson of changes, top 20", 1, "The same over the 20 genes that differ most."
        ),
        "pearson_de": Score(
            "Pearson of means, top 20",
            1,
            "Correlation of expression, which the genes' own levels dominate: no change "
            "scores high.",
        ),
        "frac_opposite_direction_top20_non_dropout": Score(
            "opposite direction, top 20",
            -1,
            "Share of the 20 genes that are predicted to move the wrong way; no change is "
            "never opposite.",
        ),
        "frac_sigma_below_1_non_dropout": Score(
            "within one standard deviation",
            1,
            "Share of the 20 genes predicted within one standard deviation of the cells.",
        ),
    },
)

SHOWN = {
    "normalised_mse_de": "MSE, top 20, over no change",
    "mse_de": "MSE, top 20",
    "mse": "MSE",
    "pearson_delta": "Pearson Δ",
    "frac_opposite_direction_top20_non_dropout": "opposite direction, top 20",
}
"""Scores of the table, as `models.gears.metrics` names them."""
GROUPS = {
    "combo_seen0": "pairs, 0 of 2 seen",
    "combo_seen1": "pairs, 1 of 2 seen",
    "combo_seen2": "pairs, 2 of 2 seen",
    "unseen_single": "unseen singles",
    "test": "all held out",
    "val": "validation",
}
"""Groups of held-out perturbations."""


class Named(NamedTuple):
    """A run and what the figures call it."""

    run: Run
    file: str
    """Part of the names of its files, which no other run has."""
    title: str
    """In panels and tables; no two runs share it."""


def named(runs: Sequence[Run]) -> list[Named]:
    """Runs with names that tell them apart."""
    folders = folder_names([run.workdir for run in runs])
    given = []
    for run, folder in zip(runs, folders, strict=True):
        title = "GEARS"
        if len(runs) > 1:
            title = f"GEARS ({folder})"
        given.append(Named(run, file_name(folder), title))
    return given


def by_data(runs: Sequence[Named]) -> dict[str, list[Named]]:
    """Runs of the same data and quality labels, by the name that their files get."""
    groups: dict[object, list[Named]] = {}
    for named_run in runs:
        config = named_run.run.finished.config
        # Where the data lie and which cells train do not change what is scored.
        cells = replace(config.data, folder=""), replace(config.quality, training_cells="all")
        groups.setdefault(cells, []).append(named_run)
    by_name: dict[str, list[Named]] = {}
    for group in groups.values():
        plain = name = file_name(group[0].run.finished.problem.dataset.name)
        number = 1
        while name in by_name:
            number += 1
            name = f"{plain}_{number}"
        by_name[name] = group
    return by_name
