"""CycSeq on the task of translation: built for its rows, and asked for rows in both directions."""

from __future__ import annotations

import functools
from dataclasses import asdict, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jaxpert.core.family import Problem, Ready, as_it_is
from jaxpert.core.fit import Fitted
from jaxpert.core.types import Batch
from jaxpert.models.cycseq import model as cycseq
from jaxpert.models.cycseq import start as finished
from jaxpert.models.cycseq.game import cycle, rows_of
from jaxpert.models.cycseq.settings import Settings
from jaxpert.models.cycseq.setup import CycSeq, make
from jaxpert.tasks.translation.groups import Predictor
from jaxpert.tasks.translation.prepare import Prepared
from jaxpert.tasks.translation.rows import Rows, training_rows_per_gene_scale

BLOCK = 256
"""Most rows that a program predicts at a time."""
DIRECTIONS = ("n2p", "p2n")


def build(config: Any, problem: Problem) -> Ready:
    """`Family.build`: networks of their own, or those of the run that training goes on from."""
    prepared: Prepared = problem.details
    begun: finished.Start | None = problem.start
    scale = _unit_scale(config.model.kwargs, prepared, begun)
    # The scale is a setting, so that a saved model knows it without the data.
    own = replace(config.model.kwargs, unit_scale=scale)
    if begun is None:
        net, begin = make(problem.spec, **asdict(own)), as_it_is
        notes = cycseq.check(net, prepared.dataset)
    else:
        grown = finished.grow(begun, problem.spec, own, config.seed)
        net, begin = grown.net, functools.partial(finished.begin, grown)
        asked = config.data.combat_reference
        notes = (*grown.notes, *finished.alignment_notes(begun, asked, prepared.aligned_to))
    # Kept beside the checkpoint, so that fine-tuning needs no old data.
    meta = {"network": finished.describe(net, prepared.aligned_to)}
    return Ready(cycseq.model_of(net), notes, begin, meta)


def _unit_scale(
    own: Settings, prepared: Prepared, begun: finished.Start | None
) -> tuple[float, ...] | None:
    """What rows are divided by where they end in tanh: that of the run gone on from, where it kept
    one."""
    if own.expression_head != "tanh":
        return None
    # The run's own scale: another one would change the meaning of its outputs.
    if begun is not None and begun.net.settings.unit_scale is not None:
        return begun.net.settings.unit_scale
    return tuple(training_rows_per_gene_scale(prepared).tolist())


def predictor(problem: Problem, fitted: Fitted) -> Predictor:
    """`Family.predictor`: the model in evaluation mode, with latent means (or `samples` draws) and
    remembered moments."""
    net, prepared = fitted.model.details, problem.details
    params, state = fitted.params, fitted.state
    unit, key = unit_of(net), jax.random.key(0)
    # Compiled once for all blocks.
    compiled = jax.jit(functools.partial(_both, net))
    # No more rows than the largest split has, so that small data pad little.
    largest = max(len(prepared.pair_numbers("val")), len(prepared.pair_numbers("test")))
    size = min(BLOCK, largest)

    def predict(rows: Rows) -> dict[str, np.ndarray]:
        count = len(rows.pair)
        # Filled up, so that all blocks run one compiled program.
        filled = np.resize(np.arange(count), max(count, size))
        batch = _batch(prepared, rows, filled, unit)
        # Keyed by the block's first pair, so that blocks do not share their draws.
        predicted = compiled(params, state, jax.random.fold_in(key, int(rows.pair[0])), batch)
        by_direction = {}
        for direction, values in zip(DIRECTIONS, predicted, strict=True):
            # Padding is cut off, and rows get back their unit before any score.
            by_direction[direction] = np.asarray(values)[:count] * unit
        return by_direction

    return predict


def _both(net: CycSeq, params: Any, state: Any, key: Array, batch: Batch) -> tuple[Array, Array]:
    """Perturbed rows from control rows, and control rows from perturbed ones."""
    if not net.settings.samples:
        passes, _ = cycle(net, params["generators"], state, None, rows_of(net, batch))
        return passes.fake_x.expression, passes.fake_y.expression
    dose = batch.extras.get("dose")
    # The two directions read the dose of their own input row.
    of_control = batch.extras.get("control_dose", dose)
    key_up, key_down = jax.random.split(key)
    translate = functools.partial(cycseq.translate, net, params, state)
    control = cycseq.Inputs(batch.control, batch.treatment, batch.stratum, of_control)
    perturbed = cycseq.Inputs(batch.x, batch.treatment, batch.stratum, dose)
    up = translate(control, direction="n2p", key=key_up)
    return up, translate(perturbed, direction="p2n", key=key_down)


def _batch(
    prepared: Prepared, rows: Rows, filled: Int[np.ndarray, "B"], unit: np.ndarray | float
) -> Batch:
    """Rows as the networks read them, in the order of `filled`."""
    pairs = prepared.pairs
    pair = rows.pair[filled]
    condition = pairs.condition[pair]
    extras = {}
    if pairs.dose is not None:
        extras = {"dose": pairs.dose[pair, 0], "control_dose": pairs.dose[pair, 1]}
    columns: dict[str, np.ndarray] = {
        "x": (rows.x / unit).astype(np.float32)[filled],
        "control": (rows.control / unit).astype(np.float32)[filled],
        "treatment": prepared.dataset.condition_treatments[condition],
        "condition": condition,
        "stratum": pairs.batch[pair].astype(np.int32),
        "mask": np.ones(len(filled), bool),
        "slot": filled,
    }
    return jax.tree.map(jnp.asarray, Batch(**columns, extras=extras))  # pyright: ignore


def unit_of(net: CycSeq) -> np.ndarray | float:
    """What rows are divided by before the networks read them."""
    if net.unit_scale is None:
        return 1.0
    return net.unit_scale.astype(np.float32)
