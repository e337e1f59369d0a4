"""Every flag of `jaxpert score` but for its files: default, meaning, range; it imports no JAX."""

from __future__ import annotations

from dataclasses import dataclass

from jaxpert.core.ranges import LARGEST_SEED
from jaxpert.core.settings import setting
from jaxpert.tasks.screen.keys import LabelKeys

SCALES = ("auto", "counts", "log1p", "log2", "effects", "effects_ln")


@dataclass(frozen=True)
class ScoreKeys(LabelKeys):
    """How real cells and predictions of any tool are read (docs/guide/score.md)."""

    train: str = setting(
        "",
        "what was trained on: a column of the real cells (train, val, test, dropped, or True and "
        "False), a .json file of lists, a .txt file of conditions, or a second .h5ad file with the "
        "training cells; empty: not known",
    )
    scale: str = setting(
        "auto",
        "of the predictions: counts, log1p, log2, effects (log2), effects_ln, or auto: told from "
        "the values",
        choices=SCALES,
    )
    real_scale: str = setting("auto", "of the real cells: counts, log1p, log2 or auto")
    total: float = setting(
        0.0,
        "what cells were normalised to before log1p; 0: told from the values, else 10,000",
        at_least=0,
    )
    pred_perturbation: str = setting(
        "", "column of the predictions that names perturbations; empty: that of the real cells"
    )
    stratum: str = setting("", "column of cell lines or batches of both files; empty: none")
    layer: str = setting("", "layer of the real cells; empty: X")
    pred_layer: str = setting("", "layer of the predictions; empty: X")
    controls: str = setting(
        "within",
        "real effects against the controls of the same stratum (within) or of all (pooled)",
        choices=("within", "pooled"),
    )
    schools: bool = setting(
        True, "give the scores of cell-eval, PerturBench, Systema and others beside"
    )
    seed: int = setting(0, "of intervals and halves of cells", at_least=0, at_most=LARGEST_SEED)
