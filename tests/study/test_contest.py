"""Which runs a leaderboard consists of."""

import pytest

from jaxpert.app import run
from jaxpert.core.errors import InputError
from jaxpert.study import contest
from jaxpert.study.contest import Contest, Split


def asked(data="demo", variant="", **changes):
    label, sections, variant = contest.source_of(data, variant)
    options = {"models": contest.entrants(), "splits": (Split("auto", 0),), "seeds": (0, 1)}
    return Contest(label, sections, variant, **options | changes)


def test_every_model_is_trained_on_the_same_cells():
    jobs = contest.jobs_of(asked(splits=(Split("cells", 0), Split("combinations", 3))))
    models = {job.model for job in jobs}
    assert {"cradle_vae", "gears", "scgen"} < models and "cycseq" not in models
    assert len(jobs) == 2 * 2 * len(models)
    for split, job in zip(("cells", "combinations"), (jobs[0], jobs[-1]), strict=True):
        assert job.config["split"]["kind"] == split
    assert jobs[-1].data == "demo, combinations:3" and jobs[-1].config["split"]["seed"] == 3
    for section in contest.SHARED:
        here = [job.config[section] for job in jobs if job.data == "demo, cells"]
        assert all(one == here[0] for one in here)
    for job in jobs:
        checked, _ = run.read(job.config)
        assert checked.model.name == job.model and checked.data.source == "simulated"


def test_models_keep_their_schedule_up_to_the_epochs_asked_for():
    epochs = {j.model: j.config["train"]["epochs"] for j in contest.jobs_of(asked())}
    # GEARS halves its rate after every epoch, so that its own few are all it takes.
    assert epochs["gears"] == 15 and epochs["cradle_vae"] == contest.FEW_EPOCHS["demo"] == 30
    few = {job.model: job.config["train"]["epochs"] for job in contest.jobs_of(asked(epochs=3))}
    # What is computed from means has one step.
    assert few.pop("set_gp") == 1 and set(few.values()) == {3}


def test_seeds_that_are_not_given_depend_on_the_data():
    assert contest.seeds_of((), "demo") == (0,) and contest.seeds_of((), "screen") == (0, 1)
    assert contest.seeds_of((3, 2), "demo") == (2, 3)


@pytest.mark.parametrize("of", ["demo", "norman_effects:sams_vae,demo"])
def test_cells_without_annotation_stay_and_are_predicted(of):
    """Whatever the config says that the data come from."""
    for job in contest.jobs_of(asked(of)):
        assert job.config["graphs"]["unannotated"] == "keep"
        assert job.config["model"]["kwargs"].get("absent", "average") == "average"


def test_models_of_other_tasks_are_named():
    assert "translation" in contest.strangers()["cycseq"]
    assert not set(contest.strangers()) & set(contest.entrants())


def test_data_may_be_a_file_a_public_screen_or_a_config(tmp_path):
    (tmp_path / "mine.h5ad").touch()
    label, sections, variant = contest.source_of(str(tmp_path / "mine.h5ad"), "")
    assert (label, variant) == ("mine", "full") and sections["data"]["perturbation"] == "condition"
    assert contest.source_of("norman", "demo")[1]["data"]["source"] == "norman"
    label, sections, variant = contest.source_of("norman_effects:gears,demo", "")
    assert (label, variant) == ("norman_effects", "demo")
    assert sections["data"]["effects"] == "example" and sections["evaluation"]["umap_cells"] == 0
    # GEARS's own config has no quality labels and its paper's split.
    assert sections["quality"]["multiplier"] == 0 and sections["split"]["kind"] == "simulation"


@pytest.mark.parametrize(
    ("data", "variant", "words"),
    [
        (
            "screem.h5ad",
            "",
            "the data are 'screem.h5ad', expected an .h5ad file, `demo`, a public scr",
        ),
        ("cycseq_dose:test", "", "is one of cycseq, which answers another task"),
        ("demo", "small", "--variant is 'small', expected one of full, demo, test"),
    ],
)
def test_wrong_data_are_refused(data, variant, words):
    with pytest.raises(InputError, match=words):
        contest.source_of(data, variant)


def test_wrong_flags_are_refused():
    own = {"kind": "auto", "seed": 2}
    assert contest.splits_of((), own) == (Split("auto", 2),)
    assert contest.splits_of(("cells", "single:4"), own) == (Split("cells", 2), Split("single", 4))
    for text in ("cell", "cells:x", "cells:-1"):
        with pytest.raises(InputError, match=f"--splits holds '{text}', expected kinds of auto"):
            contest.splits_of((text,), own)
    assert contest.check_seeds((3, 1)) == (1, 3)
    for seeds in ((), (1, 1), (-1,)):
        with pytest.raises(InputError, match="--seeds is .*expected different whole numbers"):
            contest.check_seeds(seeds)
    with pytest.raises(InputError, match="--models names 'cycseq', expected some of cradle_vae"):
        contest.check_models(("cycseq",))
    assert contest.check_models(("scgen", "scgen")) == ("scgen",)
    with pytest.raises(InputError, match="--set=split.kind=... is what the study itself varies"):
        contest.jobs_of(asked(changes={"split.kind": "cells"}))
    with pytest.raises(InputError, match="cf_wight is no key of these models' configs"):
        contest.jobs_of(asked(changes={"model.kwargs.cf_wight": "1"}))


def test_changes_hold_for_the_data_and_for_the_models_that_know_them():
    changes = {"quality.multiplier": "3", "model.kwargs.cf_weight": "0.1"}
    of = asked(changes=changes)
    assert contest.data_config(of, Split("cells", 0)).quality.multiplier == 3
    jobs = {job.model: job for job in contest.jobs_of(of)}
    assert jobs["cradle_vae"].config["model"]["kwargs"]["cf_weight"] == 0.1
    assert {job.multipliers for job in jobs.values()} == {(3,)}
