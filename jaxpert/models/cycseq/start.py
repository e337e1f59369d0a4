"""A finished CycSeq run as the start of another (docs/models/cycseq.md, Fine-tuning): its networks,
parameters and what its rows were aligned to and scaled by."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxpert.core.types import InputError, PyTree, Spec, TrainState
from jaxpert.models.cycseq.finished_run import REFERENCE, Start, read
from jaxpert.models.cycseq.grow import grow as grow_networks
from jaxpert.models.cycseq.settings import Settings
from jaxpert.models.cycseq.setup import CycSeq, make
from jaxpert.tasks.translation import load
from jaxpert.tasks.translation.combat import CombatReference

ASKED = "data.combat_reference is start, the reference of the run in train.start"


class Grown(NamedTuple):
    """The networks of a run, ready for other data."""

    net: CycSeq
    params: PyTree
    state: PyTree
    notes: tuple[str, ...]


def describe(net: CycSeq, aligned_to: CombatReference | None) -> dict[str, Any]:
    """What is kept beside the parameters, so that the run can be gone on from without its data."""
    reference = None
    if aligned_to is not None:
        reference = aligned_to._asdict()
        del reference["genes"]  # they stand beside it
        # JSON has no arrays, and float64 survives as its digits.
        reference |= {"mean": aligned_to.mean.tolist(), "variance": aligned_to.variance.tolist()}
    settings = asdict(net.settings)
    # Thousands of numbers, so they stand apart from the settings that a user reads.
    unit_scale = settings.pop("unit_scale")
    if unit_scale is not None:
        unit_scale = list(unit_scale)
    targets = np.asarray(net.spec.condition_treatments) != 0
    return {
        "settings": settings,
        "strata": list(net.spec.strata),
        "lines": list(net.lines),
        "targets": list(net.targets),
        "treatment_cells": np.asarray(net.spec.treatment_cells).tolist(),
        # How wide conditions were is all that is needed of their table.
        "members": int(targets.sum(1).max()),
        "unit_scale": unit_scale,
        REFERENCE: reference,
    }


def start(config: Any) -> Start | None:
    """`Family.start`: the finished run in `train.start`; None where a config names none.

    Raises:
        InputError: where there is no finished CycSeq run, where the config asks for networks of
            another shape, and where it asks for the reference of a run that kept none.
    """
    if not config.train.start:
        return None
    begun = read(config.train.start, config.model.kwargs)
    if config.data.combat_reference != load.START:
        return begun
    return begun._replace(reference=reference_of(begun))


def reference_of(begun: Start) -> CombatReference:
    """The ComBat reference of a run.

    Raises:
        InputError: where the run was not aligned, or is of a version that did not keep what it was
            aligned to.
    """
    if REFERENCE not in begun.network:
        # Two different errors: nothing was kept, or there was nothing to keep.
        raise InputError(
            f"{ASKED}, which is of an older version that kept no moments of its reference, "
            "expected a newer one: run it again in another folder, or set "
            "data.combat_reference=largest"
        )
    kept = begun.network[REFERENCE]
    if kept is None:
        raise InputError(
            f"{ASKED}, which was trained without ComBat, expected one with it: set "
            "data.combat_reference= to nothing here too"
        )
    # Lists of JSON, which become arrays again.
    moments = {"mean": np.array(kept["mean"], float), "variance": np.array(kept["variance"], float)}
    return CombatReference(**kept | moments, genes=begun.net.spec.genes)


def alignment_notes(
    begun: Start, asked: str, aligned_to: CombatReference | None
) -> tuple[str, ...]:
    """A note where rows are aligned otherwise than those that the run was trained on.

    Args:
        begun: the run.
        asked: `data.combat_reference`.
        aligned_to: what rows are aligned to here.
    """
    kept = begun.network.get(REFERENCE, {"name": "a batch of which it kept nothing"})
    # The same reference, or none on both sides, needs no note.
    if asked == load.START or kept is aligned_to is None:
        return ()
    there, here = "not aligned", "are not aligned"
    if kept is not None:
        there = f"aligned to {kept['name']}"
    if aligned_to is not None:
        here = f"are aligned to {aligned_to.name} of these data"
    return (
        f"the run in train.start was trained on rows {there} by ComBat, and rows here {here}: its "
        "networks meet another scale",
    )


def grow(begun: Start, spec: Spec, own: Settings, seed: int) -> Grown:
    """The networks of a run for other data; settings that change no shape are those of `own`."""
    net, params, state, notes = grow_networks(
        begun.net, begun.params, begun.state, spec, jax.random.key(seed)
    )
    # Columns come from the run, everything else from the config at hand.
    kept = {name: getattr(net.settings, name) for name in ("lines", "targets", "placeholders")}
    return Grown(make(spec, **asdict(own) | kept), params, state, notes)


def begin(grown: Grown, fresh: TrainState) -> TrainState:
    """A fresh training state with the parameters of the grown run; the optimiser and all counters
    start anew."""

    def as_in(old: Any, new: jax.Array) -> jax.Array:
        """Values of the run in the shape and type of the fresh state, which may be replicated."""
        # A copy in the fresh state's type: a run may have been trained in another one.
        return jnp.array(jnp.broadcast_to(old, new.shape), new.dtype, copy=True)

    params = jax.tree.map(as_in, grown.params, fresh.params)
    state = jax.tree.map(as_in, grown.state, fresh.state)
    # Copies, since the loop gives the memory of its state away.
    best = fresh.best._replace(
        params=jax.tree.map(jnp.copy, params), state=jax.tree.map(jnp.copy, state)
    )
    return fresh._replace(params=params, state=state, best=best)
