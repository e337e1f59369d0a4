"""A folder such as a finished run leaves, for what reads runs back."""

import functools
import importlib.util
import pathlib
import tempfile

import jax

from jaxpert.app import run
from jaxpert.core import checkpoint, optim, train
from jaxpert.core import workdir as folder
from jaxpert.tasks.screen import predict as workflow
from support.paths import ROOT


def config(**changes) -> dict:
    """The test variant of a config; doublets take long to call."""
    path = ROOT / "configs/cradle_norman.py"
    spec = importlib.util.spec_from_file_location("cradle_norman", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    settings = module.get_config("test").to_dict()
    settings["quality"]["doublets"] = "none"
    settings["train"] |= changes
    return settings


def leave(settings: dict, workdir: pathlib.Path) -> workflow.Fitted:
    """Leave what `run.run` leaves, but for scores, figures and training (whose program takes long
    to compile): the best parameters are the first ones, moved."""
    dataset, _ = run.load_dataset(settings)
    model = run.build_model(settings, dataset)
    feed = workflow.make_feeds(dataset, batch_size=64)[0]
    optimizer = optim.adam(1e-3, weight_decay=1e-6, clip=100.0)
    seeds = settings["train"]["seeds"]
    state = train.init(
        model, optimizer, feed, jax.random.key(0), seeds=seeds if seeds > 1 else None
    )
    moved = jax.tree.map(
        lambda a: a + 0.01 * jax.random.normal(jax.random.key(a.size), a.shape), state.params
    )
    state = state._replace(best=state.best._replace(params=moved, loss=state.best.loss * 0 + 1.5))
    workdir.mkdir(parents=True)
    folder.write_json(workdir / "config.json", settings)
    with checkpoint.open(workdir) as manager:
        checkpoint.save(manager, state, {"genes": dataset.genes, "treatments": dataset.treatments})
    about = {"ended": "finished", "epochs": 3, "steps": 21}
    folder.write_json(workdir / "metrics.json", {"data": run.describe(dataset), "run": about})
    return workflow.Fitted(model, moved, state.state, state, train.Outcome("finished", 3, 21))


@functools.cache
def finished(seeds: int = 1) -> tuple[pathlib.Path, workflow.Fitted]:
    """Its folder, and what is in it; made once per process and number of seeds."""
    workdir = pathlib.Path(tempfile.mkdtemp(prefix="finished")) / "run"
    return workdir, leave(config(seeds=seeds), workdir)
