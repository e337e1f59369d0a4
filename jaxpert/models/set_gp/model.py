"""A Gaussian process over perturbation sets (docs/models/set_gp.md).

Nothing is learned by gradients of cells: `after_training` fits the processes to the effects of the
training conditions, and the state carries the arrays that predict any set.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpert.core import settings as core_settings
from jaxpert.core.types import Dataset, Deviation, InputError, Model, PyTree, Request, Spec
from jaxpert.evaluation.baselines.rule import predicted
from jaxpert.evaluation.baselines.seen import training_of
from jaxpert.evaluation.baselines.training import seen_in
from jaxpert.models.set_gp import process
from jaxpert.models.set_gp.fitting import Fitting, fit
from jaxpert.models.set_gp.kernels import gene_kernels
from jaxpert.models.set_gp.learned import tables as learned_tables
from jaxpert.models.set_gp.others import read_runs
from jaxpert.models.set_gp.sets import groups_of, same
from jaxpert.models.set_gp.settings import Settings
from jaxpert.tasks.screen import computed

FEWEST = 3
"""Training conditions below which there is nothing to tell directions by."""
LEAST = 1e-4
"""Share of the mean variance over genes that every gene has at least. A gene that no cell has a
count of is not known to be silent to the last digit."""


def build(spec: Spec, **settings: Any) -> Model:
    """The process; predicts mean log2(1 + 1e4 x / sum x) (or whatever a table of effects holds).

    Args:
        spec: of the data.
        **settings: fields of `settings.Settings`; another one is a TypeError.

    Example:
        model = jaxpert.set_gp.build(jaxpert.make_spec(cells), components=10)
        fitted = jaxpert.fit(model, cells, epochs=1)
        jaxpert.predict(fitted, cells, ["KLF1+BAK1"]).layers["effect_sd"]
    """
    chosen = Settings(**settings)
    core_settings.check(chosen, "model.kwargs")
    return Model(
        init=computed.init,
        loss=partial(computed.loss, spec),
        predict=predict,
        check=partial(check, chosen),
        after_training=partial(after_training, chosen),
        support=partial(computed.support, spec),
        deviation=deviation,
        rests_on=partial(rests_on, spec),
        learned=partial(learned, chosen),
        scale="log2",
        stochastic=False,
        name="set_gp",
        settings=chosen,
    )


def check(settings: Settings, dataset: Dataset) -> tuple[str, ...]:
    """`Model.check`: refuse data in which nothing can be told, and say what is known of genes."""
    training = training_of(dataset)
    trained = int((np.delete(training.cells, training.control) > 0).sum())
    if trained < FEWEST:
        raise InputError(
            f"{dataset.name!r} has {trained} perturbations with training cells, expected "
            f"{FEWEST} at least for model.name=set_gp: choose another split.kind, or a baseline"
        )
    kernels = gene_kernels(dataset, training, settings)
    if settings.runs:
        read_runs(settings.runs, dataset, seen_in(training).tolist())
    notes = []
    if settings.components > (trained - 1) // 2:
        notes.append(
            f"model.kwargs.components is {settings.components}, and {(trained - 1) // 2} are taken "
            f"of {trained} training perturbations"
        )
    if len(kernels) == 1:
        notes.append(
            "nothing says which perturbed genes are alike (no annotations, embeddings or measured "
            "genes), so that a gene never perturbed gets the mean effect"
        )
    return tuple(notes)


def after_training(
    settings: Settings, params: PyTree, state: PyTree, key: PRNGKeyArray, dataset: Dataset
) -> PyTree:
    """`Model.after_training`: the fitted processes, the blend and the widths of intervals."""
    del params, state, key
    made = fit(settings, dataset)
    return jax.tree.map(partial(jnp.asarray, dtype=jnp.float32), made)._asdict()


def predict(
    params: PyTree, state: PyTree, key: PRNGKeyArray, request: Request
) -> Float[Array, "R G"]:
    """`Model.predict`: the control and the blended effect of each set."""
    del params, key
    of, sets = Fitting(**state), request.treatment
    effects = [process.predict(of.process, sets)]
    for rule in of.rules:
        effects.append(predicted(rule, sets) - rule.control)
    group = groups_of(sets, of.process.known)
    weights = of.weights[group]
    blended = jnp.einsum("rb,brg->rg", weights, jnp.stack(effects))
    return of.control + _with_runs(of, sets, group, blended)


def _with_runs(of: Fitting, sets: Array, group: Array, blended: Array) -> Float[Array, "R G"]:
    """Finished runs on top of the blend, for the sets that they predict."""
    if not len(of.runs.effects):
        return blended
    row = same(sets, of.runs.sets)
    # The control is at 0, and what training holds has no new evidence.
    there = row.any(1) & sets.any(1)
    weights = of.runs.weights[group]
    stacked = weights[:, :1] * blended
    stacked += jnp.einsum("rm,rc,mcg->rg", weights[:, 1:], row, of.runs.effects)
    return jnp.where(there[:, None], stacked, blended)


def deviation(params: PyTree, state: PyTree, request: Request) -> Deviation:
    """`Model.deviation`: of the process' effects, of new measurements, and the widths that
    left-out conditions ask for."""
    del params
    of, sets = Fitting(**state), request.treatment
    made = process.predict_all(of.process, sets)
    group = groups_of(sets, of.process.known)
    # The control's own error moves all effects, and cancels in measurements beside it.
    some = sets.sum(1, keepdims=True) > 0
    variance = jnp.maximum(made.variance, LEAST * made.variance.mean(1, keepdims=True))
    effect = jnp.where(some, variance + of.control_error, 0)
    return Deviation(
        effect=jnp.sqrt(effect),
        measured=jnp.sqrt(variance + made.noise),
        usual=jnp.sqrt(made.usual),
        widths=of.widths[group],
        effect_widths=of.effect_widths[group],
    )


def learned(settings: Settings, params: PyTree, state: PyTree, dataset: Dataset) -> dict[str, Any]:
    """`Model.learned`: weights of the blend, widths, and what the variance comes from."""
    del params
    kernels = gene_kernels(dataset, training_of(dataset), settings)
    return learned_tables(Fitting(**state), list(kernels), settings.runs)


def rests_on(
    spec: Spec, params: PyTree, state: PyTree, treatment: Float[np.ndarray, "R T"]
) -> tuple[str, ...]:
    """`Model.rests_on`: the training conditions with the largest weights in each prediction."""
    del params
    of = Fitting(**state)
    weights = np.asarray(process.weights(of.process, jnp.asarray(treatment, jnp.float32)))
    names = np.asarray(spec.conditions, object)[np.asarray(of.conditions, int)]
    said = []
    for row, asked in zip(weights, np.asarray(treatment), strict=True):
        # The empty set has effect 0, whatever was measured.
        if not asked.any():
            said.append("")
            continue
        order = np.argsort(-np.abs(row))[:3]
        kept = [f"{names[c]} ({row[c]:+.2f})" for c in order if abs(row[c]) >= 0.01]
        said.append(", ".join(kept) or "the mean effect alone")
    return tuple(said)
