"""Runs of a study that train nothing."""

from jaxpert.core import workdir
from jaxpert.evaluation.baselines import BASELINES
from jaxpert.models.cradle.paper.study import STUDY
from jaxpert.study import plan


def get_config(file: str, variant: str):
    """What the plan needs of a config, of CRADLE-VAE or of a baseline."""
    kwargs = {"cf_weight": 0.5, "causal_artifact": True, "latent_dim": 8}
    if file == "cradle_baselines":
        kwargs = {}
    data = {"source": "norman", "preset": "demo", "folder": "", "perturbation": "condition"}
    return {
        "seed": 0,
        "data": data | {"simulation": ""},
        "quality": {"multiplier": 5, "training_cells": "all"},
        "split": {"kind": "auto", "seed": 0},
        "model": {"name": "cradle_vae" if kwargs else variant.split(",")[0], "kwargs": kwargs},
        "train": {"epochs": 3, "seeds": 1, "learning_rate": 1e-3, "save_seconds": 60.0},
        "evaluation": {"multipliers": "", "umap_cells": 0, "shown": ""},
    }


def jobs_for(
    models=("cradle_vae",), sources=("simulated",), multipliers=(5,), seeds=(0, 1), **options
):
    """Jobs of the CRADLE-VAE paper's study."""
    return plan.plan(STUDY, plan.Scope(models, sources, multipliers, seeds, **options), get_config)


def finish(config, work):
    """Stands for a run: leaves config.json and the parts of metrics.json that rows are made
    from."""
    work.mkdir(parents=True)
    workdir.write_config(work, config)
    multipliers = config["evaluation"]["multipliers"] or str(config["quality"]["multiplier"])
    scores = [
        {
            "seed": config["seed"] + i,
            "multiplier": int(k),
            "model": {"all": {"mse": float(i)}},
            "baselines": {name: {} for name in BASELINES},
            "truth": None,
            "perturbations": {"all": 3},
            "pass_rate": {},
        }
        for i in range(config["train"]["seeds"])
        for k in multipliers.split(",")
    ]
    about = dict.fromkeys(("date", "device", "versions", "steps", "epochs", "ended"), "x")
    workdir.write_metrics(work, {"scores": scores, "run": about})
    return 0


class Counting:
    """A run that counts its calls."""

    def __init__(self, run=finish):
        self.run, self.works = run, []

    def __call__(self, config, work):
        self.works.append(work.name)
        return self.run(config, work)
