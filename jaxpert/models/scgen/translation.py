"""scGen beside CycSeq: trained on the same training cells, scored on the same rows in the same
space (spec 14)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxpert import data
from jaxpert.core.types import SPLITS, Dataset
from jaxpert.models.scgen import model as scgen
from jaxpert.nn.transforms import log1p_normalize
from jaxpert.tasks import translation as spectra
from jaxpert.tasks.screen import predict as workflow
from jaxpert.tasks.translation.baselines import Predictor
from jaxpert.tasks.translation.combat import apply_affine

VALIDATION_SHARE = 0.1
BLOCK = 512
SCALES = ("log2_cp10k", "ln_cp10k_zscore")
TRAINING: dict[str, Any] = {
    "batch_size": 32,
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "clip": None,
    "patience": 25,
}
"""As in its tutorials."""


def why_not(prepared: spectra.Prepared) -> str:
    """Why these rows have no scGen beside them; empty where they can."""
    if prepared.scale.kind not in SCALES:
        return (
            "scGen predicts log-normalised expression, which rows with "
            f"data.lognorm={prepared.scale.kind} are not"
        )
    if prepared.pairs.dose is not None:
        return "scGen knows perturbations, not steps from one dose to the next"
    return "scGen is compared on means of cells only" if prepared.unit == "cell" else ""


def fit(
    prepared: spectra.Prepared, *, epochs: int, seed: int, **settings: Any
) -> tuple[Predictor, list[str]]:
    """Train scGen on the training cells of all lines and return what predicts rows with it, and
    notes.

    The shift of a perturbation in a line comes from the other lines that have it, else from the
    line's own training cells. Predicted cells (decoded latent means) are averaged over the cells
    behind the input row.
    """
    dataset, empty = training_cells(prepared, seed)
    net = scgen.make(data.make_spec(dataset), delta_from="others", **settings)
    model = scgen.build(data.make_spec(dataset), delta_from="others", **settings)
    notes = [
        f"scGen was trained beside on the training cells, {epochs} epochs at most",
        *(f"scGen: {note}" for note in (model.check(dataset) if model.check else ())),
    ]
    if empty:
        notes.append(f"scGen: {empty} training cells without counts were left out")
    size = min(TRAINING["batch_size"], len(dataset.rows("train")))
    fitted = workflow.fit(
        model, dataset, epochs=epochs, seed=seed, **TRAINING | {"batch_size": size}
    )
    return predictor(prepared, net, fitted), notes


def training_cells(prepared: spectra.Prepared, seed: int) -> tuple[Dataset, int]:
    """The training cells, a tenth of them for validation, with lines as strata; and how many have
    no counts."""
    dataset, lines = prepared.dataset, prepared.spectra.lines
    train = dataset.split == SPLITS.index("train")
    empty = train & (np.diff(dataset.counts.indptr) == 0)
    rows = np.flatnonzero(train & ~empty)
    split = np.full(len(dataset.cells), SPLITS.index("dropped"), np.int8)
    split[rows] = SPLITS.index("train")
    held = np.random.default_rng(seed).permutation(rows)[: round(VALIDATION_SHARE * len(rows))]
    split[held] = SPLITS.index("val")
    stratum = np.searchsorted(lines, np.asarray(dataset.obs["line"], str)).astype(np.int32)
    return replace(dataset, strata=lines, stratum=stratum, split=split), int(empty.sum())


def predictor(prepared: spectra.Prepared, net: scgen.ScGen, fitted: workflow.Fitted) -> Predictor:
    """Rows predicted by shifting every cell behind the input row."""
    dataset, draws, pairs = prepared.dataset, prepared.draws, prepared.pairs

    @jax.jit
    def delta(state: Any, treatment: Array, stratum: Array) -> Array:
        return scgen.shifts(net, state, treatment, stratum)

    @jax.jit
    def decode(params: Any, state: Any, counts: Array, delta: Array) -> Array:
        x = log1p_normalize(jnp.where(counts.sum(1, keepdims=True) > 0, counts, 1))
        return scgen.predict_cells(net, params, state, x, delta)

    def cells(rows: Int[np.ndarray, "n"], delta: Array) -> Float[np.ndarray, "n G"]:
        found = []
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            counts = jnp.asarray(dataset.counts[np.resize(block, BLOCK)].toarray(), jnp.float32)
            found.append(
                np.asarray(decode(fitted.params, fitted.state, counts, delta))[: len(block)]
            )
        return np.concatenate(found) / prepared.scale.unit

    def one(
        pool: int, replicates: Int[np.ndarray, "r"], condition: int, line: int, sign: int
    ) -> np.ndarray:
        treatment = jnp.asarray(dataset.condition_treatments[condition][None], jnp.float32)
        shift = sign * delta(fitted.state, treatment, jnp.asarray([line], jnp.int32))
        distinct, column = np.unique(draws.cells[pool, replicates], return_inverse=True)
        made = cells(distinct, shift)
        mean = made[column.reshape(len(replicates), -1)].mean(1, dtype=np.float64)
        batch = np.full(len(mean), prepared.spectra.batch[draws.spectrum[pool]])
        return apply_affine(prepared.affine, batch, mean)

    def predict(rows: spectra.Rows) -> dict[str, np.ndarray]:
        out = {name: np.empty(rows.x.shape) for name in ("n2p", "p2n")}
        for name, pool, sign in (("n2p", pairs.lower, 1), ("p2n", pairs.upper, -1)):
            key = np.stack([pool[rows.pair], pairs.condition[rows.pair], pairs.line[rows.pair]], 1)
            kinds, of = np.unique(key, axis=0, return_inverse=True)
            for number, (p, condition, line) in enumerate(kinds):
                own = np.flatnonzero(of.ravel() == number)
                out[name][own] = one(
                    int(p), pairs.replicate[rows.pair[own]], int(condition), int(line), sign
                )
        return out

    return predict
