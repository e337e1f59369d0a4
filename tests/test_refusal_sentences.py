"""Refusals that no other test meets, each with its whole sentence: what was found, what was
expected, and the fix. `{at}` is the folder of the test."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpert import data
from jaxpert.app import python, run
from jaxpert.core.family import Problem
from jaxpert.core.fit import Fitted
from jaxpert.core.types import SPLITS, Quality
from jaxpert.data import feeds, gene_graphs, labels_table, moments, subset
from jaxpert.data.labels_table import LabelRules
from jaxpert.models.cradle import clean_cells, remove_artifacts
from jaxpert.models.cradle.paper import panels as cradle_panels
from jaxpert.models.cycseq import settings as cycseq_settings
from jaxpert.models.cycseq.family import FAMILY as CYCSEQ
from jaxpert.models.cycseq.paper import figures as cycseq_figures
from jaxpert.models.gears import checks, sets, setup
from jaxpert.models.scgen import checks as scgen_checks
from jaxpert.models.scgen.setup import make as make_scgen
from jaxpert.models.set_gp import model as set_gp
from jaxpert.models.set_gp.settings import Settings as SetGpSettings
from jaxpert.nn import graphs
from jaxpert.simulate import simulate_chunks
from jaxpert.tasks.screen import evaluate, load, predict
from jaxpert.tasks.translation import draws, rows
from jaxpert.tasks.translation import feed as row_feeds
from jaxpert.tasks.translation.lines import load_lines
from jaxpert.tasks.translation.load import load as load_rows
from jaxpert.tasks.translation.prepare import prepare
from jaxpert.tasks.translation.task import TRANSLATION
from support import (
    cycseq_runs,
    finished_run,
    line_screens,
    pairs_screen,
    planted_artifact,
    toy,
)
from support.refused import told

DATASET = toy.dataset()
FITTED = Fitted(toy.model(), {}, {})
PROBLEM = Problem(DATASET, data.make_spec(DATASET), feeds=len, sample=len)
PAIRS = pairs_screen.dataset()
SPEC = pairs_screen.linked(PAIRS)


def without_counts(dataset):
    counts = dataset.counts * 0
    counts.eliminate_zeros()
    return replace(dataset, counts=counts)


def with_failures(dataset):
    return replace(dataset, quality=Quality({}, {}, 5, dataset.condition != dataset.control))


def billions():
    """A data set whose matrix claims to hold more than a device can number."""
    counts = DATASET.counts.copy()
    counts.indptr = np.arange(len(DATASET.cells) + 1) * 2**29
    return replace(DATASET, counts=counts)


def diverged():
    """A model that generates negative numbers."""

    def predict(params, state, key, request):
        return -jnp.ones((len(request.library), planted_artifact.GENES))

    return planted_artifact.fitted(planted_artifact.planted(0.3)._replace(predict=predict))


def infinite():
    """A model whose parameters are no numbers."""
    fitted = planted_artifact.fitted(planted_artifact.planted(0.3))
    return fitted._replace(params=fitted.params | {"base": planted_artifact.BASE * np.nan})


def prepared(**changes):
    """The data of a config with other values in some sections."""
    raw = finished_run.config()
    for section, values in changes.items():
        raw[section] |= values
    return run.prepare(*run.read(raw))


def nothing_trained():
    """Rows of values that were normalised before, all of them held out."""
    adata = line_screens.screen()
    adata.X = adata.X.toarray() - 1.5
    rows_of = prepare(
        load_lines(adata, normalised=True), lognorm="given", replicates=2, cells_per_draw=5
    )
    held_out = np.full(len(rows_of.dataset.cells), SPLITS.index("test"))
    return rows_of._replace(dataset=replace(rows_of.dataset, split=held_out))


def network(spec=SPEC, **settings):
    return setup.make(spec, **{"hidden_dim": 4, "genes": "all"} | settings)


def beside_the_graph():
    """A spec whose graph holds none of the perturbed genes."""
    edges = graphs.from_edges([("far", "lone", 0.3)], ("far", "lone"))
    return replace(SPEC, graphs={**SPEC.graphs, "ontology": edges})


def never_trained():
    return replace(SPEC, treatment_cells=np.zeros_like(SPEC.treatment_cells))


def first_row():
    return cycseq_figures.Evaluated(cycseq_runs.problem().details, np.zeros(1, int), {})


CALLS = {
    "a shard holds 9663676416 nonzero counts, expected fewer than 2^31: leave out genes, or use "
    "more than 8 devices": lambda: feeds.make_feed(
        billions(), "train", batch_size=32, layout="csr"
    ),
    "none of the 3 perturbed genes of 'toy' (a, b, c) is annotated, expected the same gene names "
    "in both: give an annotation file of the screen's species and naming": lambda: (
        gene_graphs.ontology_graph(DATASET, {"X": ["term"]})
    ),
    "graphs.correlation is -1.0, expected 0 or more: correct it": lambda: (
        gene_graphs.coexpression_graph(DATASET, threshold=-1.0)
    ),
    "scale is 'log10', expected one of ['given', 'ln', 'log2']: correct it": lambda: (
        moments.condition_means(DATASET.counts, DATASET.condition, 4, "log10")
    ),
    "no control cell of 'toy' is left after leaving out cells (too few genes), expected some: "
    "loosen that filter": lambda: subset.keep_cells(
        DATASET, DATASET.condition != DATASET.control, "too few genes"
    ),
    "chunk is 0, expected at least 1 cell: correct it": lambda: simulate_chunks("tiny", chunk=0),
    "data set 'toy' has no quality labels, expected some: call data.add_quality first": lambda: (
        evaluate.quality_pass_rates(FITTED, DATASET)
    ),
    "'toy' has no column 'line', expected one: read it with lines.load_lines": lambda: (
        draws.find_pseudobulk_groups(DATASET)
    ),
    "this model cannot predict further perturbations of rows, expected a family that says how "
    "(`Family.predict`): train another model": lambda: TRANSLATION.predict(PROBLEM, FITTED, ()),
    "the cells generated of 'ctrl' are not counts, expected whole numbers from 0: the training of "
    "the model has diverged, train it again with a lower train.learning_rate": lambda: (
        clean_cells.clean_cells(
            diverged(),
            planted_artifact.labelled(),
            ["a"],
            cells_per_perturbation=4,
            draws=2,
            states=2,
        )
    ),
    "no perturbation of 'toy' has measured effects, expected some for figure 3 to compare with: "
    "leave the run out": lambda: cradle_panels.hardest_effects(with_failures(DATASET)),
    "stage is 'middle', expected one of pretrain, finetune: correct it": lambda: (
        cycseq_settings.defaults(stage="middle")
    ),
    "no evaluated row is of 'C', expected one of PERT001: change --compound": lambda: (
        cycseq_figures.chosen_rows(first_row(), "C")
    ),
    "144 cells of 'pairs' have no counts in the chosen genes, expected at least one in each: leave "
    "these cells out, or choose more genes": lambda: checks.check(network(), without_counts(PAIRS)),
    "the set g0+g0 holds g0 twice, expected each gene once: correct it": lambda: sets.members_of(
        network(), [("g0", "g0")]
    ),
    "absent='average' finds no gene that is both in a graph and in training, expected at least "
    "one: give a graph with the perturbed genes": lambda: sets.members_of(
        network(never_trained()), [("far",)], "average"
    ),
    "model.kwargs.absent='average' finds no treatment that is both in a graph and in training, "
    "expected at least one: give a graph with the perturbed genes": lambda: network(
        beside_the_graph(), absent="average"
    ),
    "203 cells of 'toy' have no counts in the chosen genes, expected at least one in each: leave "
    "these cells out, or choose more genes": lambda: scgen_checks.check(
        make_scgen(data.make_spec(DATASET), latent_dim=3, hidden_dim=5), without_counts(DATASET)
    ),
    "the model has no name, expected one from `build` of a family's module: make it with "
    "`build`": lambda: python.family_of(toy.model()),
    "graphs.jaccard is -1.0, expected 0 or more: correct it": lambda: gene_graphs.ontology(
        ("a", "b"), {"a": ["term"]}, threshold=-1.0
    ),
    "data.guide_threshold is 0, expected at least 1: correct it": lambda: labels_table.checked(
        LabelRules("condition", ("ctrl",), "+", guide_threshold=0)
    ),
    "toy holds no control cells ('ctrl') in this split or in training, expected some to match "
    "cells with: check `data.control`": lambda: feeds.make_feed(
        replace(DATASET, condition=np.maximum(DATASET.condition, 1)), "train", batch_size=32
    ),
    "the model decodes to numbers that are not finite, expected finite ones: its training has "
    "diverged, train it again with a lower train.learning_rate": lambda: (
        remove_artifacts.remove_artifacts(infinite(), planted_artifact.labelled(), draws=2)
    ),
    "'toy' has 0 perturbations with training cells, expected 3 at least for model.name=set_gp: "
    "choose another split.kind, or a baseline": lambda: set_gp.check(
        SetGpSettings(), replace(DATASET, split=np.where(DATASET.condition == 0, 0, 2))
    ),
    "this model has no likelihood to score cells with, expected one that has: set "
    "evaluation.likelihood= (empty)": lambda: evaluate.log_likelihood(FITTED, DATASET),
    "this model has no latent space to embed cells in, expected one that has: set "
    "evaluation.umap_cells=0": lambda: predict.embed_cells(FITTED, DATASET, np.arange(3)),
    "data.simulation is 'cells=3,cells=4', expected different names with a number each, such as "
    "artifact_share=0.1,cells=3000: correct it": lambda: load.simulator_settings("cells=3,cells=4"),
    "evaluation.scores_of names 'nobody', expected some of gears: correct it": lambda: prepared(
        evaluation={"scores_of": "nobody"}
    ),
    "evaluation.likelihood is 'val', expected a split with cells (train, test) or nothing: correct "
    "it": lambda: prepared(split={"validation": False}, evaluation={"likelihood": "val"}),
    "train.epochs is 0, expected at least 1 where train.start is empty: raise it, or name a "
    "finished run": lambda: cycseq_runs.prepare(train__epochs=0),
    "train.start is 'run', but CycSeq cannot go on from another run, expected nothing there: leave "
    "it empty": lambda: load_rows(
        cycseq_runs.config(train__start="run"), CYCSEQ._replace(start=None), {}
    ),
    "the training cells are 0, expected at least 2: hold out less": lambda: rows.rows_spec(
        nothing_trained()
    ),
    "the cells hold 108984795136 counts, expected fewer than 2^31: leave out genes or cells": (
        lambda: row_feeds.device_cells(
            cycseq_runs.problem().details._replace(dataset=billions()), "csr", None
        )
    ),
}


@pytest.mark.parametrize("sentence", CALLS)
def test_calls(sentence):
    assert told(CALLS[sentence]) == sentence
