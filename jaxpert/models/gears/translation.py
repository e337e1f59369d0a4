"""GEARS beside a model of the other task: trained on the same training pairs of rows, scored on the
same rows in the same space."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxpert import data
from jaxpert.core import fit as core_fit
from jaxpert.core.config import TrainKeys
from jaxpert.core.family import Problem
from jaxpert.core.feed import Span, Windows
from jaxpert.core.fit import Fitted
from jaxpert.core.types import SPLITS, Batch, Dataset, Feed, Model, Spec, Validation
from jaxpert.data.files import shown
from jaxpert.data.gene_graphs import COEXPRESSION, ONTOLOGY
from jaxpert.models.gears import model as gears
from jaxpert.models.gears.changes import changes
from jaxpert.models.gears.settings import NONE
from jaxpert.models.gears.setup import Gears, treatments_without_node
from jaxpert.nn import graphs
from jaxpert.tasks.screen.feeds import RANKED, ranked_genes
from jaxpert.tasks.screen.graphs import link, own_edges, terms_of
from jaxpert.tasks.translation.baselines import Predictor
from jaxpert.tasks.translation.feed import make_feeds
from jaxpert.tasks.translation.keys import TranslationConfig
from jaxpert.tasks.translation.prepare import Prepared
from jaxpert.tasks.translation.rows import Rows, control_means

TRAINING = TrainKeys(
    batch_size=32,
    learning_rate=1e-3,
    weight_decay=5e-4,
    clip=1.0,
    clip_kind="value",
    decay=0.5,
    patience=0,
)
"""As published, but for when the rate is halved."""
HALVED_AFTER = 1650
"""Steps: those of an epoch of the screen that the published code was made for, which halves the
rate after each epoch. An epoch of pairs of rows may have only ten."""
UNLINKED = "unlinked"
"""Graph without an edge between the trained perturbations, where the config has no graph of
perturbed genes."""


def why_not(problem: Problem) -> str:
    """`Beside.why_not`: why these rows have no GEARS beside them; empty where they can."""
    prepared: Prepared = problem.details
    if prepared.pairs.dose is not None:
        return "GEARS knows perturbations, not steps from one dose to the next"
    if prepared.scale.kind == "given":
        return "GEARS makes its co-expression graph from counts, which data.lognorm=given has not"
    return ""


def check(config: TranslationConfig, problem: Problem) -> None:
    """`Beside.check`: raise InputError for graphs that GEARS cannot be given, which would otherwise
    be found only after training."""
    # Co-expression takes a pass over the cells and needs no file, so the check leaves it out.
    dataset, named = linked(config, problem, coexpression=False)
    spec = spec_of(problem.details, dataset)
    build(spec, perturbation_graphs=named, coexpression_graph=NONE)


def fit(
    config: TranslationConfig, problem: Problem, epochs: int, **settings: Any
) -> tuple[Predictor, list[str]]:
    """`Beside.fit`: train GEARS on the training pairs of rows and return what predicts perturbed
    rows with it, and notes.

    The rows are those that all methods are scored on: adjusted for batch, in their units (a CycSeq
    that ends in tanh divides them by each gene's largest value for itself). Each perturbed row is
    predicted from the control row that it is paired with. GEARS has no way back from perturbed to
    control.

    Args:
        config: of its sections, `graphs` says what the graphs are made of and how, as for a run of
            GEARS itself, and `train.layout` how cells are held.
        problem: its details are the prepared rows.
        epochs: at most so many passes over the training pairs; the rows of validation choose the
            best.
        **settings: of `model.build`.
    """
    prepared: Prepared = problem.details
    dataset, named = linked(config, problem)
    model = build(spec_of(prepared, dataset), perturbation_graphs=named, **settings)
    # The rate falls by steps and not by epochs, which are short here.
    feeds = feeds_of(prepared, config.train.layout)
    often = max(1, round(HALVED_AFTER / feeds[0].steps))
    train = replace(TRAINING, epochs=epochs, decay_every=often)
    fitted = core_fit.fit(model, dataset, feeds, train, seed=config.seed)
    notes = [
        f"GEARS was trained beside on the training pairs of rows, {epochs} epochs of "
        f"{feeds[0].steps} steps at most",
        "GEARS knows no line: a perturbation changes the rows of all lines alike; it has no entry "
        "for p2n, as it only predicts from control to perturbed",
        *notes_on(prepared, dataset, gears.details_of(model)),
    ]
    return predictor(prepared, fitted), notes


def linked(
    config: TranslationConfig, problem: Problem, *, coexpression: bool = True
) -> tuple[Dataset, tuple[str, ...]]:
    """The data set with its graphs, made of training cells and the files of the config, and the
    names of those between perturbed genes."""
    prepared: Prepared = problem.details
    # Simulated cells carry annotations, so they have an ontology graph as well.
    annotated = bool(config.graphs.ontology) or problem.truth is not None
    dataset, terms = prepared.dataset, None
    if annotated:
        dataset, terms = terms_of(config.graphs, config.data.folder, problem.truth, dataset)
    wanted = (COEXPRESSION,) if coexpression else ()
    dataset = link(dataset, config.graphs, wanted, terms)
    named = tuple(own_edges(config.graphs))
    if annotated:
        named = (ONTOLOGY, *named)
    if named:
        return dataset, named
    # Only trained perturbations are nodes; the average stands in for others.
    trained = spec_of(prepared, dataset).treatment_cells > 0
    names, none = np.asarray(dataset.treatments, object)[trained].tolist(), np.zeros(0, int)
    alone = graphs.named_graph(names, none, none, np.zeros(0))
    return replace(dataset, graphs={**dataset.graphs, UNLINKED: alone}), (UNLINKED,)


def spec_of(prepared: Prepared, dataset: Dataset) -> Spec:
    """What GEARS must know: `Spec` on the scale of the rows, where a cell is a pair of rows."""
    control = control_means(prepared)
    train = prepared.pair_numbers("train")
    # A cell is a pair of rows here, so support counts pairs.
    rows = np.bincount(prepared.pairs.condition[train], minlength=len(dataset.conditions))
    rows = rows.astype(np.int32)
    return replace(
        data.make_spec(dataset),
        # Batches weigh by their control cells, so that this is the mean over all of these.
        control_mean=np.average(control.mean, axis=0, weights=control.cells),
        condition_cells=rows,
        treatment_cells=(rows @ (dataset.condition_treatments != 0)).astype(np.int32),
    )


def build(spec: Spec, **settings: Any) -> Model:
    """GEARS that reads rows as they are; a perturbed gene that no graph holds has the average of
    the trained ones."""
    base = gears.build(spec, absent="average", **settings)
    net = gears.details_of(base)
    sums = partial(gears.validation_sums, net, read=rows_of)
    return base._replace(
        loss=partial(gears.loss, net, read=rows_of),
        validate=Validation(sums, gears.validation_score),
        check=None,
    )


def rows_of(batch: Batch) -> tuple[Float[Array, "B G"], Float[Array, "B G"]]:
    """The control row to be shifted, and the perturbed row that it is paired with."""
    return batch.control, batch.x


def feeds_of(prepared: Prepared, layout: str) -> tuple[Feed, Feed | None]:
    """The pairs of rows as all models of the task are given them, with the tables that GEARS reads:
    genes that are expressed in the training cells of each condition, and those that differ most
    from control in cells of the split (of training, where a replicate of it validates)."""
    dataset = prepared.dataset
    per_pair = prepared.draws.cells.shape[2] if prepared.unit == "cell" else 1
    # Small data may have fewer rows than a published batch.
    size = min(TRAINING.batch_size, per_pair * len(prepared.pair_numbers("train")))
    train, valid = make_feeds(prepared, size, layout=layout)
    expressed = data.split_tables(dataset, "train")[gears.EXPRESSED]
    train = with_tables(train, {gears.EXPRESSED: expressed})
    if valid is None:
        return train, None
    # Where a replicate validates, its cells are those of training.
    split = "val" if len(dataset.rows("val")) else "train"
    return train, with_tables(valid, {RANKED: ranked_genes(dataset, split)})


def with_tables(feed: Feed, tables: Mapping[str, np.ndarray]) -> Feed:
    """The same batches, with tables that are the same for each of them.

    The tables travel in `data`, as arguments of the compiled step: closed over, XLA would fold them
    into the program.
    """

    def order(held: Any, key: Array, epoch: Int[Array, ""]) -> Array:
        return feed.order(held[0], key, epoch)

    def batch(held: Any, key: Array, drawn: Array, step: Int[Array, ""]) -> Batch:
        plain = feed.batch(held[0], key, drawn, step)
        return plain._replace(extras=plain.extras | held[1])

    placed = jax.device_put(dict(tables))
    windows = None if feed.windows is None else _windows_with(feed.windows, placed)
    return feed._replace(data=(feed.data, placed), order=order, batch=batch, windows=windows)


def _windows_with(windows: Windows, tables: Any) -> Windows:
    def read(key: Array, spans: Sequence[Span]) -> Generator[Any]:
        with contextlib.closing(windows.read(key, spans)) as held:
            for window in held:
                yield window, tables

    def shapes(steps: int, seeds: int | None) -> Any:
        return windows.shapes(steps, seeds), tables

    axes = None if windows.axes is None else (windows.axes, None)
    return windows._replace(read=read, shapes=shapes, axes=axes)


def predictor(prepared: Prepared, fitted: Fitted) -> Predictor:
    """Perturbed rows: each control row and the change of its perturbation."""
    net, conditions = gears.details_of(fitted.model), np.unique(prepared.pairs.condition)
    # The changes of all sets are computed once; rows only look theirs up.
    sets = [genes_of(prepared.dataset, condition) for condition in conditions.tolist()]
    members = jnp.asarray(gears.members_of(net, sets).nodes)
    change = np.asarray(jax.jit(partial(changes, net))(fitted.params, fitted.state, members).mean)

    def predict(rows: Rows) -> dict[str, np.ndarray]:
        # Conditions are sorted, so a binary search finds the row.
        row = np.searchsorted(conditions, prepared.pairs.condition[rows.pair])
        return {"n2p": rows.control + change[row]}

    return predict


def genes_of(dataset: Dataset, condition: int) -> list[str]:
    """Names of the perturbed genes of a condition."""
    perturbed = dataset.condition_treatments[condition] != 0
    return np.asarray(dataset.treatments, object)[perturbed].tolist()


def notes_on(prepared: Prepared, dataset: Dataset, net: Gears) -> list[str]:
    """Its graphs, and what stands in for perturbed genes that they or training lack."""
    # The notes of the graphs follow those that the data had before.
    notes = [f"GEARS: {note}" for note in dataset.notes[len(prepared.dataset.notes) :]]
    if UNLINKED in dataset.graphs:
        notes.append("GEARS: graphs.ontology is empty, so no graph links the perturbed genes")
    absent = treatments_without_node(net)
    if absent:
        notes.append(
            f"GEARS: {len(absent)} perturbed genes are in no graph; the average of the trained "
            f"ones stands in, and no cell is left out: {shown(absent)}"
        )
    unmeasured = sorted(set(dataset.treatments) - set(dataset.genes))
    if unmeasured:
        notes.append(
            f"GEARS: {len(unmeasured)} perturbed genes are not measured, which it can do without"
        )
    scored = prepared.pairs.part != SPLITS.index("train")
    sets = [genes_of(dataset, c) for c in np.unique(prepared.pairs.condition[scored]).tolist()]
    untrained = []
    for genes, support in zip(sets, gears.support_of(net, sets), strict=True):
        if support != "trained":
            untrained.append(f"{'+'.join(genes)} ({support})")
    if untrained:
        notes.append(
            f"GEARS: {len(untrained)} held-out perturbations have no training row: "
            f"{shown(untrained)}"
        )
    return notes
