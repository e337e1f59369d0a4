"""A finished CycSeq run as the start of another (docs/models/cycseq.md, Fine-tuning): its networks,
parameters and what its rows were aligned to and scaled by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxpert.core import checkpoint, fit
from jaxpert.core import settings as core_settings
from jaxpert.core import workdir as folders
from jaxpert.core.types import Best, InputError, PyTree, Spec, TrainState
from jaxpert.models.cycseq.grow import grow as grow_networks
from jaxpert.models.cycseq.settings import NONE, Settings
from jaxpert.models.cycseq.setup import CycSeq, initial, make
from jaxpert.tasks.translation.combat import CombatReference
from jaxpert.tasks.translation.keys import TrainKeys

START = "start"
"""Value of `data.combat_reference`: the reference of the run in `train.start`."""
UNALIGNED = ("", "none", "null")
"""Values of `data.combat_reference` for no ComBat, in configs of this version and of older ones."""
SHAPES = (
    "columns",
    "hidden",
    "latent_dim",
    "embedding_dim",
    "blocks",
    "residual",
    "attention",
    "tokens",
    "batch_norm",
    "lookup",
    "expression_head",
    "condition_head",
    "dose",
)
"""Settings that the parameters depend on."""
REFERENCE = "combat_reference"
"""Of `describe`; None where there was no ComBat."""
ASKED = "data.combat_reference is start, the reference of the run in train.start"


class Start(NamedTuple):
    """A trained run, without its data."""

    net: CycSeq
    params: PyTree
    state: PyTree
    network: dict[str, Any]
    """As `describe` gave it."""
    reference: CombatReference | None = None
    """What `data.combat_reference=start` stands for; None where a config says something else."""


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
    targets = np.asarray(net.spec.condition_treatments) != 0
    return {
        "settings": settings,
        "strata": list(net.spec.strata),
        "lines": list(net.lines),
        "targets": list(net.targets),
        "treatment_cells": np.asarray(net.spec.treatment_cells).tolist(),
        # How wide conditions were is all that is needed of their table.
        "members": int(targets.sum(1).max()),
        "unit_scale": None if unit_scale is None else list(unit_scale),
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
    if config.data.combat_reference != START:
        return begun
    return begun._replace(reference=reference_of(begun))


def read(workdir: str | Path, own: Settings) -> Start:
    """Read the best parameters of the finished run in a folder.

    Only what is needed of its config is read, so that the config may be of an older version.

    Raises:
        InputError: where there is no finished CycSeq run, and where `own` (`model.kwargs` of the
            run to come) asks for networks of another shape.
    """
    workdir = Path(workdir).absolute()
    config = _config(workdir)
    # Shapes are compared first, since a mismatch in a checkpoint reads like damage.
    _require_same_shape(workdir, config["model"]["kwargs"], own)
    with checkpoint.open(workdir) as manager:
        meta = _meta(manager, workdir)
        net = _network(meta["genes"], meta["treatments"], meta["network"])
        # The whole training state is restored, since checkpoints are read in one piece.
        state, _, _ = checkpoint.restore(manager, like(net, _train_keys(config["train"])))
    network = dict(meta["network"])
    # An older run kept no word of its reference; its config says whether it had one.
    if config["data"].get("combat_reference") in UNALIGNED:
        network.setdefault(REFERENCE, None)
    return Start(net, state.best.params, state.best.state, network)


def reference_of(begun: Start) -> CombatReference:
    """The ComBat reference of a run.

    Raises:
        InputError: where the run was not aligned, or is of a version that did not keep what it was
            aligned to.
    """
    if REFERENCE not in begun.network:
        # Two different errors: nothing was kept, or there was nothing to keep.
        raise InputError(
            f"{ASKED}, which is of an older version that kept no moments of its reference: run it "
            "again in another folder, or set data.combat_reference=largest"
        )
    kept = begun.network[REFERENCE]
    if kept is None:
        raise InputError(
            f"{ASKED}, which was trained without ComBat: set data.combat_reference= (empty) here "
            "too"
        )
    moments = {name: np.array(kept[name], float) for name in ("mean", "variance")}
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
    if asked == START or kept is aligned_to is None:
        return ()
    there = "not aligned" if kept is None else f"aligned to {kept['name']}"
    here = "are not aligned"
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


def like(net: CycSeq, train: TrainKeys) -> TrainState:
    """Structure, shapes and types of the training state of a run of one seed."""
    # Rates do not change the structure, so that the number of steps in an epoch is free.
    optimizer = fit.make_optimizer(train, 1)

    def state() -> TrainState:
        params, moments = initial(net, jax.random.key(0))
        zero = jnp.zeros((), jnp.int32)
        best = Best(params, moments, jnp.zeros((), jnp.float32), zero)
        return TrainState(params, moments, optimizer.init(params), jax.random.key(0), zero, best)

    # Shapes alone: no parameter is drawn just to be overwritten.
    return jax.eval_shape(state)


def _config(workdir: Path) -> dict[str, Any]:
    """The config of a finished run, as its file holds it."""
    if not (workdir / "config.json").exists() or not (workdir / "checkpoints").is_dir():
        raise InputError(
            f"train.start is {str(workdir)!r}, where there is no run with checkpoints, expected "
            "the work directory of a finished CycSeq run: train one with "
            "configs/cycseq_pretrain.py"
        )
    if not (workdir / "metrics.json").exists():
        raise InputError(
            f"the run in train.start, {workdir}, is not finished (it has no metrics.json): run its "
            "command again first"
        )
    config = folders.read_config(workdir).config
    # Several seeds would have a leading axis that fine-tuning does not know.
    name, seeds = config["model"]["name"], config["train"].get("seeds", 1)
    if name != "cycseq" or seeds != 1:
        raise InputError(
            f"the run in train.start, {workdir}, has model.name={name} and train.seeds={seeds}, "
            "expected cycseq and one seed: give another run"
        )
    return config


def _require_same_shape(workdir: Path, there: Mapping[str, Any], own: Settings) -> None:
    """Refuse a run whose networks have another shape than those asked for."""
    here = core_settings.plain(own)
    differing = []
    for name in SHAPES:
        # A setting that an older run did not have is taken to be as it is here.
        kept = there.get(name, here[name])
        if _comparable(kept) != _comparable(here[name]):
            differing.append(f"{name} {kept} there and {here[name]} here")
    if differing:
        raise InputError(
            f"model.kwargs differ from those of the run in train.start, {workdir} "
            f"({'; '.join(differing)}), expected networks of the same shape: give the same values"
        )


def _comparable(value: Any) -> Any:
    """A setting whatever file it comes from: JSON has lists for tuples, older runs None for
    "none"."""
    if value is None:
        return NONE
    return list(value) if isinstance(value, tuple | list) else value


def _train_keys(values: Mapping[str, Any]) -> TrainKeys:
    """The section `train` of a run, without keys that this version does not have."""
    # Keys of older versions do not change the structure of the state.
    known = {field.name for field in fields(TrainKeys)}
    kept = {name: value for name, value in values.items() if name in known}
    return core_settings.read(TrainKeys, kept, "train")


def _meta(manager: Any, workdir: Path) -> dict[str, Any]:
    """What stands beside the newest parameters."""
    meta = checkpoint.newest_meta(manager)
    if meta is None:
        raise InputError(
            f"the newest checkpoint of the run in train.start, {workdir}, cannot be read: run it "
            "again in another folder"
        )
    return meta


def _network(genes: list[str], treatments: list[str], network: dict[str, Any]) -> CycSeq:
    """The networks from what stands beside their parameters; what only data know is left at 0."""
    zero = np.zeros(len(genes))
    # One condition of as many targets as the largest had.
    table = np.zeros((2, len(treatments)), np.float32)
    table[1, : network["members"]] = 1
    spec = Spec(
        genes=tuple(genes),
        treatments=tuple(treatments),
        conditions=("ctrl", "largest"),
        strata=tuple(network["strata"]),
        control=0,
        condition_treatments=table,
        log_mean=zero,
        log_std=zero,
        control_mean=zero,
        treatment_cells=np.array(network["treatment_cells"], int),
        condition_cells=np.zeros(2, int),
    )
    # Settings of older versions that are gone are left out.
    known = {field.name for field in fields(Settings)}
    settings = {name: value for name, value in network["settings"].items() if name in known}
    settings["attention"] = settings["attention"] or NONE
    settings |= {name: network[name] for name in ("lines", "targets", "unit_scale")}
    return make(spec, **settings)
