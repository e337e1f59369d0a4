"""A folder such as a finished run leaves, for what reads runs back."""

from __future__ import annotations

import functools
import pathlib
import tempfile

import jax
import jax.numpy as jnp

from jaxpert.app import run
from jaxpert.app.training import configs, load_config
from jaxpert.core import checkpoint, fit, train, workdir
from jaxpert.core.fit import Fitted
from jaxpert.data.identity import identity


def config(name: str = "cradle_norman", **changes) -> dict:
    """The test variant of a config, `changes` of its section `train`; doublets take long to
    call."""
    settings = load_config(configs()[name], "test")
    settings["quality"]["doublets"] = "none"
    settings["train"] |= {"devices": 1, **changes}
    return settings


def leave(raw: dict, folder: pathlib.Path) -> Fitted:
    """Leave what `run.run` leaves, but for scores, figures and training (whose program takes long
    to compile): the best parameters are the first ones, moved."""
    prepared = run.prepare(*run.read(raw))
    checked, family, problem, ready = prepared
    seeds = run.vmapped_seeds(checked)
    optimizer = fit.make_optimizer(checked.train, 10)
    shapes = train.shapes(
        ready.model, optimizer, problem.sample(ready.model), fit.root_key(0, seeds)
    )
    filled = jax.tree.map(_numbers, shapes)
    best = filled.best._replace(params=jax.tree.map(lambda leaf: leaf + 0.01, filled.params))
    state = filled._replace(key=fit.root_key(0, seeds), best=best)
    folder.mkdir(parents=True)
    workdir.write_config(folder, raw)
    meta = identity(problem.dataset)
    with checkpoint.open(folder) as manager:
        checkpoint.save(manager, state, meta | dict(ready.meta))
    (folder / "figures").mkdir(exist_ok=True)
    ended = {"ended": "finished", "epochs": 3, "steps": 21}
    workdir.write_metrics(folder, {"data": family.task.about(problem), "run": ended})
    outcome = train.Outcome("finished", 3, 21)
    fitted = Fitted(ready.model, best.params, best.state, state, outcome)
    return fit.after_training(fitted, problem.dataset)


def _numbers(shape: jax.ShapeDtypeStruct) -> jax.Array:
    """Small different numbers for floating leaves, zeros for whole ones and keys."""
    if not jnp.issubdtype(shape.dtype, jnp.floating):
        kind = jnp.int32 if jnp.issubdtype(shape.dtype, jax.dtypes.prng_key) else shape.dtype
        return jnp.zeros(shape.shape, kind)
    import numpy as np

    rng = np.random.default_rng(len(shape.shape) + sum(shape.shape))
    return jnp.asarray(rng.normal(0, 0.1, shape.shape), shape.dtype)


@functools.cache
def finished(seeds: int = 1) -> tuple[pathlib.Path, Fitted]:
    """Its folder, and what is in it; made once per process and number of seeds."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="finished")) / "run"
    return folder, leave(config(seeds=seeds), folder)
