"""The command `figures`: Figures 3 to 9 of the CRADLE-VAE paper from finished runs.

Figure 3 (5 to 8 are the same for other data sets): quality of real and generated cells, and
measured against predicted effects. Figure 4: generated cells with and without artifact, and by
pathway. Figure 9: the basal latents of the models.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax

from jaxpert.core import log
from jaxpert.core.family import Finished, Run
from jaxpert.core.files import file_name
from jaxpert.core.ranges import LARGEST_SEED, MOST
from jaxpert.core.settings import plain, setting
from jaxpert.core.types import InputError
from jaxpert.core.workdir import folder_names
from jaxpert.data import genesets
from jaxpert.models.cradle.paper.generated_panels import draw_artifacts, draw_quality
from jaxpert.models.cradle.paper.labels import label_of
from jaxpert.models.cradle.paper.panels import draw_effects, draw_latents
from jaxpert.report.attempts import Missing, attempt, require_some

FIGURES = (3, 4, 9)


@dataclass(frozen=True)
class FigureOptions:
    """Flags of the command."""

    figures: tuple[int, ...] = setting(
        (),
        "which figures, joined by commas (5 to 8 are figure 3 of other data sets); empty: all "
        "that the runs allow (4 needs a run of cradle_vae)",
        choices=FIGURES,
        joined=True,
    )
    gmt: str = setting(
        "",
        "file of gene sets that name the pathways of figure 4 (.gmt, gzipped or not); empty: "
        "those planted in a simulated screen",
    )
    cells: int = setting(
        2000,
        "generated cells of each group (3), generated cells (4), real cells (9)",
        at_least=50,
        at_most=MOST,
    )
    seed: int = setting(0, "of all draws and embeddings", at_least=0, at_most=LARGEST_SEED)


def draw(runs: Sequence[Run], folder: Path, options: FigureOptions) -> None:
    """Draw the paper's figures into a folder, with their numbers as JSON beside them.

    Runs of the same data and quality labels are drawn side by side.
    """
    if options.gmt and options.figures and 4 not in options.figures:
        raise InputError(
            "--gmt is for figure 4, which --figures leaves out, expected both or neither: add 4 "
            "to it, or leave out --gmt"
        )
    sets = None
    # Read first, so that a wrong path costs no time.
    if options.gmt:
        sets = genesets.read_gmt(options.gmt)
    names = file_names(runs)
    runs = [run._replace(label=label_of(run.finished.config)) for run in runs]
    chosen = sorted(set(options.figures)) or possible_figures(runs)
    _check_models(runs, chosen)
    cells, seed = options.cells, options.seed
    # One figure that fails must not stop the others.
    missing = Missing()
    attempted = partial(attempt, missing)
    for data_name, group in by_data(runs).items():
        where = folder, data_name, group
        if 3 in chosen:
            attempted(f"figure 3 of {data_name}, effects", draw_effects, *where)
            attempted(f"figure 3 of {data_name}", draw_quality, *where, cells, seed)
        if 9 in chosen:
            attempted(f"figure 9 of {data_name}", draw_latents, *where, cells, seed)
    for name, run in zip(names, runs, strict=True):
        if 4 in chosen and has_artifact(run.finished):
            wanted = folder, name, run, sets, cells, seed
            attempted(f"figure 4 of {name}", draw_artifacts, *wanted)
    require_some(folder, missing)


def has_artifact(finished: Finished) -> bool:
    """Whether the model tells artifacts apart in its latent space."""
    latent = finished.fitted.model.latent
    if latent is None:
        return False
    # Shapes alone tell what the latents are; nothing is computed.
    return "artifact" in jax.eval_shape(latent.shared, finished.fitted.params, jax.random.key(0))


def possible_figures(runs: Sequence[Run]) -> list[int]:
    """All figures; the fourth only where some model has what it shows."""
    if any(has_artifact(run.finished) for run in runs):
        return list(FIGURES)
    log.say(
        "note: figure 4 is left out, since no run is of a model with an artifact latent such as "
        "cradle_vae"
    )
    return [number for number in FIGURES if number != 4]


def by_data(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs of the same data and quality labels, by the name that their files get; labels tell the
    runs of a group apart."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(_data_of(run), []).append(run)
    names = [file_name(group[0].finished.problem.dataset.name) for group in groups.values()]
    named: dict[str, list[Run]] = {}
    for name, group in zip(names, groups.values(), strict=True):
        # The multiplier is what most often tells runs on one screen apart.
        if names.count(name) > 1:
            name += f"_{group[0].finished.config.quality.multiplier}mad"
        # What still has the same name gets a number.
        number, free = 1, name
        while free in named:
            number += 1
            free = f"{name}_{number}"
        named[free] = _told_apart(group)
    return named


def file_names(runs: Sequence[Run]) -> list[str]:
    """The folder of each run as a part of file names, with that above it where two are alike."""
    return list(map(file_name, folder_names([run.workdir for run in runs])))


def _data_of(run: Run) -> str:
    """What runs on the same data with the same quality labels have in common."""
    data, quality = plain(run.finished.config.data), plain(run.finished.config.quality)
    # Where the data lie and which cells train do not change what is shown.
    del data["folder"], quality["training_cells"]
    return json.dumps([data, quality], sort_keys=True)


def _told_apart(runs: Sequence[Run]) -> list[Run]:
    """Runs of one data set; those of the same model have their folder's name in the label."""
    labels = [run.label for run in runs]
    named = []
    for run, name in zip(runs, file_names(runs), strict=True):
        if labels.count(run.label) > 1:
            run = run._replace(label=f"{run.label} ({name})")
        named.append(run)
    return named


def _check_models(runs: Sequence[Run], figures: Sequence[int]) -> None:
    """What a figure needs of the models, said before anything is drawn."""
    if 4 in figures and not any(has_artifact(run.finished) for run in runs):
        labels = ", ".join(run.label for run in runs)
        raise InputError(
            f"none of the runs ({labels}) is of a model with an artifact latent, expected one for "
            "figure 4: give a run of cradle_vae, or leave 4 out of --figures"
        )
    for run in runs:
        model = run.finished.fitted.model
        if run.finished.problem.dataset.quality is None and {3, 9} & set(figures):
            raise InputError(
                f"{run.workdir} has no quality labels, expected some for figures 3 and 9: leave "
                "the run out"
            )
        if 3 in figures and (model.scale != "counts" or not model.stochastic):
            raise InputError(
                f"{run.workdir} is of a model that generates no cells, expected one that does for "
                "figure 3: leave the run out"
            )
        if 9 in figures and model.embed is None:
            raise InputError(
                f"{run.workdir} is of a model without a latent space, expected one with it for "
                "figure 9: leave the run out"
            )
