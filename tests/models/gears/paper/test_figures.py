"""The GEARS figures from finished runs: what is drawn, what is not and why, published numbers,
refusals."""

from __future__ import annotations

import json
import pathlib
from dataclasses import replace

import numpy as np
import pytest

from jaxpert import data
from jaxpert.core import settings
from jaxpert.core.config import ModelKeys
from jaxpert.core.family import Finished, Problem, Run
from jaxpert.core.types import InputError
from jaxpert.models.gears.family import FAMILY
from jaxpert.models.gears.paper import figures, labels, leave_pairs_out, pairs, panels, tables
from jaxpert.tasks.screen.keys import ScreenConfig, SplitKeys
from support import pairs_screen

GROUPS = {"combo_seen2": ("g1+g2", "X+g0")}


def scores(model: float) -> dict:
    def of(mse: float, pearson: float | None) -> dict:
        return {
            group: {"mse_de": mse, "mse": mse / 10, "pearson_delta": pearson}
            for group in ("test", *GROUPS, "val")
        }

    return {
        "model": of(model, 0.5),
        "baselines": {"no_change": of(0.4, None), "mean_perturbation": of(0.3, 0.4)},
    }


def finished(error: float, **options) -> Finished:
    screen = replace(pairs_screen.dataset(), name="norman_small", subgroups=GROUPS)
    problem = Problem(screen, data.make_spec(screen), feeds=len, sample=len)
    config = ScreenConfig(split=SplitKeys(kind="simulation"), model=ModelKeys("gears"))
    fitted = pairs_screen.fitted(**options)
    return Finished(config, FAMILY, problem, fitted, {"gears": scores(error)})


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    uncertain = finished(0.1, uncertainty="gaussian", uncertainty_head="gene")
    return [
        Run("a", pathlib.Path("runs/a"), uncertain),
        Run("b", pathlib.Path("runs/b"), finished(0.2)),
    ]


@pytest.fixture(scope="module")
def case(runs):
    return panels.case_of(labels.named(runs[:1])[0])


@pytest.fixture
def quickly(monkeypatch):
    """Interactions of few subsets; UMAP, which compiles for half a minute, is tested elsewhere."""
    plain = panels.screen_pairs

    def few_subsets(*arguments, **options):
        return plain(*arguments, **options, most_subsets=40, most_steps=20)

    monkeypatch.setattr(panels, "umap_embedding", lambda latent, seed: latent[:, :2])
    monkeypatch.setattr(panels, "screen_pairs", few_subsets)


@pytest.mark.slow
def test_the_command_draws_what_the_runs_carry(runs, quickly, tmp_path, capsys):
    chance = {"precision_at_10": [0.1, 0, 0.3], "top_10_accuracy": [0.1, 0, 0.3]}
    row = {"subtype": "synergy", "k": 10, "precision_at_10": 0.4, "top_10_accuracy": 0.2, "true": 5}
    (tmp_path / "left_out").mkdir()
    (tmp_path / "left_out/agreement.json").write_text(
        json.dumps({"rows": [row | {"chance": chance}]})
    )
    options = figures.Options(pairs=20, pairs_out=(str(tmp_path / "left_out"),))
    output = tmp_path / "figures"
    output.mkdir()
    FAMILY.commands["figures"].work(runs, output, options)
    each = [f"figure{n}_{run}.png" for n in ("2g", "3", "4d", "5b", "5_space") for run in "ab"]
    files = ["figure5_pairs_a.csv", "figure5_pairs_b.csv", "gears_table.md"]
    whole = ["figure2_norman_small.png", "figure4_pairs_left_out.png"]
    assert {path.name for path in output.iterdir()} == {*each, *files, *whole}
    text = (output / "gears_table.md").read_text()
    assert "Figure of uncertainty, a: 2 perturbations are held out, expected 3 or more" in text
    assert "Figure of uncertainty, b: the model has no uncertainty head" in text
    group = "| pairs, 2 of 2 seen | gears | normalised_mse_de | 0.198 |"
    assert f"{group} 0.25 | GEARS authors' preprint runs |" in text
    assert f"{group} 0.5 | GEARS authors' preprint runs |" in text
    assert "| all held out | mean perturbation | mse | 0.00527 | 0.03 |" in text
    assert "adamson" not in text
    assert "| all held out | gears | change_vs_mean_perturbation | -0.406 | -0.6667 |" in text
    assert "validation" not in text.split("Published")[0]
    assert (output / "figure5_pairs_a.csv").read_text().startswith("# Thresholds of sub-types were")
    assert "Figure of uncertainty, a could not be drawn: 2 pert" in capsys.readouterr().err
    FAMILY.commands["tables"].work(runs, tmp_path, tables.Options())
    assert text.startswith((tmp_path / "gears_table.md").read_text())


def test_runs_without_scores_or_with_another_model(runs, tmp_path):
    of = runs[0].finished
    other = of.fitted._replace(model=of.fitted.model._replace(details=None))
    run = runs[0]._replace(finished=of._replace(metrics={}, fitted=other))
    figures.draw([run], tmp_path, figures.Options(figures=("2", "5")))
    assert [path.name for path in tmp_path.iterdir()] == ["gears_table.md"]
    text = (tmp_path / "gears_table.md").read_text()
    assert "no scores under 'gears'" in text
    assert "Figures 2g to 5 of a: the model is no GEARS" in text


def test_runs_are_told_apart(runs):
    twice = [runs[0], runs[0]._replace(workdir=pathlib.Path("elsewhere/a"))]
    named = labels.named(twice)
    assert [one.file for one in named] == ["runs_a", "elsewhere_a"]
    assert [one.title for one in named] == ["GEARS (runs_a)", "GEARS (elsewhere_a)"]
    assert labels.named(runs[:1])[0].title == "GEARS"
    assert list(labels.by_data(named)) == ["norman_small"]
    config = runs[0].finished.config
    other = replace(config, data=replace(config.data, variable_genes=5))
    of = runs[1].finished._replace(config=other)
    apart = labels.by_data(labels.named([runs[0], runs[1]._replace(finished=of)]))
    assert list(apart) == ["norman_small", "norman_small_2"]


def test_bars_are_relative_to_no_change(runs):
    errors = panels.normalised_errors(labels.named(runs))
    assert list(errors) == ["GEARS (a)", "GEARS (b)", "mean_perturbation"]
    assert errors["GEARS (a)"] == pytest.approx({"test": 0.25, "combo_seen2": 0.25})
    assert errors["mean_perturbation"]["test"] == pytest.approx(0.75)


def test_measured_and_predicted_are_on_one_scale(case):
    assert panels.held_out(case) == [7, 8]
    assert panels.held_out_pairs(case) == ["g1+g2", "X+g0"]
    np.testing.assert_allclose(case.measured, pairs.measured_effects(case.dataset))
    parts = pairs.parts_of(case.dataset, ["X+g0"], case.measured)
    np.testing.assert_array_equal(np.concatenate(parts), case.measured[[1, 4, 8]])


def test_too_few_held_out_pairs_are_said(case, monkeypatch):
    with pytest.raises(InputError, match="2 held-out pairs .* at least 11"):
        panels.interactions_found(case, 0)
    monkeypatch.setattr(panels, "FEWEST_PAIRS", 2)
    rows = panels.interactions_found(case, 0)
    assert {row["k"] for row in rows} == {2} and len(rows) == 5


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (
            panels.draw_top_genes,
            "no held-out perturbation has enough cells to rank its genes, expected one at least: "
            "hold out others",
        ),
        (
            panels.draw_non_additive,
            "no held-out pair has both singles measured, expected one at least: hold out others",
        ),
    ],
)
def test_figures_of_what_is_held_out_need_some(case, draw, sentence, tmp_path):
    run = case.named.run
    problem = run.finished.problem
    screen = replace(problem.dataset, split=np.zeros(len(problem.dataset.cells), int))
    finished = run.finished._replace(problem=problem._replace(dataset=screen))
    trained = case._replace(named=case.named._replace(run=run._replace(finished=finished)))
    with pytest.raises(InputError) as error:
        draw(trained, tmp_path / "a.png")
    assert str(error.value) == sentence
    assert not list(tmp_path.iterdir())


def test_uncertainty_of_all_conditions(case, tmp_path, monkeypatch):
    monkeypatch.setattr(panels, "held_out", lambda case: [5, 6, 7, 8])
    panels.draw_uncertainty(case, tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()


def test_clusters_are_named_by_their_commonest_gene():
    space = np.repeat([[0.0, 0.0], [9.0, 9.0]], 10, axis=0) + np.arange(20)[:, None] / 100
    members = [{"A", f"x{k}"} for k in range(10)] + [
        {"B"} if k % 2 else {"B", "C"} for k in range(10)
    ]
    names = panels.named_clusters(space, members, 0)
    assert {name.split(": ")[1] for name in names} == {"A in 100%", "B in 100%"}
    assert len(set(names[:10])) == len(set(names[10:])) == 1


def test_most_connected_genes_fill_the_map(case):
    assert panels.screened_genes(case.dataset, 1000)[0] == "g0"
    assert sorted(panels.screened_genes(case.dataset, 3)) == ["g0", "g1", "g2"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"figures": "7"}, "figures is .*expected one of 2, 3, 4, 5, extended"),
        ({"figures": ""}, "no figure is asked for"),
        ({"pairs": 0}, "pairs is 0, expected a whole number, at least 1"),
        ({"published": "nowhere.csv"}, "nowhere.csv cannot be read"),
        ({"pairs_out": "nowhere"}, "agreement.json cannot be read"),
    ],
)
def test_options_that_cannot_be_used(options, said, tmp_path):
    with pytest.raises(InputError, match=said):
        figures.draw([], tmp_path, settings.read(figures.Options, options))


def test_published_numbers_can_be_read():
    rows = tables.read_published("")
    assert {row["data"] for row in rows} == {"adamson", "dixit", "norman"}
    assert all(row["source"] for row in rows)


def test_scores_in_json_are_plain():
    row = leave_pairs_out.plain({"recall": float("nan"), "k": 10})
    assert json.loads(json.dumps(row, allow_nan=False)) == {"recall": None, "k": 10}
