"""`jaxpert score` and `jaxpert.score`: predictions of any tool, scored as those of a run."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxpert import data
from jaxpert.app import run
from jaxpert.app.reopen import data_of
from jaxpert.core import files, settings, workdir
from jaxpert.core.about import command
from jaxpert.core.errors import InputError
from jaxpert.core.paths import path_of
from jaxpert.core.spreadsheets import write_table
from jaxpert.data.labels import rules_of
from jaxpert.report import attempts, plain, plots
from jaxpert.tasks.screen import audit, each
from jaxpert.tasks.screen.files import effects_arrays, statistics_arrays
from jaxpert.tasks.screen.load import label_options
from jaxpert.tasks.screen.outside import Asked, Scored
from jaxpert.tasks.screen.outside import score as score_outside
from jaxpert.tasks.screen.real_cells import Real, read_real
from jaxpert.tasks.screen.score_keys import ScoreKeys

MULTIPLIER = 0
OF_REAL = ("stratum", "layer", "real_scale", "train", "controls")
"""Keys of how a file of real cells is read, beside those of its labels."""
"""Of quality labels, which cells from outside do not have."""


def score(
    real: Any,
    predicted: Any,
    *,
    output: str | Path | None = None,
    train: Any = None,
    **options: Any,
) -> dict[str, Any]:
    """Score predictions of any tool against real cells, beside the baselines, after an audit of
    leaks and scales.

    Args:
        real: path or AnnData of cells (counts, or log1p of normalised counts), or the folder of a
            finished run, whose cells, labels, quality and split are taken.
        predicted: path or AnnData of cells or of one mean for each perturbation, control included;
            or a CSV file or DataFrame of conditions by genes, such as effects.
        output: folder for metrics.json, report.html, scores.csv and scores.md; None writes nothing.
        train: what was trained on: a column of `real`, lists ({"train": [...]}), or a second path
            or AnnData with the training cells; without it most baselines cannot be made.
        **options: flags of `jaxpert score`: `perturbation`, `control`, `separator`, `scale`,
            `stratum` ...

    Returns:
        What metrics.json holds: "model", "baselines", "comparison", "verdict" and so on, and under
        "scored" what was understood and found.

    Raises:
        InputError: for files that cannot be scored (docs/guide/score.md).

    Example:
        jaxpert.score("real.h5ad", "pred.h5ad", perturbation="gene", control="NTC")["verdict"]
    """
    texts = {name: value for name, value in options.items() if name in _fields()}
    if set(options) - set(texts):
        raise InputError(
            f"jaxpert.score has no {', '.join(sorted(set(options) - set(texts)))}, expected some "
            f"of {', '.join(_fields())}: correct the name"
        )
    keys = settings.read(ScoreKeys, texts, settings.FLAGS)
    scored = score_outside(open_real(real, keys, train), predicted, asked_of(keys), seed=keys.seed)
    metrics = finished(scored)
    if output is not None:
        write(scored, metrics, path_of(output).absolute())
    return metrics


def open_real(real: Any, keys: ScoreKeys, train: Any = None) -> Real:
    """Real cells from a file, an AnnData or the folder of a run."""
    if is_run(real):
        _refuse_idle(keys, train)
        return real_of_run(path_of(real))
    rules = rules_of(**label_options(keys))
    cells = read_real(
        real,
        rules,
        stratum=keys.stratum or None,
        layer=keys.layer or None,
        scale=keys.real_scale,
        train=train if train is not None else keys.train or None,
        controls=keys.controls,
    )
    return cells


def _refuse_idle(keys: ScoreKeys, train: Any) -> None:
    """Refuse what says how real cells are read, where a run has read and split them."""
    given, default = settings.plain(keys), settings.plain(ScoreKeys())
    idle = [name for name in (*label_options(keys), *OF_REAL) if given[name] != default[name]]
    if train is not None and "train" not in idle:
        idle.append("train")
    if idle:
        raise InputError(
            f"--{idle[0]} was given, and the real cells are those of a run, which knows their "
            "labels, scale and split, expected no such flag with them: leave it out, or name the "
            "file of the cells"
        )


def is_run(source: Any) -> bool:
    """Whether this is the work directory of a run."""
    return isinstance(source, str | Path) and (path_of(source) / workdir.CONFIG).exists()


def real_of_run(folder: Path) -> Real:
    """The cells of a run, with its quality labels and split, so that scores stand beside its
    own."""
    prepared = data_of(folder)
    if prepared.family.task.name != "screen":
        raise InputError(
            f"{folder} is a run of the task {prepared.family.task.name}, expected one of a screen "
            "of cells: give such a run, or a file"
        )
    truth = prepared.problem.truth
    multiplier = audit.multipliers_of(prepared.config)[0]
    return Real(
        dataset=audit.labelled(prepared.problem.dataset, multiplier),
        source=str(folder),
        total=None,
        sentence=f"the cells of the run {folder.name}, which are counts",
        stratum=prepared.config.data.stratum,
        truth=None if truth is None else data.pool_truth(truth),
        fixed=True,
    )


def asked_of(keys: ScoreKeys) -> Asked:
    """How the predictions are to be read."""
    return Asked(
        perturbation=keys.pred_perturbation,
        scale=keys.scale,
        layer=keys.pred_layer or None,
        total=keys.total or None,
        schools=keys.schools,
    )


def finished(scored: Scored) -> dict[str, Any]:
    """metrics.json of a scoring."""
    from jaxpert.evaluation.compare import json_safe

    about = {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "command": command(),
        "versions": {"jaxpert": importlib.metadata.version("jaxpert")},
    }
    return json_safe(scored.metrics | {"run": about})


def write(scored: Scored, metrics: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write results, tables, figures and report to a folder; returns what is to be looked at."""
    with workdir.readable_errors(folder, "--output"):
        check_output(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with workdir.alone(folder, "--output"):
            files.remove_parts(folder)
            _write_tables(metrics, folder)
            effects = {0: scored.effects}
            measured = {MULTIPLIER: scored.measured}
            files.write_arrays(folder / "statistics.npz", statistics_arrays(measured, effects))
            target = each.target(scored.measured).effects
            arrays = effects_arrays(scored.measured.dataset, effects, target)
            files.write_arrays(folder / "effects.npz", arrays)
            workdir.write_metrics(folder, metrics)
            _draw(scored, metrics, folder / run.FIGURES)
            report = run.write_report(folder)
    return [report, folder / "scores.md", folder / "scores.csv", folder / workdir.METRICS]


def check_output(folder: Path, sign: str = "scores.csv") -> None:
    """Refuse a folder that is not empty and has no `sign` of an earlier call."""
    workdir.check_place(folder, "--output")
    if not folder.exists():
        return
    there = [path for path in folder.iterdir() if not path.name.startswith(".")]
    if there and not (folder / sign).exists():
        raise InputError(
            f"{folder} holds other files, expected a new folder or one of earlier scores: choose "
            "another --output"
        )


def _write_tables(metrics: Mapping[str, Any], folder: Path) -> None:
    import pandas

    write_table(folder / "scores.csv", pandas.DataFrame(plain.score_lines(metrics)), index=False)
    parts = [f"{metrics['verdict']}\n", *(t.markdown for t in plain.score_tables(metrics))]
    parts += [t.markdown for t in plain.school_tables(metrics)]
    told = [f"- {text}\n" for text in metrics["scored"]["to know"]]
    if told:
        parts.insert(1, "## To know\n\n" + "".join(told))
    files.write_text(folder / "scores.md", "# Scores\n\n" + "\n".join(parts))


def _draw(scored: Scored, metrics: Mapping[str, Any], folder: Path) -> None:
    with files.whole_folder(folder) as part:
        missing: attempts.Missing = {}
        attempts.attempt(
            missing, "baselines.png", plots.baseline_bars, metrics, part / "baselines.png"
        )
        attempts.attempt(
            missing, "ate_scatter.png", _draw_effects, scored, metrics, part / "ate_scatter.png"
        )
        attempts.write_missing(part, missing)


def _draw_effects(scored: Scored, metrics: Mapping[str, Any], path: Path) -> None:
    measured, subsets = scored.measured, scored.measured.screen.subsets
    rows = np.unique(np.concatenate(list(subsets.values())))
    rows = rows[np.isfinite(measured.effects[rows]).all(1)]
    members = [[name for name, inside in subsets.items() if row in inside] for row in rows]
    names = [measured.dataset.conditions[row] for row in rows]
    pair = measured.effects[rows], scored.effects[rows]
    plots.ate_scatter(*pair, names, members, path, metrics["model"])


def _fields() -> list[str]:
    return [field.name for field, _ in settings.fields_of(ScoreKeys)]


def shown(metrics: Mapping[str, Any]) -> str:
    """What is said on screen: what to know first, then the verdict and the table that counts."""
    scored = metrics["scored"]
    lines = [scored["scale of the real cells"], scored["scale of the predictions"]]
    lines += [f"scores are on {scored['scores are on']}"]
    lines += [f"ATTENTION: {text}" for text in scored["to know"]]
    return "\n".join([*lines, "", metrics["verdict"], "", plain.score_tables(metrics)[0].text])


def command_line(real: str, predicted: str, keys: ScoreKeys, output: str) -> int:
    """What `jaxpert score` does once its flags are read."""
    folder = path_of(output).absolute()
    check_output(folder)
    scored = score_outside(open_real(real, keys), predicted, asked_of(keys), seed=keys.seed)
    metrics = finished(scored)
    paths = write(scored, metrics, folder)
    print(shown(metrics))
    print()
    for path in paths:
        print(path)
    return 0
