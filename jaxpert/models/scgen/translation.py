"""scGen beside a model of translation: trained on the same training cells, scored on the same rows
in the same space (docs/models/scgen.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxpert import data
from jaxpert.core import fit as core_fit
from jaxpert.core.family import Problem
from jaxpert.core.fit import Fitted
from jaxpert.core.types import SPLITS, Dataset
from jaxpert.data.mapped import rows_of
from jaxpert.models.scgen import model as scgen
from jaxpert.nn.transforms import log1p_normalize
from jaxpert.tasks.screen.feeds import feeds_of
from jaxpert.tasks.screen.keys import TrainKeys
from jaxpert.tasks.translation.combat import apply_affine
from jaxpert.tasks.translation.groups import Predictor
from jaxpert.tasks.translation.prepare import Prepared
from jaxpert.tasks.translation.rows import Rows

VALIDATION_SHARE = 0.1
BLOCK = 512
SCALES = ("log2_cp10k", "ln_cp10k_zscore")
TRAIN = TrainKeys(
    batch_size=32, learning_rate=1e-3, weight_decay=0.0, clip=0.0, patience=25, drop_last=False
)
"""As in its tutorials."""


class Shift(NamedTuple):
    """Rows that move alike."""

    pool: int
    """Of the cells behind the input rows."""
    condition: int
    line: int
    sign: int
    """1 adds the perturbation, -1 takes it away."""


def why_not(problem: Problem) -> str:
    """Why these rows have no scGen beside them; empty where they can."""
    prepared: Prepared = problem.details
    if prepared.scale.kind not in SCALES:
        return (
            "scGen predicts log-normalised expression, which rows with "
            f"data.lognorm={prepared.scale.kind} are not"
        )
    if prepared.pairs.dose is not None:
        return "scGen knows perturbations, not steps from one dose to the next"
    if prepared.unit == "cell":
        return "scGen is compared on means of cells only"
    return ""


def check(config: Any, problem: Problem) -> None:
    """`Beside.check`: raise InputError for training cells that scGen refuses, which would otherwise
    be found only after the training of the other model."""
    dataset, _ = training_cells(problem.details, config.seed)
    model = scgen.build(data.make_spec(dataset), delta_from="others")
    assert model.check is not None
    model.check(dataset)


def fit(config: Any, problem: Problem, epochs: int) -> tuple[Predictor, list[str]]:
    """Train scGen on the training cells of all lines and return what predicts rows with it, and
    notes.

    The shift of a perturbation in a line comes from the other lines that have it, else from the
    line's own training cells. Predicted cells (decoded latent means) are averaged over the cells
    behind the input row.
    """
    prepared: Prepared = problem.details
    dataset, empty = training_cells(prepared, config.seed)
    model = scgen.build(data.make_spec(dataset), delta_from="others")
    assert model.check is not None
    notes = [f"scGen was trained beside on the training cells, {epochs} epochs at most"]
    for note in model.check(dataset):
        notes.append(f"scGen: {note}")
    if empty:
        notes.append(f"scGen: {empty} training cells without counts were left out")
    # Small data may have fewer cells than a published batch.
    batch_size = min(TRAIN.batch_size, len(dataset.rows("train")))
    train = replace(TRAIN, epochs=epochs, batch_size=batch_size)
    feeds = feeds_of(dataset, config.seed, model, train)
    fitted = core_fit.fit(model, dataset, feeds, train, seed=config.seed)
    return predictor(prepared, fitted), notes


def training_cells(prepared: Prepared, seed: int) -> tuple[Dataset, int]:
    """The training cells, a tenth of them for validation, with lines as strata; and how many have
    no counts."""
    dataset, lines = prepared.dataset, prepared.pseudobulk.lines
    train = dataset.split == SPLITS.index("train")
    empty = train & (np.diff(dataset.counts.indptr) == 0)
    rows = np.flatnonzero(train & ~empty)
    # Cells of the run's own validation and test stay out of both parts.
    split = np.full(len(dataset.cells), SPLITS.index("dropped"), np.int8)
    split[rows] = SPLITS.index("train")
    held = np.random.default_rng(seed).permutation(rows)[: round(VALIDATION_SHARE * len(rows))]
    split[held] = SPLITS.index("val")
    # Lines are sorted, so a binary search numbers them.
    stratum = np.searchsorted(lines, np.asarray(dataset.obs["line"], str)).astype(np.int32)
    return replace(dataset, strata=lines, stratum=stratum, split=split), int(empty.sum())


def predictor(prepared: Prepared, fitted: Fitted) -> Predictor:
    """Rows predicted by shifting every cell behind the input row."""
    net, pairs = fitted.model.details, prepared.pairs
    cells = _shifted_cells(prepared, fitted)

    @jax.jit
    def delta(state: Any, treatment: Array, stratum: Array) -> Array:
        return scgen.shifts(net, state, treatment, stratum)

    def shifted(shift: Shift, replicates: Int[np.ndarray, "r"]) -> Float[np.ndarray, "r G"]:
        """Means over the shifted cells of some replicates of a pool, as rows."""
        treatment = prepared.dataset.condition_treatments[shift.condition][None]
        stratum = jnp.asarray([shift.line], jnp.int32)
        step = shift.sign * delta(fitted.state, jnp.asarray(treatment, jnp.float32), stratum)
        drawn = prepared.draws.cells[shift.pool, replicates]
        # A cell that several replicates drew is decoded once.
        distinct, column = np.unique(drawn, return_inverse=True)
        moved = cells(distinct, step)
        mean = moved[column.reshape(len(replicates), -1)].mean(1, dtype=np.float64)
        # The affine map of the batch that the input cells are of.
        group = prepared.draws.group[shift.pool]
        batch = np.full(len(mean), prepared.pseudobulk.batch[group])
        return apply_affine(prepared.affine, batch, mean)

    def predict(rows: Rows) -> dict[str, np.ndarray]:
        predicted = {}
        for direction, pool, sign in (("n2p", pairs.lower, 1), ("p2n", pairs.upper, -1)):
            predicted[direction] = np.empty(rows.x.shape)
            columns = pool[rows.pair], pairs.condition[rows.pair], pairs.line[rows.pair]
            # Rows of one pool, condition and line share their cells and their delta.
            kinds, of_row = np.unique(np.stack(columns, 1), axis=0, return_inverse=True)
            for number, (pool_number, condition, line) in enumerate(kinds.tolist()):
                members = np.flatnonzero(of_row.ravel() == number)
                replicates = pairs.replicate[rows.pair[members]]
                shift = Shift(pool_number, condition, line, sign)
                predicted[direction][members] = shifted(shift, replicates)
        return predicted

    return predict


def _shifted_cells(
    prepared: Prepared, fitted: Fitted
) -> Callable[[Int[np.ndarray, "n"], Array], Float[np.ndarray, "n G"]]:
    """(cells, delta) -> these cells moved along the delta, on the scale of the rows."""
    net = fitted.model.details

    @jax.jit
    def decode(params: Any, state: Any, counts: Array, delta: Array) -> Array:
        # A cell without counts is taken as uniform, not divided by 0.
        x = log1p_normalize(jnp.where(counts.sum(1, keepdims=True) > 0, counts, 1))
        return scgen.predict_cells(net, params, state, x, delta)

    def cells(rows: Int[np.ndarray, "n"], delta: Array) -> Float[np.ndarray, "n G"]:
        decoded = []
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            # Filled up, so that all blocks run one compiled program.
            counts = rows_of(prepared.dataset.counts, np.resize(block, BLOCK)).toarray()
            values = decode(fitted.params, fitted.state, jnp.asarray(counts, jnp.float32), delta)
            decoded.append(np.asarray(values)[: len(block)])
        # From natural logarithms to the unit of the rows.
        return np.concatenate(decoded) / prepared.scale.unit

    return cells
