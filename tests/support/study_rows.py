"""Rows of a study and the files of its runs, made up."""

import numpy as np

from jaxpert.core.files import write_arrays
from jaxpert.evaluation import baselines, compare

NAMES = (
    "ate_pearson",
    "ate_r2",
    "jaccard_top50",
    "ate_pearson_top20",
    "ate_r2_top20",
    "jaccard_top20",
    "mse",
)


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
        "baselines": {name: metrics for name in baselines.BASELINES},
        "truth": None,
        "perturbations": {},
        "pass_rate": {"fixed_library": value, "resampled_library": value / 2},
    } | changes


P, G = 30, 60
TRUTH = np.random.default_rng(0).normal(size=(P, G))
TRUTH[0] = 0


def run_folder(folder, noises, measured="same"):
    """statistics.npz of a model that predicts the truth with some noise per seed, and of a
    baseline."""
    screen = compare.Screen(
        [f"p{i}" for i in range(P)], 0, {"all": np.arange(1, P), "test": np.arange(20, P)}
    )
    rng = np.random.default_rng(len(folder.name))
    predictions = {
        f"model|{s}": TRUTH + sd * rng.normal(size=TRUTH.shape) for s, sd in enumerate(noises)
    }
    predictions["no_change|any"] = np.zeros_like(TRUTH)
    conditions, sums = compare.statistics(TRUTH, predictions, screen, truth=TRUTH)
    arrays = {f"conditions|5|{subset}": np.array(rows) for subset, rows in conditions.items()}
    arrays["measured|5"] = np.array(measured)
    for predictor, subsets in sums.items():
        who, seed = predictor.split("|")
        for subset, of in subsets.items():
            where = f"sums|{who}|{seed}|5|{subset}"
            arrays |= {f"{where}|{metric}": table for metric, table in of.items()}
    folder.mkdir(parents=True)
    write_arrays(folder / "statistics.npz", arrays)
