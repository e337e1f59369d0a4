"""The paper's figures from finished runs: pictures that hold something, numbers that are right,
refusals."""

from __future__ import annotations

import json
import pathlib
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

import cradle_figures as cli
from jaxpert import data
from jaxpert.app import reopen
from jaxpert.core import workdir as folder
from jaxpert.core.types import InputError
from jaxpert.evaluation import compare as benchmark
from jaxpert.evaluation import pseudobulk
from jaxpert.models.cradle.paper import figures as paper_figures
from jaxpert.models.cradle.paper import panels as paper_panels
from jaxpert.models.cradle.paper.plots import SOURCES, Group, View, score_note
from jaxpert.report import plots
from jaxpert.tasks.screen import evaluate as assess
from jaxpert.tasks.screen import predict as workflow
from jaxpert.tasks.screen import results
from support import finished_run

CELLS = 120


def complete(work: pathlib.Path) -> pathlib.Path:
    """Add what the figures read of a run's results: predicted effects and their scores."""
    found = reopen.reopen(work)
    dataset = found.dataset
    prediction = workflow.predict_effects(found.fitted, dataset, dataset.conditions, particles=4)
    results.save_effects(
        work / "effects.npz", dataset, {0: results.effects_of(prediction, dataset)}
    )
    scores = assess.evaluate(found.fitted, dataset, prediction=prediction)["model"]
    folder.write_json(work / "metrics.json", found.metrics | {"model": scores})
    return work


@pytest.fixture(scope="module")
def cradle(tmp_path_factory) -> pathlib.Path:
    work = tmp_path_factory.mktemp("runs") / "cradle"
    shutil.copytree(finished_run.finished()[0], work)
    return complete(work)


@pytest.fixture(scope="module")
def sams(tmp_path_factory) -> pathlib.Path:
    work = tmp_path_factory.mktemp("runs") / "sams"
    settings = finished_run.config()
    settings["model"] = {
        "name": "sams_vae",
        "kwargs": {"latent_dim": 6, "hidden_dim": 12, "embedding_hidden_dim": 12},
    }
    finished_run.leave(settings, work)
    return complete(work)


@pytest.fixture(scope="module")
def runs(cradle, sams) -> list[paper_panels.Run]:
    return paper_figures.open_runs([cradle, sams])


@pytest.fixture(scope="module")
def drawn(cradle, sams, tmp_path_factory) -> pathlib.Path:
    """Every figure of both runs, by the command; UMAP, which compiles for half a minute, is tested
    with the plots."""
    output = tmp_path_factory.mktemp("drawn") / "new" / "figures"
    argv = [
        "cradle_figures.py",
        f"--runs={cradle},{sams}",
        f"--output={output}",
        f"--cells={CELLS}",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "umap_embedding", lambda latent, seed: latent[:, :2])
        assert cli.main(argv) == 0
    return output


def pixels(path: pathlib.Path) -> np.ndarray:
    from matplotlib.image import imread

    image = imread(path)[..., :3]
    assert image.shape[0] > 300 and image.shape[1] > 300 and image.std() > 0.02
    return image


def colour_share(path: pathlib.Path, colour: str) -> float:
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return float((np.abs(pixels(path) - wanted).max(-1) < 0.04).mean())


@pytest.fixture
def saved_figures(monkeypatch) -> list:
    """The matplotlib figures behind the files that are written."""
    from matplotlib.figure import Figure

    figures, save = [], Figure.savefig

    def remember(self, *args, **kwargs):
        figures.append(self)
        return save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", remember)
    return figures


def test_every_file_is_written_and_named(drawn):
    names = {path.name for path in drawn.iterdir()}
    assert names == {
        "figure3_simulated.png",
        "figure3_simulated.json",
        "figure3_simulated_effects.png",
        "figure4_cradle.png",
        "figure4_cradle.json",
        "figure9_simulated.png",
        "figure9_simulated.json",
    }
    assert [path.name for path in drawn.parent.iterdir()] == ["figures"], (
        "nothing is left beside them"
    )
    for name in names:
        if name.endswith("png"):
            pixels(drawn / name)


def test_figure3_tells_real_from_generated(drawn, runs):
    assert all(
        colour_share(drawn / "figure3_simulated.png", hue) > 0.002 for hue in SOURCES.values()
    )
    numbers = json.loads((drawn / "figure3_simulated.json").read_text())
    rows = {row["group"]: row for row in numbers["groups"]}
    dataset = runs[0].finished.dataset
    bad = int(dataset.quality.failed.sum())
    assert rows[f"real, passed ({600 - bad} cells)"]["pass_rate"] == 1
    assert rows[f"real, failed ({bad} cells)"]["pass_rate"] == 0
    assert numbers["thresholds"] == dataset.quality.thresholds[5]
    generated = [name for name in rows if not name.startswith("real")]
    assert generated == [
        f"{model}, {library}"
        for model in ("CRADLE-VAE", "SAMS-VAE")
        for library in ("library 10,000", "libraries of controls")
    ]
    assert all(
        0 <= rows[name]["pass_rate"] <= 1 and rows[name]["cells"] == 8 * 15 for name in generated
    )


def test_pass_rate_of_a_group_is_that_of_its_cells(runs):
    run = runs[0]
    bounds = data.modelled_thresholds(run.finished.dataset)[5] | {"pct_hb": 5.0}
    for group in paper_panels._generated_groups(run, bounds, paper_panels.Options(CELLS, 0, None)):
        m = group.metrics
        good = (m["umi_count"] >= bounds["umi_count"]) & (m["n_genes"] >= bounds["n_genes"])
        good &= (
            (m["pct_mt"] <= bounds["pct_mt"])
            & (m["pct_ribo"] <= bounds["pct_ribo"])
            & (m["pct_hb"] <= 5)
        )
        assert group.pass_rate == pytest.approx(good.mean())
        assert (abs(np.median(m["umi_count"]) - 1e4) < 1000) == (group.source == "fixed")


def test_generated_cells_of_a_row_stand_together(runs):
    """Libraries of 100 and 10,000 in turn."""
    dataset = runs[0].finished.dataset
    library = np.where(np.arange(15) % 2 > 0, 1e4, 100).astype(np.float32)
    request = workflow.make_request(dataset.condition_treatments)._replace(
        library=jnp.asarray(library)
    )
    totals = np.asarray(paper_panels._generated(runs[0], request, 8, 0).sum(1)).reshape(15, 8)
    assert (totals[0::2] < 1000).all() and (totals[1::2] > 3000).all()


def test_figure3_effects_are_those_of_the_run(runs, tmp_path, saved_figures):
    paper_panels.draw_effects(tmp_path, "x", runs)
    titles = [axis.get_title(loc="left") for axis in saved_figures[0].axes]
    assert titles[:2] == [
        "CRADLE-VAE\ntest\n (2 perturbations)",
        "SAMS-VAE\ntest\n (2 perturbations)",
    ]
    dataset = runs[0].finished.dataset
    subset, rows, measured = paper_panels._measured_effects(dataset)
    assert subset == "test" and set(rows) == set(benchmark.subsets(dataset)["test"])
    scored = np.corrcoef(
        measured[rows].ravel(), paper_panels._predicted_effects(runs[0])[rows].ravel()
    )[0, 1]
    assert scored == pytest.approx(
        runs[0].finished.metrics["model"]["test"]["ate_pearson"], abs=1e-5
    )
    assert pseudobulk.effects(pseudobulk.observed_means(dataset), dataset.control)[
        rows
    ] == pytest.approx(measured[rows])


def shares(score: dict) -> list[float]:
    return [
        score[name] for name in ("same_label_neighbours", "chance", "chance_low", "chance_high")
    ]


def test_figure4_numbers(drawn):
    numbers = json.loads((drawn / "figure4_cradle.json").read_text())
    assert numbers["cells"] == 6 * 2 * 10 == numbers["artifact"]["cells"], (
        "as many genes as can have 10 cells each"
    )
    members = numbers["pathways"]
    assert set(members) == {"planted pathway 1", "planted pathway 2"}
    assert numbers["perturbations_with_pathway"] == sum(map(len, members.values())) == 6
    assert (
        numbers["pathway_without_artifact"]["cells"]
        == numbers["pathway_with_artifact"]["cells"]
        == 60
    )
    for score in ("artifact", "pathway_without_artifact", "pathway_with_artifact"):
        assert (
            all(0 <= share <= 1 for share in shares(numbers[score]))
            and -1 <= numbers[score]["silhouette"] <= 1
        )


def test_figure4_scores_by_hand():
    """Artifact apart in one direction, pathways in another for artifact-free cells only."""
    rng = np.random.default_rng(0)
    failed = np.arange(160) % 2 > 0
    names = np.array(["none", "one", "two", "two"])[np.arange(160) // 40]
    space = 0.1 * rng.normal(size=(160, 3))
    space[:, 0] += 10.0 * failed
    space[:, 1] += 5.0 * (names == "two") * ~failed
    scores = paper_panels.artifact_scores(paper_panels.Generated(space, failed, names), 0)
    assert scores["artifact"]["same_label_neighbours"] == 1
    assert scores["pathway_without_artifact"]["same_label_neighbours"] == 1
    mixed = scores["pathway_with_artifact"]
    assert mixed["cells"] == 60 and abs(mixed["same_label_neighbours"] - mixed["chance"]) < 0.1
    without = paper_panels.artifact_scores(paper_panels.Generated(space, failed, None), 0)
    assert without["pathway_without_artifact"] is None and without["artifact"] == scores["artifact"]


def test_pathways_come_from_gene_sets_else_from_the_truth(runs):
    finished = runs[0].finished
    planted = paper_panels.pathways(finished, None)
    where = dict(zip(finished.truth.treatments, finished.truth.pathway, strict=True))
    assert planted == {name: f"planted pathway {p + 1}" for name, p in where.items() if p >= 0}
    sets = {"MINE": frozenset({"PERT001", "PERT002"})}
    assert paper_panels.pathways(finished, sets) == dict.fromkeys(("PERT001", "PERT002"), "MINE")
    assert paper_panels.pathways(finished._replace(truth=None), None) is None


def test_perturbations_with_a_pathway_come_first(runs):
    dataset = runs[0].finished.dataset
    shown = paper_panels._shown_perturbations(dataset, {"PERT007": "x", "PERT008": "x"}, 40)
    assert [dataset.treatments[t] for t in shown] == ["PERT007", "PERT008"]
    assert len(paper_panels._shown_perturbations(dataset, {}, 4000)) == 8


def test_figure9_numbers(drawn):
    numbers = json.loads((drawn / "figure9_simulated.json").read_text())
    assert list(numbers["models"]) == ["CRADLE-VAE", "SAMS-VAE"] and numbers["cells"] == CELLS
    for model in numbers["models"].values():
        assert model["artifact"]["cells"] == CELLS and model["perturbation"]["labels"] > 5
        assert all(
            0 <= share <= 1
            for which in ("artifact", "perturbation")
            for share in shares(model[which])
        )
    first, second = (model["artifact"] for model in numbers["models"].values())
    assert first["chance"] == second["chance"], "the same cells"
    assert first["same_label_neighbours"] != second["same_label_neighbours"]


def group(label: str, source: str, cells: int, seed: int = 0) -> Group:
    rng = np.random.default_rng(seed)
    metrics = {
        "umi_count": rng.lognormal(9, 0.4, cells),
        "n_genes": rng.lognormal(6, 0.05, cells),
        "pct_mt": np.r_[np.nan, rng.lognormal(1, 0.4, cells - 1)],
    }
    return Group(label, source, metrics, 0.987)


def test_quality_distributions(tmp_path, saved_figures):
    groups = [
        group(source, source, cells)
        for source, cells in zip(SOURCES, (200, 90, 3, 200), strict=True)
    ]
    bounds = {"umi_count": -20.0, "n_genes": 350.0, "pct_mt": 5.0}
    path = plots.quality_distributions(groups, bounds, tmp_path / "a.png", 4)
    assert all(
        colour_share(path, SOURCES[name]) > 0.002 for name in ("passed", "failed", "resampled")
    )
    axes = saved_figures[0].axes
    assert [axis.get_title(loc="left") for axis in axes] == [
        "UMI count",
        "genes detected",
        "% mitochondrial",
    ]
    assert [text.get_text() for text in axes[0].get_yticklabels()][3] == "resampled\n98.7% pass"
    assert "never fires" in axes[0].get_xlabel() and not axes[1].get_xlabel()
    beyond = np.mean(groups[0].metrics["pct_mt"][1:] > 5)
    assert axes[2].texts[0].get_text() == (
        f"{beyond:.0%}" if 0.1 < beyond < 0.9 else f"{beyond:.1%}"
    )
    assert all(len(axis.get_xticks()) > 1 for axis in axes), [axis.get_xticks() for axis in axes]


def test_quality_distributions_without_metrics(tmp_path):
    with pytest.raises(InputError, match="umi_count"):
        plots.quality_distributions([Group("a", "passed", {}, 1.0)], {}, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("known", [False, True])
def test_generated_tsne(tmp_path, saved_figures, known):
    rng = np.random.default_rng(0)
    kinds = [
        "none",
        *(f"HALLMARK_A_VERY_LONG_NAME_OF_A_GENE_SET_{i}_THAT_GOES_ON_AND_ON" for i in range(7)),
    ]
    pathways = np.array(kinds)[rng.integers(0, 8, 200)] if known else None
    path = tmp_path / "a.png"
    plots.generated_tsne(
        rng.normal(size=(200, 2)), rng.random(200) < 0.5, pathways, path, ("one", "two")
    )
    assert len(saved_figures[0].axes) == (2 if known else 1)
    assert pixels(path).std() > 0.02
    legends = [axis.get_legend() for axis in saved_figures[0].axes]
    assert [len(legend.get_texts()) for legend in legends] == ([2, 8] if known else [2])
    assert (colour_share(path, "#dbdbdb") > 0.001) == known, "cells without a pathway are grey"


def test_latent_comparison(tmp_path, saved_figures):
    rng = np.random.default_rng(0)
    views = {name: View(rng.normal(size=(300, 2)), "a note", "another") for name in ("A", "B", "C")}
    labels = [f"T{i}" for i in rng.integers(0, 20, 300)]
    plots.latent_comparison(views, rng.random(300) < 0.3, labels, tmp_path / "a.png")
    figure = saved_figures[0]
    assert len(figure.axes) == 6 and len(figure.legends) == 2
    assert [axis.get_title(loc="left") for axis in figure.axes[:3]] == ["A", "B", "C"]
    pixels(tmp_path / "a.png")


def test_score_note():
    assert (
        score_note("x", {"same_label_neighbours": 0.614, "chance": 0.5})
        == "x: 0.61\n(well mixed: 0.50)"
    )
    assert score_note("x", None) == "x: nothing to compare"


def test_tsne_embedding_separates_and_repeats():
    points = np.random.default_rng(0).normal(size=(30, 5))
    points[15:] += 20
    first, second = (plots.tsne_embedding(points, seed=3) for _ in range(2))
    assert np.array_equal(first, second)
    assert np.linalg.norm(first[:15].mean(0) - first[15:].mean(0)) > 2 * first[:15].std(0).max()
    with pytest.raises(InputError, match="finite"):
        plots.tsne_embedding(points[:3], seed=0)


def refused(capsys, output: pathlib.Path, *argv: str) -> str:
    assert cli.main(["cradle_figures.py", f"--output={output}", *argv]) == 2
    errors = capsys.readouterr().err.splitlines()
    errors = [line for line in errors if line.startswith("error: ")]
    assert len(errors) == 1 and not output.exists()
    assert not [p for p in output.parent.iterdir() if p.name.startswith(f".{output.name}")]
    return errors[0]


def test_flags(capsys, tmp_path):
    out = tmp_path / "out"
    assert "no run was given" in refused(capsys, out)
    assert "figure 7 is asked for" in refused(capsys, out, "--runs=a", "--figures=3,7")
    assert "--figures=three" in refused(capsys, out, "--runs=a", "--figures=three")
    assert "5 cells" in refused(capsys, out, "--runs=a", "--cells=5")
    assert "seed" in refused(capsys, out, "--runs=a", "--seed=-1")
    assert "'stray'" in refused(capsys, out, "--runs=a", "stray")
    assert "no folder" in refused(capsys, out, "--runs=nowhere")
    assert "--gmt is for figure 4" in refused(capsys, out, "--runs=a", "--figures=9", "--gmt=x")


def test_runs_that_cannot_be_drawn(capsys, tmp_path, cradle, sams):
    out = tmp_path / "out"
    assert "given twice" in refused(capsys, out, f"--runs={cradle},{cradle}/")
    assert "artifact latent" in refused(capsys, out, f"--runs={sams}", "--figures=4")
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    shutil.copy(cradle / "config.json", unfinished)
    assert "not finished" in refused(capsys, out, f"--runs={cradle},{unfinished}")
    broken = tmp_path / "broken"
    shutil.copytree(cradle, broken)
    (broken / "effects.npz").write_bytes(b"PK")
    assert "effects.npz cannot be read" in refused(
        capsys, out, f"--runs={broken}", "--figures=3", "--cells=50"
    )


def test_gene_sets_that_do_not_fit(capsys, tmp_path, cradle):
    gmt = tmp_path / "sets.gmt"
    gmt.write_text("SET\tdescription\tKLF1\tGATA1\n")
    argv = f"--runs={cradle}", "--figures=4", f"--gmt={gmt}"
    assert "none of the 8 perturbed genes" in refused(capsys, tmp_path / "out", *argv)
    gmt.write_text("not a gene set\n")
    assert "line 1" in refused(capsys, tmp_path / "out", *argv)


def test_output_that_cannot_be_written(capsys, tmp_path, cradle):
    (tmp_path / "file").write_text("mine")
    argv = ["cradle_figures.py", f"--runs={cradle}", f"--output={tmp_path}/file", "--figures=4"]
    assert cli.main(argv) == 2
    assert "choose another --output" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def test_without_an_artifact_model_the_fourth_figure_is_left_out(runs, capsys):
    assert paper_figures._possible(runs) == [3, 4, 9]
    assert paper_figures._possible(runs[1:]) == [3, 9]
    assert "figure 4 is left out" in capsys.readouterr().err


def test_runs_are_grouped_by_data_and_labels(runs):
    run = runs[0]

    def other(name: str, **quality) -> paper_panels.Run:
        config = json.loads(json.dumps(run.finished.config))
        config["quality"] |= quality
        return run._replace(name=name, finished=run.finished._replace(config=config))

    passed, strict, scaled = (
        other("b", training_cells="passed"),
        other("c", multiplier=3),
        other("d", scaled=True),
    )
    groups = paper_figures.by_data([run, passed, strict, scaled])
    assert [[one.name for one in group] for group in groups.values()] == [
        ["cradle", "b"],
        ["c"],
        ["d"],
    ]
    assert list(groups) == ["simulated_5mad", "simulated_3mad", "simulated_5mad_2"]
    assert [one.label for one in groups["simulated_5mad"]] == [
        "CRADLE-VAE (cradle)",
        "CRADLE-VAE (b)",
    ]


def test_labels_name_model_ablation_and_cells():
    def label(name: str, training_cells: str = "all", **kwargs) -> str:
        model = {"name": name, "kwargs": kwargs}
        return paper_figures.label_of(
            {"model": model, "quality": {"training_cells": training_cells}}
        )

    assert label("cradle_vae", cf_weight=0.5, causal_artifact=True) == "CRADLE-VAE"
    assert label("cradle_vae", cf_weight=0.0) == "CRADLE-VAE w/o CF"
    assert label("cradle_vae", cf_weight=0.5, causal_artifact=False) == "CRADLE-VAE w/o causal"
    assert label("sams_vae", "passed") == "SAMS-VAE, passed cells"
    assert label("my_model") == "my model"


def test_help_says_every_flag(capsys):
    assert cli.main(["cradle_figures.py", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(
        f"--{name}=" in said for name in ("runs", "output", "figures", "gmt", "cells", "seed")
    )
