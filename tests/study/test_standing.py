"""What a leaderboard says, against values computed by hand."""

import csv
import io
import math

import numpy as np
import pytest

from jaxpert.core.errors import InputError
from jaxpert.evaluation import claims, intervals
from jaxpert.study import contest, leaderboard, ledger, runner, standing
from jaxpert.study.contest import Contest, Split
from jaxpert.study.leaderboard import Board
from support import board_runs
from support.board_runs import BASELINES, CEILING, TESTED, TRUTH, Counting, predicted

MODELS = ("cradle_vae", "conditional_vae", "svae_plus")
LABEL = "demo, auto"


def jobs(models=MODELS, seeds=(0, 1)):
    label, sections, variant = contest.source_of("demo", "")
    of = Contest(label, sections, variant, tuple(models), (Split("auto", 0),), tuple(seeds))
    return contest.jobs_of(of)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("board")
    assert runner.run_jobs(jobs(), folder, run=Counting(), may_refuse=True) == 0
    return folder


def read(folder, models=MODELS, seeds=(0, 1)):
    rows = ledger.read(folder / ledger.ROWS).rows
    return standing.finished_of(rows, LABEL, models, seeds)


def board(folder, **options):
    finished, reasons = read(folder, **options)
    return Board("auto", standing.standing(finished, folder), reasons)


def errors(prediction):
    return ((prediction - TRUTH) ** 2)[-TESTED:].mean(1)


def test_scores_are_means_over_seeds_beside_the_baselines(results):
    of = board(results).standing
    assert of is not None and (of.subset, of.perturbations) == ("test", TESTED)
    places = {place.name: place for place in of.places}
    by_seed = [errors(predicted("cradle_vae", seed)).mean() for seed in (0, 1)]
    value = places["cradle_vae"].scores["mse"]
    assert value.mean == pytest.approx(np.mean(by_seed))
    assert value.sd == pytest.approx(abs(by_seed[0] - by_seed[1]) / math.sqrt(2))
    assert places["half"].scores["mse"].mean == pytest.approx(errors(BASELINES["half"]).mean())
    assert places["cradle_vae"].seeds == 2 and places["half"].seeds == 0
    assert of.ceiling["mse"] == CEILING["mse"] and math.isnan(of.ceiling["jaccard_top50"])
    assert of.uncounted == ("jaccard_top50",)


def test_rows_are_in_the_order_of_the_score_that_was_fixed_before(results):
    of = board(results).standing
    assert of is not None and standing.ORDER == "ate_pearson"
    # Half the truth has its direction, and no change has none.
    assert [p.name for p in of.places] == ["half", "cradle_vae", "conditional_vae", "no_change"]


def test_claims_are_those_over_seeds_perturbations_and_baselines(results):
    of = board(results).standing
    assert of is not None
    weights = intervals.bootstrap_weights(np.random.default_rng(0), TESTED, standing.DRAWS)
    one = np.ones(TESTED)

    def sums(prediction):
        return np.stack([errors(prediction), one, one], 1)

    for model in ("cradle_vae", "conditional_vae"):
        seeds = [sums(predicted(model, seed)) for seed in (0, 1)]
        compared = {}
        for name, prediction in BASELINES.items():
            pairs = [(seed, sums(prediction), weights) for seed in seeds]
            compared[name] = intervals.mean_difference("mse", pairs)
        hardest = claims.claims({"mse": compared})["mse"]
        (place,) = [p for p in of.places if p.name == model]
        against = place.against["mse"]
        assert against.rival == hardest.rival
        assert against.difference == pytest.approx(compared[hardest.rival])
        assert against.claim.outcome == hardest.outcome
    outcomes = {p.name: p.against["mse"].claim.outcome for p in of.places if p.seeds}
    assert outcomes == {"cradle_vae": "better", "conditional_vae": "worse"}
    # No claim on a score that does not count, whatever its interval.
    (place,) = [p for p in of.places if p.name == "conditional_vae"]
    assert place.against["jaccard_top50"].claim.outcome == "undecided"


def test_models_that_do_not_fit_are_named_with_the_reason(results):
    of = board(results)
    assert of.absent == {"svae_plus": of.absent["svae_plus"]}
    section = leaderboard.section_of(of)
    (line,) = [line for line in section.lines if line.kind == "absent"]
    sentence = "not trained: combinations were found, expected none: choose another model"
    assert line.cells[0] == "svae_plus" and sentence in line.cells
    assert read(results, models=("scgen",))[1] == {"scgen": "not run yet"}


def test_tables_hold_the_same_numbers(results, tmp_path):
    of = board(results)
    html, markdown, table = leaderboard.write("Title", ["A note."], [of], tmp_path)
    lines = list(csv.DictReader(io.StringIO(table.read_text())))
    (line,) = [r for r in lines if (r["row"], r["score"]) == ("cradle_vae", "mse")]
    value = errors(predicted("cradle_vae", 0)).mean() / 2
    value += errors(predicted("cradle_vae", 1)).mean() / 2
    assert float(line["mean"]) == pytest.approx(value)
    assert (line["kind"], line["claim"], line["counted"]) == ("model", "better", "yes")
    assert [r["note"][:11] for r in lines if r["kind"] == "absent"] == ["not trained"]
    assert {r["row"] for r in lines if r["kind"] == "baseline"} == set(BASELINES)
    (row,) = [x for x in markdown.read_text().splitlines() if x.startswith("| cradle_vae | 0")]
    assert f"{value:.3f} ± " in row and "▲" in row and row.count("|") == 11
    page = html.read_text()
    assert f"{value:.3f} ± " in page and "perturbations never trained" in page
    assert "not trained: combinations were found" in page and "A note." in page


def test_the_same_files_whatever_the_order_of_finishing(results, tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    leaderboard.write("Title", [], [board(results)], tmp_path / "first")
    rows = results / ledger.ROWS
    lines = rows.read_bytes().splitlines(keepends=True)
    rows.write_bytes(b"".join(reversed(lines)))
    leaderboard.write("Title", [], [board(results)], tmp_path / "second")
    rows.write_bytes(b"".join(lines))
    for kind in ("html", "md", "csv"):
        name = f"leaderboard.{kind}"
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_a_kill_in_the_middle_costs_the_run_at_hand_alone(tmp_path):
    every = jobs(("cradle_vae", "conditional_vae"))
    killed = Counting(kill_at=3)
    with pytest.raises(KeyboardInterrupt):
        runner.run_jobs(every, tmp_path, run=killed, may_refuse=True)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.npz")}
    finished, reasons = read(tmp_path, models=("cradle_vae", "conditional_vae"))
    assert set(finished["cradle_vae"]) == {0, 1} and set(finished["conditional_vae"]) == {0}
    assert not reasons
    again = Counting()
    assert runner.run_jobs(every, tmp_path, run=again, may_refuse=True) == 0
    assert again.works == ["demo__auto-conditional_vae-5mad-trainseeds1"]
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_few_perturbations_and_nothing_trained_are_said(tmp_path):
    runner.run_jobs(
        jobs(("scgen",), (0,)), tmp_path, run=lambda c, w: board_runs.finish(c, w, tested=4)
    )
    of = board(tmp_path, models=("scgen",), seeds=(0,))
    assert of.standing is not None
    section = leaderboard.section_of(of)
    (line,) = [line for line in section.lines if line.kind == "model"]
    assert "too few to say" in line.cells and not any("▲" in cell for cell in line.cells)
    assert "Too few to say" in section.notes[0]
    empty = leaderboard.section_of(Board("auto", None, {"scgen": "diverged: at step 7"}))
    assert empty.notes == ["Nothing is trained yet."] and "diverged: at step 7" in str(empty.lines)


def test_runs_on_other_cells_are_refused(tmp_path):
    runner.run_jobs(jobs(("cradle_vae",), (0,)), tmp_path, run=Counting())
    runner.run_jobs(
        jobs(("scgen",), (0,)), tmp_path, run=lambda c, w: board_runs.finish(c, w, tested=9)
    )
    with pytest.raises(InputError, match="were scored on other perturbations of 'test'"):
        board(tmp_path, models=("cradle_vae", "scgen"), seeds=(0,))


def with_related(config, work, **_):
    """A run of one model has a baseline that the other lacks, as for models of annotated graphs."""
    notes = ["baseline linear_tuned is not made: too few", "the model saw this"]
    if config["model"]["name"] == "conditional_vae":
        # Nearer to the truth than any model here.
        related = BASELINES | {"related": 0.9 * TRUTH}
        return board_runs.finish(config, work, baselines=related, notes=notes)
    notes += ["baseline related is not made: no annotations"]
    return board_runs.finish(config, work, notes=notes)


def test_a_baseline_that_one_run_has_stands_against_every_model(tmp_path):
    models = ("cradle_vae", "conditional_vae")
    runner.run_jobs(jobs(models), tmp_path, run=with_related)
    for order in (models, models[::-1]):
        of = board(tmp_path, models=order)
        assert of.standing is not None
        assert [p.name for p in of.standing.places if not p.seeds].count("related") == 1
        outcomes = {p.name: p.against["mse"] for p in of.standing.places if p.seeds}
        assert {against.rival for against in outcomes.values()} == {"related"}
        assert {against.claim.outcome for against in outcomes.values()} == {"worse"}
        # What some run has is made, whatever the others say of it.
        assert of.standing.unmade == {"linear_tuned": "too few"} and not of.standing.notes
        said = leaderboard.section_of(of).notes
        assert "Baselines that cannot be made of these data: linear tuned (too few)." in said
        absent = [row for row in leaderboard.csv_rows([of]) if row[4] == "absent"]
        assert [(row[3], row[-1]) for row in absent] == [("linear_tuned", "too few")]
    alone = board(tmp_path, models=("cradle_vae",)).standing
    assert alone is not None and alone.unmade["related"] == "no annotations"


def test_reasons_that_differ_between_models_are_all_told(tmp_path):
    def run(config, work, **_):
        why = f"as {config['model']['name']} says"
        note = f"baseline linear_tuned is not made: {why}"
        return board_runs.finish(config, work, notes=[note])

    models = ("cradle_vae", "scgen")
    runner.run_jobs(jobs(models), tmp_path, run=run)
    of = board(tmp_path, models=models).standing
    assert of is not None
    told = "cradle_vae: as cradle_vae says; scgen: as scgen says"
    assert of.unmade == {"linear_tuned": told}


def test_baselines_of_different_versions_are_named(tmp_path):
    def run(config, work, **_):
        shrunken = TRUTH / (2 + config["seed"])
        return board_runs.finish(config, work, baselines=BASELINES | {"half": shrunken})

    runner.run_jobs(jobs(("cradle_vae",)), tmp_path, run=run)
    of = board(tmp_path, models=("cradle_vae",)).standing
    assert of is not None and len(of.notes) == 1
    assert "The baseline half of demo__auto-cradle_vae-5mad-trainseeds1 is not" in of.notes[0]
