"""What follows training on paired rows: scores in both directions, changes, and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxpert.core import log
from jaxpert.core.about import describe
from jaxpert.core.family import Family, Problem, Results
from jaxpert.core.fit import Fitted
from jaxpert.core.types import SPLITS
from jaxpert.data.labels_asked import known_names, listed
from jaxpert.evaluation import compare
from jaxpert.report import plots
from jaxpert.report.attempts import Missing, attempt
from jaxpert.tasks.translation import baselines, effects, evaluate
from jaxpert.tasks.translation.beside import train_beside
from jaxpert.tasks.translation.groups import (
    EffectGroups,
    GroupMeans,
    find_effect_groups,
    group_means,
    groups_asked,
)
from jaxpert.tasks.translation.keys import TranslationConfig
from jaxpert.tasks.translation.prepare import Prepared

MOST_SHOWN = 6


class Shown(NamedTuple):
    """What figures are drawn from."""

    prepared: Prepared
    groups: EffectGroups
    changes: effects.Changes
    metrics: Mapping[str, Any]


def evaluate_run(
    config: TranslationConfig,
    problem: Problem,
    fitted: Fitted,
    family: Family,
    others: Mapping[str, Family],
) -> Results:
    """Predict and score the evaluated rows in both directions (`Task.evaluate`).

    rows.npz has every score of every evaluated row, predictions.h5ad the mean row and change that
    the model predicts for each pair of perturbation and line.
    """
    assert family.predictor is not None, "families of this task say how they predict rows"
    prepared: Prepared = problem.details
    # Means of all cells of a group, which every score of effects below rests on.
    groups = find_effect_groups(prepared)
    means = group_means(prepared, groups)
    # The family says how it predicts rows; baselines and models beside have the same form.
    model = family.predictor(problem, fitted)
    simple, notes = baselines.predictors(prepared, groups, means)
    beside, notes_beside = train_beside(config, problem, others)
    split = evaluate.evaluated_split(prepared)
    log.say(f"scoring {len(prepared.pair_numbers(split))} rows of {split} in both directions")
    methods = {compare.MODEL: model, **simple, **beside}
    facets = evaluate.facets_of(prepared, groups)
    scored = evaluate.score(prepared, groups, methods, facets)
    changes = effects.changes(prepared, groups, means, model, problem.truth)
    screen = effects.screen_of(prepared, groups, means, changes)
    metrics = effects.compare(changes, screen, config.seed)
    metrics["each"] = effects.each(prepared, groups, changes, screen)
    # Notes of the scores, the baselines and the models beside stand in one list.
    table = scored.table | {"notes": [*scored.table["notes"], *notes, *notes_beside]}
    named = listed(config.evaluation.triangular, known_names(prepared.dataset))
    table["triangular"] = evaluate.triangular(prepared, groups, model, named)
    # JSON has no NaN, so undefined scores become null.
    metrics[family.name] = compare.json_safe(table)
    return Results(
        metrics=metrics,
        predictions=to_anndata(prepared, groups, means, changes),
        arrays={
            "rows.npz": rows_arrays(groups, scored),
            "effects.npz": effects.effects_arrays(prepared, changes, config.seed),
        },
        shown=Shown(prepared, groups, changes, metrics),
    )


def describe_rows(problem: Problem) -> dict[str, Any]:
    """The data in numbers (`Task.about`)."""
    prepared: Prepared = problem.details
    pairs = {name: len(prepared.pair_numbers(name)) for name in SPLITS[:3]}
    lines = len(prepared.pseudobulk.lines)
    return describe(problem.dataset) | {"lines": lines, "pairs of rows": pairs}


def rows_arrays(groups: EffectGroups, scored: evaluate.Scored) -> dict[str, np.ndarray]:
    """rows.npz: `pair` and `group` of each evaluated row, names of groups, and
    DIRECTION|METHOD|GENES|SCORE of each."""
    arrays: dict[str, np.ndarray] = {
        "pair": scored.pair,
        "group": groups.of_pair[scored.pair],
        "groups": np.array(groups.names),
    }
    for direction, methods in scored.rows.items():
        for method, sets in methods.items():
            for genes, metrics in sets.items():
                for name, values in metrics.items():
                    # A path as name, since an .npz holds no nested tables.
                    arrays[f"{direction}|{method}|{genes}|{name}"] = values
    return arrays


def to_anndata(
    prepared: Prepared, groups: EffectGroups, means: GroupMeans, changes: effects.Changes
) -> Any:
    """Predicted mean rows of each pair of perturbation and line; layers have the change, and both
    as measured."""
    import anndata
    import pandas as pd

    # The control stands in front of the changes and has no row of its own.
    dataset, effect = prepared.dataset, changes.predicted[compare.MODEL][1:]
    # Rows are named by perturbation and line, as everywhere in the run's files.
    obs = pd.DataFrame(
        {
            "condition": np.asarray(dataset.conditions)[groups.condition].tolist(),
            "line": np.asarray(prepared.pseudobulk.lines)[groups.line].tolist(),
            "batch": np.asarray(dataset.strata)[groups.batch].tolist(),
            "split": effects.splits_of(prepared, groups),
        },
        index=pd.Index(groups.names),
    )
    layers = {
        "effect": effect,
        "measured": means.upper,
        "measured_effect": changes.observed[1:],
        "control": means.lower,
    }
    return anndata.AnnData(
        # The predicted row is the control row plus the effect, as the effect was made from it.
        X=(means.lower + effect).astype(np.float32),
        obs=obs,
        var=pd.DataFrame(index=pd.Index(dataset.genes)),
        layers={name: values.astype(np.float32) for name, values in layers.items()},
        uns={"scale": f"{prepared.scale.kind}, adjusted for batch", "data": dataset.name},
    )


def draw(
    config: TranslationConfig,
    results: Results,
    folder: Path,
    log_rows: Sequence[Mapping[str, Any]],
) -> Missing:
    """Training curves, the model beside its baselines, and predicted changes against measured ones
    (`Task.draw`)."""
    shown: Shown = results.shown
    missing: Missing = {}
    if log_rows:
        rows = [dict(row) for row in log_rows]
        path = folder / "loss_curves.png"
        attempt(missing, path.name, plots.loss_curves, rows, path)
    path = folder / "baselines.png"
    attempt(missing, path.name, plots.baseline_bars, dict(shown.metrics), path)
    attempt(missing, "ate_scatter.png", _draw_changes, shown, folder / "ate_scatter.png")
    names = config.evaluation.shown
    attempt(missing, "effects.png", _draw_panels, shown, names, folder / "effects.png")
    return missing


def _draw_changes(shown: Shown, path: Path) -> None:
    """Predicted against measured changes of all groups."""
    groups, changes = shown.groups, shown.changes
    observed, predicted = changes.observed[1:], changes.predicted[compare.MODEL][1:]
    # A group counts as trained when any of its replicates trains.
    members = [["train"] if trained else ["test"] for trained in groups.trained]
    plots.ate_scatter(observed, predicted, groups.names, members, path, shown.metrics["model"])


def _draw_panels(shown: Shown, names: Sequence[str], path: Path) -> None:
    """The strongest genes of the named groups, or of the strongest ones."""
    groups, changes = shown.groups, shown.changes
    observed, predicted = changes.observed[1:], changes.predicted[compare.MODEL][1:]
    chosen = groups_asked(shown.prepared, groups, names)
    if not chosen:
        # Held-out groups come first, however weak.
        strength = np.abs(observed).mean(1) - 1e9 * groups.trained
        chosen = np.argsort(-strength)[:MOST_SHOWN].tolist()
    plots.effect_panels(
        observed[chosen],
        predicted[chosen],
        shown.prepared.dataset.genes,
        [groups.names[k] for k in chosen],
        path,
    )
