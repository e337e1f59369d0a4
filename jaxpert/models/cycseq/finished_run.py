"""A finished CycSeq run read from its folder, without its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxpert.core import checkpoint, fit, log
from jaxpert.core import settings as core_settings
from jaxpert.core import workdir as folders
from jaxpert.core.paths import path_of
from jaxpert.core.types import Best, InputError, PyTree, Spec, TrainState
from jaxpert.models.cycseq.settings import NONE, Settings
from jaxpert.models.cycseq.setup import CycSeq, initial, make
from jaxpert.tasks.translation import load
from jaxpert.tasks.translation.combat import CombatReference
from jaxpert.tasks.translation.keys import TrainKeys

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


class Start(NamedTuple):
    """A trained run, without its data."""

    net: CycSeq
    params: PyTree
    state: PyTree
    network: dict[str, Any]
    """As `describe` gave it."""
    reference: CombatReference | None = None
    """What `data.combat_reference=start` stands for; None where a config says something else."""


def read(workdir: str | Path, own: Settings) -> Start:
    """Read the best parameters of the finished run in a folder.

    Only what is needed of its config is read, so that the config may be of an older version.

    Raises:
        InputError: where there is no finished CycSeq run, and where `own` (`model.kwargs` of the
            run to come) asks for networks of another shape.
    """
    workdir = path_of(workdir).absolute()
    config = _config(workdir)
    # Shapes are compared first, since a mismatch in a checkpoint reads like damage.
    _require_same_shape(workdir, config["model"]["kwargs"], own)
    with checkpoint.open(workdir, write=False) as manager:
        meta = _meta(manager, workdir)
        net = _network(meta["genes"], meta["treatments"], meta["network"])
        # The whole training state is restored, since checkpoints are read in one piece.
        state, _, notes = checkpoint.restore(manager, like(net, _train_keys(config["train"])))
    for note in notes:
        log.say(f"note: {note}")
    network = dict(meta["network"])
    # An older run kept no word of its reference; its config says whether it had one.
    if config["data"].get("combat_reference") in load.NONE:
        network.setdefault(REFERENCE, None)
    return Start(net, state.best.params, state.best.state, network)


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
            f"the run in train.start, {workdir}, is not finished (it has no metrics.json), "
            "expected a finished one: run its command again first"
        )
    config = folders.read_config(workdir).config
    try:
        # Several seeds would have a leading axis that fine-tuning does not know.
        name, seeds = config["model"]["name"], config["train"].get("seeds", 1)
    except (AttributeError, LookupError, TypeError) as error:
        raise InputError(
            f"config.json of the run in train.start, {workdir}, lacks the sections model and train "
            f"({error!r}), expected what a run leaves: give another run"
        ) from error
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
    if isinstance(value, tuple | list):
        return list(value)
    return value


def _known(values: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """The values of fields that this version has; those of older versions that are gone are left
    out."""
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in values.items() if name in names}


def _train_keys(values: Mapping[str, Any]) -> TrainKeys:
    """The section `train` of a run, without keys that this version does not have."""
    # Keys of older versions do not change the structure of the state.
    return core_settings.read(TrainKeys, _known(values, TrainKeys), "train")


def _meta(manager: Any, workdir: Path) -> dict[str, Any]:
    """What stands beside the newest parameters."""
    meta = checkpoint.newest_meta(manager)
    if meta is None:
        raise InputError(
            f"no checkpoint of the run in train.start, {workdir}, can be read, expected a whole "
            "one: run it again in another folder"
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
    settings = _known(network["settings"], Settings)
    # Older runs kept None for no attention.
    settings["attention"] = settings["attention"] or NONE
    settings |= {name: network[name] for name in ("lines", "targets", "unit_scale")}
    return make(spec, **settings)
