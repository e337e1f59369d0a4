"""Refusals that no other test meets, by what leads to each (their form: tests/test_errors.py)."""

import json
import os
import pathlib
from dataclasses import replace
from types import SimpleNamespace

import anndata
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpert import data
from jaxpert.app import ask, families, gallery, saved, training
from jaxpert.core import workdir
from jaxpert.core.fit import Fitted
from jaxpert.data import aliases, labels_asked, labels_split, perturbation_splits, split_audit
from jaxpert.data.moments import Pseudobulk
from jaxpert.evaluation import differential, generate, metrics
from jaxpert.models.cradle import mask_recovery, remove_artifacts
from jaxpert.models.cradle import model as cradle
from jaxpert.models.cradle.settings import CradleVaeSettings
from jaxpert.models.cycseq.paper import enrichment
from jaxpert.models.cycseq.paper import plots as cycseq_plots
from jaxpert.models.gears import predict_sets, screen_pairs
from jaxpert.models.gears.paper import measured_interactions, panels, plots_points
from jaxpert.models.gears.paper import plots as gears_plots
from jaxpert.report.plots import training as training_plots
from jaxpert.simulate import annotations, simulate
from jaxpert.simulate.settings import resolve
from jaxpert.tasks.translation import beside, doses, parts
from jaxpert.tasks.translation import metrics as row_metrics
from jaxpert.tasks.translation.keys import EvaluationKeys, TranslationConfig
from support import toy
from support.refused import told

CONFIG = "--config=cradle_norman:test"


def written(path: pathlib.Path, content: str | bytes) -> pathlib.Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def pipe(folder: pathlib.Path) -> pathlib.Path:
    os.mkfifo(folder / "pipe.h5ad")
    return folder / "pipe.h5ad"


def loop(folder: pathlib.Path) -> pathlib.Path:
    (folder / "loop.h5ad").symlink_to(folder / "loop.h5ad")
    return folder / "loop.h5ad"


def downloaded(folder: pathlib.Path) -> None:
    written(folder / "norman.h5ad", "cut")
    written(folder / "norman.h5ad.sha256", "digest 999")
    data.load("norman", folder)


def saved_in_format_99(folder: pathlib.Path) -> None:
    np.savez(folder / saved.ARRAYS)
    written(folder / saved.STRUCTURE, json.dumps({"format": 99, "content": None}))
    saved.read(folder)


FILES = {
    "has 3 bytes but 999 were downloaded": downloaded,
    "is no regular file, expected": lambda at: data.read(pipe(at)),
    "cannot be opened (Too many levels": lambda at: data.read(loop(at)),
    "is empty, expected": lambda at: data.read(written(at / "x.h5ad", "")),
    "is not an HDF5 file": lambda at: data.read(written(at / "x.h5ad", "text")),
    "was saved in format 99, expected 1": saved_in_format_99,
    "is a file, expected a folder": lambda at: workdir.check({}, written(at / "work", "")),
    "line 2 of": lambda at: aliases.read_aliases(written(at / "a.csv", "A,B\nC\n")),
    "has 1 column, expected compound": lambda at: doses.read_targets(written(at / "t.csv", "A\n")),
    "has no list": lambda at: measured_interactions.read_lists(written(at / "l.json", "{}")),
    "holds no pair A+B with both": lambda at: measured_interactions.read_effects(singles(at)),
    "--workdir is empty": lambda _: training.parse([CONFIG, "--workdir="]),
}


def singles(folder: pathlib.Path) -> pathlib.Path:
    effects = anndata.AnnData(np.zeros((2, 3)))
    effects.obs["condition"] = ["A+ctrl", "B+ctrl"]
    effects.write_h5ad(folder / "singles.h5ad")
    return folder / "singles.h5ad"


@pytest.mark.parametrize("beginning", FILES)
def test_files(beginning, tmp_path):
    assert beginning in told(lambda: FILES[beginning](tmp_path))


SCREENS = {
    "holds only zeros": lambda adata: data.read(emptied(adata)),
    "is left after the gene filters": lambda adata: data.read(adata, min_cells_per_gene=999),
    "column 'length' of the genes holds more than True and False": lambda adata: data.read(
        measured_lengths(adata), highly_variable="length"
    ),
    "which has 0 groups": lambda adata: data.read(adata, guide_pattern="g1"),
    "no column is named": lambda adata: data.add_split(data.read(adata), kind="column"),
    "holds other values too": lambda adata: data.add_quality(data.read(adata), doublets="calls"),
    "has an empty part": lambda adata: labels_asked.sets_asked(
        ["+A"], labels_asked.known_names(data.read(adata))
    ),
    "perturbed nowhere": lambda adata: data.add_split(
        data.read(adata), kind="simulation", test_perts=("X",)
    ),
}


def measured_lengths(adata):
    adata.var["length"] = 3
    return adata


def emptied(adata):
    adata.X = adata.X * 0
    return adata


@pytest.mark.parametrize("part", SCREENS)
def test_screens(part, screen, labels):
    assert part in told(lambda: SCREENS[part](screen(labels, calls=[0, 2] * 20)))


DATASET = toy.dataset()
UNSPLIT = replace(DATASET, split=None)
QUIET = replace(DATASET, counts=DATASET.counts * 0)
ROWS = np.zeros((2, 3), np.float32)
FEW = {"programs": 4, "basal_programs": 3}
SEVERAL = Fitted(toy.model(), {"gene_embedding": np.zeros((2, 3, 4))}, {})
TRUTH = simulate("tiny")[1]
BESIDE = TranslationConfig(evaluation=EvaluationKeys(beside=("scgen",)))
MOMENTS = Pseudobulk(ROWS.astype(np.float64), np.ones(2, int), np.zeros(2, int))
PART = parts.Part("K562", None, DATASET.obs.iloc[:2], np.zeros(2), None, None)

CALLS = {
    "has no split yet, expected one": lambda: UNSPLIT.rows("train"),
    "toy' has no split yet": lambda: split_audit.audit(UNSPLIT),
    "the moments have no variance": lambda: differential.rank(MOMENTS, 0),
    "predicts on scale 'raw'": lambda: generate._log2(jnp.zeros((1, 2, 3)), "raw"),
    "own_genes is given for the l2": lambda: metrics.distances(
        ROWS, ROWS, own_genes=np.zeros((2, 3), bool)
    ),
    "cannot be scored, expected at least": lambda: mask_recovery._against_chance(
        np.ones(3, bool), lambda order: ROWS[0], 2, 0
    ),
    "has no artifact labels": lambda: cradle.check(CradleVaeSettings(), DATASET),
    "has no quality labels": lambda: remove_artifacts.chosen_rows(DATASET, "failed"),
    "1 undefined) for 2 genes (1 named": lambda: enrichment._check(
        np.array([np.nan, 1.0]), ["A", "A"]
    ),
    "no direction to draw": lambda: cycseq_plots.triangular_validation({}, {}, "x.png"),
    "no group has an error to draw": lambda: gears_plots.normalised_errors({}, "x.png"),
    "no sub-type has scores": lambda: gears_plots.interactions_found({}, "x.png"),
    "expected as many of both": lambda: plots_points.uncertainty_against_error(
        ROWS[0][:2], ROWS[0][:2], ["a"] * 2, "x.png"
    ),
    "no row of metrics.jsonl holds": lambda: training_plots.loss_curves([], "x.png"),
    "expected a pair: raise --pairs": lambda: panels.screened_genes(DATASET, 0),
    "the model holds several seeds": lambda: predict_sets.predictor(SEVERAL),
    "0 genes of 'toy' have more than": lambda: screen_pairs.scored_columns(QUIET),
    "expected shares in [0, 1)": lambda: annotations.draw_annotations(
        simulate("tiny")[1], wrong=1.0
    ),
    "has 4 programs, 3 of them basal": lambda: resolve("tiny", FEW),
    "evaluation.beside has 'scgen'": lambda: beside.epochs_of(BESIDE, families.all_families()),
    "kind is 'ratio', expected": lambda: row_metrics.signal(ROWS, ROWS, kind="ratio"),
    "no cell of K562 has a label": lambda: parts.keep_in_parts([PART], np.zeros(2, bool)),
    "is set without test_perts": lambda: perturbation_splits._seen_genes(["A"], 0, 0.5, (), True),
    "which is no regular expression": lambda: labels_split.gene_expression("("),
}


@pytest.mark.parametrize("part", CALLS)
def test_calls(part):
    assert part in told(CALLS[part])


def test_runs_of_two_families(monkeypatch, tmp_path):
    cradle_family, gears_family = gallery.families.load("cradle"), gallery.families.load("gears")

    def opened(folders):
        families = (cradle_family, gears_family)
        of = [SimpleNamespace(family=family) for family in families]
        return [SimpleNamespace(workdir=w, finished=f) for w, f in zip(folders, of, strict=True)]

    monkeypatch.setattr(gallery, "open_runs", opened)
    call = lambda: gallery.run_command(cradle_family, "figures", ["a", "b"], tmp_path, None)  # noqa: E731
    assert "expected runs of one family" in told(call)
    assert not list(tmp_path.iterdir())


def test_particles_of_models_without_cells(monkeypatch, tmp_path):
    finished = SimpleNamespace(
        config=SimpleNamespace(evaluation=None),
        family=gallery.families.load("cycseq"),
        fitted=SimpleNamespace(model=SimpleNamespace(stochastic=False, needs_control=True)),
    )
    monkeypatch.setattr(ask, "reopen", lambda _: finished)
    call = lambda: ask.predict_to_files("run", ["A"], tmp_path / "x.h5ad", particles=20)  # noqa: E731
    assert "--particles is for models that generate cells" in told(call)
