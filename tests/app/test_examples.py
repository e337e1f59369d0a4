"""Every public function has an example in its help, and the examples run."""

import functools
import inspect
import re
import shutil
import textwrap

import numpy as np
import pandas as pd
import pytest

import jaxpert
from jaxpert.app import families, plot
from support import finished_run

EXAMPLE = re.compile(r"^Example:\n((?:    .*\n?|\n)+)", re.M)
NAMES = ("KLF1", "FAR", "FAR2", "BAK1", "CBL", "FEV", "SET", "TP73")
LINES = {"cycseq", "load_lines", "prepare_rows"}
DOSES = {"load_doses", "prepare_doses"}
GRAPHS = {"make_spec", "gears", "predict_sets", "screen_pairs"}
LATENT = {"interpret", "embed_cells", "remove_artifacts", "clean_cells"}


def public():
    """{name: function}: those of `jaxpert` and `jaxpert.plot`, and `build` of each model."""
    functions = {f"plot.{name}": getattr(plot, name) for name in ("effect", "measured", "scores")}
    functions["plot.top_genes"] = plot.top_genes
    for name in dir(jaxpert):
        if name in families.models():
            build = getattr(jaxpert, name).build
            # All baselines have one function, and so one example.
            if build != getattr(build, "func", build) and name != "shrunken_additive":
                continue
            functions[name] = getattr(build, "func", build)
        elif name == "simulate":
            functions[name] = jaxpert.simulate.simulate
        elif name != "plot":
            functions[name] = getattr(jaxpert, name)
    return functions


FUNCTIONS = public()


def example_of(function):
    found = EXAMPLE.search((inspect.getdoc(function) or "") + "\n")
    return textwrap.dedent(found[1]) if found else ""


def test_help_shows_an_example():
    assert len(FUNCTIONS) > 30
    assert not [name for name, function in FUNCTIONS.items() if not example_of(function)]
    assert "jaxpert.fit(model, cells, epochs=1)" in (jaxpert.fit.__doc__ or "")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The files that examples name, and the names that they use."""
    folder = tmp_path_factory.mktemp("examples")
    adata, truth = jaxpert.simulate("tiny")
    renamed = {f"PERT{i + 1:03d}": name for i, name in enumerate(NAMES)}

    def named(text):
        return "+".join(renamed.get(part, part) for part in text.split("+"))

    labels = adata.obs["perturbation"].astype(str).map(named)
    adata.obs["gene"] = adata.obs["condition"] = labels
    adata.var_names = [renamed.get(name, name) for name in adata.var_names]
    adata.write_h5ad(folder / "screen.h5ad")
    adata.obs["gene"] = labels.replace({"ctrl": "NTC"})
    adata.write_h5ad(folder / "real.h5ad")
    adata.write_h5ad(folder / "pred.h5ad")
    jaxpert.simulate("lines_tiny")[0].write_h5ad(folder / "lines.h5ad")
    doses, _ = jaxpert.simulate("doses_tiny")
    targets = doses.uns.pop("targets")
    doses.write_h5ad(folder / "doses.h5ad")
    pd.Series(targets, name="targets").rename_axis("compound").to_csv(folder / "targets.csv")
    terms = [f"term{i}\t\t" + "\t".join(NAMES[i : i + 4]) for i in range(5)]
    (folder / "annotations.gmt").write_text("\n".join(terms))
    cells = jaxpert.read(folder / "screen.h5ad", perturbation="gene")
    measured = jaxpert.measured_effects(cells)
    measured[measured.obs_names != "ctrl"].to_df("effect").to_csv(folder / "effects.csv")
    shutil.copytree(finished_run.finished()[0], folder / "runs/demo")
    return folder, truth


@pytest.fixture(scope="module")
def scopes(world):
    """What examples take for given, by what they are about; fitted once each."""
    folder, _ = world

    def screen(**split):
        cells = jaxpert.read(folder / "screen.h5ad", perturbation="gene")
        return jaxpert.add_split(jaxpert.add_quality(cells, doublets="none"), **split)

    def fitted(model, cells):
        return {"cells": cells, "fitted": jaxpert.fit(model, cells, epochs=1, devices=1)}

    def plain():
        cells = screen(kind="combinations")
        spec = jaxpert.make_spec(cells)
        scope = fitted(jaxpert.shrunken_additive.build(spec), cells) | {"screen": cells}
        scope["model"] = scope["fitted"].model
        names = ["KLF1", "KLF1+FAR2"]
        return scope | {"predicted": jaxpert.predict(scope["fitted"], cells, names)}

    def latent():
        cells = screen(kind="cells")
        spec = jaxpert.make_spec(cells)
        model = jaxpert.cradle_vae.build(spec, latent_dim=4, hidden_dim=8, particles=1)
        return fitted(model, cells) | {"screen": cells}

    def graphs():
        cells = screen(kind="combinations")
        terms = dict.fromkeys(NAMES, {"one", "two"})
        cells = jaxpert.add_graphs(cells, terms=terms, nodes="perturbed")
        return fitted(jaxpert.gears.build(jaxpert.make_spec(cells), hidden_dim=8), cells)

    def rows():
        cells = jaxpert.load_lines(folder / "lines.h5ad", perturbation="perturbation", line="line")
        return {"rows": jaxpert.prepare_rows(cells, replicates=2, cells_per_draw=5)}

    made = {"plain": plain, "latent": latent, "graphs": graphs, "rows": rows}
    return functools.cache(lambda kind: made[kind]())


def kind_of(name):
    groups = {"rows": LINES | DOSES, "graphs": GRAPHS, "latent": LATENT}
    return next((kind for kind, names in groups.items() if name in names), "plain")


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_examples_run(name, world, scopes, tmp_path, monkeypatch):
    shutil.copytree(world[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    code = example_of(FUNCTIONS[name]).replace('.gmt.gz"', '.gmt"')
    # What is asked is whether it runs, so that sizes are small.
    code = re.sub(r"epochs=\d+", "epochs=1, devices=1", code)
    code = re.sub(r"(hidden_dim|latent_dim)=\d+", r"\1=8", code)
    code = re.sub(r"(predict\(fitted, cells, .*\])\)", r"\1, particles=100)", code)
    code = re.sub(r"(clean_cells\(.*\])\)", r"\1, draws=2, cells_per_perturbation=10)", code)
    exec(compile(code, name, "exec"), {**scopes(kind_of(name)), "jaxpert": jaxpert, "np": np})
