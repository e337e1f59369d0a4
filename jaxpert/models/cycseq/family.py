"""A CycSeq run from its config: rows, networks (new ones, or those of a finished run), batches and
results."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxpert.core.family import Job, as_it_is
from jaxpert.core.types import Feed, InputError, Spec
from jaxpert.models.cycseq import model as cycseq
from jaxpert.models.cycseq import start as cycseq_start
from jaxpert.models.cycseq.setup import CycSeq, make
from jaxpert.tasks import translation as spectra
from jaxpert.tasks.screen.predict import Fitted
from jaxpert.tasks.translation import load as cycseq_inputs
from jaxpert.tasks.translation import results as cycseq_results

Config = dict[str, Any]
NAME = "cycseq"


class Setup(NamedTuple):
    """Rows and networks of a config."""

    prepared: spectra.Prepared
    """Its data set has every note."""
    truth: Any
    net: CycSeq
    grown: cycseq_start.Grown | None
    """What training begins with, where it does not begin with nothing."""
    unit_scale: np.ndarray | None
    """Largest training value of each gene, where rows are divided by it."""


def make_job(config: Config) -> Job:
    """The run that a config asks for."""
    setup = set_up(config)
    dataset = setup.prepared.dataset
    cycseq_results.check(config, setup.prepared, setup.truth)

    def feeds() -> tuple[Feed, Feed | None]:
        size, layout = config["train"]["batch_size"], config["train"]["layout"]
        devices = config["train"]["devices"] or jax.device_count()
        return spectra.make_feeds(
            setup.prepared, size, devices, unit_scale=setup.unit_scale, layout=layout
        )

    def write(config: Config, workdir: Path, fitted: Fitted) -> None:
        cycseq_results.write(
            config, workdir, setup.prepared, setup.net, fitted, setup.unit_scale, setup.truth
        )

    start = as_it_is if setup.grown is None else functools.partial(cycseq_start.begin, setup.grown)
    meta = {
        "network": cycseq_start.describe(setup.net, setup.unit_scale, setup.prepared.aligned_to)
    }
    return Job(dataset, setup.truth, cycseq.model_of(setup.net), write, feeds, start, meta)


def set_up(config: Config) -> Setup:
    """Rows and networks."""
    own = kwargs_of(config)
    start = cycseq_start.read(config["train"]["start"], own) if config["train"]["start"] else None
    prepared, truth = cycseq_inputs.load(config, cycseq_start.reference(start, config))
    spec = spectra.spectra_spec(prepared)
    grown = None if start is None else cycseq_start.grow(start, spec, own, config["seed"])
    net = _networks(spec, own) if grown is None else grown.net
    scale = None
    if net.settings.expression_head == "tanh":
        kept = None if start is None else start.network["unit_scale"]
        scale = spectra.training_rows_per_gene_scale(prepared) if kept is None else np.array(kept)
    if start is None or grown is None:
        notes = cycseq.model_of(net).check(prepared.dataset)  # pyright: ignore
    else:
        notes = (*grown.notes, *cycseq_start.alignment_notes(start, config, prepared.aligned_to))
    dataset = replace(prepared.dataset, notes=(*prepared.dataset.notes, *notes))
    return Setup(prepared._replace(dataset=dataset), truth, net, grown, scale)


def kwargs_of(config: Config) -> Config:
    """`model.kwargs` as settings of the networks."""
    kwargs = config["model"]["kwargs"]
    return kwargs | ({"attention": None} if kwargs.get("attention") == "none" else {})


def _networks(spec: Spec, own: Config) -> CycSeq:
    try:
        return make(spec, **own)
    except TypeError as error:
        raise InputError(f"model.kwargs do not fit {NAME}: {error}") from error
