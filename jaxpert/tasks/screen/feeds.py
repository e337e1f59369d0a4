"""Batches of a screen's cells, with the tables that a model asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from jaxpert import data
from jaxpert.core.types import SPLITS, Batch, Dataset, Feed, Model
from jaxpert.data.pairing import pair_controls
from jaxpert.evaluation import differential, pseudobulk
from jaxpert.tasks.screen.keys import TrainKeys

RANKED = "ranked"
"""Table of the genes by which each condition differs most from control."""
SHAPE_CELLS = 8
"""Training cells from which shapes are worked out; parameters do not depend on them."""


def feeds_of(
    dataset: Dataset, pair_seed: int, model: Model, train: TrainKeys
) -> tuple[Feed, Feed | None]:
    """The training and validation cells on the device(s); no validation feed where there are no
    such cells.

    Args:
        dataset: split.
        pair_seed: with `train.pairing=cell`, every cell is paired with one training control cell of
            its stratum for good, drawn with this seed; else one is drawn anew in every step.
        model: says which tables its batches need.
        train: the section of that name.
    """
    devices = train.devices or jax.device_count()
    # Pairs are drawn once for both feeds, so that they are the same in every epoch.
    pairs = _pairs(dataset, pair_seed) if train.pairing == "cell" else None

    def feed(split: str) -> Feed:
        return data.make_feed(
            dataset,
            split,
            batch_size=train.batch_size,
            devices=devices,
            shuffle=split == "train",
            # Validation keeps its last batch: every cell counts in the loss that chooses the epoch.
            drop_last=split == "train" and train.drop_last,
            tables=tables_of(dataset, split, model),
            pairs=pairs,
            layout=train.layout,
        )

    return feed("train"), feed("val") if len(dataset.rows("val")) else None


def sample(dataset: Dataset, model: Model) -> Batch:
    """A few training cells and a control cell, with the model's tables."""
    rows = dataset.rows("train")
    controls = rows[dataset.condition[rows] == dataset.control]
    # Eight cells suffice for shapes, and reading all would cost a pass over the data.
    few = np.full(len(dataset.cells), SPLITS.index("dropped"), np.int8)
    # Other cells are dropped, so that the tables below see the few alone.
    few[[*rows[:SHAPE_CELLS], *controls[:1]]] = SPLITS.index("train")
    dataset = replace(dataset, split=few)
    batch = data.make_batch(dataset, dataset.rows("train"))
    tables = tables_of(dataset, "train", model)
    return batch._replace(
        extras=batch.extras | {name: jnp.asarray(table) for name, table in tables.items()}
    )


def tables_of(dataset: Dataset, split: str, model: Model) -> dict[str, Any]:
    """The tables that the model's batches of a split need."""
    tables = data.split_tables(dataset, split)
    if RANKED in model.tables:
        tables[RANKED] = ranked_genes(dataset, split)
    return {name: tables[name] for name in model.tables if name in tables}


def ranked_genes(dataset: Dataset, split: str) -> Int[np.ndarray, "C 20"]:
    """The 20 genes by which each condition's cells in `split` differ most from training control
    cells (Welch's t); -1 where a condition has fewer than two cells there."""
    training = dataset.rows("train")
    control = training[dataset.condition[training] == dataset.control]
    # The control of training is added, as the other side of every comparison.
    rows = np.union1d(dataset.rows(split), control)
    means = pseudobulk.means_of_rows(dataset, rows, "ln", variance=True)
    ranking = differential.rank(means, dataset.control)
    top = differential.top(ranking.order)
    # A -1 says that the condition has no ranking.
    return np.where(ranking.ranked[:, None], top, -1).astype(np.int32)


def _pairs(dataset: Dataset, seed: int) -> Int[np.ndarray, "N"]:
    training = np.zeros(len(dataset.cells), bool)
    training[dataset.rows("train")] = True
    # One stratum needs no matching.
    strata = None if len(dataset.strata) == 1 else dataset.stratum
    return pair_controls(
        dataset.condition, dataset.control, seed=seed, stratum=strata, pool=training
    )
