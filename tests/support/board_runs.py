"""Runs of a leaderboard that train nothing: each model misses the truth by an error of its own."""

from __future__ import annotations

import numpy as np

from jaxpert.core import workdir
from jaxpert.core.errors import InputError
from jaxpert.core.files import write_arrays
from jaxpert.evaluation import compare

P, G, TESTED = 30, 60, 12
TRUTH = np.random.default_rng(0).normal(size=(P, G))
TRUTH[0] = 0
NAMES = tuple(f"p{i}" for i in range(P))
SD = {"cradle_vae": 0.2, "conditional_vae": 1.5, "scgen": 0.6, "gears": 0.4}
"""Standard deviation of the error of each model; others refuse the data."""
BASELINES = {"no_change": np.zeros_like(TRUTH), "half": TRUTH / 2}
CEILING = {"ate_pearson": 0.9, "mse": 0.01}


def predicted(model: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng([len(model), seed])
    return TRUTH + SD[model] * rng.normal(size=TRUTH.shape)


def finish(config, work, tested=TESTED, baselines=BASELINES, notes=(), **_):
    """Stands for `app.run.run`: leaves what a leaderboard reads."""
    model, seed = config["model"]["name"], config["seed"]
    if model not in SD:
        raise InputError("combinations were found, expected none: choose another model")
    work.mkdir(parents=True, exist_ok=True)
    workdir.write_config(work, config)
    subsets = {"all": np.arange(1, P), "test": np.arange(P - tested, P)}
    screen = compare.Screen(list(NAMES), 0, subsets, reference=TRUTH[1 : P - tested].mean(0))
    predictions = {"model|0": predicted(model, seed)}
    predictions |= {f"{name}|any": values for name, values in baselines.items()}
    conditions, sums = compare.statistics(TRUTH, predictions, screen)
    arrays = {f"conditions|5|{name}": np.array(rows) for name, rows in conditions.items()}
    arrays["measured|5"] = np.array("same")
    for predictor, of in sums.items():
        who, trained = predictor.split("|")
        for subset, scores in of.items():
            where = f"sums|{who}|{trained}|5|{subset}"
            arrays |= {f"{where}|{score}": table for score, table in scores.items()}
    write_arrays(work / "statistics.npz", arrays)
    write_arrays(
        work / "effects.npz", {"genes": np.array(["G"] * G), "conditions": np.array(NAMES)}
    )
    scores = {"seed": seed, "multiplier": 5, "model": {}, "baselines": {}, "truth": None}
    scores |= {"perturbations": {"test": tested}, "pass_rate": {}}
    about = dict.fromkeys(("date", "device", "versions", "steps", "epochs", "ended"), "x")
    metrics = {
        "scores": [scores],
        "run": about,
        "notes": list(notes),
        "ceiling": {"test": CEILING},
        "calibration": {"test": {"jaccard_top50": {"counted": False}}},
        "subsets": {"test": "perturbations never trained"},
    }
    workdir.write_metrics(work, metrics)
    return 0


class Counting:
    """A run that counts its calls, and is killed before one of them."""

    def __init__(self, kill_at: int = -1):
        self.works, self.kill_at = [], kill_at

    def __call__(self, config, work, **options):
        if len(self.works) == self.kill_at:
            raise KeyboardInterrupt
        self.works.append(work.name)
        return finish(config, work, **options)
