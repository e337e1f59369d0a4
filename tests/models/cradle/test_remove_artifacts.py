"""Artifact removal against answers known in closed form, and the command."""

import shutil
from dataclasses import replace

import anndata
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import remove_artifacts as cli
from jaxpert import data
from jaxpert.core import train
from jaxpert.core.types import InputError, Latent, Model, Quality
from jaxpert.models.cradle import clean_cells
from jaxpert.models.cradle import remove_artifacts as artifacts
from jaxpert.tasks.screen.predict import Fitted
from support import finished_run, toy

GENES, DRAWS = 12, 7
BASE = np.linspace(-1, 1, GENES).astype(np.float32)
EFFECT = np.random.default_rng(1).normal(0, 1, (3, GENES)).astype(np.float32)
ARTIFACT = np.where(np.arange(GENES) < 3, 2.0, -0.3).astype(np.float32)
PARAMS = {"base": BASE, "effect": EFFECT, "artifact": ARTIFACT}


def labelled(failed=None):
    dataset = toy.dataset()
    failed = np.arange(len(dataset.cells)) % 4 == 1 if failed is None else failed
    return replace(dataset, quality=Quality({}, {}, 5, failed))


def planted(noise: float) -> Model:
    """Log-rates are base + noise per cell, effect, and an artifact that differs from draw to
    draw."""

    def cells(params, key, batch):
        draw = jax.vmap(lambda slot: jax.random.normal(jax.random.fold_in(key, slot), (GENES,)))(
            batch.slot
        )
        shift = params["artifact"] * (1 + 0.5 * jax.random.normal(key))
        return {
            "basal": params["base"] + noise * draw,
            "perturbation": batch.treatment @ params["effect"],
            "artifact": batch.extras["failed"][:, None] * shift,
        }

    def decode(params, blocks, library):
        return library[:, None] * jax.nn.softmax(sum(blocks.values()))

    def predict(params, state, key, request):
        key_shared, key_cell = jax.random.split(key)
        effect = params["effect"] * (1 + 0.2 * jax.random.normal(key_shared))
        states = noise * jax.random.normal(key_cell, (len(request.library), GENES))
        shift = request.failed[:, None] * params["artifact"]
        rate = jax.nn.softmax(params["base"] + states + request.treatment @ effect + shift)
        return jnp.floor(request.library[:, None] * rate)

    no = {"init": None, "loss": None}
    return Model(**no, predict=predict, latent=Latent(lambda *_: {}, cells, decode))  # pyright: ignore


def fitted(model: Model) -> Fitted:
    return Fitted(model, PARAMS, {}, None, train.Outcome("finished", 1, 1))  # pyright: ignore


def softmax(x):
    e = np.exp(x)
    return e / e.sum(-1, keepdims=True)


def expected_draws(dataset, rows, noise, library, seed=0):
    """Clean and kept expectations [draws, cells, genes], with the keys of `remove_artifacts`."""
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), artifacts.REMOVE), DRAWS)
    effect = dataset.condition_treatments[dataset.condition[rows]] @ EFFECT
    clean, kept = [], []
    for key in keys:
        cell = [
            np.asarray(jax.random.normal(jax.random.fold_in(key, i), (GENES,)))
            for i in range(len(rows))
        ]
        log_rate = BASE + noise * np.stack(cell) + effect
        shift = (
            dataset.quality.failed[rows][:, None]
            * ARTIFACT
            * (1 + 0.5 * float(jax.random.normal(key)))
        )
        clean.append(library * softmax(log_rate))
        kept.append(library * softmax(log_rate + shift))
    return np.stack(clean), np.stack(kept)


def test_removal_gives_back_the_planted_cells():
    """Without noise the answer does not depend on any draw, but the artifact's does."""
    dataset = labelled()
    rows = np.flatnonzero(dataset.quality.failed)
    removed = artifacts.remove_artifacts(fitted(planted(0.0)), dataset, draws=DRAWS, library=500.0)
    truth = 500 * softmax(BASE + dataset.condition_treatments[dataset.condition[rows]] @ EFFECT)
    np.testing.assert_allclose(removed.X, truth, rtol=1e-5)
    np.testing.assert_allclose(removed.layers["sd"], 0, atol=1e-3)
    np.testing.assert_allclose(
        removed.layers["with_artifact"], expected_draws(dataset, rows, 0.0, 500)[1].mean(0), 1e-4
    )
    assert (np.abs(removed.layers["with_artifact"] - truth) > 1).mean() > 0.5
    assert list(removed.obs_names) == [f"cell{i}" for i in rows]
    assert list(removed.var_names) == list(dataset.genes)
    assert list(removed.obs["condition"]) == [
        dataset.conditions[c] for c in dataset.condition[rows]
    ]
    assert set(removed.obs["split"]) == {"train", "val"} and removed.obs["failed"].all()


def test_moments_over_draws_in_blocks_of_cells(monkeypatch):
    monkeypatch.setattr(artifacts, "BLOCK_VALUES", 20 * GENES)
    dataset = labelled()
    removed = artifacts.remove_artifacts(fitted(planted(0.7)), dataset, cells="all", draws=DRAWS)
    clean, kept = expected_draws(dataset, np.arange(len(dataset.cells)), 0.7, 1e4)
    np.testing.assert_allclose(removed.X, clean.mean(0), rtol=1e-4)
    np.testing.assert_allclose(removed.layers["sd"], clean.std(0, ddof=1), rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(removed.layers["with_artifact"], kept.mean(0), rtol=1e-4)
    passed = ~dataset.quality.failed
    np.testing.assert_array_equal(removed.X[passed], removed.layers["with_artifact"][passed])


def test_corrected_cells_keep_their_own_noise():
    dataset = labelled()
    removed = artifacts.remove_artifacts(fitted(planted(0.0)), dataset, draws=DRAWS)
    rows = np.flatnonzero(dataset.quality.failed)
    expected = (
        dataset.counts[rows].toarray() * np.asarray(removed.X) / removed.layers["with_artifact"]
    )
    corrected = removed.layers["corrected"].toarray()
    np.testing.assert_allclose(
        corrected, 1e4 * expected / expected.sum(1, keepdims=True), rtol=1e-4
    )
    assert ((corrected == 0) == (dataset.counts[rows].toarray() == 0)).all()


def test_memory_does_not_grow_with_the_draws():
    model, batch = planted(0.7), artifacts.make_batch(labelled(), np.arange(100))
    sizes = [
        artifacts._moments.lower(
            model.latent, PARAMS, jax.random.split(jax.random.key(0), n), batch, jnp.ones(100)
        )
        .compile()
        .memory_analysis()
        .temp_size_in_bytes
        for n in (4, 400)
    ]
    assert sizes[1] < sizes[0] + 100 * GENES * 4 * 4


def test_what_cannot_be_done_is_said():
    model = planted(0.0)
    remove = artifacts.remove_artifacts
    latent = model.latent
    assert latent is not None

    def without(*given):
        blocks = latent.cells(*given)
        return {name: block for name, block in blocks.items() if name != "artifact"}

    blind = model._replace(latent=latent._replace(cells=without))
    for unfit, said in (
        (model._replace(latent=None), "no latent space"),
        (blind, "latents are basal, perturbation"),
    ):
        with pytest.raises(InputError, match=f"{said}.*CRADLE-VAE"):
            remove(fitted(unfit), labelled())
    with pytest.raises(InputError, match="none of the 203 cells of 'toy' fails quality"):
        remove(fitted(model), labelled(np.zeros(203, bool)))
    with pytest.raises(InputError, match="no quality labels"):
        remove(fitted(model), toy.dataset())
    for bad, said in (
        ({"draws": 1}, "draws is 1"),
        ({"library": 0.0}, "library is 0"),
        ({"cells": "bad"}, "'bad'"),
    ):
        with pytest.raises(InputError, match=said):
            remove(fitted(model), labelled(), **bad)


def log2(x):
    return np.log2(1 + 1e4 * x / x.sum(-1, keepdims=True))


def test_clean_cells_share_draws_and_states():
    model, dataset = planted(0.3), labelled()
    options = {"cells_per_perturbation": 9, "draws": 4, "states": 5, "library": 900.0}
    cells, summary = clean_cells.clean_cells(
        fitted(model), dataset, ["a", "c+b", "ctrl", "a"], **options
    )
    assert list(summary.obs_names) == ["ctrl", "a", "c+b"] and cells.n_obs == 27
    assert list(cells.obs["draw"][:9]) == [0, 1, 2, 3, 0, 1, 2, 3, 0] and list(
        cells.obs["state"][:9]
    ) == [0] * 4 + [1] * 4 + [2]
    key = jax.random.split(jax.random.fold_in(jax.random.key(0), clean_cells.GENERATE))[0]
    made = np.stack(
        [
            [
                model.predict(
                    PARAMS,
                    {},
                    k,
                    clean_cells.make_request(np.tile(np.float32(t), (5, 1)), library=900.0),
                )
                for k in jax.random.split(key, 4)
            ]
            for t in ([0, 0, 0], [1, 0, 0], [0, 1, 1])
        ]
    )  # [conditions, draws, states, genes]
    counts = cells.X.toarray()
    for i, (draw, state) in enumerate(zip(cells.obs["draw"], cells.obs["state"], strict=True)):
        np.testing.assert_array_equal(counts[i], made[i // 9, draw, state])
    mean = log2(made).mean(2)
    effect = mean - mean[0]
    for name, values in (("", mean), ("effect_", effect)):
        np.testing.assert_allclose(summary.layers[name + "sd"], values.std(1, ddof=1), atol=1e-4)
        np.testing.assert_allclose(
            summary.layers[name + "lower"], np.percentile(values, 2.5, axis=1), atol=1e-4
        )
        np.testing.assert_allclose(
            summary.layers[name + "upper"], np.percentile(values, 97.5, axis=1), atol=1e-4
        )
    np.testing.assert_allclose(summary.X, mean.mean(1), atol=1e-4)
    np.testing.assert_allclose(summary.layers["effect"], effect.mean(1), atol=1e-4)
    error = np.sqrt((log2(made) - log2(made[:1])).var(2, ddof=1).mean(1) / 5)
    np.testing.assert_allclose(summary.layers["effect_error"], error, atol=1e-4)
    assert (
        np.abs(summary.layers["effect"][0]).max() < 1e-6
        and (summary.layers["effect_sd"][1:] > 0.05).any()
    )


def test_libraries_of_passed_control_cells():
    def predict(params, state, key, request):
        return jnp.pad(request.library[:, None], ((0, 0), (0, GENES - 1)))

    dataset = labelled()
    model = Model(None, None, predict)  # pyright: ignore
    cells, _ = clean_cells.clean_cells(
        fitted(model), dataset, ["b"], draws=2, states=60, library=None
    )
    totals = np.asarray(dataset.counts.sum(1)).ravel()
    passed = (dataset.condition == 0) & ~dataset.quality.failed
    made = cells.X.toarray()[:, 0]
    assert set(made) <= set(totals[passed]) and len(set(made)) > 5
    none = labelled(dataset.condition == 0)
    with pytest.raises(InputError, match="no control cell of 'toy' passed quality"):
        clean_cells.clean_cells(fitted(model), none, ["b"], library=None)


def test_clean_cells_that_cannot_be():
    model, make = planted(0.0), clean_cells.clean_cells
    with pytest.raises(InputError, match="'zz'.*a, b, c"):
        make(fitted(model), labelled(), ["a+zz"])
    with pytest.raises(InputError, match="means, not cells"):
        make(fitted(model._replace(scale="lognorm")), labelled(), ["a"])
    for bad in ("draws", "states", "cells_per_perturbation"):
        with pytest.raises(InputError, match=f"{bad} is 0"):
            make(fitted(model), labelled(), ["a"], **{bad: 0})


def test_recovery_of_a_simulated_screen():
    """The true answer in the model's place has no distance left, whatever the order of cells and
    genes."""
    adata, truth = data.simulate("tiny", seed=0)
    dataset = data.add_quality(data.read(adata, perturbation="perturbation"), doublets="none")
    assert dataset.quality is not None
    rows = np.flatnonzero(dataset.quality.failed)[::-1]
    gene = {name: i for i, name in enumerate(map(str, truth.genes))}
    clean = artifacts.cell_proportions(truth, rows)[:, [gene[name] for name in dataset.genes]]
    wrong = np.roll(clean, 1, 0)
    removed = artifacts._removed(dataset, rows, artifacts.Moments(clean, clean, wrong), 2, 1e4)  # pyright: ignore
    found = artifacts.removal_recovery(removed, dataset, truth)
    assert (
        found["all"]["cell_distance"]["artifact_removed"]
        < 1e-9
        < found["all"]["cell_distance"]["artifact_kept"]
    )
    assert sum(group["cells"] for kind, group in found.items() if kind != "all") == len(rows)
    assert (
        found["dying"]["cells"]
        == (truth.artifact[rows] == artifacts.ARTIFACTS.index("dying")).sum()
    )
    with pytest.raises(InputError, match="another screen"):
        artifacts.removal_recovery(removed, labelled(), truth)


def command(capsys, *argv: str) -> tuple[int, str]:
    status = cli.main(["remove_artifacts.py", *argv])
    return status, "".join(capsys.readouterr())


def test_command_writes_all_it_says(capsys, tmp_path):
    run = f"--run={finished_run.finished()[0]}"
    argv = [
        run,
        f"--output={tmp_path}/clean.h5ad",
        "--perturbations=PERT001,PERT001+PERT002",
        "--draws=3",
    ]
    status, said = command(capsys, *argv, "--generated_cells=6")
    assert status == 0 and "had failed quality" in said and "removal gains" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "clean.h5ad",
        "clean_generated.h5ad",
        "clean_summary.h5ad",
    ]
    clean, made = (anndata.read_h5ad(tmp_path / f"clean{name}.h5ad") for name in ("", "_generated"))
    assert np.asarray(clean.X).sum(1) == pytest.approx(1e4, rel=1e-3)
    assert (
        list(made.obs["condition"].unique()) == ["ctrl", "PERT001", "PERT001+PERT002"]
        and made.n_obs == 18
    )
    before = (tmp_path / "clean.h5ad").read_bytes()
    status, said = command(capsys, *argv)
    assert (
        status == 2 and "there already" in said and (tmp_path / "clean.h5ad").read_bytes() == before
    )
    assert (
        command(
            capsys,
            run,
            f"--output={tmp_path}/clean.h5ad",
            "--draws=3",
            "--cells=all",
            "--overwrite",
        )[0]
        == 0
    )
    assert anndata.read_h5ad(tmp_path / "clean.h5ad").n_obs == 600


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--perturbations=NOPE"], "'NOPE'"),
        (["--draws=1"], "draws is 1"),
        (["--draws=few"], "few"),
        (["--cells=some"], "some"),
        (["--library=-1"], "library is -1"),
        (["--run_seed=4"], "seed 4"),
        (["--run=runs/nowhere"], "there is no folder"),
        (["--run="], "no --run was given"),
        (["--output=nowhere/clean.h5ad"], "there is no folder nowhere"),
        (["--output=clean.csv"], "is no name of an .h5ad file"),
        (["--source=nowhere.h5ad"], "there is no file nowhere.h5ad"),
        (["clean.h5ad"], "is not understood"),
        (["--outptu=clean.h5ad"], "outptu"),
    ],
)
def test_command_refuses(argv, said, capsys, tmp_path):
    status, text = command(
        capsys, f"--run={finished_run.finished()[0]}", f"--output={tmp_path}/clean.h5ad", *argv
    )
    assert status == 2 and said in text and "Traceback" not in text
    assert text.count("error: ") == 1 and not list(tmp_path.iterdir())


def test_command_leaves_nothing_of_a_write_that_failed(capsys, tmp_path, monkeypatch):
    write = anndata.AnnData.write_h5ad
    calls = []

    def fail_second(self, path, **options):
        calls.append(path)
        write(self, path, **options)
        if len(calls) == 2:
            raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(anndata.AnnData, "write_h5ad", fail_second)
    argv = [f"--run={finished_run.finished()[0]}", f"--output={tmp_path}/clean.h5ad", "--draws=3"]
    status, said = command(capsys, *argv, "--perturbations=PERT001")
    assert (
        status == 2 and "No space left" in said and len(calls) == 2 and not list(tmp_path.iterdir())
    )


def test_command_on_another_file(capsys, tmp_path):
    work = tmp_path / "run"
    shutil.copytree(finished_run.finished()[0], work)
    adata, _ = data.simulate("tiny", seed=0)
    adata[:, ::-1].copy().write_h5ad(tmp_path / "screen.h5ad")
    argv = [f"--run={work}", f"--source={tmp_path}/screen.h5ad", "--draws=3"]
    assert command(capsys, f"--run={work}", f"--output={tmp_path}/own.h5ad", "--draws=3")[0] == 0
    status, said = command(capsys, *argv, f"--output={tmp_path}/other.h5ad")
    assert status == 0 and "fail quality by the thresholds" in said and "removal gains" not in said
    own, other = (anndata.read_h5ad(tmp_path / f"{name}.h5ad") for name in ("own", "other"))
    assert list(own.obs_names) == list(other.obs_names) and list(own.var_names) == list(
        other.var_names
    )
    np.testing.assert_allclose(own.X, other.X, rtol=1e-5)
    assert set(other.obs["split"]) == {"none"}
    adata[:, :50].copy().write_h5ad(tmp_path / "few.h5ad")
    status, said = command(
        capsys, *argv, f"--source={tmp_path}/few.h5ad", f"--output={tmp_path}/few_clean.h5ad"
    )
    assert status == 2 and "lacks 150 of the 200 genes" in said
