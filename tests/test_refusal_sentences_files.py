"""Refusals of files, folders and commands that no other test meets, each with its whole sentence:
what was found, what was expected, and the fix. `{at}` is the folder of the test."""

import itertools
import json
import pathlib
import shutil
import sys

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from jaxpert import data
from jaxpert.app import gallery, reopen, saved
from jaxpert.core import files, workdir
from jaxpert.core.family import Finished, Problem, Run
from jaxpert.core.fit import Fitted
from jaxpert.data import ontology, screens, tables
from jaxpert.models.cradle.family import FAMILY
from jaxpert.models.cradle.paper import panels as cradle_panels
from jaxpert.models.cycseq import start
from jaxpert.models.gears.paper import figures as gears_figures
from jaxpert.models.gears.paper import folds, measured_interactions
from jaxpert.models.set_gp import splits as gp_splits
from jaxpert.report import attempts
from jaxpert.tasks.screen.keys import ScreenConfig
from jaxpert.tasks.translation import doses
from support import cycseq_runs, finished_run, pairs_screen, toy
from support.refused import told

DATASET = toy.dataset()
PAIRS = pairs_screen.dataset()


def left(folder: pathlib.Path, config: object, *folders: str) -> pathlib.Path:
    """A work directory with a config and some folders in it."""
    for name in folders:
        (folder / name).mkdir(parents=True)
    (folder / workdir.CONFIG).write_text(json.dumps(config))
    return folder


def without_sections(folder):
    left(folder, {"format": workdir.FORMAT, "seed": 1}, "checkpoints")
    (folder / workdir.METRICS).write_text("{}")
    start.start(cycseq_runs.config("finetune", train__start=str(folder)))


def one_condition(folder):
    arrays = {"conditions": np.array(["ctrl"]), "effect": np.zeros((1, 1, 12))}
    files.write_arrays(folder / "effects.npz", arrays)
    problem = Problem(DATASET, data.make_spec(DATASET), feeds=len, sample=len)
    finished = Finished(ScreenConfig(), FAMILY, problem, Fitted(toy.model(), {}, {}), {})
    cradle_panels.predicted_effects(Run("run", folder, finished))


def no_oracle(dataset, names, seed):
    return folds.Predicted(np.zeros((len(names), pairs_screen.GENES)), None)


def folds_of_a_list(folder):
    (folder / "settings.json").write_text("[1]")
    folds.run(PAIRS, folds.plan(PAIRS), no_oracle, folder)


def folds_of_other_pairs(folder):
    planned = folds.plan(PAIRS)[:1]
    folds.run(PAIRS, planned, no_oracle, folder)
    (stored,) = folder.glob("*.npz")
    other = {"names": np.array(["a"]), "effects": np.zeros((1, pairs_screen.GENES))}
    files.write_arrays(stored.rename(folder / stored.name), other)
    folds.run(PAIRS, planned, no_oracle, folder)


def text_as_effects(folder):
    (folder / "x.h5ad").write_text("text")
    measured_interactions.read_effects(folder / "x.h5ad")


def effects_without_names(folder):
    anndata.AnnData(np.zeros((2, 3))).write_h5ad(folder / "x.h5ad")
    measured_interactions.read_effects(folder / "x.h5ad")


def header_alone(folder):
    (folder / "edges.csv").write_text("source,target,importance\n")
    ontology.read_edges(folder / "edges.csv")


def saved_function(folder):
    """A save whose record was changed to a function of the project."""
    saved.write(folder, {"cells": DATASET})
    text = (folder / saved.STRUCTURE).read_text()
    hostile = text.replace("jaxpert.core.types", "jaxpert.core.files").replace(
        '"Dataset"', '"write_text"'
    )
    (folder / saved.STRUCTURE).write_text(hostile)
    saved.read(folder)


def metrics_without_data(folder):
    shutil.copytree(finished_run.finished()[0], folder / "run")
    (folder / "run" / workdir.METRICS).write_text('{"data": {}}')
    reopen.reopen(folder / "run")


def cycseq_run(folder, config, *files):
    """Go on from a run of which these files are left."""
    left(folder, config, "checkpoints")
    for name in files:
        (folder / name).write_text("{}")
    start.start(cycseq_runs.config("finetune", train__start=str(folder)))


def long_name(folder):
    with workdir.readable_errors(folder):
        (folder / ("a" * 300)).write_text("")


def compounds_with_a_comma(folder):
    (folder / "t.csv").write_text("compound,targets\nX,A,B\n")
    doses.read_targets(folder / "t.csv")


def replogle(folder, matrix, control):
    """A file larger than what is taken of that screen."""
    labels = {"sgID_AB": ["a", control] * 4, "gene": ["A", "B"] * 4}
    obs = pd.DataFrame(labels, index=[f"cell{i}" for i in range(8)])
    anndata.AnnData(matrix(np.ones((8, 1300), np.float32)), obs).write_h5ad(folder / "x.h5ad")
    screens.replogle(folder / "x.h5ad")


def norman_without_guides(folder):
    obs = pd.DataFrame({"guide_identity": ["ctrl", "A"] * 4}, index=[f"c{i}" for i in range(8)])
    adata = anndata.AnnData(np.ones((8, 3), np.float32), obs)
    adata.layers["counts"] = adata.X
    adata.write_h5ad(folder / "x.h5ad")
    screens.norman(folder / "x.h5ad")


def agreement_without_rows(folder):
    (folder / "agreement.json").write_text("{}")
    gears_figures.read_pairs_out(folder)


def without_statistics(folder):
    problem = Problem(DATASET, data.make_spec(DATASET), feeds=len, sample=len)
    finished = Finished(ScreenConfig(), FAMILY, problem, Fitted(toy.model(), {}, {}), {})
    gp_splits.write([Run("run", folder, finished)], folder, gp_splits.Options())


def parquet(folder):
    """A table where pandas finds no library that reads it."""
    (folder / "t.parquet").write_bytes(b"PAR1")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("pyarrow", "fastparquet"):
            patch.setitem(sys.modules, name, None)
        tables.read_columns(folder / "t.parquet", "effects")


FILES = {
    "the run in train.start, {at}, is not finished (it has no metrics.json), expected a finished "
    "one: run its command again first": lambda at: cycseq_run(at, {"format": 2}),
    "the run in train.start, {at}, has model.name=gears and train.seeds=2, expected cycseq and one "
    "seed: give another run": lambda at: cycseq_run(
        at, {"format": 2, "model": {"name": "gears"}, "train": {"seeds": 2}}, workdir.METRICS
    ),
    "no checkpoint of the run in train.start, {at}, can be read, expected a whole one: run it "
    "again in another folder": lambda at: cycseq_run(
        at, cycseq_runs.raw_config() | {"format": 2}, workdir.METRICS
    ),
    "--workdir is too long a name ({length} signs, {begin}...), expected one that the file system "
    "takes: choose another --workdir": long_name,
    "line 2 of {at}/t.csv has 3 cells, expected 2 as its header: put quotes around a cell that "
    "holds the separator": compounds_with_a_comma,
    "{at}/x.h5ad has no non-targeting cells, expected some as reference: fetch the whole file "
    "again": lambda at: replogle(at, np.asarray, "b"),
    "layer 'X' of {at}/x.h5ad is stored by genes (CSC), expected cells first (CSR or dense): "
    "convert it with adata.X = adata.X.tocsr()": lambda at: replogle(
        at, sparse.csc_matrix, "non-targeting"
    ),
    "{at}/x.h5ad has no guide columns of 0 and 1, expected the file of this public screen: delete "
    "it to have it fetched again, or give it as data.source with its path": norman_without_guides,
    "{at}/agreement.json has no rows, expected finished results of gears_leave_pairs_out.py: run "
    "it to its end": agreement_without_rows,
    "--published={at}/lists.json is no file, expected one: see --help": lambda at: (
        measured_interactions.read_lists(at / "lists.json")
    ),
    "{at} has no statistics.npz, expected that of a finished run: evaluate it again with jaxpert "
    "evaluate": without_statistics,
    "{at}/t.parquet cannot be read without pyarrow, expected that package: install it, or save the "
    "table as .csv.gz": parquet,
    "the file holds a jaxpert.core.files.write_text, expected data of jaxpert alone: do not open "
    "files of strangers, save it again": saved_function,
    "metrics.json of {at}/run lacks `data` or `run`, expected what a finished run leaves: delete "
    "it and run its command again, which goes on from the last checkpoint": metrics_without_data,
    "CRADLE-VAE has no command 'pairs', expected one of its commands (figures, interpret, clean): "
    "choose one of these": lambda _: gallery.command_of(FAMILY, "pairs"),
    "clean takes one run, 2 were given, expected one: leave the others out": lambda at: (
        gallery.run_command(FAMILY, "clean", ["a", "b"], at / "out", None)
    ),
    "there is no folder {at}/run, expected that of a finished run: check the path of the run": (
        lambda at: workdir.read_config(at / "run")
    ),
    "{at}/config.json holds a list, expected the mapping that a run leaves: choose another folder, "
    "or run its command again in a new one": lambda at: workdir.read_config(left(at, [1])),
    "{at}/config.json says that its format is 99, expected a number up to 2: a newer version of "
    "jaxpert may have written it, so use that one": lambda at: workdir.read_config(
        left(at, {"format": 99})
    ),
    "{at} was begun by an older version of jaxpert (format 1), whose training cannot go on here, "
    "expected format 2: choose another --workdir; a finished run can still be asked with jaxpert "
    "predict": lambda at: workdir.check({"seed": 1}, left(at, {"seed": 1})),
    "config.json of the run in train.start, {at}, lacks the sections model and train "
    "(KeyError('model')), expected what a run leaves: give another run": without_sections,
    "{at}/effects.npz has no a, expected every condition: run it again": one_condition,
    "{at}/settings.json holds no settings, expected those of the folds: delete it": folds_of_a_list,
    "{at}/g0_g1-5261f0ba.npz is of other pairs ('g0+ctrl'), expected g0+g1: delete it and go on": (
        folds_of_other_pairs
    ),
    "--effects={at}/x.h5ad cannot be read (Unable to synchronously open file (file signature not "
    "found)), expected an .h5ad file: see --help": text_as_effects,
    "x.h5ad has no obs column 'condition', expected one with A+ctrl and A+B: rename the column": (
        effects_without_names
    ),
    "{at}/edges.csv holds no edge, expected one in each line below its header: check the path": (
        header_alone
    ),
    "nothing could be drawn (figure 1: no cells), expected one figure at least: give runs that "
    "carry one": lambda at: attempts.require_some(at, {"figure 1": "no cells"}),
}


@pytest.mark.parametrize("sentence", FILES)
def test_files(sentence, tmp_path):
    path = str(tmp_path)
    told_of = sentence.replace("{at}", path).replace("{length}", str(len(path)))
    assert told(lambda: FILES[sentence](tmp_path)) == told_of.replace("{begin}", path[:60])


@pytest.mark.filterwarnings("ignore")  # lists of no pair have no scores
def test_interactions_written_into_a_file(tmp_path):
    effects = anndata.AnnData(np.random.default_rng(0).normal(size=(5, 60)))
    effects.obs["condition"] = ["A+ctrl", "B+ctrl", "C+ctrl", "A+B", "B+C"]
    effects.write_h5ad(tmp_path / "x.h5ad")
    every = itertools.chain.from_iterable(measured_interactions.LISTS.values())
    lists = dict.fromkeys(every, ()) | {"ADDITIVE": ["A+B"], "SUPPRESSOR": ["B+C"]}
    (tmp_path / "lists.json").write_text(json.dumps(lists))
    (tmp_path / "file").write_text("")
    output = tmp_path / "file/out"
    paths = tmp_path / "x.h5ad", tmp_path / "lists.json", output
    assert told(lambda: measured_interactions.compare(*paths)) == (
        f"--output={output} cannot be written ([Errno 20] Not a directory: '{output}'), expected a "
        "file in a folder that can: choose another"
    )
