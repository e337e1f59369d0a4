"""Training means of a few conditions with a known truth, as baselines see them."""

import numpy as np

from jaxpert.evaluation.baselines import Training
from jaxpert.evaluation.noise import Noise

GENES = tuple(f"g{i}" for i in range(30))
TREATMENTS = ("g0", "g1", "g2", "drug")
SETS = ((), (0,), (1,), (2,), (0, 1), (1, 2), (0, 3))
CONDITIONS = ("control", "g0", "g1", "g2", "g0+g1", "g1+g2", "g0+drug")


def training(cells=(9, 5, 5, 5, 5, 0, 5), seed=0, effects=None, factor=1.0):
    """Additive truth (times `factor` for pairs); conditions without cells hold NaN, as a pseudobulk
    does."""
    rng = np.random.default_rng(seed)
    multi_hot = np.array([[t in s for t in range(4)] for s in SETS], float)
    effects = rng.normal(size=(4, 30)) if effects is None else effects
    times = np.where(multi_hot.sum(1) > 1, factor, 1.0)[:, None]
    truth = rng.gamma(1, 1, 30) + times * (multi_hot @ effects)
    means = np.where(np.array(cells)[:, None] > 0, truth, np.nan)
    return Training(means, np.array(cells), multi_hot, 0, CONDITIONS, TREATMENTS, GENES), truth


def noise(given, of_cell=0.2):
    """The noise of means whose cells all have one variance."""
    cells = np.where(given.cells > 0, given.cells, np.nan)
    table = np.tile((of_cell / cells)[:, None], (1, len(given.genes)))
    control = np.full(len(given.genes), of_cell / given.cells[0])
    return Noise(table, control, np.ones(len(cells)))


def singles(effects, seed=0, cells=20):
    """Trained single perturbations of the first genes, with these effects `[P, G]`."""
    number, genes = effects.shape
    names = tuple(f"g{i}" for i in range(genes))
    control = np.random.default_rng(seed).gamma(2, 1, genes)
    sets = np.vstack([np.zeros(number), np.eye(number)])
    means = control + np.vstack([np.zeros(genes), effects])
    conditions = ("control", *names[:number])
    return Training(means, np.full(number + 1, cells), sets, 0, conditions, names[:number], names)
