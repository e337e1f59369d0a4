"""Tables from made-up rows: right numbers, honest words for what is missing, and differences with
intervals."""

import csv

import numpy as np
import pytest

from jaxpert.core.types import InputError
from jaxpert.evaluation import compare as benchmark
from jaxpert.study import advantage, ledger, scores, tables
from jaxpert.study.plan import MODELS
from jaxpert.study.scores import LABELS, LAYOUTS, TRUTH, Asked

NAMES = (
    "ate_pearson",
    "ate_r2",
    "jaccard_top50",
    "ate_pearson_top20",
    "ate_r2_top20",
    "jaccard_top20",
    "mse",
)
HEADER = "table,data,multiplier,model,metric,mean,sd\n"


def row(model, seed, value, *, data="norman", multiplier=5, subsets=("test", "all"), **changes):
    metrics = {subset: dict.fromkeys(NAMES, value + i) for i, subset in enumerate(subsets)}
    return {
        "data": data,
        "model": model,
        "multiplier": multiplier,
        "seed": seed,
        "vary": "train",
        "run": f"runs/{model}",
        "settings": {},
        "scores": metrics,
        "baselines": {name: metrics for name in scores.BASELINES},
        "truth": None,
        "perturbations": {},
        "pass_rate": {"fixed_library": value, "resampled_library": value / 2},
    } | changes


def written(tmp_path, rows, asked=None, published=None):
    """Write the tables; the sections of the Markdown by title, as {row: {column: text}}."""
    for one in rows:
        ledger.append(tmp_path / "rows.jsonl", one)
    asked = asked or Asked(("norman",), (5,), (0, 1, 2))
    tables.write_tables(tmp_path, asked, published)
    found = {}
    for part in (tmp_path / "tables.md").read_text().split("\n## ")[1:]:
        title, *lines = part.splitlines()
        cells = [
            [c.strip() for c in line.strip("|").split("|")]
            for line in lines
            if line.startswith("|")
        ]
        head, _, *body = cells
        found[title] = {line[0]: dict(zip(head[1:], line[1:], strict=True)) for line in body}
    return found


def test_every_model_of_a_study_has_a_name_and_a_table():
    shown = {model for layout in (*LAYOUTS, TRUTH) for model in layout.models}
    assert set(MODELS) <= shown <= set(LABELS)


def test_mean_and_standard_deviation_over_seeds(tmp_path):
    found = written(
        tmp_path, [row("cradle_vae", seed, value) for seed, value in enumerate((0.1, 0.2, 0.6))]
    )
    table = found[
        "Table 2. Effects and quality of generated cells: norman, unseen perturbations (test)"
    ]
    assert table["CRADLE-VAE"] == dict.fromkeys(
        ("ATE-rho ↑, 5 MAD", "ATE-R2 ↑, 5 MAD", "Jaccard, top 50 ↑, 5 MAD", "QCPR ↑, 5 MAD"),
        "0.300 ± 0.265",
    ) | {"QCPR, real library sizes ↑, 5 MAD": "0.150 ± 0.132"}
    assert (
        table["additive"]["ATE-R2 ↑, 5 MAD"] == "0.300 ± 0.265"
        and table["additive"]["QCPR ↑, 5 MAD"] == ""
    )
    assert set(table["SAMS-VAE"].values()) == {"not run"}
    assert [title.split(".")[0] for title in found] == [f"Table {n}" for n in (2, 3, 4, 5)]


def test_what_is_missing_is_said(tmp_path):
    rows = [
        row("cradle_vae", 0, -0.5),
        row("sams_vae", 0, 0.25),
        row("sams_vae", 1, 0.5),
        row("cpa_vae", 0, 0.1, failed="diverged: at step 3"),
        row("cpa_vae", 1, 0.1),
        row("svae_plus", 0, 0, failed="refused: combinations"),
        row("conditional_vae", 0, 0.1),
        row("conditional_vae", 1, 0.1)
        | {"scores": {"test": dict.fromkeys(NAMES)}, "pass_rate": {}},
    ]
    found = written(tmp_path, rows)
    table = found[
        "Table 2. Effects and quality of generated cells: norman, unseen perturbations (test)"
    ]
    said = {name: cells["ATE-rho ↑, 5 MAD"] for name, cells in table.items()}
    assert said["CRADLE-VAE"] == "−0.500 (1 of 3 seeds)"
    assert said["SAMS-VAE"] == "0.375 ± 0.177 (2 of 3 seeds)"
    assert said["CPA-VAE"] == "0.100 (1 of 3 seeds, 1 diverged)"
    assert said["sVAE+"] == "refused"
    assert said["Conditional VAE"] == "undefined"
    assert table["Conditional VAE"]["QCPR ↑, 5 MAD"] == "0.100 (1 of 3 seeds, 1 not measured)"
    text = (tmp_path / "tables.md").read_text()
    assert "cpa_vae on norman: diverged: at step 3 (5 MAD seed 0)" in text
    assert "published: not entered (CRADLE-VAE, AAAI 2025, Table 2)" in text


def test_tables_of_nothing_hold_every_cell_as_not_run(tmp_path):
    found = written(tmp_path, [], Asked(("norman", "adamson"), (3, 4, 5), (0,)))
    assert (
        len(found) == 8
        and "Table 2. Effects and quality of generated cells: adamson, all perturbations" in found
    )
    texts = {
        text for table in found.values() for cells in table.values() for text in cells.values()
    }
    assert texts == {"not run", ""}
    assert "not run" in (tmp_path / "tables.html").read_text()


def test_splits_of_cells_are_shown_as_published_and_held_out(tmp_path):
    rows = [row("cradle_vae", 0, 0.2, data="own", subsets=("all", "test", "held_out"))]
    found = written(tmp_path, rows, Asked((), (5,), (0,)))
    values = {
        title: table["CRADLE-VAE"]["ATE-rho ↑, 5 MAD"]
        for title, table in found.items()
        if "Table 2" in title
    }
    start = "Table 2. Effects and quality of generated cells: own, "
    assert values == {
        f"{start}all perturbations": "0.200",
        f"{start}test cells alone (held out)": "2.200",
    }
    assert "published" not in (tmp_path / "tables.md").read_text()


def test_published_numbers_stand_beside_ours(tmp_path):
    path = tmp_path / "published.csv"
    path.write_text(
        "# made up\n"
        + HEADER
        + "2,norman,5,cradle_vae,ate_pearson,0.9,0.05\n3,norman,5,cradle_vae,qcpr,1,\n"
    )
    found = written(tmp_path, [row("cradle_vae", 0, 0.2)], Asked(("norman",), (5,), (0,)), path)
    table = found[
        "Table 2. Effects and quality of generated cells: norman, unseen perturbations (test)"
    ]
    assert table["CRADLE-VAE, published"]["ATE-rho ↑, 5 MAD"] == "0.900 ± 0.050"
    assert table["CRADLE-VAE, published"]["ATE-R2 ↑, 5 MAD"] == "not entered"
    assert (
        found["Table 3. Ablations: norman, unseen perturbations (test)"]["CRADLE-VAE, published"][
            "QCPR ↑, 5 MAD"
        ]
        == "1.000"
    )
    lines = list(csv.DictReader((tmp_path / "tables.csv").read_text().splitlines()))
    (line,) = [
        r
        for r in lines
        if (r["table"], r["model"], r["metric"]) == ("2", "cradle_vae", "ate_pearson")
    ]
    assert (line["mean"], line["published_mean"], line["published_sd"], line["seeds"]) == (
        "0.2",
        "0.9",
        "0.05",
        "1",
    )
    assert (
        "published: not entered (CRADLE-VAE, AAAI 2025, Table 4)"
        in (tmp_path / "tables.md").read_text()
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n", "has the columns"),
        (HEADER + "2,norman,five,cradle_vae,qcpr,1,0\n", "expected numbers"),
        (HEADER + "2,norman,5,cradle_vae,qcpr\n", "expected numbers"),
        (HEADER + "2,norman,5,cradle,qcpr,1,0\n", "unknown model or metric"),
        (HEADER + 2 * "2,norman,5,cradle_vae,qcpr,1,0\n", "twice"),
    ],
)
def test_published_files_with_mistakes(tmp_path, text, said):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        scores.read_published(tmp_path / "p.csv")


def test_the_committed_file_of_published_numbers_can_be_read():
    import pathlib

    path = pathlib.Path(__file__).resolve().parents[2] / "jaxpert/models/cradle/paper/published.csv"
    assert isinstance(scores.read_published(path), dict)


def test_names_from_data_are_escaped(tmp_path):
    written(tmp_path, [row("cradle_vae", 0, 0.2, data="a<b>|c")], Asked((), (5,), (0,)))
    assert "a&lt;b&gt;|c" in (tmp_path / "tables.html").read_text()


P, G = 30, 60


def run_folder(folder, truth, noises, measured="same"):
    """statistics.npz of a model that predicts the truth with some noise per seed, and of two
    baselines."""
    from jaxpert.core.workdir import write_arrays

    names = [f"p{i}" for i in range(P)]
    screen = benchmark.Screen(names, 0, {"all": np.arange(1, P), "test": np.arange(20, P)})
    rng = np.random.default_rng(len(folder.name))
    predictions = {
        f"model|{s}": truth + sd * rng.normal(size=truth.shape) for s, sd in enumerate(noises)
    }
    predictions["no_change|any"] = np.zeros_like(truth)
    conditions, sums = benchmark.statistics(truth, predictions, screen, truth=truth)
    arrays = {f"conditions|5|{subset}": np.array(rows) for subset, rows in conditions.items()}
    arrays["measured|5"] = np.array(measured)
    for predictor, subsets in sums.items():
        who, seed = predictor.split("|")
        for subset, of in subsets.items():
            arrays |= {
                f"sums|{who}|{seed}|5|{subset}|{metric}": table for metric, table in of.items()
            }
    folder.mkdir(parents=True)
    write_arrays(folder / "statistics.npz", arrays)


@pytest.fixture
def effects():
    truth = np.random.default_rng(0).normal(size=(P, G))
    truth[0] = 0
    return truth


def advantages_of(tmp_path, rows, seeds=(0, 1, 2)):
    found = {ledger.cell_of(one): one for one in rows}
    return advantage.advantages(found, tmp_path, "norman", 5, seeds)


def test_the_better_model_is_found_better_with_an_interval(tmp_path, effects):
    run_folder(tmp_path / "runs/cradle_vae", effects, (0.3, 0.3, 0.3))
    run_folder(tmp_path / "runs/sams_vae", effects, (0.6, 0.6, 0.6))
    run_folder(tmp_path / "runs/cpa_vae", effects, (0.3, 0.3, 0.3))
    rows = [
        row(m, seed, 0.5 + (m == "cradle_vae") / 4)
        for m in ("cradle_vae", "sams_vae", "cpa_vae")
        for seed in range(3)
    ]
    compared, notes = advantages_of(tmp_path, rows)
    assert notes == []
    said = {(a.rival, a.subset, a.metric): a for a in compared}
    for metric, sign in (("ate_pearson", 1), ("ate_r2", 1), ("mse", -1)):
        one = said["sams_vae", "all", metric]
        assert (
            one.outcome == "better"
            and sign * one.difference > 0
            and one.low < one.difference < one.high
        )
        assert (one.seeds, one.perturbations) == (3, P - 1) and 0 < one.sd < abs(one.difference)
    assert said["sams_vae", "truth", "mse"].outcome == "better"
    assert said["cpa_vae", "all", "ate_pearson"].outcome == "undecided"
    assert said["no_change", "test", "mse"].outcome == "better"
    rate = said["sams_vae", "generated", advantage.QCPR]
    assert rate.difference == 0.25 and np.isnan(rate.low) and rate.outcome == "undecided"
    text = tables.markdown("t", [], tables.advantage_sections(compared))
    assert (
        "CRADLE-VAE minus each other: norman, 5 MAD, unseen perturbations (test)" in text
        and ": better" in text
    )


def test_the_difference_is_that_of_the_scores(tmp_path, effects):
    run_folder(tmp_path / "runs/cradle_vae", effects, (0.3,))
    run_folder(tmp_path / "runs/sams_vae", effects, (0.6,))
    compared, _ = advantages_of(tmp_path, [row("cradle_vae", 0, 0.5), row("sams_vae", 0, 0.5)])
    (found,) = [a for a in compared if (a.rival, a.subset, a.metric) == ("sams_vae", "all", "mse")]
    mse = []
    for name, sd in (("cradle_vae", 0.3), ("sams_vae", 0.6)):
        noise = sd * np.random.default_rng(len(name)).normal(size=effects.shape)
        mse.append((noise[1:] ** 2).mean())
    assert found.difference == pytest.approx(mse[0] - mse[1])
    assert np.isnan(found.sd) and found.seeds == 1


def test_seeds_with_opposite_results_are_undecided(tmp_path, effects):
    run_folder(tmp_path / "runs/cradle_vae", effects, (0.3, 0.6))
    run_folder(tmp_path / "runs/sams_vae", effects, (0.6, 0.35))
    rows = [row(m, seed, 0.5) for m in ("cradle_vae", "sams_vae") for seed in range(2)]
    compared, _ = advantages_of(tmp_path, rows)
    assert {a.outcome for a in compared if a.rival == "sams_vae" and a.subset == "all"} == {
        "undecided"
    }


def test_what_cannot_be_compared_is_said(tmp_path, effects):
    run_folder(tmp_path / "runs/cradle_vae", effects, (0.3,))
    run_folder(tmp_path / "runs/sams_vae", effects, (0.6,), measured="other")
    compared, notes = advantages_of(
        tmp_path, [row(m, 0, 0.5) for m in ("cradle_vae", "sams_vae", "cpa_vae")]
    )
    assert {a.rival for a in compared} == {"no_change"}
    assert len(notes) == 2 and "there is no" in notes[0] and "measured effects differ" in notes[1]
