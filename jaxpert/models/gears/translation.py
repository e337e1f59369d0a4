"""GEARS beside CycSeq: trained on the same training pairs of rows, scored on the same rows in the
same space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxpert import data
from jaxpert.core.types import SPLITS, Batch, Dataset, Feed, Model, Spec, Validation
from jaxpert.data.files import shown
from jaxpert.data.gene_graphs import COEXPRESSION, ONTOLOGY
from jaxpert.models.gears import model as gears
from jaxpert.nn import graphs
from jaxpert.tasks import translation as spectra
from jaxpert.tasks.screen import load as inputs
from jaxpert.tasks.screen import predict as workflow
from jaxpert.tasks.translation.baselines import Predictor

Config = dict[str, Any]
TRAINING: dict[str, Any] = {
    "batch_size": 32,
    "learning_rate": 1e-3,
    "weight_decay": 5e-4,
    "clip": 1.0,
    "optimizer": {"clip_kind": "value"},
    "decay": 0.5,
}
"""As published, but for when the rate is halved."""
HALVED_AFTER = 1650
"""Steps: those of an epoch of the screen that the published code was made for, which halves the
rate after each epoch. An epoch of pairs of rows may have only ten."""
UNLINKED = "unlinked"
"""Graph without an edge between the trained perturbations, where the config has no graph of
perturbed genes."""


def why_not(prepared: spectra.Prepared) -> str:
    """Why these rows have no GEARS beside them; empty where they can."""
    if prepared.pairs.dose is not None:
        return "GEARS knows perturbations, not steps from one dose to the next"
    if prepared.scale.kind == "given":
        return "GEARS makes its co-expression graph from counts, which data.lognorm=given has not"
    return ""


def check(config: Config, prepared: spectra.Prepared, truth: Any) -> None:
    """Raise InputError for graphs that GEARS cannot be given, which would otherwise be found only
    after training."""
    dataset, named = linked(config, prepared, truth, coexpression=False)
    build(spec_of(prepared, dataset), perturbation_graphs=named, coexpression_graph=None)


def fit(
    config: Config,
    prepared: spectra.Prepared,
    truth: Any,
    *,
    epochs: int,
    seed: int,
    **settings: Any,
) -> tuple[Predictor, list[str]]:
    """Train GEARS on the training pairs of rows and return what predicts perturbed rows with it,
    and notes.

    The rows are those that all methods are scored on: adjusted for batch, in their units (a CycSeq
    that ends in tanh divides them by each gene's largest value for itself). Each perturbed row is
    predicted from the control row that it is paired with. GEARS has no way back from perturbed to
    control.

    Args:
        config: of its sections, `graphs` says what the graphs are made of and how, as for a run of
            GEARS itself, and `train.layout` how cells are held.
        truth: behind simulated cells, for their annotations; else None.
        epochs: at most so many passes over the training pairs; the rows of validation choose the
            best.
        **settings: of `gears.build`.
    """
    dataset, named = linked(config, prepared, truth)
    model = build(spec_of(prepared, dataset), perturbation_graphs=named, **settings)
    feeds = feeds_of(prepared, config["train"]["layout"])
    often = max(1, round(HALVED_AFTER / feeds[0].steps))
    said = [
        f"GEARS was trained beside on the training pairs of rows, {epochs} epochs of "
        f"{feeds[0].steps} steps at most",
        "GEARS knows no line: a perturbation changes the rows of all lines alike; it has no entry "
        "for p2n, as it only "
        "predicts from control to perturbed",
        *notes(prepared, dataset, gears.of(model)),
    ]
    fitted = workflow.fit(
        model, dataset, epochs=epochs, seed=seed, feeds=feeds, decay_every=often, **TRAINING
    )
    return predictor(prepared, fitted), said


def linked(
    config: Config, prepared: spectra.Prepared, truth: Any, *, coexpression: bool = True
) -> tuple[Dataset, tuple[str, ...]]:
    """The data set with its graphs, made of training cells and the files of the config, and the
    names of those between perturbed genes."""
    annotated = bool(config["graphs"]["ontology"]) or truth is not None
    terms = inputs.terms_of(config, truth) if annotated else None
    dataset = inputs.link(config, prepared.dataset, (COEXPRESSION,) if coexpression else (), terms)
    named = (*((ONTOLOGY,) if annotated else ()), *inputs.own_edges(config))
    if named:
        return dataset, named
    trained = spec_of(prepared, dataset).treatment_cells > 0
    names, none = np.asarray(dataset.treatments, object)[trained].tolist(), np.zeros(0, int)
    alone = graphs.named_graph(names, none, none, np.zeros(0))
    return replace(dataset, graphs={**dataset.graphs, UNLINKED: alone}), (UNLINKED,)


def spec_of(prepared: spectra.Prepared, dataset: Dataset) -> Spec:
    """What GEARS must know: `Spec` on the scale of the rows, where a cell is a pair of rows."""
    control = spectra.control_means(prepared)
    train = prepared.pair_numbers("train")
    rows = np.bincount(prepared.pairs.condition[train], minlength=len(dataset.conditions)).astype(
        np.int32
    )
    return replace(
        data.make_spec(dataset),
        control_mean=np.average(control.mean, axis=0, weights=control.cells),
        condition_cells=rows,
        treatment_cells=(rows @ (dataset.condition_treatments != 0)).astype(np.int32),
    )


def build(spec: Spec, **settings: Any) -> Model:
    """GEARS that reads rows as they are; a perturbed gene that no graph holds has the average of
    the trained ones."""
    base = gears.build(spec, absent="average", **settings)
    net = gears.of(base)
    return base._replace(
        loss=partial(gears.loss, net, read=rows_of),
        validate=Validation(
            partial(gears.validation_sums, net, read=rows_of), gears.validation_score
        ),
        check=None,
    )


def rows_of(batch: Batch) -> tuple[Float[Array, "B G"], Float[Array, "B G"]]:
    """The control row to be shifted, and the perturbed row that it is paired with."""
    return batch.control, batch.x


def feeds_of(prepared: spectra.Prepared, layout: str) -> tuple[Feed, Feed | None]:
    """The pairs of rows as CycSeq is given them, with the tables that GEARS reads: genes that are
    expressed in the training cells of each condition, and those that differ most from control in
    cells of the split (of training, where a replicate of it validates)."""
    dataset, deep = (
        prepared.dataset,
        prepared.draws.cells.shape[2] if prepared.unit == "cell" else 1,
    )
    size = min(TRAINING["batch_size"], deep * len(prepared.pair_numbers("train")))
    train, valid = spectra.make_feeds(prepared, size, layout=layout)
    train = with_tables(train, {"expressed": data.split_tables(dataset, "train")["expressed"]})
    if valid is None:
        return train, None
    split = "val" if len(dataset.rows("val")) else "train"
    return train, with_tables(valid, {"ranked": workflow.ranked_genes(dataset, split)})


def with_tables(feed: Feed, tables: Mapping[str, np.ndarray]) -> Feed:
    """The same batches, with tables that are the same for each of them."""

    def order(held: Any, key: Array, epoch: Int[Array, ""]) -> Array:
        return feed.order(held[0], key, epoch)

    def batch(held: Any, key: Array, drawn: Array, step: Int[Array, ""]) -> Batch:
        made = feed.batch(held[0], key, drawn, step)
        return made._replace(extras=made.extras | held[1])

    return feed._replace(data=(feed.data, jax.device_put(dict(tables))), order=order, batch=batch)


def predictor(prepared: spectra.Prepared, fitted: workflow.Fitted) -> Predictor:
    """Perturbed rows: each control row and the change of its perturbation."""
    net, conditions = gears.of(fitted.model), np.unique(prepared.pairs.condition)
    sets = [genes_of(prepared.dataset, condition) for condition in conditions.tolist()]
    members = jnp.asarray(gears.members_of(net, sets).nodes)
    change = np.asarray(
        jax.jit(partial(gears.changes, net))(fitted.params, fitted.state, members).mean
    )

    def predict(rows: spectra.Rows) -> dict[str, np.ndarray]:
        return {
            "n2p": rows.control
            + change[np.searchsorted(conditions, prepared.pairs.condition[rows.pair])]
        }

    return predict


def genes_of(dataset: Dataset, condition: int) -> list[str]:
    """Names of the perturbed genes of a condition."""
    return [dataset.treatments[t] for t in np.flatnonzero(dataset.condition_treatments[condition])]


def notes(prepared: spectra.Prepared, dataset: Dataset, net: gears.Gears) -> list[str]:
    """Its graphs, and what stands in for perturbed genes that they or training lack."""
    found = [f"GEARS: {note}" for note in dataset.notes[len(prepared.dataset.notes) :]]
    if UNLINKED in dataset.graphs:
        found.append("GEARS: graphs.ontology is empty, so no graph links the perturbed genes")
    absent = [name for name, node in zip(dataset.treatments, net.node, strict=True) if node < 0]
    if absent:
        found.append(
            f"GEARS: {len(absent)} perturbed genes are in no graph; the average of the trained "
            "ones stands in, and no "
            f"cell is left out: {shown(absent)}"
        )
    unmeasured = sorted(set(dataset.treatments) - set(dataset.genes))
    if unmeasured:
        found.append(
            f"GEARS: {len(unmeasured)} perturbed genes are not measured, which it can do without"
        )
    scored = prepared.pairs.part != SPLITS.index("train")
    sets = [genes_of(dataset, c) for c in np.unique(prepared.pairs.condition[scored]).tolist()]
    behind = zip(sets, gears.support_of(net, sets), strict=True)
    untrained = [f"{'+'.join(genes)} ({words})" for genes, words in behind if words != "trained"]
    if untrained:
        found.append(
            f"GEARS: {len(untrained)} held-out perturbations have no training row: "
            f"{shown(untrained)}"
        )
    return found
