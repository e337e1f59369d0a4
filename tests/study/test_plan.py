"""Which runs a study consists of."""

import pytest

from jaxpert.core.errors import InputError
from jaxpert.study import jobs as of_jobs
from support.study_runs import jobs_for


def test_what_is_trained_once_and_what_for_each_threshold():
    jobs = jobs_for(
        ("cradle_vae", "sams_vae", "sams_vae_passed"), multipliers=(3, 5), seeds=(0, 1, 2)
    )
    planned = [(job.name, job.multipliers, job.seeds) for job in jobs]
    assert planned == [
        ("simulated-cradle_vae-3mad", (3,), (0, 1, 2)),
        ("simulated-cradle_vae-5mad", (5,), (0, 1, 2)),
        ("simulated-sams_vae-allcells", (3, 4, 5), (0, 1, 2)),
        ("simulated-sams_vae_passed-3mad", (3,), (0, 1, 2)),
        ("simulated-sams_vae_passed-5mad", (5,), (0, 1, 2)),
    ]
    settings = [
        (j.config["quality"]["training_cells"], j.config["evaluation"]["multipliers"]) for j in jobs
    ]
    assert settings == [("all", ""), ("all", ""), ("all", "3,4,5"), ("passed", ""), ("passed", "")]
    assert [job.config["quality"]["multiplier"] for job in jobs] == [3, 5, 5, 3, 5]


def test_seeds_are_of_the_split_where_the_paper_says_so():
    norman = jobs_for(sources=("norman",), seeds=(0, 1, 2))
    assert [(job.vary, job.seeds) for job in norman] == [
        ("split", (0,)),
        ("split", (1,)),
        ("split", (2,)),
    ]
    assert [of_jobs.config_of(job)["split"]["seed"] for job in norman] == [0, 1, 2]
    assert {of_jobs.config_of(job)["seed"] for job in norman} == {0}
    (replogle,) = jobs_for(sources=("replogle",), seeds=(2, 3))
    config = of_jobs.config_of(replogle)
    assert (config["seed"], config["train"]["seeds"], config["split"]["seed"]) == (2, 2, 0)
    assert [job.vary for job in jobs_for(sources=("norman",), vary="train")] == ["train"]


def test_seeds_trained_together_are_consecutive():
    assert list(of_jobs.runs_of([4, 0, 1, 7, 2], 5)) == [(0, 1, 2), (4,), (7,)]
    assert list(of_jobs.runs_of(range(5), 2)) == [(0, 1), (2, 3), (4,)]
    assert [job.seeds for job in jobs_for(seeds=(0, 1, 2), at_once=2)] == [(0, 1), (2,)]


def test_simulated_screens_take_settings_of_the_simulator():
    weak, strong = jobs_for(sources=("simulated:artifact_share=0.1:preset=tiny", "simulated"))
    assert (weak.config["data"]["simulation"], weak.config["data"]["preset"]) == (
        "artifact_share=0.1",
        "tiny",
    )
    assert weak.config["data"]["source"] == strong.config["data"]["source"] == "simulated"
    assert weak.name == "simulated_artifact_share=0.1_preset=tiny-cradle_vae-5mad" != strong.name


def test_keys_are_set_with_their_type_where_they_exist():
    jobs = jobs_for(
        ("cradle_vae", "sams_vae"),
        changes={
            "train.epochs": "7",
            "model.kwargs.cf_weight": "0.1",
            "train.learning_rate": "1e-4",
        },
    )
    assert [job.config["train"]["epochs"] for job in jobs] == [7, 7]
    assert (
        jobs[0].config["model"]["kwargs"]["cf_weight"] == 0.1
        and jobs[1].config["model"]["kwargs"] == {}
    )
    assert jobs[0].config["train"]["learning_rate"] == 1e-4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": ("cradle",)}, "model is 'cradle', expected some of cradle_vae"),
        ({"models": ()}, "no model is given"),
        ({"multipliers": (3, 6)}, "MAD multiplier is 6, expected some of 3, 4, 5"),
        ({"sources": ("nowhere.h5ad",)}, "'nowhere.h5ad' is none that is known, expected a file"),
        ({"sources": ("norman", "norman")}, "two data sets have the same name"),
        ({"seeds": (1, 1)}, "expected different whole numbers"),
        ({"seeds": (-1,)}, "0 or more"),
        ({"vary": "both"}, "--vary is 'both'"),
        (
            {"changes": {"train.epoch": "3"}},
            "train.epoch is no key of these models' configs, expected one such as",
        ),
        (
            {"changes": {"train.epochs": "many"}},
            "train.epochs is 'many', expected a value such as 3",
        ),
        ({"changes": {"model.kwargs.causal_artifact": "no"}}, "expected a value such as True"),
        ({"changes": {"seed": "3"}}, "what the study itself varies"),
    ],
)
def test_plans_that_cannot_be(options, message):
    with pytest.raises(InputError, match=message):
        jobs_for(**options)
