"""A finished CycSeq run as the start of another: its networks, parameters and what its rows were
scaled by."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxpert.core import checkpoint, optim
from jaxpert.core.types import Best, InputError, PyTree, Spec, TrainState
from jaxpert.models.cycseq import model as cycseq
from jaxpert.models.cycseq.setup import CycSeq, initial, make
from jaxpert.tasks.translation import CombatReference
from jaxpert.tasks.translation.load import NONE, START

Config = dict[str, Any]
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


class Grown(NamedTuple):
    """The networks of a run, ready for other data."""

    net: CycSeq
    params: PyTree
    state: PyTree
    notes: tuple[str, ...]


def describe(
    net: CycSeq, unit_scale: np.ndarray | None, aligned_to: CombatReference | None
) -> dict[str, Any]:
    """What is kept beside the parameters, so that the run can be gone on from without its data."""
    reference = None
    if aligned_to is not None:  # the genes stand beside it
        reference = {name: value for name, value in aligned_to._asdict().items() if name != "genes"}
        reference |= {"mean": aligned_to.mean.tolist(), "variance": aligned_to.variance.tolist()}
    return {
        "settings": asdict(net.settings),
        "strata": list(net.spec.strata),
        "lines": list(net.lines),
        "targets": list(net.targets),
        "treatment_cells": np.asarray(net.spec.treatment_cells).tolist(),
        "members": int((np.asarray(net.spec.condition_treatments) != 0).sum(1).max()),
        "unit_scale": None if unit_scale is None else np.asarray(unit_scale, float).tolist(),
        REFERENCE: reference,
    }


def read(workdir: str | Path, own: Config) -> Start:
    """Read the best parameters of the finished run in a folder.

    Raises InputError where there is no finished CycSeq run, and where `own` (`model.kwargs` of the
    run to come) asks for networks of another shape.
    """
    workdir = Path(workdir).absolute()
    config = _config(workdir)
    kwargs = config["model"]["kwargs"]
    differing = [name for name in SHAPES if _plain(own.get(name)) != _plain(kwargs.get(name))]
    if differing:
        listed = "; ".join(
            f"{name} {kwargs.get(name)} there and {own.get(name)} here" for name in differing
        )
        raise InputError(
            f"model.kwargs differ from those of the run in train.start, {workdir} ({listed}), "
            "expected networks of the "
            "same shape: give the same values"
        )
    with checkpoint.open(workdir) as manager:
        meta = _meta(manager, workdir)
        net = _network(meta["genes"], meta["treatments"], meta["network"])
        state, _, _ = checkpoint.restore(manager, like(net, config))
    unaligned = {REFERENCE: None} if config["data"]["combat_reference"] in NONE else {}
    return Start(net, state.best.params, state.best.state, unaligned | meta["network"])


def reference(start: Start | None, config: Config) -> CombatReference | None:
    """What `data.combat_reference=start` stands for; None where a config says something else, or
    names no run.

    Raises InputError where the run was not aligned, or is of a version that did not keep what it
    was aligned to.
    """
    if start is None or config["data"]["combat_reference"] != START:
        return None
    if REFERENCE not in start.network:
        raise InputError(
            f"{ASKED}, which is of an older version that kept no moments of its reference: run it "
            "again in another "
            "folder, or set data.combat_reference=largest"
        )
    kept = start.network[REFERENCE]
    if kept is None:
        raise InputError(
            f"{ASKED}, which was trained without ComBat: set data.combat_reference= (empty) here "
            "too"
        )
    moments = {name: np.array(kept[name], float) for name in ("mean", "variance")}
    return CombatReference(**kept | moments, genes=start.net.spec.genes)


def alignment_notes(
    start: Start, config: Config, aligned_to: CombatReference | None
) -> tuple[str, ...]:
    """A note where rows are aligned otherwise than those that the run was trained on."""
    kept = start.network.get(REFERENCE, {"name": "a batch of which it kept nothing"})
    if config["data"]["combat_reference"] == START or kept is aligned_to is None:
        return ()
    there = "not aligned" if kept is None else f"aligned to {kept['name']}"
    here = (
        "are not aligned"
        if aligned_to is None
        else f"are aligned to {aligned_to.name} of these data"
    )
    return (
        f"the run in train.start was trained on rows {there} by ComBat, and rows here {here}: its "
        "networks meet "
        "another scale",
    )


def grow(start: Start, spec: Spec, own: Config, seed: int) -> Grown:
    """The networks of a run for other data; settings that change no shape are those of `own`."""
    net, params, state, notes = cycseq.grow(
        start.net, start.params, start.state, spec, jax.random.key(seed)
    )
    settings = own | {
        name: getattr(net.settings, name) for name in ("lines", "targets", "placeholders")
    }
    return Grown(make(spec, **settings), params, state, notes)


def begin(grown: Grown, fresh: TrainState) -> TrainState:
    """A fresh training state with the parameters of the grown run; the optimiser and all counters
    start anew."""

    def values(new: Any, old: jax.Array) -> jax.Array:
        return jnp.array(jnp.broadcast_to(new, old.shape), old.dtype, copy=True)

    params, state = (
        jax.tree.map(values, *two)
        for two in ((grown.params, fresh.params), (grown.state, fresh.state))
    )
    best = fresh.best._replace(
        params=jax.tree.map(jnp.copy, params), state=jax.tree.map(jnp.copy, state)
    )
    return fresh._replace(params=params, state=state, best=best)


def like(net: CycSeq, config: Config) -> TrainState:
    """Structure, shapes and types of the training state of a run of one seed."""
    settings = config["train"]
    rate = optim.decayed(settings["learning_rate"], settings["decay"], 1)
    parts = {
        name: tuple(p for p in settings[name].split(",") if p) for name in ("clip_parts", "freeze")
    }
    options: dict[str, Any] = {
        name: settings[name] for name in ("b1", "weight_decay", "clip_kind")
    } | parts
    optimizer = optim.build(settings["optimizer"], rate, clip=settings["clip"] or None, **options)

    def state() -> TrainState:
        params, moments = initial(net, jax.random.key(0))
        zero = jnp.zeros((), jnp.int32)
        best = Best(params, moments, jnp.zeros((), jnp.float32), zero)
        return TrainState(params, moments, optimizer.init(params), jax.random.key(0), zero, best)

    return jax.eval_shape(state)


def _config(workdir: Path) -> Config:
    if not (workdir / "config.json").exists() or not (workdir / "checkpoints").is_dir():
        raise InputError(
            f"train.start is {str(workdir)!r}, where there is no run with checkpoints, expected "
            "the work directory of "
            "a finished CycSeq run: train one with configs/cycseq_pretrain.py"
        )
    if not (workdir / "metrics.json").exists():
        raise InputError(
            f"the run in train.start, {workdir}, is not finished (it has no metrics.json): run "
            "its command again first"
        )
    config = json.loads((workdir / "config.json").read_text())
    name, seeds = config["model"]["name"], config["train"]["seeds"]
    if name != "cycseq" or seeds != 1:
        raise InputError(
            f"the run in train.start, {workdir}, has model.name={name} and train.seeds={seeds}, "
            "expected cycseq and "
            "one seed: give another run"
        )
    return config


def _meta(manager: Any, workdir: Path) -> dict[str, Any]:
    import orbax.checkpoint as ocp

    try:
        args = ocp.args.Composite(meta=ocp.args.JsonRestore())
        return manager.restore(manager.latest_step(), args=args)["meta"]["meta"]
    except Exception as error:  # orbax, tensorstore and json each have their own for a damaged file
        raise InputError(
            f"the newest checkpoint of the run in train.start, {workdir}, cannot be read "
            f"({type(error).__name__}): run "
            "it again in another folder"
        ) from error


def _network(genes: list[str], treatments: list[str], network: dict[str, Any]) -> CycSeq:
    """The networks from what stands beside their parameters; what only data know is left at 0."""
    zero = np.zeros(len(genes))
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
    return make(
        spec, **network["settings"] | {"lines": network["lines"], "targets": network["targets"]}
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value
