"""Train GEARS without each measured pair in turn, and see whether it finds the pairs' interactions
(Figure 4 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxpert.core import config as core_config
from jaxpert.core import files, settings
from jaxpert.core import fit as core_fit
from jaxpert.core.ranges import LARGEST_SEED, MOST
from jaxpert.core.settings import setting
from jaxpert.core.types import Dataset, InputError
from jaxpert.data.gene_graphs import COEXPRESSION, coexpression_graph
from jaxpert.models.gears import model as gears
from jaxpert.models.gears.paper import folds as fold_runs
from jaxpert.models.gears.paper import pairs
from jaxpert.models.gears.paper.folds import FitFold, Fold, Predicted
from jaxpert.models.gears.predict_sets import predict_sets
from jaxpert.models.gears.screen_pairs import scored_columns
from jaxpert.models.gears.settings import NAME
from jaxpert.report.published import markdown_table
from jaxpert.tasks.screen.keys import GraphKeys, ScreenConfig
from jaxpert.tasks.screen.load import load_dataset, problem_of

AGREEMENT = "agreement"
"""Name of the tables' files."""


@dataclass(frozen=True)
class Options:
    """What is left out, and how the model is chosen."""

    leave: str = setting(
        "pair",
        "pair: one pair at a time; gene: all of a gene's pairs and its single (Seen 1), of which "
        "the more certain half is scored too where the model has an uncertainty head",
        choices=fold_runs.KINDS,
    )
    epochs: int = setting(0, "of each training; 0: as the config says", at_least=0, at_most=MOST)
    folds: int = setting(
        0, "at most so many folds, spread evenly; 0: all", at_least=0, at_most=MOST
    )
    val_share: float = setting(
        fold_runs.VAL_SHARE,
        "share of the other pairs that choose the model",
        at_least=0,
        below=1,
    )
    seed: int = setting(
        0, "of parameters, batches and validation pairs", at_least=0, at_most=LARGEST_SEED
    )


def leave_out(config: ScreenConfig, options: Options, output: Path) -> str:
    """Do the missing folds, score all of them, write and return the tables.

    Args:
        config: of a GEARS; its split is replaced by that of each fold.
        options: see `Options`.
        output: folder with one file for each fold; the same call again goes on where it stopped.

    Raises:
        InputError: for another model, data without pairs, and a folder of other settings.
    """
    if config.model.name != NAME:
        raise InputError(
            f"model.name is {config.model.name!r}, expected gears: give one of configs/gears_*.py"
        )
    epochs = options.epochs or config.train.epochs
    # Every fold brings its own split.
    no_split = replace(config.split, kind="none")
    config = replace(config, split=no_split, train=replace(config.train, epochs=epochs))
    dataset, _ = load_dataset(config)
    folds = _chosen(fold_runs.plan(dataset, options.leave), options.folds)
    # Genes are chosen by all cells, so that every fold is scored on the same ones.
    columns = scored_columns(dataset)
    predicted = fold_runs.run(
        dataset,
        folds,
        fit_with(config),
        output,
        seed=options.seed,
        val_share=options.val_share,
        settings={"config": deciding(config), "leave": options.leave},
    )
    tables, rows = [heading(config, options, len(folds), len(columns))], []
    for title, part in _scored(predicted, options.leave).items():
        rows = pairs.compare(dataset, part, columns, seed=options.seed)
        tables.append(table(title, rows))
    text = "\n\n".join(tables)
    files.write_text(output / f"{AGREEMENT}.md", text + "\n")
    # The last table is what the figure shows.
    shown = {"leave": options.leave, "rows": list(map(plain, rows))}
    files.write_json(output / f"{AGREEMENT}.json", shown)
    return text


def _chosen(folds: list[Fold], most: int) -> list[Fold]:
    """At most so many folds; 0 for all."""
    if not most:
        return folds
    # Spread evenly over the sorted folds, so that a part resembles the whole.
    return folds[:: max(1, len(folds) // most)][:most]


def _scored(predicted: pairs.PredictedPairs, leave: str) -> dict[str, pairs.PredictedPairs]:
    """What is scored, by the title of its table."""
    scored = {f"{len(predicted.pairs)} predictions": predicted}
    # Pairs that are predicted twice allow to keep the more certain half.
    if leave == "gene" and predicted.uncertainty is not None:
        scored["the more certain half"] = pairs.more_certain_half(predicted)
    return scored


def fit_with(config: ScreenConfig) -> FitFold:
    """The function that trains one fold by the config and predicts.

    The co-expression graph is made anew from the cells that the fold trains on; the other graphs
    know nothing of cells.
    """

    def fit_fold(dataset: Dataset, names: Sequence[str], seed: int) -> Predicted:
        # Held-out cells must not shape the graph that the fold trains on.
        dataset = _linked(dataset, config.graphs)
        problem = problem_of(dataset, pair_seed=config.split.seed)
        model = gears.build(problem.spec, **settings.arguments(config.model.kwargs))
        if model.check is not None:
            model.check(dataset)
        feeds = problem.feeds(model, config.train)
        fitted = core_fit.fit(model, dataset, feeds, config.train, seed=seed)
        predicted = predict_sets(fitted, dataset, names)
        uncertainty = None
        if "uncertainty" in predicted.obs:
            uncertainty = predicted.obs["uncertainty"].to_numpy()
        return Predicted(np.asarray(predicted.layers["effect"]), uncertainty)

    return fit_fold


def _linked(dataset: Dataset, keys: GraphKeys) -> Dataset:
    # A config without that graph asks for none.
    if COEXPRESSION not in dataset.graphs:
        return dataset
    graph = coexpression_graph(
        dataset,
        neighbours=keys.neighbours,
        threshold=keys.correlation,
        signed=keys.signed,
        all_cells=keys.all_cells,
    )
    return replace(dataset, graphs={**dataset.graphs, COEXPRESSION: graph})


def deciding(config: ScreenConfig) -> core_config.Config:
    """The sections of a config that decide on the folds' numbers, as plain values."""
    plain_config = settings.plain(replace(config, model=core_config.ModelKeys()))
    kwargs = settings.plain(config.model.kwargs)
    plain_config["model"] = {"name": config.model.name, "kwargs": kwargs}
    # The split and the seed of the config are replaced by the fold's own.
    del plain_config["split"], plain_config["seed"]
    return plain_config


def heading(config: ScreenConfig, options: Options, folds: int, genes: int) -> str:
    """What the tables rest on."""
    what = {"pair": "pair", "gene": "gene with all its pairs"}[options.leave]
    return (
        f"{folds} trainings, each without one {what}; scores on {genes:,} genes with more than 0.5 "
        f"counts per cell; seed {options.seed}, {config.train.epochs} epochs at most. Random sets: "
        "mean and middle 95 %."
    )


def table(title: str, rows: Sequence[dict[str, Any]]) -> str:
    """Agreement of predicted with measured interactions, a row for each sub-type."""
    k = rows[0]["k"]
    header = ["sub-type", "true", "predicted", f"precision@{k}", "random", f"top-{k} accuracy"]
    header += ["random", "precision", "recall"]
    lines = []
    for row in rows:
        cells = [row["subtype"], str(row["true"]), str(row["predicted"])]
        for name in ("precision_at_10", "top_10_accuracy"):
            mean, low, high = row["chance"][name]
            cells += [f"{row[name]:.2f}", f"{mean:.2f} ({low:.2f} to {high:.2f})"]
        # Without a true pair there is nothing to be recalled.
        recall = f"{row['recall']:.2f}" if row["true"] else "-"
        lines.append([*cells, f"{row['precision']:.2f}", recall])
    return f"**{title}**\n\n{markdown_table(header, lines)}"


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """Undefined scores as null, which JSON has."""
    written = dict(row)
    for name, value in row.items():
        # NaN is the only number that differs from itself.
        if value != value:
            written[name] = None
    return written
