"""Figures 3 to 9 of the CRADLE-VAE paper from finished runs: generated beside real cells, and the
latent spaces.

Figure 3 (5 to 8 are the same for other data sets): quality of real and generated cells, and
measured against predicted effects. Figure 4: generated cells with and without artifact, and by
pathway. Figure 9: the basal latents of the models.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxpert.app import reopen
from jaxpert.core import log
from jaxpert.core.types import InputError
from jaxpert.data import genesets
from jaxpert.models.cradle.paper.panels import (
    Options,
    Run,
    draw_artifacts,
    draw_effects,
    draw_latents,
    draw_quality,
    has_artifact,
)

FIGURES = (3, 4, 9)
FEWEST_CELLS = 50
MODELS = {
    "cradle_vae": "CRADLE-VAE",
    "sams_vae": "SAMS-VAE",
    "cpa_vae": "CPA-VAE",
    "svae_plus": "sVAE+",
    "conditional_vae": "conditional VAE",
    "gears": "GEARS",
}


def draw(
    runs: Sequence[str | Path],
    output: str | Path,
    *,
    figures: Sequence[int] | None = None,
    gmt: str | Path | None = None,
    cells: int = 2000,
    seed: int = 0,
) -> list[Path]:
    """Draw the paper's figures from finished runs and return the files written, pictures and their
    numbers as JSON.

    Args:
        runs: work directories; those of the same data and quality labels are drawn side by side.
        output: folder of the files; nothing is written unless all could be made.
        figures: some of 3, 4 and 9; None for all that the runs allow (4 needs a model with an
            artifact latent).
        gmt: GMT file whose gene sets name the pathways of Figure 4; without it a simulated screen
            shows its own.
        cells: generated cells of each group in Figure 3, all generated cells of Figure 4, real
            cells of Figure 9.
        seed: of all draws and embeddings.
    """
    _check(runs, figures, gmt, cells)
    options = Options(cells, seed, genesets.read_gmt(gmt) if gmt is not None else None)
    opened = open_runs(runs)
    chosen = _possible(opened) if figures is None else sorted(set(figures))
    _check_models(opened, chosen)
    output = Path(output)
    with staged(output) as part:
        for name, group in by_data(opened).items():
            if 3 in chosen:
                draw_effects(part, name, group)
                draw_quality(part, name, group, options)
            if 9 in chosen:
                draw_latents(part, name, group, options)
        for run in opened:
            if 4 in chosen and has_artifact(run.finished):
                draw_artifacts(part, run, options)
        return moved(part, output)


def _check(runs: Sequence[Any], figures: Sequence[int] | None, gmt: Any, cells: int) -> None:
    if not runs:
        raise InputError(
            "no run was given, expected the folders of finished runs: --runs=runs/a,runs/b"
        )
    unknown = [number for number in figures or () if number not in FIGURES]
    if unknown or (figures is not None and not figures):
        raise InputError(
            f"figure {', '.join(map(str, unknown)) or 'none'} is asked for, expected some of 3, "
            "4, 9 (5 to 8 are "
            "figure 3 of other data sets): change --figures"
        )
    if cells < FEWEST_CELLS:
        raise InputError(
            f"{cells} cells are asked for, expected at least {FEWEST_CELLS}: raise --cells"
        )
    if gmt is not None and figures is not None and 4 not in figures:
        raise InputError(
            "--gmt is for figure 4, which --figures leaves out: add 4 to it, or leave out --gmt"
        )


def open_runs(folders: Sequence[str | Path]) -> list[Run]:
    """Read finished runs; of several seeds trained at once the first."""
    paths = [Path(os.path.abspath(one)) for one in folders]
    twice = {str(path) for path in paths if paths.count(path) > 1}
    if twice:
        raise InputError(
            f"the run {', '.join(sorted(twice))} is given twice, expected every run once: change "
            "--runs"
        )
    for path in paths:  # what is cheap to find out comes before any data are read
        reopen.read_config(path)
        reopen.read_metrics(path)
    finished = [reopen.reopen(path, seed=0) for path in paths]
    names = [path.name for path in paths]
    names = [
        path.name if names.count(path.name) == 1 else f"{path.parent.name}_{path.name}"
        for path in paths
    ]
    return [
        Run(_file_name(name), label_of(one.config), path, one)
        for name, path, one in zip(names, paths, finished, strict=True)
    ]


def label_of(config: Mapping[str, Any]) -> str:
    """The model as the paper's tables call it, with its ablation and the cells it was trained
    on."""
    name, kwargs = config["model"]["name"], config["model"]["kwargs"]
    label = MODELS[name] if name in MODELS else name.replace("_", " ")
    label += " w/o CF" if kwargs.get("cf_weight") == 0 else ""
    label += " w/o causal" if kwargs.get("causal_artifact") is False else ""
    return label + (", passed cells" if config["quality"].get("training_cells") == "passed" else "")


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)


def by_data(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs of the same data and quality labels, by the name that their files get."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        config = run.finished.config
        same = {name: value for name, value in config["data"].items() if name != "folder"}
        labels = {
            name: value for name, value in config["quality"].items() if name != "training_cells"
        }
        groups.setdefault(json.dumps([same, labels], sort_keys=True), []).append(run)
    named: dict[str, list[Run]] = {}
    names = [_file_name(group[0].finished.dataset.name) for group in groups.values()]
    for name, group in zip(names, groups.values(), strict=True):
        if names.count(name) > 1:
            name += f"_{group[0].finished.config['quality']['multiplier']}mad"
        tries = [name, *(f"{name}_{number}" for number in range(2, len(groups) + 1))]
        named[next(one for one in tries if one not in named)] = _told_apart(group)
    return named


def _told_apart(runs: Sequence[Run]) -> list[Run]:
    """Runs of one data set; those of the same model have their folder's name in the label."""
    labels = [run.label for run in runs]
    return [
        run if labels.count(run.label) == 1 else run._replace(label=f"{run.label} ({run.name})")
        for run in runs
    ]


def _possible(runs: Sequence[Run]) -> list[int]:
    """All figures; the fourth only where some model has what it shows."""
    if any(has_artifact(run.finished) for run in runs):
        return list(FIGURES)
    log.say(
        "note: figure 4 is left out, since no run is of a model with an artifact latent such as "
        "cradle_vae"
    )
    return [number for number in FIGURES if number != 4]


def _check_models(runs: Sequence[Run], figures: Sequence[int]) -> None:
    """What a figure needs of the models, said before anything is drawn."""
    if 4 in figures and not any(has_artifact(run.finished) for run in runs):
        raise InputError(
            "figure 4 shows generated artifacts, and none of the runs "
            f"({', '.join(run.label for run in runs)}) is of "
            "a model with an artifact latent: give a run of cradle_vae, or leave 4 out of --figures"
        )
    for run in runs:
        model = run.finished.fitted.model
        if 3 in figures and (model.scale != "counts" or not model.stochastic):
            raise InputError(
                f"{run.folder} is of a model that generates no cells, which figure 3 shows: leave "
                "it out"
            )
        if 9 in figures and model.embed is None:
            raise InputError(
                f"{run.folder} is of a model without a latent space, which figure 9 shows: leave "
                "it out"
            )


@contextmanager
def staged(output: Path) -> Iterator[Path]:
    """A hidden folder beside `output` that is gone at the end; what the file system says, as one
    sentence."""
    try:
        if output.exists() and not output.is_dir():
            raise NotADirectoryError(f"{output} is a file")
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as part:
            yield Path(part)
    except OSError as error:
        raise InputError(
            f"{output} cannot be written ({error}): choose another --output"
        ) from error


def moved(part: Path, output: Path) -> list[Path]:
    """Give every file its place."""
    output.mkdir(exist_ok=True)
    names = sorted(path.name for path in part.iterdir())
    for name in names:
        os.replace(part / name, output / name)
    return [output / name for name in names]
