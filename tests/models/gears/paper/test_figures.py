"""The GEARS figures from finished runs: what is drawn, what is not and why, published numbers,
refusals."""

from __future__ import annotations

import json
import pathlib
from dataclasses import replace

import numpy as np
import pytest

import gears_figures as cli
from jaxpert.app import reopen
from jaxpert.core import workdir as folder
from jaxpert.core.types import InputError
from jaxpert.models.cradle.paper.panels import Run
from jaxpert.models.gears.paper import figures as gears_figures
from jaxpert.models.gears.paper import leave_pairs_out
from jaxpert.models.gears.paper import panels as gears_panels
from jaxpert.report import plots
from support import minibatch, pairs_screen

GROUPS = {"combo_seen2": ("g1+g2", "X+g0")}
OPTIONS = gears_panels.Options(pairs=20, seed=0)


@pytest.fixture(autouse=True, scope="module")
def quick():
    with minibatch.compiled_quickly():
        yield


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


def finished(name: str, **settings) -> reopen.Finished:
    screen = replace(pairs_screen.dataset(), name="norman_small", subgroups=GROUPS)
    config = {
        "model": {"name": "gears", "kwargs": {}},
        "data": {"source": "x"},
        "quality": {"multiplier": 0},
        "split": {"kind": "simulation"},
        "train": {"seeds": 1},
    }
    fitted = pairs_screen.fitted(**settings)
    return reopen.Finished(
        config, screen, None, fitted, {"gears": scores(0.1 if name == "a" else 0.2)}
    )


@pytest.fixture(scope="module")
def runs() -> dict[str, reopen.Finished]:
    return {"a": finished("a", uncertainty="gaussian", uncertainty_head="gene"), "b": finished("b")}


@pytest.fixture(scope="module")
def case(runs):
    return gears_panels.case_of(Run("a", "GEARS", pathlib.Path("a"), runs["a"]))


@pytest.fixture
def folders(tmp_path, runs, monkeypatch) -> list[str]:
    """Two folders that are reopened as the runs."""
    for name, run in runs.items():
        (tmp_path / name).mkdir()
        folder.write_json(tmp_path / name / "config.json", run.config)
        folder.write_json(tmp_path / name / "metrics.json", run.metrics)
    monkeypatch.setattr(reopen, "reopen", lambda path, seed: runs[path.name])
    monkeypatch.setattr(plots, "umap_embedding", lambda latent, seed: latent[:, :2])
    monkeypatch.setattr(gears_panels, "screen_pairs", few_subsets)
    return [str(tmp_path / name) for name in runs]


def few_subsets(*arguments, **options):
    from jaxpert.models.gears.screen_pairs import screen_pairs

    return screen_pairs(*arguments, **options, most_subsets=40, most_steps=20)


def test_the_command_draws_what_the_runs_carry(folders, tmp_path, capsys):
    rows = [
        {
            "subtype": "synergy",
            "k": 10,
            "precision_at_10": 0.4,
            "top_10_accuracy": 0.2,
            "true": 5,
            "chance": {"precision_at_10": [0.1, 0, 0.3], "top_10_accuracy": [0.1, 0, 0.3]},
        }
    ]
    (tmp_path / "left_out").mkdir()
    folder.write_json(tmp_path / "left_out/agreement.json", {"rows": rows})
    output = tmp_path / "figures"
    argv = ["gears_figures.py", f"--runs={','.join(folders)}", f"--output={output}", "--pairs=20"]
    assert cli.main([*argv, f"--pairs_out={tmp_path}/left_out"]) == 0
    each = [f"figure{n}_{run}.png" for n in ("2g", "3", "4d", "5b", "5_space") for run in "ab"]
    tables = ["figure5_pairs_a.csv", "figure5_pairs_b.csv", "gears_table.md"]
    whole = ["figure2_norman_small.png", "figure4_pairs_left_out.png", "extended_uncertainty_a.png"]
    written = {path.name for path in output.iterdir()}
    assert written == {*each, *tables, *whole} - {"extended_uncertainty_a.png"}
    text = (output / "gears_table.md").read_text()
    assert "Figure of uncertainty, a: 2 perturbations are held out, expected 3 or more" in text
    assert "Figure of uncertainty, b: the model has no uncertainty head" in text
    assert (
        "| pairs, 2 of 2 seen | gears | normalised_mse_de | 0.198 | 0.25 | GEARS authors' "
        "preprint runs |" in text
    )
    assert (
        "| pairs, 2 of 2 seen | gears | normalised_mse_de | 0.198 | 0.5 | GEARS authors' preprint "
        "runs |" in text
    )
    assert (
        "| all held out | mean perturbation | mse | 0.00527 | 0.03 |" in text
        and "adamson" not in text
    )
    assert "| all held out | gears | change_vs_mean_perturbation | -0.406 | -0.6667 |" in text
    assert "validation" not in text.split("Published")[0]
    assert (
        (output / "figure5_pairs_a.csv")
        .read_text()
        .startswith("# Thresholds of sub-types were set on measured")
    )
    assert "not drawn: Figure of uncertainty" in capsys.readouterr().err


def test_runs_without_scores_or_with_another_model(folders, runs, tmp_path, monkeypatch):
    other = runs["a"].fitted._replace(model=runs["a"].fitted.model._replace(predict=len))
    monkeypatch.setitem(runs, "a", runs["a"]._replace(metrics={}, fitted=other))
    output = tmp_path / "figures"
    written = gears_figures.draw(folders[:1], output, figures=["2", "5"])
    assert [path.name for path in written] == ["gears_table.md"]
    text = written[0].read_text()
    assert (
        "no scores under 'gears'" in text and "Figures 2g to 5 of a: the model is no GEARS" in text
    )


def test_bars_are_relative_to_no_change(runs):
    pair = [Run(name, f"GEARS {name}", pathlib.Path(name), run) for name, run in runs.items()]
    found = gears_panels.normalised_errors(pair)
    assert list(found) == ["GEARS a", "GEARS b", "mean_perturbation"]
    assert found["GEARS a"] == pytest.approx({"test": 0.25, "combo_seen2": 0.25})
    assert found["mean_perturbation"]["test"] == pytest.approx(0.75)


def test_measured_and_predicted_are_on_one_scale(case):
    assert gears_panels.held_out(case) == [7, 8] and gears_panels.held_out_pairs(case) == [
        "g1+g2",
        "X+g0",
    ]
    truth = leave_pairs_out.measured_effects(case.dataset)
    np.testing.assert_allclose(case.measured, truth)
    first, second, both = gears_panels.parts_of(case, ["X+g0"], case.measured)
    np.testing.assert_array_equal(
        np.stack([first[0], second[0], both[0]]), case.measured[[1, 4, 8]]
    )


def test_too_few_held_out_pairs_are_said(case, monkeypatch):
    with pytest.raises(InputError, match="2 held-out pairs .* at least 11"):
        gears_panels.interactions_found(case, OPTIONS)
    monkeypatch.setattr(gears_panels, "FEWEST_PAIRS", 2)
    rows = gears_panels.interactions_found(case, OPTIONS)
    assert {row["k"] for row in rows} == {2} and len(rows) == 5


def test_uncertainty_of_all_conditions(case, tmp_path, monkeypatch):
    monkeypatch.setattr(gears_panels, "held_out", lambda case: [5, 6, 7, 8])
    assert (
        gears_panels.draw_uncertainty(case, tmp_path / "a.png") is None
        and (tmp_path / "a.png").exists()
    )


def test_clusters_are_named_by_their_commonest_gene():
    space = np.repeat([[0.0, 0.0], [9.0, 9.0]], 10, axis=0) + np.arange(20)[:, None] / 100
    members = [{"A", f"x{k}"} for k in range(10)] + [
        {"B"} if k % 2 else {"B", "C"} for k in range(10)
    ]
    names = gears_panels.named_clusters(space, members, 0)
    assert {name.split(": ")[1] for name in names} == {"A in 100%", "B in 100%"}
    assert len(set(names[:10])) == len(set(names[10:])) == 1


def test_most_connected_genes_fill_the_map(case):
    assert gears_panels.screened_genes(case.dataset, 1000)[0] == "g0"
    assert sorted(gears_panels.screened_genes(case.dataset, 3)) == ["g0", "g1", "g2"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "no run was given"),
        (
            ["--runs=a", "--figures=7"],
            "figure 7 is asked for, expected some of 2, 3, 4, 5, extended",
        ),
        (["--runs=a", "--pairs=0"], "0 pairs"),
        (["--runs=nowhere"], "no folder"),
        (["--runs=a", "--published=nowhere.csv"], "nowhere.csv cannot be read"),
        (["--runs=a", "--pairs_out=nowhere"], "agreement.json cannot be read"),
        (["--runs=a", "stray"], "'stray' is not understood"),
    ],
)
def test_flags(argv, said, capsys, tmp_path):
    assert cli.main(["gears_figures.py", f"--output={tmp_path}/out", *argv]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and said in errors[0] and not (tmp_path / "out").exists()


def test_published_numbers_can_be_read_and_help_names_every_flag(capsys):
    rows = gears_figures.read_published(cli.PUBLISHED)
    assert {row["data"] for row in rows} == {"adamson", "dixit", "norman"} and all(
        row["source"] for row in rows
    )
    assert cli.main(["gears_figures.py", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(
        f"--{name}=" in said
        for name in ("runs", "output", "figures", "pairs_out", "published", "pairs")
    )


def test_scores_in_json_are_plain():
    rows = gears_figures._plain([{"recall": float("nan"), "k": 10}])
    assert json.loads(json.dumps(rows, allow_nan=False)) == [{"recall": None, "k": 10}]
