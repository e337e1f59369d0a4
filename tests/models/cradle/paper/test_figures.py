"""The paper's figures from finished runs, by the command: files that hold something, numbers that
are right, refusals."""

from __future__ import annotations

import json
import pathlib
from dataclasses import replace

import pytest

from jaxpert.app import cli
from jaxpert.core import settings
from jaxpert.core.errors import InputError
from jaxpert.core.family import Run
from jaxpert.models.cradle.paper import figures, panels
from jaxpert.models.cradle.paper.figures import FigureOptions
from jaxpert.models.cradle.paper.plots import SOURCES
from support.pictures import colour_share, ink

CELLS = 120


@pytest.fixture(scope="module")
def drawn(cradle, sams, tmp_path_factory) -> pathlib.Path:
    """Every figure of both runs; UMAP, which compiles for half a minute, is tested with the
    plots."""
    output = tmp_path_factory.mktemp("drawn") / "new" / "figures"
    argv = ["figures", str(cradle), str(sams), f"--output={output}", f"--cells={CELLS}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panels, "umap_embedding", lambda latent, seed: latent[:, :2])
        assert cli.main(argv) == 0
    return output


@pytest.mark.slow
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
            assert ink(drawn / name) > 0.001


@pytest.mark.slow
def test_figure3_tells_real_from_generated(drawn, runs):
    assert all(
        colour_share(drawn / "figure3_simulated.png", hue) > 0.002 for hue in SOURCES.values()
    )
    numbers = json.loads((drawn / "figure3_simulated.json").read_text())
    rows = {row["group"]: row for row in numbers["groups"]}
    dataset = runs[0].finished.problem.dataset
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


def shares(score: dict) -> list[float]:
    return [
        score[name] for name in ("same_label_neighbours", "chance", "chance_low", "chance_high")
    ]


@pytest.mark.slow
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


@pytest.mark.slow
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


def refused(runs, folder: pathlib.Path, **flags) -> str:
    """What the command says, having written nothing."""
    with pytest.raises(InputError) as error:
        figures.draw(runs, folder, settings.read(FigureOptions, flags))
    assert not list(folder.iterdir())
    return str(error.value)


def test_flags(runs, tmp_path):
    assert "expected one of 3, 4, 9" in refused(runs, tmp_path, figures="3,7")
    assert "figures" in refused(runs, tmp_path, figures="three")
    assert "cells is 5, expected a whole number, at least 50" in refused(runs, tmp_path, cells=5)
    assert "seed is -1" in refused(runs, tmp_path, seed=-1)
    said = refused(runs, tmp_path, figures="9", gmt="sets.gmt")
    assert "--gmt is for figure 4" in said


def test_runs_that_cannot_be_drawn(runs, tmp_path, monkeypatch):
    assert "artifact latent" in refused(runs[1:], tmp_path, figures="4")
    finished = runs[0].finished
    means = finished.fitted.model._replace(stochastic=False, embed=None)
    blind = finished._replace(fitted=finished.fitted._replace(model=means))
    unfit = [runs[0]._replace(finished=blind)]
    assert "generates no cells" in refused(unfit, tmp_path, figures="3")
    assert "without a latent space" in refused(unfit, tmp_path, figures="9")
    bare = finished.problem._replace(dataset=replace(finished.problem.dataset, quality=None))
    unlabelled = [runs[0]._replace(finished=finished._replace(problem=bare))]
    assert "no quality labels" in refused(unlabelled, tmp_path, figures="3")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/effects.npz").write_bytes(b"PK")
    broken = [runs[0]._replace(workdir=tmp_path / "broken")]
    (tmp_path / "out").mkdir()
    # Where the other half of the figure fails as well, nothing is left to draw.
    monkeypatch.setattr(figures, "draw_quality", lambda *_: 1 / 0)
    said = refused(broken, tmp_path / "out", figures="3", cells=50)
    assert "effects.npz cannot be read" in said and "ZeroDivisionError: division by zero" in said


def test_a_figure_that_fails_leaves_the_others(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(figures, "draw_quality", lambda *_: 1 / 0)
    figures.draw(runs[:1], tmp_path, settings.read(FigureOptions, {"figures": "3"}))
    assert [path.name for path in tmp_path.iterdir()] == ["figure3_simulated_effects.png"]
    assert "figure 3 of simulated could not be drawn: ZeroDivision" in capsys.readouterr().err


def test_gene_sets_that_do_not_fit(runs, tmp_path):
    gmt, out = tmp_path / "sets.gmt", tmp_path / "out"
    out.mkdir()
    gmt.write_text("SET\tdescription\tKLF1\tGATA1\n")
    said = refused(runs, out, figures="4", gmt=str(gmt))
    assert "none of the 8 perturbed genes" in said
    gmt.write_text("not a gene set\n")
    assert "line 1" in refused(runs, out, figures="4", gmt=str(gmt))


def test_without_an_artifact_model_the_fourth_figure_is_left_out(runs, capsys):
    assert figures.possible_figures(runs) == [3, 4, 9]
    assert figures.possible_figures(runs[1:]) == [3, 9]
    assert "figure 4 is left out" in capsys.readouterr().err


def test_runs_are_grouped_by_data_and_labels(runs):
    run = runs[0]

    def other(name: str, **quality) -> Run:
        config = run.finished.config
        changed = replace(config, quality=replace(config.quality, **quality))
        finished = run.finished._replace(config=changed)
        return run._replace(workdir=run.workdir.with_name(name), finished=finished)

    passed, strict, scaled = (
        other("b", training_cells="passed"),
        other("c", multiplier=3),
        other("d", scaled=True),
    )
    groups = figures.by_data([run, passed, strict, scaled])
    assert [[one.workdir.name for one in group] for group in groups.values()] == [
        ["cradle", "b"],
        ["c"],
        ["d"],
    ]
    assert list(groups) == ["simulated_5mad", "simulated_3mad", "simulated_5mad_2"]
    assert [one.label for one in groups["simulated_5mad"]] == [
        "CRADLE-VAE (cradle)",
        "CRADLE-VAE (b)",
    ]
